"""Reading one source: bytes -> records -> events -> rows, and whatever else the same read feeds.

Every projection (rows, texts, the verbatim copy) has a cursor of its own. A task begins at the
earliest of them, and each projection takes what lies past its own: where they coincide one pass
does all, where one is behind it catches up alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from decklog import agents, pricing, sources
from decklog.agents import Agent, Reader
from decklog.errors import DecklogError, SourceError, StoreCorrupt
from decklog.model import Cursor, Event, Facts, Ref, Source
from decklog.store import REWRITTEN
from decklog.store.rows import Batch, Rows
from decklog.unpacking import Bomb

if TYPE_CHECKING:
    from decklog.archive import CopyReader
    from decklog.archive.copier import Known

ROWS_PER_BATCH = 4_000
"""A source is committed in steps of about so many rows, each with its cursor."""

NOT_WANTED = -1

TRY_AGAIN = (-1, 0, 0, 0)
"""Size, time and place of a source that has to be read although it did not change."""


class Task(NamedTuple):
    """One source to read, from a cursor on."""

    agent: str
    source: int
    uri: str
    kind: str
    stat: tuple[int, int, int, int]
    offset: int
    line: int
    check: bytes
    state: bytes
    version: str = ""
    """Of a document, or the mark of the companions of a file that is read on; empty: read anew."""
    document: str = ""
    parts: tuple[str, ...] = ()
    """Files of a ``dir`` document."""
    rows: int = 0
    """Offset from which rows are wanted; NOT_WANTED: they are there already."""
    others: tuple[tuple[str, int], ...] = ()
    """Names of the other projections that are fed, and the offset from which each wants it."""
    share: int = -1
    """The share of the work that the task has to be in, where a projection says so."""
    before: tuple[int, bytes] = (0, b"")
    """Where it is read anew for others than the rows: the offset that rows are wanted from, and the
    check there."""
    known: Known | None = None
    """What the archive has of it, where that is to be fed."""
    copy: CopyReader | None = None
    """What is read in place of a source that is not there any more."""
    beside: Mapping[str, bytes] | None = None
    """The companions it had, by path."""

    @property
    def weight(self) -> int:
        start = self.offset
        if self.known is not None and self.kind == "jsonl":
            start = min(start, self.known.stop)
        return max(1, self.stat[0] - start)

    @property
    def stands(self) -> tuple[int, bytes]:
        """Offset and check of what was read before, and has to stand there still."""
        return self.before if self.before[0] else (self.offset, self.check)

    @property
    def place(self) -> tuple[int, int]:
        """Device and inode; zeros where it is not one file."""
        return self.stat[2:]

    @property
    def origin(self) -> str:
        """Where the source is, or was before its file was rewritten."""
        return self.uri.partition(REWRITTEN)[0]


class Mark(NamedTuple):
    """How far a source was read: what a projection keeps as its cursor."""

    stat: tuple[int, int, int, int]
    """size (-1: not to its end), mtime_ns, device, inode"""
    offset: int
    line: int
    check: bytes
    state: bytes
    version: str


class Step(NamedTuple):
    """How far a source was read of which no rows are wanted."""

    source: int
    offset: int
    line: int


class Copied(NamedTuple):
    """Records for the archive; the batches that rely on them come after."""

    records: list[bytes]


class Told(NamedTuple):
    """What a projection says at its end."""

    name: str
    counts: dict[str, int]
    failed: tuple[str, str]
    """Message and hint of what kept it from going on; empty when all is well."""
    damaged: bool = False
    """It was damage to what it had written before."""


class Projection:
    """What else a read feeds. Lives in the process that reads, and writes there.

    It never raises: one that cannot go on keeps its error in ``failed`` and takes no more; the
    other projections go on, and the sync says so at its end. What it took of a source since the
    last `reached` is void when another `begin` (or `close`) comes first: that source failed.
    """

    name = ""
    bodies = False
    """True when the events have to carry their message bodies."""
    verbatim = False
    """True to be given all bytes as they are read (`verbatim_bytes`)."""
    failed: DecklogError | None = None
    counts: dict[str, int]
    """Work done, for the report."""

    def begin(self, task: Task, start: int) -> None:
        """A source is read from ``start`` on."""

    def chunk(self, chunk: sources.Chunk) -> None:
        """Bytes of a source that is read forward, as they stand there. May begin before the
        ``start`` of this projection, never after it, and never ends inside a record."""

    def verbatim_bytes(self, at: int, data: bytes) -> None:
        """Bytes of a source that is read forward, in pieces as they were read: unfinished and
        over-long lines are among them. Come before the `chunk` they are part of."""

    def document(self, data: bytes) -> None:
        """The bytes of a source that is read whole."""

    def events(self, events: Sequence[Event]) -> None:
        """Events of one record at or past the ``start``, in order."""

    def reached(self, mark: Mark, facts: Mapping[str, Facts]) -> None:
        """All up to there has been given: the place to commit, now or later. ``facts`` is what the
        reader has learnt so far of each session, by native id."""

    def close(self) -> None:
        """Write what is not written yet."""


def read(
    tasks: Iterable[Task], day: Callable[[int], str], projections: Sequence[Projection]
) -> Iterator[Batch | Step | Told]:
    """Batches of all tasks, those of one source in order; last what the projections say."""
    for task in tasks:
        yield from batches(task, day, projections)
    for p in projections:
        p.close()
        failed = (str(p.failed), p.failed.hint) if p.failed else ("", "")
        yield Told(p.name, p.counts, failed, isinstance(p.failed, StoreCorrupt))


def batches(
    task: Task, day: Callable[[int], str], projections: Sequence[Projection] = ()
) -> Iterator[Batch | Step]:
    """Read one source from its cursor to its end, as batches to be committed in order; feed the
    projections that the task names.

    What fails, fails for this source alone: it gets a finding, and is tried again from its last
    batch on.
    """
    a = agents.get(task.agent)
    wanted = dict(task.others)
    fed = [(p, wanted[p.name]) for p in projections if p.name in wanted and not p.failed]
    last: Any = task
    try:
        for p, start in fed:
            p.begin(task, start)
        for item in _batches(a, task, day, fed):
            last = item if isinstance(item, Batch) else last
            yield item
    except Exception as error:  # also of a reader that breaks its contract
        if task.rows == NOT_WANTED:
            return  # the finding is there, or comes with the next rows
        rows = _rows(a, task, day, {})
        reason = "bomb" if isinstance(error, Bomb) else "unreadable"
        rows.finding(reason, _what(error), Ref(task.uri))
        at = (last.offset, last.line, last.check, last.state)
        yield rows.batch(TRY_AGAIN, *at, last.version if task.kind == "jsonl" else "")


def _what(error: Exception) -> str:
    """What failed; of errors in code the place, for their text may be that of a transcript."""
    if isinstance(error, OSError | Bomb | SourceError):
        return str(error)
    import traceback

    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(at.filename)}, line {at.lineno}"


Fed: TypeAlias = Sequence[tuple[Projection, int]]
"""Projections that a source feeds, each with the offset it starts at."""


def _batches(
    a: Agent, task: Task, day: Callable[[int], str], fed: Fed
) -> Iterator[Batch] | Iterator[Batch | Step]:
    if task.kind == "jsonl":
        return _lines(a, task, day, fed)
    if task.version != "anchor":
        return _document(a, task, day, fed)
    return iter([_rows(a, task, day, {}).batch(task.stat, 1, 0, b"", b"", task.version)])


def _rows(a: Agent, task: Task, day: Callable[[int], str], facts: Any) -> Rows:
    return Rows(task.source, a.name, pricing.price, day, facts)


def _lines(a: Agent, task: Task, day: Callable[[int], str], fed: Fed) -> Iterator[Batch | Step]:
    uri = task.origin
    source = Source(agent=a.name, uri=uri)
    beside = companions(a, uri) if task.beside is None else dict(task.beside)
    bodies = any(p.bodies for p, _ in fed)

    def resumed(offset: int, state: bytes, bodies: bool) -> Reader:
        cursor = Cursor(source=source, offset=offset, state=state)
        return a.reader(cursor, text=bodies, companions=beside)

    reader = resumed(task.offset, task.state, bodies)
    version = task.version if task.offset else a.mark(uri, beside)
    rows = _rows(a, task, day, reader.facts)
    line, end, check = task.line, task.offset, task.check
    wanted = task.rows != NOT_WANTED
    if wanted and not task.offset:
        _left_out(rows, task, a.companions(uri))
    takers = [(start, p.events) for p, start in fed]
    if wanted:
        takers.insert(0, (task.rows, rows.add))
    stat = (-1, *task.stat[1:])
    verbatim = [p.verbatim_bytes for p, _ in fed if p.verbatim]
    tee = verbatim[0] if verbatim else None
    for chunk in sources.chunks(
        uri, task.offset, task.check, stands=task.stands, place=task.place, copy=task.copy, tee=tee
    ):
        for p, _ in fed:
            p.chunk(chunk)
        if chunk.continued:
            line -= 1
        at = chunk.start
        for record in chunk.records:
            length = len(record)
            line += 1
            ref = Ref(uri, at, length, line)
            if bodies and length > sources.LEAN_LINE:
                lean = resumed(at, reader.state(), False)
                found = lean.feed(record, ref)
                reader = resumed(at, lean.state(), True)
                rows.facts = reader.facts
            else:
                found = reader.feed(record, ref)
            for start, take in takers:
                if at >= start:
                    take(found)
                elif at + length > start:  # its first part was taken before the rest stood there
                    take([e for e in found if e.ref.offset >= start])
            at += length + 1
        if chunk.skipped:
            line += 1
            if wanted and chunk.start >= task.rows:
                place = Ref(uri, chunk.start, chunk.skipped, line)
                rows.finding("too_long", f"line of {chunk.skipped} bytes skipped", place)
        end, check = chunk.end, chunk.check
        if fed:
            mark = Mark(stat, end, line, check, reader.state(), version)
            for p, start in fed:
                if end > start:
                    p.reached(mark, reader.facts)
        if not wanted:
            yield Step(task.source, end, line)
        elif len(rows) >= ROWS_PER_BATCH:
            yield rows.batch(stat, end, line, check, reader.state(), version)
    mark = Mark(task.stat, end, line, check, reader.state(), version)
    for p, start in fed:
        if end >= start:
            p.reached(mark, reader.facts)
    if wanted and end >= task.rows:
        yield rows.batch(*mark)


def _left_out(rows: Rows, task: Task, paths: Iterable[str]) -> None:
    """A finding for each of the small files of a source that is too large to be read."""
    for path in paths:
        if (size := stat_of(path)[0]) > sources.MAX_SMALL:
            detail = f"{os.path.basename(path)} is left out: {size} bytes, more than "
            rows.finding(
                "too_long", f"{detail}{sources.MAX_SMALL >> 20} MiB", Ref(task.uri, 0, size)
            )


def companions(a: Agent, uri: str) -> dict[str, bytes]:
    found = {}
    for path in a.companions(uri):
        data = _companion(path)
        if data is not None:
            found[path] = data
    return found


def stat_of(path: str) -> tuple[int, int]:
    """(size, mtime_ns) of a file; zeros when it is not there."""
    try:
        st = os.stat(path)
    except OSError:
        return 0, 0
    return st.st_size, st.st_mtime_ns & sources.BITS


_companion_cache: dict[str, tuple[tuple[int, int], bytes | None]] = {}


def _companion(path: str) -> bytes | None:
    stat = stat_of(path)
    if stat == (0, 0):
        return None
    kept = _companion_cache.get(path)
    if kept is None or kept[0] != stat:
        if len(_companion_cache) > 64:
            _companion_cache.clear()
        kept = _companion_cache[path] = (stat, sources.read_small(path))
    return kept[1]


def _document(a: Agent, task: Task, day: Callable[[int], str], fed: Fed) -> Iterator[Batch]:
    uri = task.origin
    data: bytes | None
    if task.copy is not None:
        data = b"".join(task.copy.everything())
    else:
        data = document_bytes(a, uri, task.kind, task.document, task.parts, task.place)
    source = Source(agent=a.name, uri=uri, kind=task.kind)  # type: ignore[arg-type]
    beside = companions(a, uri.partition("#")[0]) if task.beside is None else dict(task.beside)
    version = task.version or a.mark(uri, beside)
    # with bodies: a document is changed in place, and a text that grew is news as well
    bodies = len(data or b"") <= sources.LEAN_LINE
    reader = a.reader(Cursor(source=source), text=bodies, companions=beside)
    rows = _rows(a, task, day, reader.facts)
    prints = b""
    if data is None:
        detail = f"larger than {sources.MAX_DOCUMENT >> 20} MiB"
        rows.finding("too_long", detail, Ref(uri, 0, task.stat[0]))
    elif data:
        for p, _ in fed:
            p.document(data)
        found = reader.feed(data, Ref(uri, 0, len(data)))
        for p, _ in fed:
            p.events(found)
        if task.rows != NOT_WANTED:
            rows.add(found)
            prints = fingerprints(found)
    base = task.uri.rpartition("#")[0]
    beside_it = a.companions(uri.partition("#")[0]) if task.beside is None else ()
    _left_out(rows, task, (*(os.path.join(base, part) for part in task.parts), *beside_it))
    size = len(data) if data is not None else task.stat[0]
    mark = Mark(task.stat, size if task.kind == "json" else 1, 0, b"", b"", version)
    for p, _ in fed:
        p.reached(mark, reader.facts)
    if task.rows != NOT_WANTED:
        yield rows.batch(*mark._replace(state=prints))._replace(prints=prints)


def fingerprints(events: Iterable[Event]) -> bytes:
    """What tells each event of a document apart, wherever in it the event stands: 8 bytes each."""
    from hashlib import blake2b

    import msgspec

    nowhere = Ref()
    made = []
    for e in events:
        bare = msgspec.structs.replace(e, seq=0, ref=nowhere)
        try:
            body = msgspec.json.encode(bare)
        except UnicodeEncodeError:
            body = repr(bare).encode("utf-8", "surrogateescape")
        made.append(blake2b(body, digest_size=8).digest())
    return b"".join(made)


def document_bytes(
    a: Agent, uri: str, kind: str, document: str, parts: Iterable[str] = (),
    place: tuple[int, int] = (0, 0),
) -> bytes | None:  # fmt: skip
    """One document as JSON; None when it is too large. Raises OSError, databases.Unreadable."""
    if kind == "json":
        fd = sources.open_regular(uri, place)
        try:
            size = os.fstat(fd).st_size
            if size > sources.MAX_DOCUMENT:
                return None
            return _read_to_end(fd)
        finally:
            os.close(fd)
    base = uri.rpartition("#")[0]
    if kind == "sqlite":
        from decklog import databases

        return databases.document(base, a, document)
    files = {}
    for relative in parts:
        data = sources.read_small(os.path.join(base, relative))
        if data is not None:
            files[relative] = data
    return a.assemble(document, files)


def _read_to_end(fd: int) -> bytes:
    import io

    return io.FileIO(fd, closefd=False).readall()  # into one piece of memory
