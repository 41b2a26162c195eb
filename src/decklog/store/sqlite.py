"""The embedded store: SQLite through apsw, WAL, one writer by lock, readers never blocked."""

from __future__ import annotations

import os
import time
from zlib import compress

import apsw

from decklog.boots import boot
from decklog.connection import Transaction, empty, failure, opened
from decklog.errors import StoreBusy, StoreError, StoreTooNew
from decklog.store import journal, queries, statements
from decklog.store.indexed import Indexed
from decklog.store.keeping import Keeping
from decklog.store.schema import LATE_INDEXES, RENAMED, SCHEMA, TOKENS, VERSION
from decklog.store.sql import uri_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from decklog.store import SourceRow
    from decklog.store.rows import Batch

FILE = "decklog.db"
LOCK = "write.lock"
UNSYNCED = "unsynced"
"""Key of the boot in which the store was filled without waiting for the disk."""
SHORT_WAL = 1 << 20
"""Bytes of write-ahead log that the next to open the store reads in a moment."""


class SqliteStore(queries.Reading, Indexed, Keeping):
    """See `decklog.store.Store`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, FILE)
        self.lock = -1
        self.above = -1
        """The lock of the store in whose place this one is to be put."""
        self._shards = {}
        old = os.umask(0o077)
        try:
            self.db = opened(self.path)
            self._prepare()
        except apsw.Error as error:
            raise failure(self.path, error) from None
        finally:
            os.umask(old)

    def _prepare(self) -> None:
        version = self._check_format()
        if version and self.get(UNSYNCED) not in (None, boot()):
            self._reset()
            version = 0
        if version == 0:
            from decklog.mounts import journal_mode

            with self.writing(settle=False):
                if self.db.pragma("user_version") == 0:
                    self.db.pragma("page_size", 8192)
                    self.db.pragma("journal_mode", journal_mode(self.path))
                    self.db.execute("begin immediate")
                    self.db.execute(SCHEMA)
                    journal.begin(self.db)
                    self.db.pragma("user_version", VERSION)
                    self.db.execute("commit")
        elif version < VERSION:
            self._upgrade()

    def _check_format(self) -> int:
        """The format of the store; it may have become newer since it was opened."""
        version = int(self.db.pragma("user_version"))
        if version > VERSION:
            raise StoreTooNew(f"{self.path} was written by a newer decklog (format {version})")
        return version

    def _upgrade(self) -> None:
        with self.writing(settle=False), self._transaction():
            version = self.db.pragma("user_version")
            if version < 2:
                journal.upgrade(self.db)
            if version < 3:
                self.db.create_scalar_function("packed", compress, 1)
                self.db.execute("update event set body = packed(body)")
            if version < 4:
                self.db.execute(RENAMED)
            if version < VERSION:
                self.db.pragma("user_version", VERSION)

    # -- the first filling ---------------------------------------------------------------------
    #
    # A new store is filled without waiting for the disk: until the next writer has flushed it, it
    # is trusted only within the same boot of the machine. The end of a process, however it comes
    # about, loses nothing; after the end of the machine the store is made anew.

    def bulk(self) -> None:
        """Fill an empty store without waiting for the disk, where a reboot can be told."""
        empty = self.db.execute("select 1 from part limit 1").fetchone() is None
        if empty and boot():
            self.db.pragma("synchronous", 2)
            self.put(UNSYNCED, boot())
            self.db.pragma("synchronous", 0)

    def _settle(self) -> None:
        """Flush what was filled in bulk, and only then say so.

        A reader that looks at an older state keeps its pages from being flushed: then the next
        writer tries again.
        """
        mark = self.get(UNSYNCED)
        if mark is not None:
            self.db.pragma("synchronous", 2)
            self.put("settled", mark)  # a page to write: a checkpoint of nothing flushes nothing
            _, pages, flushed = self.db.execute("pragma wal_checkpoint(passive)").fetchone()
            if flushed == pages:
                with self._transaction():
                    self.db.execute("delete from meta where key in (?, 'settled')", (UNSYNCED,))

    def _reset(self) -> None:
        with self.writing(settle=False):
            empty(self.db)

    def close(self) -> None:
        """Close; a short write-ahead log is left for a later writer to work in, unflushed but
        as safe as ever, since waiting for the disk would be a tenth of a short command."""
        try:
            if os.stat(f"{self.path}-wal").st_size < SHORT_WAL:
                self.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        except (OSError, apsw.ConnectionClosedError):
            pass  # there is none, or it is closed already
        self.db.close()
        self.release()
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    # -- writing -------------------------------------------------------------------------------

    def writing(self, wait: float = 30.0, *, settle: bool = True) -> _Writing:
        """Be the one writer: an advisory lock on a file of its own, which a crash releases.

        Raises StoreBusy when another process stays it for ``wait`` seconds.
        """
        return _Writing(self, wait, settle)

    def _acquire(self, wait: float) -> int:
        import fcntl

        lock = os.path.join(self.folder, LOCK)
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"{lock}: {error.strerror}", hint="set DECKLOG_HOME to a folder you can write"
            ) from None
        until = time.monotonic() + wait
        pause = 0.005
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except OSError:
                if time.monotonic() >= until:
                    os.close(fd)
                    raise StoreBusy(
                        f"another decklog is writing to {self.folder}", hint="try again"
                    ) from None
                time.sleep(pause)
                pause = min(0.1, pause * 2)

    @property
    def locks(self) -> list[int]:
        """Descriptors of the locks that this process holds."""
        return [fd for fd in (self.lock, self.above) if fd >= 0]

    def _transaction(self) -> Transaction:
        """One short transaction: all of it, or nothing when anything fails."""
        return Transaction(self.db)

    def version(self) -> int:
        return int(self.db.pragma("data_version"))

    def known(self) -> dict[str, SourceRow]:
        return {os.fsdecode(r[0]): r[1:] for r in self.db.execute(statements.KNOWN)}

    def known_of(
        self, paths: Iterable[str], inodes: Iterable[tuple[int, int]], agents: Iterable[str]
    ) -> dict[str, SourceRow]:
        rows: list[tuple[Any, ...]] = []
        new = set(inodes)
        for path in paths:
            uri = uri_of(path)
            found = self.db.execute(f"{statements.KNOWN} where uri = ?", (uri,)).fetchall()
            if found and found[0][3] == "sqlite":  # with the documents within
                within = (uri_of(f"{path}#"), uri_of(f"{path}$"))
                found += self.db.execute(
                    f"{statements.KNOWN} where uri > ? and uri < ?", within
                ).fetchall()
            new.difference_update((r[6], r[7]) for r in found)
            rows += found
        for agent in agents:
            rows += self.db.execute(f"{statements.KNOWN} where agent = ?", (agent,)).fetchall()
        if new:  # perhaps moved here
            everywhere = self.db.execute("select device, inode, id from source")
            for source in [i for device, inode, i in everywhere if (device, inode) in new]:
                rows += self.db.execute(f"{statements.KNOWN} where id = ?", (source,)).fetchall()
        return {os.fsdecode(r[0]): r[1:] for r in rows}

    def state(self, source: int) -> bytes:
        row = self.db.execute("select state from source where id = ?", (source,)).fetchone()
        return row[0] if row else b""

    def reserve_all(self, wanted: Iterable[tuple[str, str, str]]) -> list[int]:
        with self._transaction():
            self._begun()
            return [self._reserve(*w) for w in wanted]

    def _reserve(self, agent: str, uri: str, kind: str) -> int:
        row = self.db.execute(
            """insert into source(agent, uri, kind) values(?, ?, ?) on conflict(uri) do update
            set agent = excluded.agent, kind = excluded.kind returning id""",
            (agent, uri_of(uri), kind),
        ).fetchone()
        return int(row[0])

    def met_companions(
        self, agent: str, files: Iterable[tuple[str, tuple[int, int, int, int]]]
    ) -> None:
        with self._transaction():
            for uri, stat in files:
                source = self._reserve(agent, uri, "companion")
                self.db.execute(
                    "update source set size = ?, mtime_ns = ?, device = ?, inode = ? where id = ?",
                    (*stat, source),
                )

    def note(self, agent: str, uri: str, kind: str, reason: str, detail: str) -> None:
        """A finding about a whole file, in place of what was noted of it before."""
        with self._transaction():
            source = self._reserve(agent, uri, kind)
            self.db.execute(statements.TROUBLE_OVER, (source,))
            self.db.execute(statements.FINDING, (source, reason, detail, 0, 0, 0, 0))

    def apply(self, batches: Sequence[Batch]) -> None:
        with self._transaction():
            # one statement for each table: preparing them again for each of thousands of small
            # batches would cost more than their rows
            for field, sql in statements.INSERTS:
                self.db.executemany(sql, (r for b in batches for r in getattr(b, field)))
            for b in batches:
                if b.results:  # of calls in batches before this one
                    self.db.executemany(statements.RESULT, b.results)
                self.db.executemany(statements.CALL, b.calls)
            journal.tell(self.db, batches)
            for b in batches:
                size, mtime_ns, device, inode = b.stat
                self.db.execute(
                    statements.CURSOR,
                    (size, mtime_ns, device, inode, b.offset, b.line, b.check, b.state,
                     b.version, b.source),
                )  # fmt: skip
            # earlier trouble with a source is over, or told again
            self.db.executemany(statements.TROUBLE_OVER, ((b.source,) for b in batches))
            self.db.executemany(statements.FINDING, (r for b in batches for r in b.findings))
            dirty = {p[2] for b in batches for p in b.parts}
            self.db.executemany("insert or ignore into dirty values(?)", ((d,) for d in dirty))

    def _soil(self, source: int) -> None:
        self.db.execute(
            "insert or ignore into dirty select session from part where source = ?", (source,)
        )

    def _begun(self) -> None:
        """The look at the disk that led here counts only once its sync has come to its end."""
        self.db.execute("delete from meta where key = 'fingerprint'")

    def link(self) -> int:
        dirty = [r[0] for r in self.db.execute("select session from dirty")]
        if not dirty:
            return 0
        from decklog.store.link import Linker

        done = 0
        linker = Linker(self.db)
        with self._transaction():
            self.db.execute(LATE_INDEXES)
            done = linker.run(dirty)
            journal.compare(self.db)
            self.db.execute("delete from dirty")
        return done

    def redate(self, tz: str, day: Any) -> None:
        """Move every usage fact to its day in another time zone."""
        with self._transaction():
            self.db.create_scalar_function("local_day", day, 1, deterministic=True)
            self._begun()
            self.db.execute("update usage set day = local_day(at) where at is not null")
            self.db.execute("insert or ignore into dirty select session from part")
            self._put("tz", tz)

    def reprice(self, price: Any, date: str) -> None:
        """Price every usage fact anew; ``price`` takes provider, model, time and tokens."""
        with self._transaction():
            self.db.create_scalar_function("price_of", price, 3 + len(TOKENS))
            self._begun()
            columns = ", ".join(TOKENS)
            self.db.execute(f"update usage set cost = price_of(provider, model, at, {columns})")
            self.db.execute("insert or ignore into dirty select session from part")
            self._put("prices_date", date)

    def get(self, key: str) -> str | None:
        row = self.db.execute("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def identity(self) -> str:
        """Of this filling of the store, for what is kept beside it; made when first asked for,
        which only a writer may be the first to do."""
        known = self.get("identity")
        if known is None:
            known = os.urandom(16).hex()
            self.put("identity", known)
        return known

    def _put(self, key: str, value: str) -> None:
        self.db.execute("insert or replace into meta values(?, ?)", (key, value))

    def untried(self, sources: Iterable[int]) -> list[str]:
        """Paths of those of these sources that have to be tried again."""
        sql = "select uri from source where id = ? and size < 0 and not gone"
        rows = (self.db.execute(sql, (s,)).fetchone() for s in sources)
        return [os.fsdecode(r[0]).partition("#")[0] for r in rows if r]

    def put_all(self, values: dict[str, str]) -> None:
        """Set those that differ."""
        changed = {k: v for k, v in values.items() if self.get(k) != v}
        if changed:
            with self._transaction():
                for key, value in changed.items():
                    self._put(key, value)

    def put(self, key: str, value: str) -> None:
        with self._transaction():
            self._put(key, value)


class _Writing:
    """`SqliteStore.writing`; inside another one it does nothing."""

    def __init__(self, store: SqliteStore, wait: float, settle: bool) -> None:
        self.store, self.wait, self.settle = store, wait, settle
        self.outer = False

    def __enter__(self) -> None:
        store = self.store
        if store.lock >= 0:
            self.outer = True
            return
        store.lock = store._acquire(self.wait)
        try:
            if self.settle:
                store._check_format()
                store._settle()
            store.db.pragma("synchronous", 1)
            store.db.pragma("cache_size", -32_768)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if not self.outer and self.store.lock >= 0:
            os.close(self.store.lock)
            self.store.lock = -1
