"""Make a store anew beside the old one, then copy it over in one transaction."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from decklog.errors import StoreCorrupt
from decklog.store.sqlite import FILE, SqliteStore


@contextmanager
def rebuilding(folder: str) -> Iterator[SqliteStore]:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        old = SqliteStore(folder)
    except StoreCorrupt:
        _set_aside(folder)
        old = SqliteStore(folder)
    beside = os.path.join(folder, "rebuild")
    try:
        with old.writing():
            shutil.rmtree(beside, ignore_errors=True)
            os.makedirs(beside, mode=0o700)
            fresh = SqliteStore(beside)
            try:
                yield fresh
                with old.db.backup("main", fresh.db, "main") as copy:
                    while not copy.done:
                        copy.step(2_000)
            finally:
                fresh.close()
            old.db.pragma("journal_mode", "wal")
    finally:
        old.close()
        shutil.rmtree(beside, ignore_errors=True)


def _set_aside(folder: str) -> None:
    """Move a damaged database out of the way; nothing is deleted."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for suffix in ("", "-wal", "-shm"):
        path = os.path.join(folder, FILE + suffix)
        if os.path.exists(path):
            os.replace(path, f"{path}.corrupt-{stamp}")
