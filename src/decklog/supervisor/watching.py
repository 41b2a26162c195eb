"""Looking again and again, cheaply.

A tick asks each server for its list of panes over one lasting connection. Where the answer is, byte
for byte, the one of before, nothing is read, and nothing follows. Screens are read of those panes
only that may have changed since they were read last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from decklog.errors import TmuxError
from decklog.model.fleet import Evidence, Pane
from decklog.model.panes import PaneEvent
from decklog.sight import Place, place, said

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.supervisor import Supervisor

MOST_SCREENS = 16
"""Screens that are read in one tick; the others wait for the next."""
STILL_MS = 1_200
"""tmux tells the time of output in whole seconds: so long after it a screen may have changed."""
SOCKETS_MS = 2_000
"""Milliseconds between looks for further servers, and tries to connect."""


class Tick(NamedTuple):
    """What one look showed."""

    at: int
    panes: Sequence[Pane]
    said: Mapping[Place, tuple[Evidence, ...]]
    """What the screens say that were read in this tick."""
    events: Sequence[PaneEvent]
    changed: bool
    """False when nothing is new."""


class Watch:
    """``with Watch(supervisor) as watch: tick = watch.tick({})``, five times a second."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self._panes: Sequence[Pane] = ()
        self._read: dict[Place, tuple[int, str]] = {}
        """When each screen was read, and the title then."""
        self._sockets = 0
        self._again = False

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for server in self.supervisor.servers.values():
            server.disconnect()

    def tick(self, who: Mapping[Place, str]) -> Tick:
        """One look. ``who`` says which agent is in which pane: their screens are read."""
        boss = self.supervisor
        at = boss.clock()
        if at - self._sockets > SOCKETS_MS:
            self._sockets = at
            self._connect({p[0] for p in who})
        seen = boss.sighting(known=at != self._sockets)
        same = len(seen.panes) == len(self._panes) and all(
            a is b for a, b in zip(seen.panes, self._panes, strict=True)
        )
        self._panes = seen.panes
        events: Sequence[PaneEvent] = ()
        if not same or self._again:
            events = boss.settle(seen)
            self._again = boss.missing
        due = [p for p in seen.panes if place(p) in who and self._due(p, seen.at)]
        due.sort(key=lambda p: self._read.get(place(p), (0, ""))[0])
        told = self._look(due[:MOST_SCREENS], who, seen.at)
        return Tick(seen.at, seen.panes, told, events, bool(not same or events or told))

    def _connect(self, sockets: set[str]) -> None:
        for socket in sockets:
            with suppress(TmuxError):
                self.supervisor.server(socket).connect()

    def _due(self, pane: Pane, at: int) -> bool:
        before = self._read.get(place(pane))
        if before is None or before[1] != pane.title:
            return True
        return before[0] < (pane.activity_at or 0) + STILL_MS

    def _look(
        self, panes: Sequence[Pane], who: Mapping[Place, str], at: int
    ) -> dict[Place, tuple[Evidence, ...]]:
        shown = self.supervisor.capture(panes)
        for pane in panes:
            if place(pane) in shown:
                self._read[place(pane)] = (at, pane.title)
        return said(panes, who, shown, at)
