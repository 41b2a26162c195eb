"""The folder of one log: which files are its segments, and what bytes they hold.

    0000000000000001.jsonl.zst     sealed, compressed
    0000000000020481.jsonl         the segment that is written to; named after its first record
    0000000000020481.jsonl.torn-1  what was cut off its end after a crash

There is no list of segments beside the folder itself: making a segment's file publishes it, and
nothing can name a segment that is not there. Where two segments hold records of the same numbers,
those of the later one count: it was written because the disk failed to take them the first time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from msgspec import Struct

from decklog import durable
from decklog.errors import SourceError

CHUNK = 1 << 20
"""Bytes read at a time."""
FRAME = 256 << 10
"""Bytes of a segment that are compressed as one: damage costs no more than these."""
LEVEL = 3
_MAGIC = b"\x28\xb5\x2f\xfd"
_NAME = re.compile(r"(\d{16})\.jsonl(\.zst)?", re.ASCII)


class Segment(Struct, frozen=True, order=True):
    first: int
    """Number of the first record."""
    path: str

    @property
    def packed(self) -> bool:
        return self.path.endswith(".zst")


def path(folder: str, first: int) -> str:
    return f"{folder}/{first:016d}.jsonl"


def listed(folder: str) -> list[Segment]:
    """The segments of a log, in order; empty where there is no such folder.

    A segment that is there both plain and compressed (a crash came between) is listed plain.
    """
    found: dict[int, Segment] = {}
    try:
        names = os.listdir(folder)
        while names != (again := os.listdir(folder)):
            names = again  # a file that is renamed meanwhile may be missed under both names
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}") from None
    for name in sorted(names):  # .jsonl before .jsonl.zst
        matched = _NAME.fullmatch(name)
        if matched:
            first = int(matched[1])
            found.setdefault(first, Segment(first, f"{folder}/{name}"))
    return sorted(found.values())


class Piece(Struct, frozen=True):
    """Some bytes of a segment, uncompressed."""

    offset: int
    """Where they stand in the uncompressed segment; from the first damaged frame on, a guess."""
    data: bytes
    damaged: str = ""
    """Set when these bytes could not be had: why. ``data`` is empty then."""
    length: int = 0
    """Of a damaged piece: bytes of the file that are unreadable."""


def pieces(segment: Segment, start: int = 0) -> Iterator[Piece]:
    """The bytes of a segment from an offset on. Raises SourceError where it cannot be opened.

    A file that was compressed meanwhile is found under its new name.
    """
    try:
        fd = _open(segment.path)
    except OSError as error:
        raise SourceError(f"{segment.path}: {error.strerror}") from None
    try:
        packed = fd[1]
        yield from (_unpacked(fd[0], start) if packed else _plain(fd[0], start))
    except OSError as error:
        raise SourceError(f"{segment.path}: {error.strerror}") from None
    finally:
        os.close(fd[0])


def _open(name: str) -> tuple[int, bool]:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(name, flags), name.endswith(".zst")
    except FileNotFoundError:
        if name.endswith(".zst"):
            raise
        return os.open(name + ".zst", flags), True


def _plain(fd: int, at: int) -> Iterator[Piece]:
    while data := os.pread(fd, CHUNK, at):
        yield Piece(at, data)
        at += len(data)


def _unpacked(fd: int, start: int) -> Iterator[Piece]:
    """Frame after frame; one that is damaged is skipped up to the next that is whole."""
    import zstandard

    data = b""
    size = os.fstat(fd).st_size
    while len(data) < size and (more := os.pread(fd, CHUNK, len(data))):
        data += more
    unpack = zstandard.ZstdDecompressor()
    at = offset = 0
    while at < len(data):
        end = len(data)
        try:
            one = unpack.decompressobj()
            plain = one.decompress(data[at:])
            if not one.eof:
                raise zstandard.ZstdError("it ends in the middle of a frame")
            end -= len(one.unused_data)
            if offset + len(plain) > start:
                yield Piece(max(start, offset), plain[max(0, start - offset) :])
            offset += len(plain)
        except zstandard.ZstdError as error:
            end = data.find(_MAGIC, at + 1)
            end = len(data) if end < 0 else end
            yield Piece(offset, b"", f"compressed bytes {at} to {end}: {error}", end - at)
        at = end


def pack(segment: Segment) -> Segment:
    """Compress a sealed segment: the compressed file takes the plain one's place.

    A crash leaves one of them, or both with the same contents. Raises WriteError, SourceError.
    """
    made = Segment(segment.first, segment.path + ".zst")
    durable.replace(made.path, packed(b"".join(p.data for p in pieces(segment))))
    try:
        os.unlink(segment.path)
    except FileNotFoundError:  # another process did the same
        pass
    except OSError as error:
        raise durable.failed(segment.path, error) from None
    return made


def packed(data: bytes) -> bytes:
    """Bytes as frames of their own each, so that damage to one costs no other."""
    import zstandard

    packer = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    return b"".join(packer.compress(data[at : at + FRAME]) for at in range(0, len(data), FRAME))
