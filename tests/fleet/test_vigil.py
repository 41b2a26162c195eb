"""Watching the fleet: nothing is done while nothing happens, and what happens is told soon."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from decklog import hub
from decklog.hub.fleet import Fleet
from decklog.hub.vigil import Vigil
from decklog.hub.written import GAP
from decklog.live.alarm import Alarm
from decklog.model.fleet import Pane, Says
from decklog.sight import place
from decklog.state import observed
from decklog.supervisor.watching import Tick
from fleets import Table, now, own_file, running, transcript


class Counting(Fleet):
    """Counts how often rows are made, and how often files are looked at."""

    made = looked = 0

    def running(self, *args: Any, **more: Any) -> Any:
        self.made += 1
        return super().running(*args, **more)

    def stamps(self) -> dict[str, object]:
        self.looked += 1
        return super().stamps()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_watching_makes_rows_only_when_something_changed(
    deck: hub.Decklog, home: Path, work: Path
) -> None:
    talk = transcript(work)
    talk.prompt("Fix the login.")
    path = talk.write(home)
    deck.sync()
    table = Table([running(7, work)])
    own_file(home, 7, 7)
    fleet = Counting(deck, table=table)
    clock = Clock()
    with Vigil(fleet, clock=clock) as vigil:
        rows = vigil.look()
        assert rows is not None
        assert [(r["pid"], r["thought"]) for r in rows] == [(7, "Fix the login.")]
        assert [vigil.look() for _ in range(20)] == [None] * 20
        assert (fleet.made, table.looks) == (1, 1)
        talk.prompt("Now the logout.")
        path.write_bytes(talk.data)
        rows = vigil.look()
        assert rows is not None
        assert [r["thought"] for r in rows] == ["Now the logout."]
        own_file(home, 7, 7, status="idle", statusUpdatedAt=now() + 5000)
        rows = vigil.look()
        assert rows is not None
        assert [r["state"] for r in rows] == ["idle"]
        assert vigil.look() is None
        table.processes.clear()
        clock.now += 0.6
        assert vigil.look() == []
        assert fleet.made == 4


def test_a_second_in_which_nothing_happens_costs_next_to_nothing(
    deck: hub.Decklog, home: Path, work: Path, env: dict[str, str]
) -> None:
    talk = transcript(work)
    talk.prompt("Fix the login.")
    talk.write(home)
    deck.sync()
    Path(env["DECKLOG_HOME"], "hooks", "spool").mkdir(parents=True)
    table = Table([running(pid, work) for pid in range(7, 90)])
    for pid in range(7, 90):
        own_file(home, pid, pid)
    fleet = Counting(deck, table=table)
    clock = Clock()
    with Vigil(fleet, clock=clock) as vigil:
        vigil.look()
        clock.now += 2.5
        vigil.look()
        fleet.looked = fleet.made = table.lists = 0
        for _ in range(13):
            clock.now += 0.15
            assert vigil.look() is None
        assert (fleet.looked, fleet.made, table.lists) == (0, 0, 0)
        clock.now += 0.15  # hints may have been lost
        assert vigil.look() is None
        assert (fleet.looked, fleet.made, table.lists) == (1, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_what_an_agent_writes_ends_the_rest(deck: hub.Decklog, home: Path, work: Path) -> None:
    table = Table([running(7, work)])
    path = own_file(home, 7, 7, status="busy")
    with Vigil(Fleet(deck, table=table)) as vigil:
        vigil.look()
        vigil.rest(0.01)
        writing = threading.Timer(0.3, path.write_text, [path.read_text().replace("busy", "idle")])
        writing.start()
        began = time.monotonic()
        vigil.rest(60)
        assert time.monotonic() - began < 30
        rows = vigil.look()
        writing.join()
        assert rows is not None
        assert [r["state"] for r in rows] == ["idle"]


class Screens:
    """A terminal that shows one thing after the other."""

    def __init__(self, pane: Pane, *says: Says) -> None:
        self.pane, self.says = pane, list(says)

    def tick(self, who: object) -> Tick:
        seen = observed("screen", self.says.pop(0), now(), id=str(len(self.says)))
        return Tick(now(), [self.pane], {place(self.pane): (seen,)}, (), True)

    def close(self) -> None: ...


class Rests(Alarm):
    """Tells for how long it was to be waited."""

    def __init__(self) -> None:
        super().__init__(None)
        self.seconds: list[float] = []

    def wait(self, seconds: float, *, least: float = 0.0) -> bool:
        self.seconds += [seconds] if seconds else []
        return False


def test_a_dialog_that_was_not_seen_once_is_looked_for_again_soon(
    deck: hub.Decklog, work: Path
) -> None:
    fleet = Fleet(deck, table=Table([running(7, work, "codex", tty="/dev/pts/9")]))
    pane = Pane(id="%1", tty="/dev/pts/9", pid=6, name="work:1.0")
    with Vigil(fleet) as vigil:
        vigil.written.alarm = rests = Rests()
        vigil.watch = Screens(pane, "waiting_approval", "busy", "busy")  # type: ignore[assignment]
        told = []
        for _ in range(3):
            rows = vigil.look()
            assert rows is not None
            told.append(rows[0]["state"])
            vigil.rest(60)
    assert told == ["waiting_approval", "waiting_approval", "busy"]
    assert rests.seconds == [60, GAP, 60]
