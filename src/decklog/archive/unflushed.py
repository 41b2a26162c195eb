"""What was written to packs without waiting for the disk.

The end of a process loses none of it. The end of the machine may: a mark beside the packs says in
which boot they were written so, and in any other one the index, which may tell of bytes that never
got to the disk, is made anew from the packs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import NamedTuple

from decklog import durable
from decklog.boots import boot
from decklog.errors import WriteError

MARK = "unflushed"


class _Pack(NamedTuple):
    fd: int
    end: int
    """Up to where it is known to be on disk; 0 for one whose name is not either."""


class Unflushed:
    """The packs of one archive that wait for the disk. `flush` may be called by any thread."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, MARK)
        self._marked = False
        self._lock = Lock()
        self._waiting: dict[str, _Pack] = {}
        self._failed: dict[str, _Pack] = {}

    def mark(self) -> bool:
        """Leave the mark before the first such write; False where boots cannot be told apart, and
        the disk has to be waited for. Raises WriteError."""
        this = boot()
        if this and not self._marked:
            durable.replace(self.path, this.encode())
            self._marked = True
        return self._marked

    def foreign(self) -> bool:
        """True when there is a mark of another boot."""
        try:
            with open(self.path, "rb") as f:
                return f.read() != boot().encode()
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def unmark(self) -> None:
        """Take the mark away. Only under the lock of the archive, or by the one who left it."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self._marked = False

    def add(self, pack: str, end: int) -> None:
        """A pack was written to past ``end``, and not flushed. Raises WriteError."""
        with self._lock:
            if pack not in self._waiting:
                path = os.path.join(self.folder, pack)
                try:
                    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                except OSError as error:
                    raise durable.failed(path, error) from None
                self._waiting[pack] = _Pack(fd, end)

    def flush(self) -> bool:
        """Wait for the disk; False when that failed, which `take_back` sees to."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for name, pack in waiting.items():
            try:
                durable.flush(pack.fd)
                if not pack.end:
                    durable.sync_folder(self.folder)
            except (OSError, WriteError):
                with self._lock:
                    if name in self._failed:  # what was durable before the first failure counts
                        os.close(pack.fd)
                    self._failed.setdefault(name, pack)
            else:
                os.close(pack.fd)
        return not self._failed

    def take_back(self) -> None:
        """Cut off what a flush failed for: the system may have dropped it though it can still be
        read. Only under the lock of the archive; the index is brought up to the packs after."""
        with self._lock:
            failed, self._failed = self._failed, {}
        for name, pack in failed.items():
            with suppress(OSError):
                os.ftruncate(pack.fd, pack.end)
            path = os.path.join(self.folder, name)
            with suppress(OSError):
                if not pack.end and os.stat(path).st_ino == os.fstat(pack.fd).st_ino:
                    os.unlink(path)
            os.close(pack.fd)

    def close(self) -> None:
        """Flush, and take the mark away when all is on disk."""
        if self.flush() and self._marked:
            self.unmark()
