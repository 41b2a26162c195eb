"""Totals that a captured run states at its end, reconciled with the responses recorded in it."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from decklog.model import Usage

RECENT = 16
"""Responses whose records may still be interleaved."""

Four: TypeAlias = tuple[int, int, int, int]
"""input, output, cache writes, cache reads"""
NOTHING: Four = (0, 0, 0, 0)


class Run(Struct):
    """What is known of one model in one session."""

    recorded: Four = NOTHING
    stated: Four = NOTHING
    """The last stated totals. They grow until the process ends; a new one starts at zero."""
    before: Four = NOTHING
    """Recorded when the current process began."""
    then: Four = NOTHING
    """Recorded when totals were stated last."""
    lacking: Four = NOTHING
    """What the records of processes that came before lack of their totals."""


class Totals(Struct):
    """What one source records and what it states."""

    runs: dict[str, Run] = {}
    """By session and model."""
    recent: dict[str, tuple[str, Four]] = {}
    """Figures of recent responses by key, so that a later record of one replaces the earlier."""
    stated: bool = False

    def record(self, session: str, model: str, key: str, usage: Usage) -> None:
        """Take in a record of a response."""
        place = f"{session}|{model}"
        now = (usage.input, usage.output, usage.cache_write, usage.cache_read)
        if key in self.recent:
            before, figures = self.recent[key]
            self.runs[before].recorded = _less(self.runs[before].recorded, figures)
        elif len(self.recent) >= RECENT:
            del self.recent[next(iter(self.recent))]
        self.recent[key] = (place, now)
        run = self.runs.setdefault(place, Run())
        run.recorded = _more(run.recorded, now)

    def state(self, session: str, model: str, now: Four) -> Usage:
        """Take in a stated total; returns what the recorded responses lack of all stated ones."""
        self.stated = True
        run = self.runs.setdefault(f"{session}|{model}", Run())
        if any(a < b for a, b in zip(now, run.stated, strict=True)):
            run.lacking = _more(run.lacking, _gap(run.stated, run.then, run.before))
            run.before = run.then
        run.stated, run.then = now, run.recorded
        rest = _more(run.lacking, _gap(now, run.recorded, run.before))
        return Usage(input=rest[0], output=rest[1], cache_write=rest[2], cache_read=rest[3])


def _more(a: Four, b: Four) -> Four:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])


def _less(a: Four, b: Four) -> Four:
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3])


def _gap(stated: Four, recorded: Four, before: Four) -> Four:
    own = _less(recorded, before)
    return (
        max(0, stated[0] - own[0]),
        max(0, stated[1] - own[1]),
        max(0, stated[2] - own[2]),
        max(0, stated[3] - own[3]),
    )
