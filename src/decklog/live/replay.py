"""The journal told: rows of `decklog.store.journal` back to the events they stand for.

Sources are read forward from where the last row left off, with the reader that reads them always:
what a follower is told is what any later reading of the transcript says.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from decklog import agents, reading, sources, transcripts
from decklog.errors import SourceError
from decklog.model import (
    Change,
    Cursor,
    Event,
    Happened,
    Lagged,
    Ref,
    SessionBack,
    SessionGone,
    SessionNew,
    SessionRenamed,
    Source,
)
from decklog.store import REWRITTEN, journal
from decklog.store.rows import code_of

if TYPE_CHECKING:
    from decklog.reading import Task
    from decklog.store.journal import Entry

OPEN = 2_048
"""Sources whose readers are kept, the ones used last."""


class Forward:
    """One transcript of lines, read forward; its events by number."""

    def __init__(self, agent: str, uri: str, offset: int = 0, line: int = 0, state: bytes = b""):
        self.agent = agents.get(agent)
        self.uri, self.offset, self.line = uri, offset, line
        source = Source(agent=agent, uri=uri)
        self.companions = reading.companions(self.agent, uri)
        self.source = source
        self.reader = self._reader(state, True)
        self.session = ""
        self.read: deque[Event] = deque()
        self.given = 0
        """Number of the last event that was given."""

    def _reader(self, state: bytes, text: bool) -> Any:
        cursor = Cursor(source=self.source, offset=self.offset, state=state)
        return self.agent.reader(cursor, text=text, companions=self.companions)

    def upto(self, last: int) -> Iterator[Event]:
        """The events not given yet, in order, until number ``last``. Raises SourceError."""
        yield from self._give(last)
        if self.read or self.given >= last:
            return
        with transcripts.troubles(self.uri):
            for chunk in sources.chunks(self.uri, self.offset):
                self._take(chunk)
                yield from self._give(last)
                if self.read or self.given >= last:
                    return

    def _give(self, last: int) -> Iterator[Event]:
        while self.read and self.read[0].seq <= last:
            event = self.read.popleft()
            self.given = event.seq
            yield event

    def _take(self, chunk: sources.Chunk) -> None:
        if chunk.continued:
            self.line -= 1
        for offset, record in chunk.lines:
            self.line += 1
            ref = Ref(self.uri, offset, len(record), self.line)
            if len(record) > sources.LEAN_LINE:
                self._take_lean(record, ref)
                continue
            found = self.reader.feed(record, ref)
            if found:
                self.session = found[-1].session
                self.read.extend(found)
        self.line += bool(chunk.skipped)
        self.offset = chunk.end

    def _take_lean(self, record: bytes, ref: Ref) -> None:
        """A record that is not shown: one remark in place of its events."""
        import msgspec

        lean = self._reader(self.reader.state(), False)
        found = lean.feed(record, ref)
        self.reader = self._reader(lean.state(), True)
        if found:
            remark = transcripts.too_long(self.agent, found[0].session, ref)
            self.read.append(msgspec.structs.replace(remark, seq=found[-1].seq))


class Replay:
    """Tells what a store's journal says, from any number on."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.forward: OrderedDict[int, Forward] = OrderedDict()
        self.before: dict[int, set[tuple[Any, ...]]] = {}

    def begin(self, tasks: Iterable[Task]) -> None:
        """Where tasks began that have just been done: their sources need not be read from the
        beginning to tell what these found."""
        for t in tasks:
            if (
                t.kind == "jsonl"
                and t.offset
                and t.rows == t.offset
                and t.source not in self.forward
            ):
                self._keep(t.source, Forward(t.agent, t.uri, t.offset, t.line, t.state))

    def _keep(self, source: int, forward: Forward) -> None:
        self.forward[source] = forward
        self.forward.move_to_end(source)
        if len(self.forward) > OPEN:
            old, _ = self.forward.popitem(last=False)
            self.before.pop(old, None)

    def read(self, since: int, limit: int = 256) -> tuple[list[Change], int]:
        """Some of what was noted after ``since`` (0: as far back as it goes), and the number that
        was reached: ``since`` itself when there is nothing more."""
        start, end = self.store.journal_ends()
        since = since or start - 1
        if since < start - 1 or since >= end:
            # of a store that is no more, or forgotten: of the first nobody knows what was missed
            known = int(self.store.get("journal") or 0) <= since < start
            reached = start - 1 if known else end - 1
            return [Lagged(seq=reached, missed=start - 1 - since if known else None)], reached
        told: list[Change] = []
        reached = since
        for entry in self.store.noted(since, limit):
            told += self._tell(entry, since)
            reached = entry.seq + entry.events - 1
        return told, reached

    def _tell(self, entry: Entry, since: int) -> Iterator[Change]:
        if entry.what != "events":
            yield self._session(entry)
            return
        part = self.store.source(entry.source)
        skip = max(0, since + 1 - entry.seq)
        try:
            if part is None or REWRITTEN in part["uri"]:
                raise SourceError("what was read of it is not there any more")
            if entry.first:
                yield from self._lines(entry, part, skip)
            else:
                yield from self._document(entry, part, skip)
        except SourceError:
            self.forward.pop(entry.source, None)
            yield Lagged(seq=entry.seq + entry.events - 1, missed=entry.events - skip)

    def _session(self, entry: Entry) -> Change:
        seq, name = entry.seq, entry.session
        if entry.what == "session_renamed":
            return SessionRenamed(seq=seq, session=name, title=self.store.title(name))
        if entry.what == "session_new":
            return SessionNew(seq=seq, session=name)
        if entry.what == "session_gone":
            return SessionGone(seq=seq, session=name)
        return SessionBack(seq=seq, session=name)

    def _lines(self, entry: Entry, part: dict[str, Any], skip: int) -> Iterator[Change]:
        source, first, last = entry.source, entry.first, entry.first + entry.events - 1
        forward = self.forward.get(source)
        if forward is None or forward.uri != part["uri"] or forward.given >= first:
            forward = Forward(part["agent"], part["uri"])
        self._keep(source, forward)
        if source not in self.before:
            self.before[source] = self.store.told_before(source)
        before = self.before[source]
        found = [e for e in forward.upto(last) if e.seq >= first]
        if not found or found[0].seq > first:  # it was begun after rows that others wrote
            forward = Forward(part["agent"], part["uri"])
            self._keep(source, forward)
            found = [e for e in forward.upto(last) if e.seq >= first]
        n = 0
        for event in found:
            n = event.seq - first + 1
            if n <= skip:
                continue
            if before and (event.at, event.ref.offset, event.ref.length, code_of(event)) in before:
                continue
            yield Happened(seq=entry.seq + n - 1, event=event)
        if n < entry.events:
            self.forward.pop(source, None)
            last = entry.seq + entry.events - 1
            yield Lagged(seq=last, missed=entry.events - max(n, skip))

    def _document(self, entry: Entry, part: dict[str, Any], skip: int) -> Iterator[Change]:
        """Events that are still as they were noted; others were changed again since, and a later
        row tells how."""
        wanted = Counter(journal.split(entry.prints))
        found = list(transcripts.of_source(part))
        prints = journal.split(reading.fingerprints(found))
        fresh = []
        for event, one in zip(found, prints, strict=True):
            if wanted[one]:
                wanted[one] -= 1
                fresh.append(event)
        for i, event in enumerate(fresh[skip:], skip):
            yield Happened(seq=entry.seq + i, event=event)
