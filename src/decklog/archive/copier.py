"""What is read of a source, as records of the archive. Lives in the process that reads.

Nothing is written here: the records go to the one process that writes, together with the rows
that were read from the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple
from zlib import crc32

from decklog.archive import records
from decklog.archive.dictionary import BLOCK_SIZE, Packing
from decklog.archive.index import Block

DOCUMENT_BLOCK = 16 << 10
"""Raw bytes of a block of a document: small, since equal ones are shared between versions."""
STEP = 4 << 20


class Known(NamedTuple):
    """What the archive has of a source before it is read."""

    id: int
    """Of the copy that goes on; of one that is to be begun, its new id."""
    stop: int = 0
    """Bytes that are there already."""
    tail: tuple[tuple[int, int, int], ...] = ()
    """(offset, raw, crc) of the blocks past the last whole record: an unfinished line."""
    begin: bytes = b""
    """The record that begins the copy, if it has to be begun."""
    previous: int = 0
    """The version of a document before this one."""
    blocks: tuple[Block, ...] = ()
    """Its blocks."""


class Copier:
    """Makes the records of one source that is appended to, from its bytes in order."""

    def __init__(self, packing: Packing, known: Known) -> None:
        self.packing, self.known = packing, known
        self.stop = known.stop
        """Bytes for which there are records."""
        self._made: list[bytes] = [known.begin] if known.begin else []
        self._held = b""
        """Bytes from ``stop`` on that no block has been made of."""
        self._doubt = b""
        """Bytes that stand where the archive has an unfinished line, until they are compared."""
        self._tail = list(known.tail)

    def add(self, at: int, data: bytes) -> None:
        """Bytes of the source as they were read; those that are archived are passed over."""
        if self._tail:
            data, at = self._compare(at, data)
        skip = self.end - at
        if skip > 0:
            data = data[skip:]
        elif skip < 0:
            raise ValueError(f"a gap of {-skip} bytes before {at}")
        if data:
            self._take(data)

    def _compare(self, at: int, data: bytes) -> tuple[bytes, int]:
        """Keep the archived end of an unfinished line if it is what stands there now."""
        start = self.known.tail[0][0]
        if at + len(data) <= start:
            return b"", self.end
        self._doubt += data[max(0, start - at) :]
        while self._tail:
            offset, raw, crc = self._tail[0]
            piece = self._doubt[offset - start : offset - start + raw]
            if len(piece) < raw:
                return b"", self.end
            if crc32(piece) != crc:
                self.stop = offset
                break
            del self._tail[0]
        self._tail = []
        rest, self._doubt = self._doubt, b""
        return rest, start

    def _take(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        size = len(held)
        view = memoryview(held)
        done = 0
        last = held.rfind(b"\n") + 1
        while size - done >= BLOCK_SIZE:
            end = done + BLOCK_SIZE
            if done < last < end:  # what follows may be an unfinished line, and change
                end = last
            self._block(view[done:end])
            done = end
        self._held = held[done:] if done else held

    def _block(self, raw: bytes | memoryview) -> None:
        self._made.append(block(self.packing, self.known.id, self.stop, raw))
        self.stop += len(raw)

    @property
    def end(self) -> int:
        """Bytes taken, held ones included."""
        return self.stop + len(self._held)

    def flush(self, cursor: int) -> None:
        """Make blocks of all bytes before ``cursor``: one ends there, so that an unfinished line
        after it has blocks of its own."""
        size = cursor - self.stop
        if 0 < size <= len(self._held):
            self._block(self._held[:size])
            self._held = self._held[size:]

    def finish(self, cursor: int, size: int, mtime_ns: int, version: str) -> None:
        """The source was read to its end."""
        if self._tail:  # less is there than the archive has: the unfinished line was cut
            start = self.known.tail[0][0]
            self.stop, held = start, self._doubt
            self._tail, self._doubt = [], b""
            self._take(held)
        self.flush(cursor)
        if self._held:
            self._block(self._held)
            self._held = b""
        self._made.append(records.ended(self.known.id, self.stop, cursor, size, mtime_ns, version))

    def taken(self) -> list[bytes]:
        """The records made since the last call."""
        made, self._made = self._made, []
        return made


def block(packing: Packing, copy: int, offset: int, raw: bytes | memoryview) -> bytes:
    """The record of one block."""
    data = bytes(raw)
    codec, body = packing.pack(data)
    number = packing.number if codec == records.ZSTD else 0
    return records.record(
        records.BLOCK, copy, body, offset=offset, raw=data, codec=codec, dictionary=number
    )


def catch_up(copier: Copier, fd: int, stop: int) -> Iterator[None]:
    """Copy the bytes of a file up to ``stop`` that the archive does not have yet, step by step."""
    at = copier.stop
    while at < stop:
        data = os.pread(fd, min(STEP, stop - at), at)
        if not data:
            break
        copier.add(at, data)
        at += len(data)
        yield


def document(
    packing: Packing, known: Known, data: bytes, unpacked: Callable[[Block], bytes],
    size: int, mtime_ns: int, version: str, block_size: int = DOCUMENT_BLOCK,
) -> list[bytes]:  # fmt: skip
    """The records of a new version of a document.

    What did not change is not stored again: blocks that are equal to those of the version before
    are referred to, and a version that is equal as a whole is not begun. ``unpacked`` gives the
    bytes of such a block, or raises.
    """
    pieces = [(at, data[at : at + block_size]) for at in range(0, len(data), block_size)]
    old = {b.offset: b for b in known.blocks}
    shared = {at for at, raw in pieces if _equal(old.get(at), raw, unpacked)}
    whole = sum(b.raw for b in known.blocks) == len(data)
    if known.previous and whole and len(shared) == len(pieces):
        return [records.ended(known.previous, len(data), len(data), size, mtime_ns, version)]
    made = [known.begin]
    for at, raw in pieces:
        if at in shared:
            made.append(records.same(known.id, at, len(raw), known.previous, at))
        else:
            made.append(block(packing, known.id, at, raw))
    made.append(records.ended(known.id, len(data), len(data), size, mtime_ns, version))
    return made


def _equal(old: Block | None, raw: bytes, unpacked: Callable[[Block], bytes]) -> bool:
    if old is None or old.raw != len(raw) or old.crc != crc32(raw):
        return False
    try:
        return unpacked(old) == raw
    except Exception:  # damaged: stored again
        return False
