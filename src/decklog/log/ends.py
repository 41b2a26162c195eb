"""Where a log ends: its last whole line, found from behind."""

from __future__ import annotations

import os

import msgspec
from msgspec import Struct

from decklog.errors import SourceError
from decklog.log import lines
from decklog.log.segments import Segment, listed

LOOK = 4096
"""Bytes first looked at, at the end of a segment."""


class End(Struct, frozen=True):
    """The end of the good part of a segment."""

    offset: int
    """Just past its last whole line; what follows is torn."""
    last: int
    """Number of the last record."""
    sealed: bool = False
    """Whether that line is the footer."""
    unended: bool = False
    """Whether all of that line is there but its newline."""
    version: int = lines.FORMAT
    """Version of the format that line was written in."""


def last_sound(fd: int, size: int, known: End) -> End:
    """The end of a segment of ``size`` bytes that was whole as far as ``known``.

    Reads from the end backwards, and no more than it takes to find a whole line. Raises OSError.
    """
    span = LOOK
    while True:
        start = max(known.offset, size - span)
        data = _read(fd, start, size)
        if start > known.offset:  # it begins inside of a line, of which nothing can be said
            cut = data.find(b"\n") + 1 or len(data)
            start, data = start + cut, data[cut:]
        found = _last_line(data)
        if found is not None:
            return msgspec.structs.replace(found, offset=start + found.offset)
        if size - span <= known.offset:
            return known
        span *= 4


def last_number(folder: str) -> int:
    """Number of the last record of a log; 0 where there is none. Raises SourceError."""
    found = listed(folder)
    if not found:
        return 0
    if found[-1].packed:
        return last_walked(found[-1])
    try:
        fd = os.open(found[-1].path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"{found[-1].path}: {error.strerror}") from None
    try:
        return last_sound(fd, os.fstat(fd).st_size, End(0, found[-1].first - 1)).last
    finally:
        os.close(fd)


def last_walked(segment: Segment) -> int:
    """Number of the last record of a compressed segment, for which all of it is read."""
    from decklog.log.reading import Walk

    walk = Walk(segment, segment.first)
    for _ in walk.items(final=True):
        pass
    return walk.expected - 1


def _read(fd: int, start: int, end: int) -> bytes:
    data = b""
    while start < end and (more := os.pread(fd, end - start, start)):
        data += more
        start += len(more)
    return data


def _last_line(data: bytes) -> End | None:
    """The end of the last whole line of some bytes, counted from their start."""
    stop = len(data)
    while stop > 0:
        begin = data.rfind(b"\n", 0, stop - 1) + 1
        line = data[begin:stop].removesuffix(b"\n")
        spans = [(0, len(line))] if lines.sound(line) else list(lines.saved(line))
        if spans:
            start, end = spans[-1]
            head, number = lines.number(line[start:end])
            if head == "lost":
                number = msgspec.json.decode(line[start:end], type=lines.Lost).until
            unended = data[begin + end : begin + end + 1] != b"\n"
            version = lines.version(line[start:end])
            return End(begin + end + (not unended), number, head == "sealed", unended, version)
        stop = begin
    return None
