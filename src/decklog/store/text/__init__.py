"""The text index: SQLite's FTS5 in shards, one file each, beside the store.

A projection with cursors of its own: documents and the cursor they lead to are committed in one
transaction. Text is not kept, only where its words are.

Documents are numbered in the order they come, without gaps: close numbers take few bytes, and are
always added at the end. A **run** is what one commit took of one source: documents with
consecutive numbers, and the sequence numbers of their events. All else about an event (time,
place, session) is in the store's own rows.

A source is always in the same shard. A shard belongs to one store, by its identity; one that was
made for another store is made anew.

This module reads and imports nothing heavy; `decklog.store.text.writing` writes.
"""

from __future__ import annotations

import os
from array import array

import apsw

from decklog.connection import Connection, failure
from decklog.connection import opened as opened_to_read
from decklog.errors import StoreTooNew
from decklog.store.events import NOWHEN

SHARDS = 2
FORMAT = 3
TOKENIZER = ("unicode61", "remove_diacritics", "2")


def path(folder: str, shard: int) -> str:
    return os.path.join(folder, f"text-{shard}.db")


def shard_of(source: int) -> int:
    return source % SHARDS


class Absent(Exception):
    """There is no such shard, or it is of another store."""


opened: list[Shard] = []
"""Shards that this process has open. A fork must not open one of them again: what SQLite knows of
its locks would be that of the parent."""


class Shard:
    """One file of the index, to be read. Raises `Absent`, StoreError and its kin."""

    makes = False
    """Whether the file is made where there is none."""

    def __init__(self, folder: str, number: int, identity: str) -> None:
        self.path = path(folder, number)
        self.number = number
        if not self.makes and not os.path.exists(self.path):
            raise Absent(self.path)
        old = os.umask(0o077)
        try:
            self.db = Connection(self.path) if self.makes else opened_to_read(self.path)
            try:
                self._open(identity)
            except BaseException:
                self.db.close()
                raise
        except apsw.Error as error:
            raise failure(self.path, error) from None
        finally:
            os.umask(old)
        opened.append(self)

    def _open(self, identity: str) -> None:
        self.db.set_busy_timeout(5_000)
        if not self.is_of(identity):
            raise Absent(f"{self.path} is of another store")

    def is_of(self, identity: str) -> bool:
        version = self.db.pragma("user_version")
        if version > FORMAT:
            raise StoreTooNew(f"{self.path} was written by a newer decklog (format {version})")
        return bool(version == FORMAT and self.get("identity") == identity)

    def close(self) -> None:
        self.db.close()
        if self in opened:
            opened.remove(self)

    def get(self, key: str) -> str | None:
        row = self.db.execute("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def reached(self) -> int:
        """Number of the next document: it only grows, unless the file is another one."""
        return int(self.get("next") or 0)

    def counts(self) -> tuple[int, int]:
        """(documents, texts that are indexed only in part)."""
        row = self.db.execute("select sum(documents), sum(shortened) from cursor").fetchone()
        return row[0] or 0, row[1] or 0

    def runs(self, source: int) -> list[tuple[int, int]]:
        """(number of the first document, how many) of each run of a source."""
        sql = "select first, count from run where source = ?"
        return list(self.db.execute(sql, (source,)))

    def run(self, first: int) -> Run:
        """The documents of a run, by the number of the first."""
        base, base_at, ats, seqs = self.db.execute(
            "select base, base_at, ats, seqs from run where first = ?", (first,)
        ).fetchone()
        return Run(base, base_at, array("I", ats), array("H", seqs))


class Run:
    """Times and sequence numbers of the documents of a run; only those that are asked for are made:
    a run has thousands of documents, of which a search wants some."""

    __slots__ = ("_ats", "_base", "_base_at", "_seqs")

    def __init__(self, base: int, base_at: int, ats: array[int], seqs: array[int]) -> None:
        self._base, self._base_at, self._ats, self._seqs = base, base_at, ats, seqs

    def __getitem__(self, i: int) -> tuple[int, int]:
        """(time, sequence number) of the document with a number ``i`` above that of the first."""
        t = self._ats[i]
        return self._base_at + t - 1 if t else NOWHEN, self._base + self._seqs[i]


def sequence(base: int, seqs: bytes) -> list[int]:
    """Sequence numbers of a run."""
    return [base + n for n in array("H", seqs)]
