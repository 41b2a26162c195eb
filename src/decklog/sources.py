"""Where bytes come from: walk, identify, read forward from a cursor. Sources are never written.

The walk imports nothing heavy, so that a warm command can see at once that nothing changed.
"""

from __future__ import annotations

import os
import stat
import zlib
from errno import ESTALE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from decklog.agents import Root

CHUNK = 1 << 20
"""Bytes read at a time: more is no faster, and each reading process holds some of them."""
MAX_LINE = 64 << 20
"""Longer lines are skipped, counted and reported, never held in memory."""
LEAN_LINE = 16 << 20
"""Above this length message bodies are left out."""
SHORT_TAIL = 1 << 20
"""Of a longer line without end only the whole is looked at: it may be looked at very often."""
MAX_DOCUMENT = 64 << 20
"""Largest JSON document that is read."""
MAX_SMALL = 16 << 20
"""Largest companion, or part of a document of many files."""
UNCOUNTED = "-shm"
"""End of the names of shared-memory files of databases, which readers touch."""
CHECK = 4096
"""Bytes before a cursor that identify what has been read."""
HIDDEN = -1
"""Size of what is there but may not be looked at."""
BITS = (1 << 63) - 1
"""Times and inodes are only compared, and a database takes no more bits."""


class Seen:
    """A file met on a walk."""

    __slots__ = (
        "device", "folder", "hidden", "inode", "mtime_ns", "path", "regular", "relative", "size"
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        relative: str,
        size: int,
        mtime_ns: int,
        device: int,
        inode: int,
        mode: int,
    ) -> None:
        self.path, self.relative, self.size, self.mtime_ns = path, relative, size, mtime_ns
        self.device, self.inode = device, inode
        self.regular, self.folder = stat.S_ISREG(mode), stat.S_ISDIR(mode)
        self.hidden = size == HIDDEN
        """It may not be looked at; ``inode`` is the number of the error."""


