"""Totals that a captured run states at its end, reconciled with the responses recorded in it."""

from __future__ import annotations

from msgspec import Struct

from decklog.model import Usage

RECENT = 16
"""Responses whose records may still be interleaved."""
NOTHING = (0, 0, 0, 0)

Four = tuple[int, int, int, int]
"""input, output, cache writes, cache reads"""


class Totals(Struct):
    """What one source records and what it states, by session and model."""

    recorded: dict[str, list[int]] = {}
    recent: dict[str, tuple[str, Four]] = {}
    """Figures of recent responses by key, so that a later record of one replaces the earlier."""
    stated: dict[str, Four] = {}
    """The last stated totals. They grow until the process ends; a new one starts at zero."""
    ended: dict[str, list[int]] = {}
    """Last totals of processes that came before."""

    def record(self, session: str, model: str, key: str, usage: Usage) -> None:
        """Take in a record of a response."""
        now = (usage.input, usage.output, usage.cache_write, usage.cache_read)
        recent = self.recent
        before = recent.get(key)
        place = f"{session}|{model}"
        if before is not None:
            if before[1] == now and before[0] == place:
                return
            _add(self.recorded[before[0]], before[1], -1)
        elif len(recent) >= RECENT:
            del recent[next(iter(recent))]
        recent[key] = (place, now)
        total = self.recorded.get(place)
        if total is None:
            total = self.recorded[place] = [0, 0, 0, 0]
        _add(total, now, 1)

    def state(self, session: str, model: str, now: Four) -> Usage:
        """Take in a stated total; returns what the recorded responses lack of all stated ones."""
        place = f"{session}|{model}"
        ended = self.ended.setdefault(place, [0, 0, 0, 0])
        last = self.stated.get(place, NOTHING)
        if any(a < b for a, b in zip(now, last, strict=True)):
            _add(ended, last, 1)
        self.stated[place] = now
        recorded = self.recorded.get(place, NOTHING)
        rest = [max(0, e + n - r) for e, n, r in zip(ended, now, recorded, strict=True)]
        return Usage(input=rest[0], output=rest[1], cache_write=rest[2], cache_read=rest[3])


def _add(total: list[int], figures: Four, sign: int) -> None:
    for i in range(4):
        total[i] += sign * figures[i]
