"""The index of events: one packed row for each batch, since events are many and read in runs.

For each event: when (milliseconds UTC; absent: NOWHEN), where in the source (offset and length of
its record), what kind (a number of KINDS) and whose (the part of the source).
Sequence numbers run without gaps from the first.
"""

from __future__ import annotations

import zlib
from array import array
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

NOWHEN = -1

COLUMNS = ("q", "q", "I", "H", "B")
"""Type codes of at, offset, length, part and kind, each stored as a column."""


KIND_NAMES = (
    "session_started",
    "user_message",
    "assistant_message",
    "reasoning",
    "tool_call",
    "tool_result",
    "permission",
    "provider_status",
    "stderr",
    "parse_warning",
    "session_cleared",
    "session_ended",
    "session_result",
    "heartbeat",
    "usage",
    "user_event",
    "usage_limit_hit",
    "usage_limit_resumed",
    "usage_limit_resume_failed",
    "compacted",
    "forked",
    "state_changed",
)
KINDS = {name: number for number, name in enumerate(KIND_NAMES)}
"""Number of each event kind."""


def pack(values: Sequence[int]) -> bytes:
    """The values of consecutive events (at, offset, length, part, kind, one event after the other)
    as one blob: by column and then compressed, which takes a third of the space."""
    columns = (array(code, values[i :: len(COLUMNS)]) for i, code in enumerate(COLUMNS))
    return zlib.compress(b"".join(column.tobytes() for column in columns), 1)


class Places:
    """Where single events are; keeps the last row unpacked."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self._source = -1
        self._seqs = range(0)
        self._kept: list[Any] = []

    def __call__(self, source: int, seq: int) -> tuple[int, int, int, int, int] | None:
        """(at, offset, length, part, kind) of an event of a source; None when it is not known."""
        if source != self._source or seq not in self._seqs:
            row = self.db.execute(
                """select first, events, body from event where source = ? and first <= ?
                order by first desc limit 1""",
                (source, seq),
            ).fetchone()
            if row is None or seq >= row[0] + row[1]:
                return None
            self._source, self._seqs = source, range(row[0], row[0] + row[1])
            self._kept = _columns(row[1], row[2])
        at, offset, length, part, kind = (c[seq - self._seqs.start] for c in self._kept)
        return at, offset, length, part, kind


def _columns(events: int, body: bytes) -> list[Any]:
    body = zlib.decompress(body)
    columns = []
    start = 0
    for code in COLUMNS:
        column = array(code)
        end = start + column.itemsize * events
        column.frombytes(body[start:end])
        columns.append(column)
        start = end
    return columns


def unpack(
    first: int, events: int, body: bytes
) -> Iterator[tuple[int, int | None, int, int, int, int]]:
    """(seq, at, offset, length, part, kind) of each event in a blob."""
    for seq, at, offset, length, part, kind in zip(count(first), *_columns(events, body)):
        yield seq, None if at == NOWHEN else at, offset, length, part, kind
