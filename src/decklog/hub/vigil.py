"""Watching the fleet at next to no cost: rows are made only when something changed.

What agents write is told by the system (`decklog.live.alarm`). Screens are asked for over one
lasting connection to each tmux server. Processes that come and go are seen by their numbers.
Everything is looked at now and then besides, since none of this is sure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from decklog.errors import TmuxMissing
from decklog.hub.rows import row
from decklog.hub.written import GAP, Written
from decklog.sight import Place, place
from decklog.supervisor.watching import Tick, Watch

if TYPE_CHECKING:
    from decklog.hub.fleet import Fleet
    from decklog.model.fleet import Evidence, Identity, Pane

FILES_EVERY = 2.0
"""Seconds between looks at all files that agents write, where the system tells of changes."""
NUMBERS_EVERY = 0.5
"""Seconds between looks at the numbers of all processes."""
PROCESSES_EVERY = 2.0
"""Seconds between looks at the process table, at least; where one of ours has gone, at once."""
PROCESSES_ANYWAY = 10.0
"""The same, at most: a process may have become another program, or a zombie."""
SYNC_EVERY = 1.0
"""Seconds between reads of what transcripts grew by, at least."""
ANYWAY_EVERY = 10.0
"""Seconds after which rows are made although nothing changed: silence says something too."""
REST = 4.0
"""So many times as long as rows took to make, nothing is made: a fifth of a core at most."""


class Vigil:
    """``with Vigil(fleet) as vigil: rows = vigil.look()``, again after each `rest`."""

    def __init__(
        self, fleet: Fleet, *, clock: Callable[[], float] = time.monotonic, told: bool = True
    ) -> None:
        self.fleet = fleet
        self.clock = clock
        self.watch = Watch(fleet.deck.panes)
        self.written = Written(fleet, told=told)
        self.panes: Sequence[Pane] = ()
        self.who: Mapping[Place, str] = {}
        """Which agent is in which pane."""
        self._said: Mapping[Place, Sequence[Evidence]] = {}
        self._woken = False
        self._unread = True
        """Whether something was written that the store may not have."""
        self._numbers: frozenset[int] = frozenset()
        self._began: frozenset[int] = frozenset()
        """Processes that were not looked at yet."""
        self._stirred = False
        """Whether agents may have begun, or be on other sessions than before."""
        self._roots: list[Identity] = []
        never = float("-inf")
        self._files = self._numbered = self._processes = self._synced = self._made = never
        self._took = 0.0
        self._doubtful = False
        """Whether a dialog was not seen once: the second look that it takes is near."""
        self._reader = ThreadPoolExecutor(1)
        self._reading: Future[bool] | None = None
        self._version: int = fleet.deck.store.version()

    def __enter__(self) -> Vigil:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()
        self.watch.close()
        self.written.alarm.close()

    def rest(self, seconds: float) -> None:
        """Wait for the next look: so long, or until a file changed."""
        seconds = min(seconds, GAP) if self._doubtful else seconds
        least = max(GAP, REST * self._took)
        self._took = 0.0
        self._woken |= self.written.wait(seconds, least=least)

    def look(self) -> list[dict[str, Any]] | None:
        """The rows, or None when nothing changed that they are made of."""
        began = self.clock()
        self._doubtful = False
        news = self._screens() | self._agents(began) | self._written(began)
        if not news and began - self._made <= ANYWAY_EVERY:
            return None
        self._made = began
        self._unread = True  # what is seen to happen is being written down, too
        fleet = self.fleet
        with self.written.reading():
            found = fleet.running(fleet.trees, panes=self.panes)
        self.who = {place(r.pane): r.match.agent for r in found if r.pane is not None}
        if self._said:
            found = fleet.tell(fleet.by_root(self._said))
            waiting = (r.state.waiting for r in found)
            self._doubtful = any(w is not None and w.misses for w in waiting)
        fleet.remember()
        self._took = self.clock() - began
        return [row(r) for r in found]

    def _screens(self) -> bool:
        try:
            tick: Tick | None = self.watch.tick(self.who)
        except TmuxMissing:
            tick = None
        self.panes = tick.panes if tick else ()
        self._said = tick.said if tick else {}
        return bool(tick and tick.changed)

    def _agents(self, now: float) -> bool:
        """Whether agents began or ended."""
        if now - self._numbered < NUMBERS_EVERY:
            return False
        self._numbered = now
        numbers = self.fleet.numbers()
        since = now - self._processes
        new, self._numbers = numbers - self._numbers, numbers
        self._began |= new
        if since > PROCESSES_EVERY:  # late enough for a new one to have become what it is
            self._stirred |= self.fleet.agents_among(self._began)
            self._began = new
        ended = any(who.pid not in numbers for who in self._roots)
        stirred = self._stirred and since > PROCESSES_EVERY
        if not (ended or stirred or since > PROCESSES_ANYWAY):
            return False
        self._processes, self._stirred = now, False
        before, self._roots = self._roots, [t.root.identity for t in self.fleet.processes()]
        return before != self._roots

    def _written(self, now: float) -> bool:
        """Whether a file changed that agents write, or what the store has of them."""
        if self._stored(now):
            return True
        woken, self._woken = self._woken or self.written.wait(0, least=0), False
        if not woken and now - self._files < (FILES_EVERY if self.written.alarm.sure else 0):
            return False
        self._files = now
        self._stirred |= woken
        self.written.attend()
        self._unread |= woken
        return self.written.changed()

    def _stored(self, now: float) -> bool:
        """Have what is new read into the store, beside us; whether the store is another by now."""
        if self._reading is not None and self._reading.done():
            self._stirred |= self._reading.result()
            self._reading = None
        if self._unread and self._reading is None and now - self._synced > SYNC_EVERY:
            self._synced, self._unread = now, False
            self._reading = self._reader.submit(self._read)
        before, self._version = self._version, self.fleet.deck.store.version()
        return before != self._version

    def _read(self) -> bool:
        """In a thread of its own, since a sync takes longer than a change may wait."""
        from decklog.hub import Decklog

        with Decklog(self.fleet.deck.config) as deck:
            news = not deck.unchanged()
            if news:
                deck.refresh()
            return news
