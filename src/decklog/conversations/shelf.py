"""The files of conversations in one folder, and reading them.

``<id>.jsonl`` is what is appended to; rotation seals it as ``<id>.rot-<n>.jsonl``, n from 1, and
goes on in a new ``<id>.jsonl``, whose head names it. A sealed file that no head names is from a
rotation that did not come to its end, another name of ``<id>.jsonl``: it is passed over, so that
every record is read once.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from zlib import crc32

from decklog.conversations.records import (
    DAMAGE,
    MAX_RECORD,
    BadRecordError,
    Meta,
    Place,
    Record,
    Sealed,
    parse,
)
from decklog.conversations.tails import backwards
from decklog.conversations.tree import Tree
from decklog.durable import failed, safe_id, sync_folder
from decklog.errors import NotFound, SourceError
from decklog.model import Finding

END = ".jsonl"
BLOCK = 1024 * 1024
MARK = 4096
"""Bytes at the end of a file that it is known by."""
_rotated = re.compile(r"\.rot-([0-9]{1,6})\.jsonl$", re.ASCII)


class Tail(NamedTuple):
    """The end of a conversation's file, as it was when it was looked at."""

    inode: int
    end: int
    last: bytes
    """The last bytes before ``end``."""
    place: Place
    record: Record | None
    """The last record, where it is of ours."""
    damaged: bool = False
    """Whether something damaged stands after the last record."""

    @property
    def whole(self) -> bool:
        """Whether it ends with a newline."""
        return not self.end or self.last.endswith(b"\n")

    def still(self, fd: int, end: int) -> bool:
        """Whether a file still ends as this one did, and that with a whole record."""
        known = end == self.end and self.whole and not self.damaged
        return known and self.inode == os.fstat(fd).st_ino and _last(fd, end) == self.last

    def grown(self, lines: bytes, place: Place, record: Record) -> Tail:
        """The end of the file once these were appended."""
        last = (self.last + lines)[-MARK:]
        return Tail(self.inode, self.end + len(lines), last, place, record)


def _last(fd: int, end: int) -> bytes:
    size = min(end, MARK)
    return os.pread(fd, size, end - size)


