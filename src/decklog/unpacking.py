"""Compressed transcripts, unpacked within bounds. Importing this imports nothing heavy."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from decklog.sources import Opened, Reading

PIECE = 4 << 20
"""Bytes unpacked at a time."""
MAX_UNPACKED = 4 << 30
MAX_RATIO = 200


class Bomb(Exception):
    """A compressed file unpacks to far more than it may."""


class _Forward(io.RawIOBase):
    """Reads on from the beginning, as a decompressor wants it."""

    def __init__(self, opened: Opened) -> None:
        self.opened, self.at = opened, 0

    def read(self, size: int = -1) -> bytes:
        data = self.opened.read(self.at, PIECE if size < 0 else size)
        self.at += len(data)
        return data


def unpacked(opened: Opened, path: str) -> Reading:
    """Sequential reading of a zstd file; offsets are of the unpacked bytes.

    Reading raises Bomb, and OSError for what is no zstd.
    """
    import zstandard

    size = max(1, opened.size)
    stream = zstandard.ZstdDecompressor(max_window_size=64 << 20).stream_reader(
        cast("IO[bytes]", _Forward(opened)), read_across_frames=True
    )
    position = 0

    def unpack(n: int) -> bytes:
        try:
            return stream.read(n)
        except zstandard.ZstdError as error:
            raise OSError(f"{path}: {error}") from None

    def read(at: int, n: int) -> bytes:
        nonlocal position
        while position < at:
            got = len(unpack(min(PIECE, at - position)))
            if not got:
                return b""
            position += got
        data = unpack(n)
        position += len(data)
        if position > MAX_UNPACKED or (position > 64 << 20 and position > size * MAX_RATIO):
            raise Bomb(f"{path} unpacks to more than {position >> 20} MiB")
        return data

    return read
