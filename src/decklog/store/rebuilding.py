"""Make a store anew beside the old one, then copy it over in one transaction."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from decklog.connection import Connection, aside, failure, set_aside
from decklog.errors import StoreCorrupt
from decklog.mounts import journal_mode
from decklog.store import text
from decklog.store.sqlite import FILE, SqliteStore


@contextmanager
def rebuilding(folder: str) -> Iterator[SqliteStore]:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        old = SqliteStore(folder)
    except StoreCorrupt:
        set_aside(os.path.join(folder, FILE))
        old = SqliteStore(folder)
    beside = os.path.join(folder, "rebuild")
    try:
        with old.writing():
            shutil.rmtree(beside, ignore_errors=True)
            os.makedirs(beside, mode=0o700)
            fresh = SqliteStore(beside)
            fresh.above = old.lock
            with fresh.writing():
                fresh.rename(old.renamed())
            try:
                yield fresh
                try:
                    carry_over(old, fresh)
                except StoreCorrupt:
                    _keep(folder)
                _copy(fresh.db, old.db)
            finally:
                fresh.close()
            for shard in range(text.SHARDS):
                _take_over(text.path(beside, shard), text.path(folder, shard))
    finally:
        old.close()
        shutil.rmtree(beside, ignore_errors=True)


def carry_over(old: SqliteStore, fresh: SqliteStore) -> None:
    """Take over the sources that the fresh store knows nothing of, with their rows: they are not
    on disk any more, and not in the archive."""
    there = fresh.known()
    missing = [row[0] for uri, row in old.known().items() if uri not in there]
    if not missing:
        return
    with fresh.writing():
        fresh.db.execute("attach database ? as old", (old.path,))
        try:
            damage = None
            for source in missing:
                try:
                    fresh.carry(source)
                except StoreCorrupt as error:  # what can still be read of it
                    damage = error
        finally:
            fresh.db.execute("detach database old")
            fresh.link()
        if damage is not None:
            raise damage


def _keep(folder: str) -> None:
    """Copy a damaged database aside before it is overwritten."""
    path = os.path.join(folder, FILE)
    shutil.copyfile(path, aside(path))


def _copy(fresh: Connection, old: Connection) -> None:
    """Put one database in the place of another, in one transaction; readers of the old one go on
    undisturbed."""
    with old.backup("main", fresh, "main") as copy:
        while not copy.done:
            copy.step(2_000)
    old.pragma("journal_mode", journal_mode(old.filename))


def _take_over(fresh: str, old: str) -> None:
    """The same for a shard of the text index, which may be missing or damaged."""
    if not os.path.exists(fresh):
        return
    source = Connection(fresh)
    try:
        for _ in range(2):
            target = Connection(old)
            try:
                _copy(source, target)
                return
            except StoreCorrupt:
                set_aside(old)
            except apsw.Error as error:
                raise failure(old, error) from None
            finally:
                target.close()
    finally:
        source.close()
