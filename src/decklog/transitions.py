"""Changes of state, written down: a file of checked lines that only grows, and is bounded.

``fleet/states.log`` below our data folder. Whoever looks at the fleet writes what it notices; what
another process has noticed already is not written again. Each event carries the state before and
the evidence that decided, so that it can be checked without the agent. A new file begins with the
last event of each agent that still runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from decklog.checked import Book
from decklog.model.fleet import Identity, StateEvent

NAME = "states.log"
LARGE = 1 << 20
"""Bytes from which on a new file is begun: some seven hundred events."""
OVER = ("exited", "lost")


class Transitions(Book[StateEvent]):
    """All changes of state that were noticed lately."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, NAME, StateEvent, LARGE)
        self._last: dict[Identity, StateEvent] = {}

    def add(self, noticed: Sequence[StateEvent]) -> list[StateEvent]:
        """Write down what is news, in one piece; that, with its numbers.

        It is not waited for the disk: after a power cut the last may be missing. Raises
        `decklog.errors.WriteError`.
        """
        if not noticed:
            return []
        with self._writing() as file:
            news = self._news(noticed)
            if news:
                file.append(b"".join(map(self._line, news)))
            return news

    def _news(self, noticed: Sequence[StateEvent]) -> list[StateEvent]:
        found = []
        last = dict(self._last)
        seq = self._seq
        for event in noticed:
            before = last.get(event.root)
            if before is not None and not _follows(before, event):
                continue
            seq += 1
            event = msgspec.structs.replace(event, seq=seq)
            last[event.root] = event
            found.append(event)
        return found

    def _take(self, event: StateEvent) -> None:
        self._last[event.root] = event

    def _carried(self) -> Iterable[StateEvent]:
        self._last = {w: e for w, e in self._last.items() if e.transition.new not in OVER}
        return sorted(self._last.values(), key=lambda e: e.seq)


def _follows(before: StateEvent, event: StateEvent) -> bool:
    """Whether it is news after what was noticed last of that agent."""
    old, new = before.transition, event.transition
    was, at = old.at or 0, new.at or 0
    later = was < at or (was == at and old.new == new.old)
    return later and (old.new, old.code) != (new.new, new.code)
