"""Reading one source into batches of rows: bytes -> records -> events -> rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from decklog import agents, pricing, sources
from decklog.agents import Agent
from decklog.errors import SourceError
from decklog.model import Cursor, Ref, Source
from decklog.store.rows import Batch, Rows

ROWS_PER_BATCH = 4_000
"""A source is committed in steps of about so many rows, each with its cursor."""

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

    @property
    def weight(self) -> int:
        return max(1, self.stat[0] - self.offset)


def batches(task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    """Read one source from its cursor to its end, as batches to be committed in order.

    What fails, fails for this source alone: it gets a finding, and is tried again from its last
    batch on.
    """
    a = agents.get(task.agent)
    last: Task | Batch = task
    try:
        for last in _batches(a, task, day):
            yield last
    except Exception as error:  # also of a reader that breaks its contract
        rows = _rows(a, task, day, {})
        reason = "bomb" if isinstance(error, sources.Bomb) else "unreadable"
        rows.finding(reason, _what(error), Ref(task.uri))
        at = (last.offset, last.line, last.check, last.state)
        yield rows.batch(TRY_AGAIN, *at, last.version if task.kind == "jsonl" else "")


def _what(error: Exception) -> str:
    """What failed; of errors in code the place, for their text may be that of a transcript."""
    if isinstance(error, OSError | sources.Bomb | SourceError):
        return str(error)
    import traceback

    at = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(at.filename)}, line {at.lineno}"


def _batches(a: Agent, task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    if task.kind == "jsonl":
        return _lines(a, task, day)
    if task.version != "anchor":
        return _document(a, task, day)
    return iter([_rows(a, task, day, {}).batch(task.stat, 1, 0, b"", b"", task.version)])


def _rows(a: Agent, task: Task, day: Callable[[int], str], facts: Any) -> Rows:
    return Rows(task.source, a.name, pricing.price, day, facts)


def _lines(a: Agent, task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    source = Source(agent=a.name, uri=task.uri)
    cursor = Cursor(source=source, offset=task.offset, line=task.line, state=task.state)
    beside = companions(a, task.uri)
    reader = a.reader(cursor, text=False, companions=beside)
    version = task.version if task.offset else a.mark(task.uri, beside)
    rows = _rows(a, task, day, reader.facts)
    uri, line, end, check = task.uri, task.line, task.offset, task.check
    feed, add = reader.feed, rows.add
    for chunk in sources.chunks(uri, task.offset):
        if chunk.continued:
            line -= 1
        at = chunk.start
        for record in chunk.records:
            length = len(record)
            line += 1
            add(feed(record, Ref(uri, at, length, line)))
            at += length + 1
        if chunk.skipped:
            line += 1
            place = Ref(uri, chunk.start, chunk.skipped, line)
            rows.finding("too_long", f"line of {chunk.skipped} bytes skipped", place)
        end, check = chunk.end, chunk.check
        if len(rows) >= ROWS_PER_BATCH:
            stat = (-1, *task.stat[1:])
            yield rows.batch(stat, end, line, check, reader.state(), version)
    yield rows.batch(task.stat, end, line, check, reader.state(), version)


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
    return st.st_size, st.st_mtime_ns


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


def _document(a: Agent, task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    data = document_bytes(a, task.uri, task.kind, task.document, task.parts)
    source = Source(agent=a.name, uri=task.uri, kind=task.kind)  # type: ignore[arg-type]
    beside = companions(a, task.uri.partition("#")[0])
    version = task.version or a.mark(task.uri, beside)
    reader = a.reader(Cursor(source=source), text=False, companions=beside)
    rows = _rows(a, task, day, reader.facts)
    if data is None:
        detail = f"larger than {sources.MAX_DOCUMENT >> 20} MiB"
        rows.finding("too_long", detail, Ref(task.uri, 0, task.stat[0]))
    elif data:
        rows.add(reader.feed(data, Ref(task.uri, 0, len(data))))
    size = len(data) if data is not None else task.stat[0]
    end = size if task.kind == "json" else 1
    yield rows.batch(task.stat, end, 0, b"", b"", version)


def document_bytes(
    a: Agent, uri: str, kind: str, document: str, parts: Iterable[str] = ()
) -> bytes | None:
    """One document as JSON; None when it is too large. Raises OSError, databases.Unreadable."""
    if kind == "json":
        fd = sources.open_regular(uri)
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
    pieces = []
    while piece := os.read(fd, sources.CHUNK):
        pieces.append(piece)
    return b"".join(pieces)
