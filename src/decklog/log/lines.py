"""The lines of a segment: framing, checking, and what can be saved of a damaged one. Pure.

A record is one line of JSON that begins with its number and ends with its checksum:

    {"seq":12, ... ,"crc":"0a1b2c3d"}\\n

``crc`` is the CRC-32 (zlib) of all bytes before ``,"crc"``, in eight lowercase hex digits. Two
other lines are no records: the footer of a sealed segment begins with ``{"sealed":``, and the mark
that `decklog.log.mending` leaves where records were lost begins with ``{"lost":``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from zlib import crc32

import msgspec

FORMAT = 1
"""The ``v`` of every line."""
SUFFIX = len(b',"crc":"00000000"}')
"""Length of what the checksum does not cover, without the newline."""

_NUMBER = re.compile(rb'\{"(seq|sealed|lost)":(\d{1,18})[,}]')
_VERSION = re.compile(rb'\{"[a-z]+":\d+,"v":(\d{1,9})[,}]')
_START = re.compile(rb'\{"(?:seq|sealed|lost)":\d')
_END = re.compile(rb',"crc":"[0-9a-f]{8}"\}')


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """What the last line of a sealed segment says of all before it."""

    sealed: int
    """Number of the last record."""
    records: int
    bytes: int
    body: str
    """CRC-32 of those bytes, in hex."""


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Records ``lost`` to ``until`` are gone; the bytes that held them are kept in ``kept``."""

    lost: int
    until: int
    kept: str = ""


def framed(head: str, number: int, body: bytes) -> bytes:
    """A whole line: ``body`` is a JSON object that is not empty.

    Newlines between its tokens become spaces: one line is one record.
    """
    if b"\n" in body:
        body = body.replace(b"\n", b" ")
    covered = b'{"%s":%d,%s' % (head.encode(), number, body[1:-1])
    return b'%s,"crc":"%08x"}\n' % (covered, crc32(covered))


def footer(last: int, records: int, data: bytes) -> bytes:
    """The line that seals a segment holding ``data``."""
    body = b'{"v":%d,"records":%d,"bytes":%d,"body":"%08x"}' % (
        FORMAT, records, len(data), crc32(data),
    )  # fmt: skip
    return framed("sealed", last, body)


def lost(first: int, until: int, kept: str) -> bytes:
    """The line that stands for records that are gone."""
    return framed("lost", first, msgspec.json.encode({"v": FORMAT, "until": until, "kept": kept}))


def sound(line: bytes) -> bool:
    """Whether a line, without its newline, is as it was written."""
    end = len(line) - SUFFIX
    return end > 0 and line[end:] == b',"crc":"%08x"}' % crc32(line[:end])


def number(line: bytes) -> tuple[str, int]:
    """(``seq``, ``sealed`` or ``lost``; its number) of a sound line; ("", 0) for any other."""
    found = _NUMBER.match(line)
    return (found[1].decode(), int(found[2])) if found else ("", 0)


def version(line: bytes) -> int:
    """The version of the format that a sound line was written in."""
    found = _VERSION.match(line)
    return int(found[1]) if found else FORMAT


def whole(data: bytes) -> Iterator[bytes]:
    """The sound lines of some bytes, also those inside of damaged ones, without newlines."""
    for line in data.split(b"\n"):
        if sound(line):
            yield line
        else:
            for start, end in saved(line):
                yield line[start:end]


def saved(line: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of the sound lines inside of a damaged one, in order.

    Where a newline was lost or bytes came in between, records stand whole inside of a line that is
    none. A piece counts only if its own checksum holds. The work is bounded by the line's length.
    """
    ends = [m.end() for m in _END.finditer(line)]
    budget = 32 * len(line)
    at = 0
    for found in _START.finditer(line):
        start = found.start()
        for end in ends[bisect_right(ends, start) :] if start >= at else ():
            budget -= end - start
            if budget < 0:
                return
            if sound(line[start:end]):
                yield start, end
                at = end
                break
