"""The records of a pack, as bytes; nothing here opens a file.

A pack is a `LEAD` and then records. Each is a head of 44 bytes, little-endian, and a body::

    magic  kind  codec  dictionary  copy  offset  raw  packed  raw_crc  body_crc  head_crc
    4s     u8    u8     u16         u64   u64     u32  u32     u32      u32       u32

``head_crc`` is over the head before it, so that a length is believed only when the head is whole;
``body_crc`` is over the body as it stands, ``raw_crc`` over what it unpacks to. After a damaged
head the next record is found by its magic and its head's checksum.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

LEAD = b"decklog archive 1\n"
"""First bytes of every pack, with the version of the format."""
LEAD_SIZE = len(LEAD)

MAGIC = b"\xd1La\n"
COPY, NAME, BLOCK, SAME, END, DICTIONARY = range(1, 7)
PLAIN, ZSTD = 0, 1

MAX_RAW = 1 << 20
"""Most bytes that a block stands for; more is damage, and never unpacked."""
MAX_DICTIONARY = 16 << 20

_HEAD = struct.Struct("<4sBBHQQIIII")
_CRC = struct.Struct("<I")
HEAD_SIZE = _HEAD.size + _CRC.size
_PLACE = struct.Struct("<QQ")
_END = struct.Struct("<qqq")


class Head(NamedTuple):
    """What a record says of itself."""

    kind: int
    codec: int
    dictionary: int
    copy: int
    offset: int
    """Where in the copy its bytes stand."""
    raw: int
    packed: int
    """Length of the body."""
    raw_crc: int
    body_crc: int


def record(
    kind: int, copy: int, body: bytes = b"", *, offset: int = 0, raw: bytes | None = None,
    codec: int = PLAIN, dictionary: int = 0,
) -> bytes:  # fmt: skip
    """A record with its checksums. ``raw`` is what a packed body stands for."""
    whole = body if raw is None else raw
    head = _HEAD.pack(
        MAGIC, kind, codec, dictionary, copy, offset, len(whole), len(body), crc32(whole),
        crc32(body),
    )  # fmt: skip
    return b"".join((head, _CRC.pack(crc32(head)), body))


def begun(copy: int, agent: str, uri: str, kind: str, at: int) -> bytes:
    """A copy begins (``at``: milliseconds UTC). What had its uri before is superseded."""
    body = {"agent": agent, "uri": uri, "kind": kind, "at": at}
    return record(COPY, copy, json.dumps(body, separators=(",", ":")).encode())


def named(copy: int, uri: str) -> bytes:
    """A copy has this uri from here on."""
    return record(NAME, copy, os.fsencode(uri))


def same(copy: int, offset: int, raw: int, other: int, place: int) -> bytes:
    """The bytes at ``offset`` are those of the block at ``place`` of another copy."""
    made = Head(SAME, PLAIN, 0, copy, offset, raw, _PLACE.size, 0, 0)
    body = _PLACE.pack(other, place)
    head = _HEAD.pack(MAGIC, *made[:8], crc32(body))
    return b"".join((head, _CRC.pack(crc32(head)), body))


def place(body: bytes) -> tuple[int, int]:
    """(copy, offset) that a `same` record points to."""
    other, offset = _PLACE.unpack(body)
    return other, offset


def ended(copy: int, offset: int, cursor: int, size: int, mtime_ns: int, version: str) -> bytes:
    """The source was read to ``offset``, its last whole record ends at ``cursor``, and it looked
    like that. What the copy had past the offset is not part of it any more."""
    body = _END.pack(cursor, size, mtime_ns) + version.encode("utf-8", "surrogatepass")
    return record(END, copy, body, offset=offset)


def end(body: bytes) -> tuple[int, int, int, str]:
    """(cursor, size, mtime_ns, version) of an `ended` record."""
    cursor, size, mtime_ns = _END.unpack_from(body)
    return cursor, size, mtime_ns, body[_END.size :].decode("utf-8", "surrogatepass")


def head(data: bytes, at: int = 0) -> Head | None:
    """The head at an offset of some bytes; None when it is no whole, sound head."""
    stop = at + _HEAD.size
    if len(data) < at + HEAD_SIZE or crc32(data[at:stop]) != _CRC.unpack_from(data, stop)[0]:
        return None
    magic, *fields = _HEAD.unpack_from(data, at)
    made = Head(*fields)
    limit = MAX_DICTIONARY if made.kind == DICTIONARY else MAX_RAW
    if magic != MAGIC or made.raw > limit or made.packed > limit + (limit >> 4) + 4096:
        return None
    return made


def sound(made: Head, body: bytes) -> bool:
    return len(body) == made.packed and crc32(body) == made.body_crc


class Met(NamedTuple):
    """A record or a hole met on a scan."""

    at: int
    """Offset in the pack."""
    size: int
    head: Head | None
    """None for bytes that are no record."""
    body: bytes
    torn: bool = False
    """True for bytes after which the pack has no record any more, as a crash leaves them."""


def scan(data: bytes, at: int = LEAD_SIZE) -> Iterator[Met]:
    """All records of a pack from an offset on, and the holes between them, without gap."""
    size = len(data)
    while at < size:
        found = head(data, at)
        if found is not None:
            stop = at + HEAD_SIZE + found.packed
            body = data[at + HEAD_SIZE : stop]
            if sound(found, body):
                yield Met(at, stop - at, found, body)
                at = stop
                continue
        after = _next(data, at + 1)
        yield Met(at, after - at, None, b"", torn=after == size)
        at = after


def _next(data: bytes, at: int) -> int:
    """Offset of the next sound record, or the end."""
    while True:
        at = data.find(MAGIC, at)
        if at < 0:
            return len(data)
        found = head(data, at)
        if found is not None and sound(found, data[at + HEAD_SIZE : at + HEAD_SIZE + found.packed]):
            return at
        at += 1
