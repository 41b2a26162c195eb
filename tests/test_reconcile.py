"""decklog.supervisor.reconcile: what follows from a sighting; nothing runs."""

from __future__ import annotations

import pytest
from msgspec import structs

from decklog.model.fleet import Pane
from decklog.model.panes import Supervised
from decklog.supervisor.reconcile import CODELESS_MS, Change, Sighting, reconcile

ONE = Supervised(id="abc", socket="/s", server_pid=7, server_started=5, pane="%0", pid=42)
DEAD = Pane(
    id="%0", socket="/s", server_pid=7, server_started=5, pid=42, ours="abc", dead=True, name=""
)


def changes(pane: Pane, at: int, missed: dict[str, int]) -> list[Change]:
    return list(reconcile([ONE], Sighting(at, [pane], {"/s": "answered"}), missed))


@pytest.mark.spec("D40")
def test_a_dead_pane_waits_for_its_exit_code() -> None:
    missed: dict[str, int] = {}
    assert changes(DEAD, 0, missed) == []
    assert changes(DEAD, CODELESS_MS - 1, missed) == []
    (told,) = changes(structs.replace(DEAD, exit_code=7), CODELESS_MS - 1, missed)
    assert (told.happened, told.pane.standing, told.pane.code) == ("exited", "exited", 7)
    assert missed == {}


@pytest.mark.spec("D40")
def test_a_dead_pane_that_never_tells_its_exit_code_ended_all_the_same() -> None:
    missed: dict[str, int] = {}
    assert changes(DEAD, 0, missed) == []
    (told,) = changes(DEAD, CODELESS_MS, missed)
    assert (told.happened, told.pane.standing, told.pane.code) == ("exited", "exited", None)
