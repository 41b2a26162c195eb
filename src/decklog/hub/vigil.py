"""Watching the fleet at next to no cost: rows are made only when something changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from decklog.errors import TmuxMissing
from decklog.hub.rows import row
from decklog.sight import Place, place
from decklog.supervisor.watching import Tick, Watch

if TYPE_CHECKING:
    from decklog.hub.fleet import Fleet
    from decklog.model.fleet import Pane

PROCESSES_EVERY = 2.0
"""Seconds between looks at the process table."""
SYNC_EVERY = 1.0
"""Seconds between reads of what transcripts grew by, at least."""
ANYWAY_EVERY = 10.0
"""Seconds after which rows are made although nothing changed: silence says something too."""


class Vigil:
    """``with Vigil(fleet) as vigil: rows = vigil.look()``, five times a second."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.watch = Watch(fleet.deck.panes)
        self.panes: Sequence[Pane] = ()
        self.who: Mapping[Place, str] = {}
        """Which agent is in which pane."""
        self._stamps: object = None
        self._processes = self._synced = self._made = float("-inf")

    def __enter__(self) -> Vigil:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.close()

    def look(self) -> list[dict[str, Any]] | None:
        """The rows, or None when nothing changed that they are made of."""
        fleet, now = self.fleet, time.monotonic()
        tick = self._tick()
        news = bool(tick and tick.changed) or now - self._made > ANYWAY_EVERY
        if now - self._processes > PROCESSES_EVERY:
            self._processes = now
            before = [t.root.identity for t in fleet.trees]
            news |= before != [t.root.identity for t in fleet.processes()]
        stamps = fleet.changed(self._stamps)
        if not news and stamps is self._stamps:
            return None
        self._made = now
        if now - self._synced > SYNC_EVERY:
            self._synced = now
            fleet.deck.refresh()
        found = fleet.running(fleet.trees, panes=self.panes)
        self._stamps = fleet.changed(None)
        self.who = {place(r.pane): r.match.agent for r in found if r.pane is not None}
        if tick and tick.said:
            found = fleet.tell(fleet.by_root(tick.said))
        fleet.remember()
        return [row(r) for r in found]

    def _tick(self) -> Tick | None:
        try:
            tick = self.watch.tick(self.who)
        except TmuxMissing:
            return None
        self.panes = tick.panes
        return tick