class Shelf:
    """The conversations of a folder, by id."""

    def __init__(self, folder: str) -> None:
        self.folder = os.path.abspath(folder)

    def path(self, name: str) -> str:
        """Where a conversation is. Raises UsageError for what is no id."""
        return os.path.join(self.folder, safe_id(name) + END)

    def sealed(self, name: str, n: int) -> str:
        return os.path.join(self.folder, f"{safe_id(name)}.rot-{n}{END}")

    def names(self) -> list[str]:
        """Ids of all conversations, in their order by name: the oldest first."""
        try:
            found = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SourceError(f"{self.folder}: {error.strerror}") from None
        stems = (f[: -len(END)] for f in found if f.endswith(END) and not f.startswith("."))
        return sorted(s for s in stems if ".rot-" not in s)

    @contextmanager
    def reading(self, path: str, *, held: bool = False) -> Iterator[tuple[int, int]]:
        """A file and its size at a moment when nobody writes, or when a writer has stood still
        for a second. Raises NotFound, SourceError."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            name = os.path.basename(path).removesuffix(END)
            raise NotFound(f"no conversation {name!r}", hint="decklog chat ls lists them") from None
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        try:
            locked = not held and _undisturbed(fd)
            size = os.fstat(fd).st_size
            if locked:
                fcntl.flock(fd, fcntl.LOCK_UN)
            yield fd, size
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        finally:
            os.close(fd)

    # -- whole -------------------------------------------------------------------------------------

    def tree(self, name: str, *, held: bool = False) -> Tree:
        """All entries of a conversation's own files; ``held``: its lock is held by the caller.

        Raises NotFound, SourceError.
        """
        with self.reading(self.path(name), held=held) as (fd, size):
            return self._grown(name, fd, size)

    def _grown(self, name: str, fd: int, size: int) -> Tree:
        tree = Tree(name)
        chain = list(self._chain(name, fd, size))
        for number, (path, seal) in enumerate(reversed(chain)):
            try:
                with self.reading(path) as (old, old_size):
                    _feed(tree, old, old_size, path, number)
                    changed = seal is not None and total(old) != (seal.bytes, seal.crc)
                    detail = "it is not as it was when it was sealed" if changed else ""
            except NotFound:
                detail = "it is missing"
            if detail:
                tree.findings.append(
                    Finding(agent="decklog", source=path, reason="unreadable", detail=detail)
                )
        _feed(tree, fd, size, self.path(name), len(chain))
        return tree

    def _chain(self, name: str, fd: int, size: int) -> Iterator[tuple[str, Sealed | None]]:
        """Sealed files, newest first, each with what its successor says of it.

        A head names the file that went before; where a head cannot be read that is taken for the
        newest there is, unless it is only another name of the file itself.
        """
        head, n = _head(fd, size), 0
        inode = os.fstat(fd).st_ino
        while True:
            if head is None:
                n = self._newest(name, n, inode)
            else:
                n = min(_number(head), n - 1) if n else _number(head)
            if n <= 0:
                return
            path = self.sealed(name, n)
            yield path, head.sealed if head else None
            try:
                with self.reading(path) as (old, old_size):
                    head, inode = _head(old, old_size), os.fstat(old).st_ino
            except NotFound:
                head = None

    def _newest(self, name: str, below: int, inode: int) -> int:
        """The highest number of a sealed file below one (0: of all); 0 where there is none."""
        found = 0
        for entry in os.listdir(self.folder):
            number = _rotated.search(entry)
            if number and entry == os.path.basename(self.sealed(name, int(number[1]))):
                n = int(number[1])
                if (not below or n < below) and os.lstat(self.sealed(name, n)).st_ino != inode:
                    found = max(found, n)
        return found

    def seals(self, name: str) -> Iterator[str]:
        """Sealed files of a conversation, newest first. Raises NotFound, SourceError."""
        with self.reading(self.path(name)) as (fd, size):
            for path, _ in self._chain(name, fd, size):
                yield path

    def seal(self, name: str, fd: int) -> str:
        """Give the conversation's file the name of a sealed one too. Only under its lock.

        Raises WriteError.
        """
        main = self.path(name)
        st = os.fstat(fd)
        head = _head(fd, st.st_size)
        n = _number(head) if head else self._newest(name, 0, st.st_ino)
        while True:
            n += 1
            path = self.sealed(name, n)
            try:
                os.link(main, path)
            except FileExistsError:
                if os.lstat(path).st_ino != st.st_ino:
                    continue
            except OSError as error:
                raise failed(path, error) from None
            sync_folder(self.folder)
            return path

    # -- its two ends ------------------------------------------------------------------------------

    def head(self, name: str) -> Meta:
        """The first record of a conversation's file; one made up where it is no head."""
        with self.reading(self.path(name)) as (fd, size):
            return _head(fd, size) or Meta(id=name)

    def tail(self, name: str, fd: int, end: int) -> Tail:
        """Where a conversation stands: from its last records, or, where another program wrote
        those, from all."""
        inode, last, skipped, damaged = os.fstat(fd).st_ino, _last(fd, end), 0, False
        for at, line in backwards(fd, end):
            data = line.strip()
            if not data:
                continue
            try:
                record = parse(data)
            except BadRecordError as error:
                skipped += at + len(line) < end  # torn: what has no end was never counted
                damaged |= error.reason in DAMAGE
                continue
            if record.place is None:
                break
            place = record.place
            moved = Place(leaf=place.leaf, n=place.n, seq=place.seq + skipped)
            return Tail(inode, end, last, moved, record, damaged)
        return Tail(inode, end, last, self._grown(name, fd, end).place, None, damaged)


def _head(fd: int, size: int) -> Meta | None:
    """The head that a file begins with."""
    for _, line in _lines(fd, size, 64 * 1024):
        if line.strip():
            try:
                record = parse(line.strip())
            except BadRecordError:
                return None
            return record if isinstance(record, Meta) else None
    return None


def total(fd: int) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    at = crc = 0
    while data := os.pread(fd, BLOCK, at):
        crc = crc32(data, crc)
        at += len(data)
    return at, crc


def _number(head: Meta) -> int:
    """Number of the sealed file that the one with this head goes on from; 0 for none."""
    found = _rotated.search(head.sealed.file) if head.sealed else None
    return int(found[1]) if found else 0


def _undisturbed(fd: int) -> bool:
    """Wait until nobody writes; False where that takes too long, as when a writer was stopped."""
    for _ in range(100):
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def _feed(tree: Tree, fd: int, size: int, path: str, file: int) -> None:
    for number, (at, line) in enumerate(_lines(fd, size), 1):
        tree.feed(line, path, at, number, file)


def _lines(fd: int, size: int, block: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """Lines of a file up to ``size``, each with its offset; of one that is too long not all."""
    at = start = left_out = 0
    held = b""
    while at < size and (data := os.pread(fd, min(block, size - at), at)):
        at += len(data)
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            yield start, line
            start += len(line) + left_out + 1
            left_out = 0
        if len(held) > MAX_RECORD + BLOCK:
            left_out += len(held) - MAX_RECORD - 1
            held = held[: MAX_RECORD + 1]
    if held:
        yield start, held
