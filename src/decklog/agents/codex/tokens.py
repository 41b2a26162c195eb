"""Usage of provider responses, from records of single ones and from counters that only grow.

Codex writes two things: since 0.153 a ``token_usage_record`` for each response, and since 0.36
``token_count`` events with the total so far, which are repeated at will. A transcript may begin
with counters only and go on with both; a record then comes before the counter that includes it.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from decklog.agents.codex.records import Tokens
from decklog.model import Usage

Five: TypeAlias = tuple[int, int, int, int, int]
"""Input, of it cached, of it written to the cache; output, of it reasoning."""

_BITS = 53


def five(tokens: Tokens | None) -> Five:
    """The figures as recorded; one that is missing or absurd counts 0."""
    if tokens is None:
        return (0, 0, 0, 0, 0)
    a = tokens.input_tokens or 0
    b = tokens.cached_input_tokens or 0
    c = tokens.cache_write_input_tokens or 0
    d = tokens.output_tokens or 0
    e = tokens.reasoning_output_tokens or 0
    if (a | b | c | d | e) >> _BITS:  # a negative one shifts to -1
        a, b, c, d, e = (n if 0 <= n < 1 << _BITS else 0 for n in (a, b, c, d, e))
    return (a, b, c, d, e)


def usage(figures: Five) -> Usage:
    """Disjoint parts: Codex counts cached and written input as input, reasoning as output."""
    into, cached, written, out, reasoning = figures
    if cached + written > into:
        cached = min(cached, into)
        written = min(written, into - cached)
    return Usage(
        input=into - cached - written,
        cache_read=cached,
        cache_write=written,
        output=out,
        reasoning=reasoning if reasoning < out else out,
    )


class Ledger(Struct):
    """How far the counters of a transcript have been taken over."""

    total: tuple[int, ...] = ()
    """The last total; empty before the first."""
    pending: int = 0
    """Tokens of records that no counter has included yet."""
    recorded: bool = False
    """True once there was a record of a single response."""
    epoch: int = 0
    """How often the counter has started again."""
    context: int = 0
    """Input of the last response: about what the model had before it."""

    @property
    def untouched(self) -> bool:
        return not self.total and not self.recorded

    def record(self, figures: Five) -> None:
        """A response was recorded by itself: the counter that includes it adds nothing."""
        self.recorded = True
        self.pending += figures[0] + figures[3]
        self.context = figures[0]

    def count(self, total: Five, last: Five, *, branched: bool) -> Five | None:
        """What a counter adds to all before; None for nothing.

        A total that grows adds the difference. One that falls has started again (after a
        compaction, or when the context overflowed): it adds the last response. So does the first
        total of a ``branched`` transcript that begins with what its parent had used.
        """
        if last[0]:
            self.context = last[0]
        before = self.total
        if before == total:
            return None
        self.total = total
        if not before:
            fell = branched and any(last) and sum(total) > sum(last)
            added = last if fell else total
        else:
            a, b, c, d, e = before
            grown = (total[0] - a, total[1] - b, total[2] - c, total[3] - d, total[4] - e)
            fell = min(grown) < 0
            added = last if fell else grown
            self.epoch += fell
        if self.pending:
            self.pending = max(0, self.pending - added[0] - added[3])
            return None
        if not any(added) or (self.recorded and fell):
            return None
        return added
