"""Pack files: append-only, one writer, read by anyone at any time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress

from decklog import durable
from decklog.archive import records
from decklog.errors import WriteError

LARGEST = 32 << 20
"""A pack is followed by another one when it has so many bytes: what pruning rewrites at once."""
_NAME = re.compile(r"pack-[0-9a-f]{20}\.dla", re.ASCII)


def names(folder: str) -> list[str]:
    """The packs of an archive, oldest first."""
    try:
        return sorted(n for n in os.listdir(folder) if _NAME.fullmatch(n))
    except FileNotFoundError:
        return []


def fresh_name() -> str:
    return f"pack-{time.time_ns() // 1_000_000:012x}{os.urandom(4).hex()}.dla"


def begins_well(path: str) -> bool:
    """True for a file that begins as a pack does. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = os.pread(fd, records.LEAD_SIZE, 0)
    finally:
        os.close(fd)
    return len(data) == records.LEAD_SIZE and data.startswith(records.LEAD)


def scan(path: str, at: int = records.LEAD_SIZE) -> Iterator[records.Met]:
    """All records of a pack from an offset on, and the holes. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, size - at, at) if size > at else b""
        while len(data) < size - at and (more := os.pread(fd, size, at + len(data))):
            data += more
    finally:
        os.close(fd)
    for met in records.scan(data, 0):
        yield met._replace(at=met.at + at)


class Writer:
    """Appends groups of records; a group is durable once `sync` has come back.

    Only one at a time: the caller holds the lock of the archive.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.sound: Container[str] = ()
        """Packs that may be appended to."""
        self.name = ""
        self.bytes = 0
        """Appended by this writer."""
        self.durable = 0
        """End of what is on disk of the pack that is written to."""
        self._file: durable.Appender | None = None

    def append(self, group: Sequence[bytes]) -> tuple[str, int]:
        """Write records one after the other, all or none; gives the pack and where they begin.

        Raises WriteError, and then the pack ends where it ended before.
        """
        file = self._open()
        data = b"".join(group)
        with file.locked():
            at = file.append(data)
        self.bytes += len(data)
        return self.name, at

    def _open(self) -> durable.Appender:
        if self._file is not None and self._file.size() < LARGEST:
            return self._file
        self.sync()
        self.close()
        last = names(self.folder)[-1:]
        for name in last:
            path = os.path.join(self.folder, name)
            if name in self.sound and os.stat(path).st_size < LARGEST:
                self._file = durable.Appender(path, create=False)
                self.name, self.durable = name, self._file.size()
                return self._file
        self.name = fresh_name()
        self._file = durable.Appender(os.path.join(self.folder, self.name), new=True)
        with self._file.locked():
            self._file.append(records.LEAD)
        self.durable = 0
        return self._file

    def sync(self) -> None:
        """Wait for the disk. When that fails, what is not durable is cut off again: the system
        may have dropped it though it can still be read."""
        if self._file is None:
            return
        try:
            self._file.sync()
            self.durable = self._file.size()
        except WriteError:
            with suppress(OSError):
                os.ftruncate(self._file.fd, self.durable)
            self.close()
            raise

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
