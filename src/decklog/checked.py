"""Lines that tell whether they are whole: a checksum, a space, the text.

The checksum is the CRC-32 of the text in eight hex digits. A damaged line costs itself and no
other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar
from zlib import crc32

import msgspec

from decklog import durable

T = TypeVar("T")


def line(text: bytes) -> bytes:
    """The line for a text, which holds no newline."""
    return b"%08x %b\n" % (crc32(text), text)


def texts(data: bytes, decode: Callable[[bytes], T]) -> Iterator[T | None]:
    """Each whole line, decoded; None for one that is damaged."""
    for one in data.split(b"\n")[:-1]:
        checksum, _, text = one.partition(b" ")
        try:
            yield decode(text) if int(checksum, 16) == crc32(text) else None
        except (ValueError, msgspec.MsgspecError):
            yield None


def read(path: str, offset: int = 0) -> tuple[bytes, int]:
    """(what stands after the offset, inode); nothing of a file that is not there.

    Raises `decklog.errors.WriteError`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", 0
    except OSError as error:
        raise durable.failed(path, error) from None
    try:
        st = os.fstat(fd)
        size = st.st_size - offset
        return (os.pread(fd, size, offset) if size > 0 else b""), st.st_ino
    finally:
        os.close(fd)
