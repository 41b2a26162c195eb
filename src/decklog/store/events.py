"""The index of events: one packed row for each batch, since events are many and read in runs.

For each event: when (milliseconds UTC; absent: NOWHEN), where in the source (offset and length of
its record), what kind (a number of `decklog.store.rows.KINDS`) and whose (the part of the source).
Sequence numbers run without gaps from the first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import count

NOWHEN = -1

COLUMNS = ("q", "q", "I", "H", "B")
"""Type codes of at, offset, length, part and kind, each stored as a column."""


def pack(events: Sequence[tuple[int, int, int, int, int]]) -> bytes:
    """(at, offset, length, part, kind) of consecutive events as one blob."""
    columns = zip(*events, strict=True)
    return b"".join(
        array(code, column).tobytes() for code, column in zip(COLUMNS, columns, strict=True)
    )


def unpack(
    first: int, events: int, body: bytes
) -> Iterator[tuple[int, int | None, int, int, int, int]]:
    """(seq, at, offset, length, part, kind) of each event in a blob."""
    columns = []
    start = 0
    for code in COLUMNS:
        column = array(code)
        end = start + column.itemsize * events
        column.frombytes(body[start:end])
        columns.append(column)
        start = end
    for seq, at, offset, length, part, kind in zip(count(first), *columns):
        yield seq, None if at == NOWHEN else at, offset, length, part, kind