def walk(
    root: str,
    only: Iterable[str] = (),
    skip: Iterable[str] = (),
    trouble: Callable[[str, OSError], None] = lambda relative, error: None,
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files below a folder, as (path relative to it, entry).

    Symbolic links to folders are followed once: a folder already visited, or one that holds the
    link, is not entered again. A folder that cannot be read is given to ``trouble``, with its path
    relative to the root and the error; one that is not there is nothing.
    """
    skipped = frozenset(skip)
    visited: set[tuple[int, int]] = set()
    wanted = frozenset(only)
    todo = [(root, "")]
    while todo:
        folder, prefix = todo.pop()
        try:
            entries = os.scandir(folder)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                trouble(prefix, error)
            continue
        with entries:
            for e in entries:
                name = e.name
                if wanted and not prefix and name not in wanted:
                    continue
                try:
                    if e.is_file(follow_symlinks=False):
                        yield prefix + name, e
                    elif e.is_dir(follow_symlinks=False):
                        if name not in skipped:
                            todo.append((e.path, f"{prefix}{name}/"))
                    elif e.is_symlink() and os.path.isdir(e.path):
                        st = e.stat()
                        if (st.st_dev, st.st_ino) not in visited and name not in skipped:
                            visited.add((st.st_dev, st.st_ino))
                            if not above(e.path, root):
                                todo.append((e.path, f"{prefix}{name}/"))
                    else:
                        yield prefix + name, e
                except OSError:
                    continue


def above(link: str, root: str) -> bool:
    """True when a link leads to a folder that holds the link itself."""
    target = os.path.realpath(link)
    return (os.path.realpath(os.path.dirname(link)) + "/").startswith(target + "/") or (
        os.path.realpath(root) + "/"
    ).startswith(target + "/")


def find(root: Root) -> list[Seen]:
    """Every file below a root, in a fixed order."""
    (files,), _ = survey([(root.path, root.only, root.skip)])
    return [Seen(*f) for f in sorted(files)]


def survey(
    roots: Iterable[tuple[str, tuple[str, ...], tuple[str, ...]]],
) -> tuple[list[list[File]], str]:
    """One look at every file below the roots; opens nothing.

    Returns the files of each root, and a text that changes whenever any of them
    appears, changes or goes. Shared-memory files of databases do not count: readers touch them.
    """
    found: list[list[File]] = []
    mark = count = 0
    for root, only, skip in roots:
        files: list[File] = []

        def passed_over(
            relative: str, error: OSError, root: str = root, to: list[File] = files
        ) -> None:
            path = os.path.join(root, relative).rstrip("/")
            to.append((path, relative, *hidden(error, stat.S_IFDIR)))

        for relative, entry in walk(root, only, skip, passed_over):
            path = entry.path
            try:
                st = _stat(entry)
            except FileNotFoundError:
                continue  # vanished since it was listed: as if it had never been
            except OSError as error:
                files.append((path, relative, *hidden(error)))
                continue
            size, mtime_ns, device, inode, mode = place(st)
            files.append((path, relative, size, mtime_ns, device, inode, mode))
            if not relative.endswith(UNCOUNTED):
                mark += share(path, size, mtime_ns, inode)
                count += 1
        found.append(files)
    return found, fingerprint(count, mark)


def share(path: str, size: int, mtime_ns: int, inode: int) -> int:
    """What one file adds to the mark of a survey: a sum, as folders list in no fixed order."""
    name = zlib.crc32(path.encode("utf-8", "surrogateescape"))
    return (name * 0x9E3779B97F4A7C15 ^ mtime_ns * 31 ^ inode << 20) + size


def fingerprint(count: int, mark: int) -> str:
    """The text of a survey, from the number of files that count and the sum of their shares."""
    return f"{count} {mark & (1 << 96) - 1:x}"


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of a link that leads nowhere, or in a circle, what can be said of the link itself."""
    try:
        return entry.stat()
    except OSError:
        if not entry.is_symlink():
            raise
    return entry.stat(follow_symlinks=False)


def place(st: os.stat_result) -> Place:
    """Size, time, device, inode and mode of a file, as they are compared."""
    return st.st_size, st.st_mtime_ns & BITS, st.st_dev, st.st_ino & BITS, st.st_mode


def hidden(error: OSError, mode: int = stat.S_IFREG) -> Place:
    """What stands in the place of those of a file that may not be looked at."""
    return HIDDEN, 0, 0, error.errno or 0, mode


def check_hash(tail: bytes) -> bytes:
    """Identity of the bytes just before a cursor: two checksums, which tell any growth, cut or
    rewriting apart from chance; nobody is kept from forging them, as they only guard a cursor."""
    return checksum(tail[-CHECK:])


def checksum(data: bytes) -> bytes:
    return b"%08x%08x" % (zlib.crc32(data), zlib.adler32(data))


def matches(fd: int, path: str, offset: int, check: bytes) -> bool:
    """True when the bytes before ``offset`` are those that were read then; of a packed file those
    that it unpacks to. Raises OSError, Bomb."""
    start = max(0, offset - CHECK)
    read = _packed_or_not(Descriptor(fd), path)
    return check_hash(read(start, offset - start)) == check


def open_regular(path: str, place: tuple[int, int] = (0, 0)) -> int:
    """A read-only descriptor of a regular file; never blocks on a pipe or device.

    Raises OSError, also for anything that is no regular file, and where another one than that on
    ``place`` (device, inode), if one is named, has taken its path.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode):
        os.close(fd)
        raise OSError(22, "not a regular file", path)
    if place[1] and (st.st_dev, st.st_ino & BITS) != place:
        os.close(fd)
        raise OSError(ESTALE, "replaced since it was looked at", path)
    return fd


def read_small(path: str) -> bytes | None:
    """A companion file, or None when it is absent, unreadable or too large."""
    try:
        fd = open_regular(path)
    except OSError:
        return None
    try:
        if os.fstat(fd).st_size > MAX_SMALL:
            return None
        return os.read(fd, MAX_SMALL)
    finally:
        os.close(fd)


class Chunk:
    """Complete records from one read."""

    __slots__ = ("_before", "block", "continued", "end", "records", "skipped", "start")

    def __init__(
        self,
        start: int,
        block: bytes,
        before: bytes,
        *,
        records: list[bytes] | None = None,
        skipped: int = 0,
        continued: bool = False,
    ) -> None:
        self.start = start
        """Offset of the first record."""
        self.block, self._before = block, before
        """The bytes from ``start`` to ``end``; of a skipped line only its last."""
        self.records = records or []
        """Records without their newlines, one after the other."""
        self.skipped = skipped
        """Length of the one line over MAX_LINE that this chunk stands for; it has no records."""
        self.end = start + (skipped + 1 if skipped else len(block))
        """Offset just past the last record."""
        self.continued = continued
        """True when the first record goes on a line of which an earlier read took a part."""

    @property
    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(offset, record) of each."""
        at = self.start
        for record in self.records:
            yield at, record
            at += len(record) + 1

    @property
    def check(self) -> bytes:
        """Hash of the bytes before the end."""
        return check_hash(self.block if len(self.block) >= CHECK else self._before + self.block)


def chunks(
    path: str,
    offset: int,
    check: bytes = b"",
    *,
    stands: tuple[int, bytes] = (0, b""),
    place: tuple[int, int] = (0, 0),
    copy: Opened | None = None,
    tee: Callable[[int, bytes], None] | None = None,
) -> Iterator[Chunk]:
    """Read forward from ``offset`` in bounded pieces that end just past a complete record.

    A last line without newline is given out only when it is a whole JSON object; otherwise it
    is left for a later read. Of a short one that goes on behind a whole object, as when its writer
    died before the newline, that object is given out. A line over MAX_LINE is a chunk of its own,
    without its bytes.
    ``place`` is that of the file, see `open_regular`. ``copy`` is read in place of the file.
    ``tee`` is given all bytes that are read from ``offset`` on, unfinished and over-long lines too,
    before the chunk they are part of.

    Raises OSError; also when the bytes before ``offset`` are not those of ``check`` (any more), or
    those before another offset not those of its check (``stands``), or when the file has been cut
    to less than was read: between a look and a read, or while it is read, its writer may do
    anything.
    """
    if copy is not None:
        yield from _pieces(_packed_or_not(copy, path), offset, path, check)
        return
    fd = open_regular(path, place)
    end = offset
    try:
        if stands[1] and stands[0] > offset and not matches(fd, path, *stands):
            raise OSError(ESTALE, "rewritten since it was looked at", path)
        packed = path.endswith(".zst")
        read = _packed_or_not(Descriptor(fd), path)
        for chunk in _pieces(_teed(read, offset, tee) if tee else read, offset, path, check):
            end = chunk.end
            yield chunk
        if not packed and os.fstat(fd).st_size < end:
            raise OSError(ESTALE, "cut short while it was read", path)
    finally:
        os.close(fd)


class Descriptor:
    """An open file, read like an archived copy."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self.fd, size, at)


def _packed_or_not(opened: Opened, path: str) -> Reading:
    if not path.endswith(".zst"):
        return opened.read
    from decklog.unpacking import unpacked

    return unpacked(opened, path)


def _teed(read: Reading, offset: int, tee: Callable[[int, bytes], None]) -> Reading:
    def both(at: int, size: int) -> bytes:
        data = read(at, size)
        if at >= offset and data:
            tee(at, data)
        return data

    return both


def _pieces(read: Reading, offset: int, path: str, check: bytes) -> Iterator[Chunk]:
    at = offset  # of the first byte held
    held: list[bytes] = []  # pieces of a line without end as yet, joined once, for it may be long
    size = 0
    more = b""  # read already, not looked at
    before = min(offset, CHECK)
    tail = read(offset - before, before) if before else b""
    if check and check_hash(tail) != check:
        raise OSError(ESTALE, "rewritten since it was looked at", path)
    continued = bool(tail) and not tail.endswith(b"\n")
    while True:
        data = more or read(at + size, CHUNK)
        more = b""
        if not data:
            rest = b"".join(held)
            while record := _whole(rest):
                yield Chunk(at, record, tail, records=[record], continued=continued)
                at += len(record)
                tail, rest, continued = (tail + record)[-CHECK:], rest[len(record) :], True
            return
        first = data.find(b"\n")
        if size + (first if first >= 0 else len(data)) > MAX_LINE:
            length, tail, more = _skip(read, held, size, at, data)
            held, size = [], 0
            if length is None:
                return
            yield Chunk(at, tail, b"", skipped=length, continued=continued)
            at += length + 1
        elif first < 0:
            held.append(data)
            size += len(data)
            continue
        else:
            end = data.rfind(b"\n") + 1
            block = b"".join([*held, data[:end]])
            held, size = [data[end:]], len(data) - end
            del data
            yield Chunk(at, block, tail, records=_split(block), continued=continued)
            tail = block[-CHECK:] if len(block) >= CHECK else (tail + block)[-CHECK:]
            at += len(block)
            del block
        continued = False


def _split(block: bytes) -> list[bytes]:
    """The lines of a block that ends with a newline, without their newlines.

    ``bytes.split`` looks at every byte in turn, ``find`` lets the C library search: on transcripts
    this is four times as fast.
    """
    lines = []
    start, end, find = 0, len(block), block.find
    while start < end:
        stop = find(b"\n", start)
        lines.append(block[start:stop])
        start = stop + 1
    return lines


def _skip(
    read: Reading, held: list[bytes], size: int, start: int, data: bytes
) -> tuple[int | None, bytes, bytes]:
    """Go on to the end of an over-long line that begins at ``start``.

    Returns its length (None when it has no end yet), the bytes before its end, and what was read
    after it.
    """
    tail = held[-1][-CHECK:] if held else b""
    at = start + size
    while data:
        n = data.find(b"\n")
        if n >= 0:
            return at + n - start, (tail + data[: n + 1])[-CHECK:], data[n + 1 :]
        tail = (tail + data)[-CHECK:]
        at += len(data)
        data = read(at, CHUNK)
    return None, b"", b""


def _whole(line: bytes) -> bytes:
    """A line without end if it is one JSON object, or the object that it begins with."""
    body = line.strip()
    several = len(body) <= SHORT_TAIL and b"}{" in body
    if len(body) > MAX_LINE or not (body.startswith(b"{") and (several or body.endswith(b"}"))):
        return b""
    import json

    text = line.decode("utf-8", "surrogateescape")
    try:
        if not several:
            json.loads(text)
            return line
        start = len(text) - len(text.lstrip())
        _, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return b""
    return text[:end].encode("utf-8", "surrogateescape")


if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Opened(Protocol):
        """Bytes that stand open: a file, or an archived copy."""

        @property
        def size(self) -> int: ...
        def read(self, at: int, size: int, /) -> bytes:
            """Up to so many bytes from an offset on; none at the end."""

    Reading = Callable[[int, int], bytes]
    Place = tuple[int, int, int, int, int]
    File = tuple[str, str, int, int, int, int, int]
    """path, path relative to the root, size, mtime_ns, device, inode, mode; of one that may not be
    looked at size HIDDEN, and the number of the error in place of the inode"""
