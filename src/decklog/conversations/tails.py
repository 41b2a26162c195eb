"""Files of lines read from their end, in bounded steps."""

from __future__ import annotations

import os
from collections.abc import Iterator

BLOCK = 64 * 1024
"""Bytes read at a time; a line that is longer is read in steps that double."""


def backwards(fd: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Lines that begin before ``end``, last first, each with its offset and without its newline.

    Reads little more than the lines that are asked for. Empty lines are left out; what stands
    after the last newline is a line too.
    """
    held, start, step = b"", end, BLOCK
    while start > 0:
        size = min(step, start)
        start -= size
        first, newline, rest = (os.pread(fd, size, start) + held).partition(b"\n")
        held = first
        if not newline:
            step *= 2
            continue
        step = BLOCK
        at = start + len(first) + 1 + len(rest)
        for line in reversed(rest.split(b"\n")):
            at -= len(line)
            if line:
                yield at, line
            at -= 1
    if held:
        yield 0, held
