"""decklog.supervisor.watching: what a look costs, and that nothing is missed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from crew import Crew, crews
from decklog.sight import place
from decklog.supervisor import Request
from decklog.supervisor.watching import MOST_SCREENS, SOCKETS_MS, STILL_MS, Watch
from decklog.tmux.control import Control, Reply
from tmux_server import needs_tmux
from waiting import until

pytestmark = needs_tmux


@pytest.fixture
def crew() -> Iterator[Crew]:
    yield from crews()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every command that goes over a lasting connection."""
    found: list[str] = []
    real = Control.ask

    def ask(self: Control, commands: Sequence[Sequence[str]], deadline: float = 2) -> list[Reply]:
        found.extend(c[0] for c in commands)
        return real(self, commands, deadline)

    monkeypatch.setattr(Control, "ask", ask)
    return found


def many(crew: Crew, count: int) -> None:
    new = ["new-session", "-d", "-x", "80", "-y", "24", "--", "sleep", "9999"]
    for _ in range(count // 50):
        crew.room.tmux("many", *[w for _ in range(50) for w in (*new, ";")][:-1])


@pytest.mark.spec("D11", "D2", "DW4")
def test_a_look_at_200_still_panes_asks_once(crew: Crew, asked: list[str]) -> None:
    many(crew, 200)
    with Watch(crew.boss) as watch:
        first = watch.tick({})
        assert (len(first.panes), first.changed) == (200, True)
        who: Mapping = {place(p): "claude" for p in first.panes}  # type: ignore[type-arg]
        until(lambda: watch.tick(who).said or not watch.tick(who).changed)
        time.sleep(STILL_MS / 1000 + 1)
        for _ in range(200 // MOST_SCREENS + 3):
            watch.tick(who)
        watch._sockets = crew.boss.clock() + 10 * SOCKETS_MS  # no look for further servers now
        asked.clear()
        still = watch.tick(who)
        assert asked == ["list-panes"]
        assert (still.changed, still.said, len(still.panes)) == (False, {}, 200)


@pytest.mark.spec("D1", "DW6", "R92")
def test_changes_are_seen(crew: Crew, asked: list[str]) -> None:
    crew.fake(busy=1.5)
    one, _ = crew.boss.create(Request("claude", name="one", cwd=str(crew.project)))
    with Watch(crew.boss) as watch:
        said: list[str] = []

        def look() -> list[str]:
            tick = watch.tick({(one.socket, one.server_pid, one.pane): "claude"})
            said.extend(e.says for found in tick.said.values() for e in found if e.kind == "screen")
            return said

        until(lambda: "composer_empty" in look())
        said.clear()
        crew.room.tmux("decklog", "send-keys", "-t", one.pane, "work", "Enter")
        until(lambda: "busy" in look())
        until(lambda: look()[-1] == "composer_empty")
        assert "capture-pane" in asked
        crew.room.tmux("decklog", "kill-pane", "-t", one.pane)
        events: list[str] = []

        def happened() -> list[str]:
            events.extend(e.happened for e in watch.tick({}).events)
            time.sleep(0.05)
            return events

        until(lambda: happened() == ["lost"])


@pytest.mark.spec("D13", "R79")
def test_a_server_that_ends_while_it_is_watched(crew: Crew) -> None:
    one, _ = crew.boss.create(Request("claude", name="one", cwd=str(crew.project)))
    with Watch(crew.boss) as watch:
        where = (one.socket, one.server_pid, one.pane)
        watch.tick({where: "claude"})
        assert crew.boss.server(one.socket).connected
        crew.room.tmux("decklog", "kill-server")
        until(lambda: not watch.tick({where: "claude"}).panes)
        two, _ = crew.boss.create(Request("claude", name="two", cwd=str(crew.project)))
        until(lambda: [p.ours for p in watch.tick({}).panes] == [two.id])
