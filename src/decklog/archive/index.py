"""The index of the archive: which block of which pack holds what. Derived from the packs alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import apsw

from decklog.archive import records
from decklog.archive.records import Head
from decklog.connection import opened
from decklog.errors import StoreCorrupt
from decklog.mounts import journal_mode

FILE = "index.db"
VERSION = 1

_SCHEMA = """
create table pack(id integer primary key, name text not null unique, inode integer not null,
    indexed integer not null);
create table copy(
    id integer primary key, agent text not null, uri blob not null, kind text not null,
    begun integer not null, stop integer not null default 0, cursor integer not null default 0,
    size integer not null default 0, mtime_ns integer not null default 0,
    version text not null default '', whole integer not null default 0,
    superseded integer not null default 0);
create index copy_uri on copy(uri);
create table block(
    copy integer not null, offset integer not null, raw integer not null, crc integer not null,
    pack integer not null, at integer not null, packed integer not null,
    primary key(copy, offset)) without rowid;
"""


class Copy(NamedTuple):
    """An archived copy of one generation of a source, or of one version of a document."""

    id: int
    agent: str
    uri: str
    """As the store calls it; of an older generation with the mark of rewritten ones."""
    kind: str
    begun: int
    """Milliseconds UTC."""
    stop: int
    """Bytes there are."""
    cursor: int
    """End of the last whole record."""
    size: int
    mtime_ns: int
    version: str
    whole: bool
    """False while no read has come to the end of the source."""
    superseded: bool
    """Nothing but an older version of what another copy holds."""

    @property
    def readable(self) -> bool:
        """True when it can be read in place of its source: also lines that no read has seen the
        end of, where the source is not there any more."""
        lines = self.kind == "jsonl" and ".zst" not in self.uri
        return self.whole or (lines and self.stop > 0)


class Block(NamedTuple):
    """Where some bytes of a copy are."""

    offset: int
    raw: int
    crc: int
    pack: str
    at: int
    packed: int


_COPY = (
    "select id, agent, uri, kind, begun, stop, cursor, size, mtime_ns, version, whole, superseded "
    "from copy"
)


class Index:
    """The index file. Opening it makes it, or makes it anew when it is damaged or of another
    version; ``fresh`` tells the caller to fill it from the packs."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE)
        try:
            self._open()
        except (StoreCorrupt, apsw.CorruptError, apsw.NotADBError):
            self._discard()
            self._open()

    def _open(self) -> None:
        old = os.umask(0o077)
        try:
            self.db = opened(self.path)
        finally:
            os.umask(old)
        version = self.db.pragma("user_version")
        if version not in (0, VERSION):
            self._discard()
            return self._open()
        if version == 0:
            self.db.pragma("journal_mode", journal_mode(self.path))
            self.db.execute("begin immediate")
            if self.db.pragma("user_version") == 0:
                self.db.execute(_SCHEMA)
                self.db.pragma("user_version", VERSION)
            self.db.execute("commit")
        self.db.pragma("synchronous", 1)
        return None

    def _discard(self) -> None:
        self.db.close()
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.path + suffix):
                os.unlink(self.path + suffix)

    def close(self) -> None:
        self.db.close()

    # -- questions -----------------------------------------------------------------------------

    def packs(self) -> dict[str, tuple[int, int]]:
        """Name to (inode, bytes that are indexed)."""
        rows = self.db.execute("select name, inode, indexed from pack")
        return {name: (inode, indexed) for name, inode, indexed in rows}

    def copies(self, *, superseded: bool = True) -> Iterator[Copy]:
        where = "" if superseded else " where not superseded"
        for row in self.db.execute(f"{_COPY}{where} order by uri, whole, id"):
            yield _copy(row)

    def copy(self, uri: str) -> Copy | None:
        """The copy that has this uri now."""
        sql = f"{_COPY} where uri = ? and not superseded order by whole desc, id desc limit 1"
        row = self.db.execute(sql, (os.fsencode(uri),)).fetchone()
        return None if row is None else _copy(row)

    def versions(self, uri: str) -> list[Copy]:
        """All that have this uri, older first."""
        rows = self.db.execute(f"{_COPY} where uri = ? order by id", (os.fsencode(uri),))
        return [_copy(r) for r in rows]

    def blocks(self, copy: int, start: int = 0, stop: int | None = None) -> list[Block]:
        """Blocks of a copy that hold anything between two offsets, in order."""
        rows = self.db.execute(
            """select b.offset, b.raw, b.crc, p.name, b.at, b.packed from block b
            join pack p on p.id = b.pack where b.copy = ?1 and b.offset >= coalesce((select
            max(offset) from block where copy = ?1 and offset <= ?2), 0) and (?3 is null or
            b.offset < ?3) order by b.offset""",
            (copy, start, stop),
        )
        return [Block(*r) for r in rows]

    def sizes(self) -> list[tuple[str, int, int, int, int]]:
        """By agent: copies, superseded copies, raw bytes, packed bytes (shared blocks once)."""
        rows = self.db.execute(
            """select agent, count(*), sum(superseded), sum(stop), coalesce((select sum(packed)
            from (select distinct b.pack, b.at, b.packed from block b join copy d on d.id = b.copy
            where d.agent = c.agent)), 0) from copy c group by agent order by agent"""
        )
        return list(rows)

    def superseded(self) -> int:
        """Packed bytes that only superseded copies hold."""
        return int(
            self.db.execute(
                """select coalesce(sum(packed), 0) from (select packed from block b join copy c
                on c.id = b.copy group by b.pack, b.at having min(c.superseded) = 1)"""
            ).get
        )

    def last(self) -> int:
        """The largest id of a copy."""
        return int(self.db.execute("select coalesce(max(id), 0) from copy").get)

    def total(self) -> int:
        """Raw bytes of all copies."""
        found = self.db.execute("select coalesce(sum(stop), 0) from copy").get
        return int(found)

    # -- changes -------------------------------------------------------------------------------

    def apply(
        self, pack: str, inode: int, group: Iterable[tuple[int, Head, bytes]], indexed: int
    ) -> None:
        """Take in records of a pack, (offset, head, body) in order, in one transaction; then the
        pack is indexed up to ``indexed``."""
        db = self.db
        db.execute("begin immediate")
        try:
            db.execute(
                """insert into pack(name, inode, indexed) values(?, ?, ?) on conflict(name)
                do update set inode = excluded.inode, indexed = excluded.indexed""",
                (pack, inode, indexed),
            )
            number = int(db.execute("select id from pack where name = ?", (pack,)).get)
            for at, head, body in group:
                self._apply(number, at, head, body)
            db.execute("commit")
        except BaseException:
            if db.in_transaction:
                db.execute("rollback")
            raise

    def _apply(self, pack: int, at: int, head: Head, body: bytes) -> None:
        db = self.db
        if head.kind == records.BLOCK:
            packed = records.HEAD_SIZE + head.packed
            self._block(head, (head.raw, head.raw_crc, pack, at, packed))
        elif head.kind == records.SAME:
            other = db.execute(
                "select raw, crc, pack, at, packed from block where copy = ? and offset = ?",
                records.place(body),
            ).fetchone()
            if other is not None and other[0] == head.raw:
                self._block(head, other)
        elif head.kind == records.COPY:
            import json

            told = json.loads(body)
            db.execute(
                "insert or ignore into copy(id, agent, uri, kind, begun) values(?, ?, ?, ?, ?)",
                (head.copy, told["agent"], os.fsencode(told["uri"]), told["kind"], told["at"]),
            )
        elif head.kind == records.NAME:
            db.execute("update copy set uri = ?, superseded = 0 where id = ?", (body, head.copy))
        elif head.kind == records.END:
            cursor, size, mtime_ns, version = records.end(body)
            db.execute("delete from block where copy = ? and offset >= ?", (head.copy, head.offset))
            db.execute(
                """update copy set stop = ?, cursor = ?, size = ?, mtime_ns = ?, version = ?,
                whole = 1 where id = ?""",
                (head.offset, cursor, size, mtime_ns, version, head.copy),
            )
            db.execute(
                """update copy set superseded = 1 where uri = (select uri from copy where id = ?1)
                and id < ?1 and not superseded""",
                (head.copy,),
            )

    def _block(self, head: Head, place: Sequence[int]) -> None:
        self.db.execute(
            "delete from block where copy = ? and offset >= ?", (head.copy, head.offset)
        )
        self.db.execute(
            "insert into block(copy, offset, raw, crc, pack, at, packed) values(?,?,?,?,?,?,?)",
            (head.copy, head.offset, *place),
        )
        self.db.execute(
            "update copy set stop = ? where id = ?", (head.offset + head.raw, head.copy)
        )

    def clear(self) -> None:
        """Empty it, to be filled from the packs."""
        self.db.execute(
            "begin immediate; delete from pack; delete from copy; delete from block; commit"
        )


def _copy(row: Sequence[object]) -> Copy:
    fields = list(row)
    fields[2] = os.fsdecode(bytes(row[2]))  # type: ignore[call-overload]
    fields[10:] = [bool(f) for f in fields[10:]]
    return Copy(*fields)  # type: ignore[arg-type]
