"""The files of dictionaries: each is spread over five, of which any one may be lost or damaged.

All that was packed with a dictionary goes with it, so it must not hang on one file; and a second
copy would be a good part of a small archive. Its packed bytes are cut into parts of one length, and
one file more holds their exclusive or, from which any one of them can be made anew.

Each file is a lead and a record; the body begins with what is said of the whole::

    length of the packed bytes   their crc32   raw bytes in sight when it was learned
    u64                          u32           u64
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from contextlib import suppress
from functools import reduce
from operator import xor
from zlib import crc32

import zstandard

from decklog import durable
from decklog.archive import packs, records
from decklog.archive.dictionary import Packing

PARTS = 4
LEVEL = 9
_WHOLE = struct.Struct("<QIQ")


def numbers(folder: str) -> list[int]:
    """Those of the dictionaries in a folder, also of what is left of one."""
    found = set()
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            first, _, rest = name.partition("-")
            number = rest.partition(".")[0]
            if first == "dictionary" and name.endswith(".dla") and number.isdecimal():
                found.add(int(number))
    return sorted(found)


class Dictionary:
    """One dictionary of the archive in a folder, by its number."""

    def __init__(self, folder: str, number: int) -> None:
        self.number = number
        base = os.path.join(folder, f"dictionary-{number}")
        names = [*(f"part-{i}" for i in range(1, PARTS + 1)), "parity"]
        self.files = [f"{base}.{name}.dla" for name in names]
        self.copies = [f"{base}.dla", f"{base}.twin.dla"]
        """It stands in these, whole, if it was learned before there were parts."""

    def write(self, content: bytes, in_sight: int) -> None:
        """Raises WriteError."""
        packed = zstandard.ZstdCompressor(level=LEVEL).compress(content)
        whole = _WHOLE.pack(len(packed), crc32(packed), in_sight)
        size = -(-len(packed) // PARTS)
        parts = [packed[i * size : (i + 1) * size].ljust(size, b"\0") for i in range(PARTS)]
        for i, part in enumerate([*parts, _parity(parts)]):
            self._write(i, whole + part)

    def read(self) -> tuple[bytes, int]:
        """(content, raw bytes in sight when it was learned).

        Raises ValueError when more is lost than can be made anew.
        """
        for path in self.copies:
            with suppress(OSError, ValueError):
                head, body = _record(path, self.number)
                return Packing().unpack(head.codec, body, head.raw), head.offset
        bodies = self._mended()
        length, checksum, in_sight = _WHOLE.unpack_from(bodies[0])
        packed = b"".join(body[_WHOLE.size :] for body in bodies[:PARTS])[:length]
        if crc32(packed) != checksum:
            raise ValueError(f"dictionary {self.number} is damaged")
        size = zstandard.get_frame_parameters(packed).content_size
        if size > records.MAX_DICTIONARY:
            raise ValueError(f"dictionary {self.number} is too large")
        return Packing().unpack(records.ZSTD, packed, size), in_sight

    def wrong(self) -> list[str]:
        """Files that are lost or damaged, while there is enough to make them anew."""
        if any(map(os.path.exists, self.copies)):
            return []
        return [path for path, body in zip(self.files, self._bodies(), strict=True) if not body]

    def mend(self) -> list[str]:
        """Make anew what is lost or damaged; what stood there is kept beside.

        Gives the names of what is kept, or else of the new files. Raises ValueError, WriteError.
        """
        bodies, wrong, kept = self._mended(), self.wrong(), []
        for i, path in enumerate(self.files):
            if path in wrong:
                kept.append(durable.set_aside(path, "verify") if os.path.exists(path) else path)
                self._write(i, bodies[i])
        return kept

    def _write(self, i: int, body: bytes) -> None:
        made = records.record(records.DICTIONARY, self.number, body, dictionary=i)
        durable.replace(self.files[i], records.LEAD + made)

    def _bodies(self) -> list[bytes]:
        """The body of each file that is of one make with most others; of another one nothing."""
        bodies = []
        for i, path in enumerate(self.files):
            body = b""
            with suppress(OSError, ValueError):
                head, body = _record(path, self.number)
                body = body if head.dictionary == i else b""
            bodies.append(body)
        made = Counter((body[: _WHOLE.size], len(body)) for body in bodies if body)
        most = made.most_common(1)
        return [b if most and (b[: _WHOLE.size], len(b)) == most[0][0] else b"" for b in bodies]

    def _mended(self) -> list[bytes]:
        """The bodies of all files. Raises ValueError when more than one is lost or damaged."""
        bodies = self._bodies()
        sound = [body for body in bodies if body]
        if len(sound) > PARTS:
            return bodies
        if len(sound) < PARTS:
            raise ValueError(f"dictionary {self.number} is lost or damaged")
        lost = sound[0][: _WHOLE.size] + _parity([body[_WHOLE.size :] for body in sound[:PARTS]])
        return [body or lost for body in bodies]


def _parity(parts: list[bytes]) -> bytes:
    """The exclusive or of byte strings of one length."""
    made = reduce(xor, (int.from_bytes(part, "little") for part in parts))
    return made.to_bytes(len(parts[0]), "little")


def _record(path: str, number: int) -> tuple[records.Head, bytes]:
    """The one record of a file. Raises OSError, ValueError."""
    for met in packs.scan(path):
        if met.head is None or (met.head.kind, met.head.copy) != (records.DICTIONARY, number):
            break
        return met.head, met.body
    raise ValueError("no dictionary")
