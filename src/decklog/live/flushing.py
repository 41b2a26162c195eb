"""Waiting for the disk, out of the way of those who follow: an fsync may take longer than all the
rest of a round together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import apsw

AFTER = 0.2
"""Seconds from one flush to the next, at least."""
SHORTEN_AFTER = 10.0
"""Seconds of writing after which write-ahead logs are copied into their databases, before a commit
would have to do it."""


class Flusher:
    """A thread that calls ``flush`` soon after `due`, and now and then shortens the write-ahead
    logs of ``databases`` (paths; those that are there)."""

    def __init__(self, flush: Callable[[], object], databases: Iterable[str]) -> None:
        self.flush, self.databases = flush, tuple(databases)
        self._due, self._stop = threading.Event(), threading.Event()
        self._shortened = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="decklog-flush", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def due(self) -> None:
        """Something was written."""
        self._due.set()

    def stop(self) -> None:
        """End, once all is flushed."""
        self._stop.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._due.wait()
            self._due.clear()
            self.flush()
            if time.monotonic() - self._shortened >= SHORTEN_AFTER:
                for path in self.databases:
                    shorten(path)
                self._shortened = time.monotonic()
            self._stop.wait(AFTER)
        self.flush()


def shorten(path: str) -> None:
    """Copy what no reader needs from a write-ahead log into its database. Nobody waits for it, and
    where it fails those who write to the database are told."""
    if os.path.exists(f"{path}-wal"):
        with suppress(apsw.Error):
            db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                db.execute("pragma wal_checkpoint(passive)").fetchall()
            finally:
                db.close()
