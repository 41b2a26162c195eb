"""Writing to the text index."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from decklog.connection import empty
from decklog.mounts import journal_mode
from decklog.store.events import NOWHEN
from decklog.store.text import FORMAT, TOKENIZER, Shard
from decklog.store.text.documents import Document

SCHEMA = f"""
create table meta(key text primary key, value text) without rowid;
create table cursor(
    source integer primary key, size integer not null, mtime_ns integer not null,
    device integer not null, inode integer not null, offset integer not null,
    line integer not null, chk blob not null, version text not null, state blob not null,
    carried blob not null, documents integer not null, shortened integer not null);
create table run(
    first integer primary key, source integer not null, count integer not null,
    base integer not null, base_at integer not null, last_at integer not null,
    ceiling integer not null, ats blob not null, seqs blob not null);
create index run_source on run(source, first);
create virtual table words using fts5(
    text, paths, marks, content='', contentless_delete=1, tokenize='{" ".join(TOKENIZER)}');
insert into words(words, rank) values('hashsize', {16 << 20});
insert into words(words, rank) values('automerge', 16);
insert into words(words, rank) values('crisismerge', 64);
"""
SPAN = 1 << 16
"""Sequence numbers that one run can span: they are kept as two bytes above its base."""
TIME_SPAN = (1 << 32) - 2
"""Milliseconds that one run can span: times are kept as four bytes above the first, 0 for none."""


class TextCursor(NamedTuple):
    """How far the documents of a source go."""

    stat: tuple[int, int, int, int]
    """size (-1: read in part), mtime_ns, device, inode"""
    offset: int
    line: int
    check: bytes
    version: str
    state: bytes
    """The reader's continuation; kept only in the middle of a source, since at its end the store
    has the same one."""
    carried: bytes
    """See `decklog.store.text.documents.Carried`."""


class Writer(Shard):
    """One file of the index, to be written: made if need be. Only one process at a time may, that
    is one that holds the store's lock, or was forked by it."""

    makes = True

    def __init__(self, folder: str, number: int, identity: str) -> None:
        self.next = 0
        """Number of the next document."""
        self.unsaved = 0
        """Characters added since the last commit."""
        self.ceiling = NOWHEN
        """The latest time of all documents."""
        super().__init__(folder, number, identity)

    def _open(self, identity: str) -> None:
        self.db.set_busy_timeout(5_000)
        if not self.is_of(identity):
            if self.db.pragma("user_version"):
                empty(self.db)
            self.db.pragma("page_size", 4096)  # what FTS5 makes its own pages for
            self.db.pragma("journal_mode", journal_mode(self.path))
            self.db.execute("begin immediate")
            self.db.execute(SCHEMA)
            self._put("identity", identity)
            self._put("next", "1")
            self.db.pragma("user_version", FORMAT)
            self.db.execute("commit")
        self.db.pragma("synchronous", 1)
        self.db.pragma("cache_size", -8_192)
        self.db.pragma("wal_autocheckpoint", 8_000)

    def _put(self, key: str, value: str) -> None:
        self.db.execute("insert or replace into meta values(?, ?)", (key, value))

    def cursor(self, source: int) -> TextCursor | None:
        row = self.db.execute(f"{_CURSOR} where source = ?", (source,)).fetchone()
        return None if row is None else _cursor(row)[1]

    def cursors(self) -> dict[int, TextCursor]:
        return dict(map(_cursor, self.db.execute(_CURSOR)))

    def begin(self) -> None:
        """Be in a transaction, which `commit` ends."""
        if not self.db.in_transaction:
            self.db.execute("begin immediate")
            self.next = int(self.get("next") or 1)
            row = self.db.execute("select ceiling from run order by first desc limit 1").fetchone()
            self.ceiling = row[0] if row else NOWHEN

    def forget(self, source: int) -> None:
        """Drop all documents of a source."""
        self.begin()
        for run in self.runs(source):
            self._delete(*run)
        self.db.execute("delete from cursor where source = ?", (source,))

    def _delete(self, first: int, count: int) -> None:
        numbers = ((n,) for n in range(first, first + count))
        self.db.executemany("delete from words where rowid = ?", numbers)
        self.db.execute("delete from run where first = ?", (first,))

    def drop(self, source: int, seq: int) -> int:
        """Drop the document of a title; how many there were."""
        self.begin()
        dropped = 0
        for first, count in self.db.execute(
            "select first, count from run where source = ? and base = ?", (source, seq)
        ).fetchall():
            self._delete(first, count)
            dropped += count
        return dropped

    def add(self, source: int, documents: Sequence[Document]) -> None:
        """Add documents of one source, in the order of their events."""
        if not documents:
            return
        self.begin()
        number = self.next
        rows = ((n, d[2], d[3], d[4]) for n, d in enumerate(documents, number))
        self.db.executemany("insert into words(rowid, text, paths, marks) values(?, ?, ?, ?)", rows)
        for run in _runs(documents):
            base = run[0].seq
            seqs = array("H", (d.seq - base for d in run)).tobytes()
            times = [d.at for d in run if d.at is not None]
            base_at, last_at = min(times, default=0), max(times, default=NOWHEN)
            ats = array("I", (0 if d.at is None else d.at - base_at + 1 for d in run)).tobytes()
            self.ceiling = max(self.ceiling, last_at)
            row = (number, source, len(run), base, base_at, last_at, self.ceiling, ats, seqs)
            self.db.execute("insert into run values(?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            number += len(run)
        self.next = number
        self.unsaved += sum(len(d[2]) for d in documents)

    def reach(self, source: int, cursor: TextCursor, documents: int, shortened: int) -> None:
        """Set the cursor of a source; so many documents were added."""
        self.begin()
        self.db.execute(
            """insert into cursor values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            on conflict do update set size = excluded.size, mtime_ns = excluded.mtime_ns,
            device = excluded.device, inode = excluded.inode, offset = excluded.offset,
            line = excluded.line, chk = excluded.chk, version = excluded.version,
            state = excluded.state, carried = excluded.carried,
            documents = documents + excluded.documents, shortened = shortened + excluded.shortened
            """,
            (source, *cursor[0], *cursor[1:], documents, shortened),
        )

    def commit(self) -> None:
        if self.db.in_transaction:
            self._put("next", str(self.next))
            self.db.execute("commit")
        self.unsaved = 0

    def rollback(self) -> None:
        if self.db.in_transaction:
            self.db.execute("rollback")
        self.unsaved = 0


def _runs(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    """Documents in runs: sequence numbers and times in reach of each other, each title alone."""
    start = 0
    first = last = documents[0].at
    for i, d in enumerate(documents):
        base = documents[start].seq
        if d.at is not None:
            first = d.at if first is None else min(first, d.at)
            last = d.at if last is None else max(last, d.at)
        far = first is not None and last is not None and last - first > TIME_SPAN
        if i > start and (far or d.seq < 0 or base < 0 or d.seq - base >= SPAN):
            yield documents[start:i]
            start = i
            first = last = d.at
    yield documents[start:]


_CURSOR = """select source, size, mtime_ns, device, inode, offset, line, chk, version, state,
    carried from cursor"""


def _cursor(row: Any) -> tuple[int, TextCursor]:
    return row[0], TextCursor(row[1:5], *row[5:])
