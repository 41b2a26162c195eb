"""A connection to a database of ours, and transactions on it.

Context managers are written out here, not made by contextlib: importing that would be a
noticeable part of a warm command.
"""

from __future__ import annotations

import os
import time

import apsw

from decklog.errors import StoreBusy, StoreCorrupt, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Connection(apsw.Connection):
    """A connection whose failures have the words of `decklog.errors`."""

    def execute(self, *args: Any, **named: Any) -> Any:
        try:
            return super().execute(*args, **named)
        except apsw.Error as error:
            raise failure(self.filename, error) from None

    def executemany(self, *args: Any, **named: Any) -> Any:
        try:
            return super().executemany(*args, **named)
        except apsw.Error as error:
            raise failure(self.filename, error) from None


BUSY_MS = 5_000
UNMADE = (apsw.CantOpenError, apsw.IOError, apsw.ReadOnlyError, apsw.FullError)


def opened(path: str) -> Connection:
    """A connection to a database, made if absent. Where its folder is read-only or its disk is
    full, SQLite cannot make what it keeps beside it: that is not needed to read a database whose
    write-ahead log is empty. Raises apsw.Error."""
    db = Connection(path)
    db.set_busy_timeout(BUSY_MS)
    try:
        db.pragma("user_version")
    except UNMADE:
        db.close()
        log = f"{path}-wal"
        if not os.path.exists(path) or (os.path.exists(log) and os.stat(log).st_size):
            raise
    else:
        return db
    from urllib.parse import quote

    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return Connection(f"file:{quote(os.path.abspath(path))}?immutable=1", flags=flags)


def failure(path: str, error: apsw.Error) -> Exception:
    """What is wrong with the file or its disk as a StoreError; our own mistakes as they are."""
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return StoreCorrupt(f"{path}: {error}")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreBusy(f"{path}: {error}", hint="another program has it open; try again")
    if isinstance(error, apsw.FullError | apsw.IOError | apsw.ReadOnlyError | apsw.CantOpenError):
        return StoreError(
            f"{path}: {error}", hint="check space and permissions, or set DECKLOG_HOME; then sync"
        )
    return error


def aside(path: str) -> str:
    """Where a damaged file is kept."""
    return f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}"


def set_aside(path: str) -> None:
    """Move a damaged database out of the way; nothing is deleted."""
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name):
            os.replace(name, aside(name))


def empty(db: apsw.Connection) -> None:
    """Empty a database that may be damaged, in place: others may have it open."""
    db.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 1)
    db.execute("vacuum")
    db.config(apsw.SQLITE_DBCONFIG_RESET_DATABASE, 0)


def wal_safe(version: str) -> bool:
    """False for versions of SQLite that can lose committed pages when a write and a checkpoint
    of a database in WAL mode meet (3.7.0 to 3.51.2; fixed in 3.51.3, 3.50.7 and 3.44.6)."""
    numbers = tuple(int(n) for n in version.split(".")[:3])
    if numbers[:2] == (3, 44):
        return numbers >= (3, 44, 6)
    if numbers[:2] == (3, 50):
        return numbers >= (3, 50, 7)
    return numbers >= (3, 51, 3)


class Transaction:
    """One short transaction: all of it, or nothing when anything fails."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("begin immediate")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.db.execute("commit")
        finally:
            if self.db.in_transaction:  # some failures have rolled back already
                self.db.execute("rollback")
