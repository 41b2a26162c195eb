"""The last events of sessions, and those that come after them, without a gap and none twice."""

from __future__ import annotations

from collections import deque
from heapq import heappushpop
from typing import TYPE_CHECKING, Any

from decklog.errors import SourceError
from decklog.model import Event, Happened, Lagged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from decklog.hub import Decklog
    from decklog.hub.following import Changes


class Tail:
    """What `decklog.hub.following.Following.tail` gives."""

    def __init__(
        self,
        deck: Decklog,
        sessions: Collection[str],
        agents: Collection[str],
        types: Collection[str],
        since: int | None,
        last: int | None,
    ) -> None:
        self.deck = deck
        self.sessions, self.agents, self.types = sessions, agents, types
        self.since, self.last = since, last
        self._read: dict[str, int] = {}
        """How far each source was read for the past."""
        self._whole: set[bytes] = set()
        """Fingerprints of the events of documents that were read for the past."""

    def past(self) -> list[Event]:
        """The last events there are, oldest first."""
        if self.last == 0:
            return []
        if self.sessions:
            newest: deque[Event] = deque(maxlen=self.last)
            for session in self.sessions:
                newest.extend(self._wanted(self.deck.events(session)))
            return list(newest)
        return self._past_of_all()

    def _past_of_all(self) -> list[Event]:
        """The last events of all sessions, by time; sessions are read newest first, until none
        can have one that is newer than those that were found."""
        newest: list[tuple[int, int, Event]] = []
        n = 0
        for row in self.deck.session_rows(agents=list(self.agents), since=self.since):
            full = self.last is not None and len(newest) >= self.last
            if full and (row["last_at"] or 0) < newest[0][0]:
                break
            try:
                for event in self._wanted(self.deck.events(row["id"])):
                    n += 1
                    item = (event.at or 0, n, event)
                    if self.last is None or len(newest) < self.last:
                        newest.append(item)
                        if len(newest) == self.last:
                            newest.sort()
                    else:
                        heappushpop(newest, item)
            except SourceError:
                continue  # gone from disk; there is nothing to be shown of it
        return [event for _, _, event in sorted(newest)]

    def _wanted(self, events: Iterable[Event]) -> Iterator[Event]:
        wanted = self._filter()
        for event in events:
            source, offset = event.ref.source, event.ref.offset
            if "#" in source or source.endswith(".json"):
                self._whole.add(self._print(event))
            else:
                self._read[source] = max(offset, self._read.get(source, -1))
            if wanted(event) and (self.since is None or (event.at or 0) >= self.since):
                yield event

    def _filter(self) -> Callable[[Event], bool]:
        def wanted(event: Event) -> bool:
            if self.agents and event.agent not in self.agents:
                return False
            return not self.types or type(event).__struct_config__.tag in self.types

        return wanted

    def _print(self, event: Event) -> bytes:
        from decklog.reading import fingerprints

        return fingerprints([event])

    def come(self, changes: Changes) -> Iterator[Event | Lagged]:
        """The events that come, but for those that were there in the past."""
        wanted = self._filter()
        for change in changes:
            if isinstance(change, Lagged):
                yield change
            elif isinstance(change, Happened) and wanted(change.event):
                event: Any = change.event
                told = event.ref.offset <= self._read.get(event.ref.source, -1)
                if not told and not (self._whole and self._print(event) in self._whole):
                    yield event
