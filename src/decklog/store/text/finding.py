"""Which documents answer a query, and in what order. Imports nothing heavy.

Newest first is exact, yet does not look at every place of a common word: documents are numbered in
the order they were read, which mostly is that of their times, and each run of them knows its
**ceiling**: the latest time of all documents up to it. Going down from the highest number, nothing
newer can come once the ceiling is below what was found.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import nsmallest

from decklog.store.events import Places
from decklog.store.sql import SEARCHED, session_conditions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from decklog.store.text import Shard

FEW = 256
"""Runs that are gone through one by one, before all are looked up in one go."""


class Found:
    """A document that answers a query."""

    __slots__ = ("at", "part", "score", "seq", "session", "source")

    def __init__(
        self, at: int, session: str, seq: int, source: int, part: int, score: float = 0.0
    ) -> None:
        self.at = at
        """Milliseconds UTC; NOWHEN where the event has no time."""
        self.session, self.source, self.part = session, source, part
        self.seq = seq
        """Below zero: the title of the part."""
        self.score = score
        """Lower is better; 0 where it was not asked for."""

    @property
    def key(self) -> tuple[int, str, int]:
        """Newest first is ascending by this."""
        return (-self.at, self.session, -self.seq)


class Finder:
    """Answers one query from the shards of a store."""

    def __init__(self, store: Any, match: str, where: dict[str, Any]) -> None:
        """``where``: agents, projects, models, since, until (milliseconds, UTC)."""
        self.db = store.db
        self.places = Places(store.db)
        self.match = match
        conditions, self.values = session_conditions(where)
        self.since: int | None = where.get("since")
        self.until: int | None = where.get("until")
        self.shards: list[Shard] = store.shards()
        self._parts: dict[int, tuple[dict[int, str], bool]] = {}
        self._all_parts = False
        self._old: set[int] = set()
        """Sources that were read before their file was rewritten."""
        self._parts_sql = f"""select p.part, p.session, exists(select 1 from part q
            where q.source = p.source and q.part > 0), p.superseded from part p
            join session s on s.name = p.session join source src on src.id = p.source
            where {conditions} and {SEARCHED.replace("s.uri", "src.uri")}"""

    # -- newest first --------------------------------------------------------------------------

    def newest(self, limit: int, after: tuple[int, str, int] | None = None) -> list[Found]:
        """The newest places, those past the key ``after`` of a place before."""
        best: list[Found] = []
        for shard in self.shards:
            found = self._down(shard, limit, after, best)
            best = self._every(shard, limit, after, best) if found is None else found
        return sorted(best, key=_key)

    def _down(
        self, shard: Shard, limit: int, after: tuple[int, str, int] | None, best: list[Found]
    ) -> list[Found] | None:
        """The best so far and those of a shard; None when there is too much to go through."""
        best = list(best)
        numbers: list[int] = []
        run: tuple[int, int, int] | None = None
        runs = 0
        sql = "select rowid from words where words match ? order by rowid desc"
        for (number,) in shard.db.execute(sql, (self.match,)):
            if run is not None and number < run[0]:
                best = self._with(best, shard, run, numbers, limit, after)
                numbers, run = [], None
            if run is None:
                run = _run_of(shard, number)
                runs += 1
                if len(best) == limit and run[2] < best[-1].at:
                    return best
                if runs > FEW:
                    return None
            numbers.append(number)
        return self._with(best, shard, run, numbers, limit, after) if run else best

    def _with(
        self,
        best: list[Found],
        shard: Shard,
        run: tuple[int, int, int],
        numbers: list[int],
        limit: int,
        after: tuple[int, str, int] | None,
    ) -> list[Found]:
        found = [*best, *self._found(shard, run[1], run[0], numbers, after)]
        return nsmallest(limit, self._once(found), key=_key)

    def _once(self, found: list[Found]) -> list[Found]:
        """Without what a rewritten file still says in the same place of its session."""
        if self._old.isdisjoint(f.source for f in found):
            return found
        now = {(f.at, f.session) for f in found if f.source not in self._old}
        return [f for f in found if f.source not in self._old or (f.at, f.session) not in now]

    def _every(
        self, shard: Shard, limit: int, after: tuple[int, str, int] | None, best: list[Found]
    ) -> list[Found]:
        """The same by the times of whole runs, whatever their numbers."""
        self._load_parts()
        runs = sorted(_by_run(shard, self._numbers(shard)), key=lambda r: -r[2])
        for first, source, last_at, numbers in runs:
            if len(best) == limit and last_at < best[-1].at:
                break
            best = self._with(best, shard, (first, source, 0), numbers, limit, after)
        return best

    def _numbers(self, shard: Shard) -> list[int]:
        sql = "select rowid from words where words match ?"
        return [r[0] for r in shard.db.execute(sql, (self.match,))]

    def _found(
        self,
        shard: Shard,
        source: int,
        first: int,
        numbers: Sequence[int],
        after: tuple[int, str, int] | None = None,
    ) -> Iterator[Found]:
        """Those documents of a run that are wanted."""
        if not numbers:
            return
        parts, mixed = self._parts_of(source)
        if not parts:
            return
        run = shard.run(first)
        for n in numbers:
            at, seq = run[n - first]
            if self.until is not None and at >= self.until:
                continue
            if self.since is not None and at < self.since:
                continue
            part = -1 - seq if seq < 0 else 0
            if seq >= 0 and mixed:
                event = self.places(source, seq)
                if event is None:
                    continue
                part = event[3]
            session = parts.get(part)
            if session is None:
                continue
            found = Found(at, session, seq, source, part)
            if after is None or found.key > after:
                yield found

    # -- best first ----------------------------------------------------------------------------

    def best(self, limit: int, skip: int = 0) -> list[Found]:
        """The places that match best, by BM25; of equal ones the newer first."""
        wanted = limit + skip
        found: list[Found] = []
        for shard in self.shards:
            some = 0
            sql = "select rowid, rank from words where words match ? order by rank"
            for number, score in shard.db.execute(sql, (self.match,)):
                first, source, _ = _run_of(shard, number)
                for one in self._found(shard, source, first, (number,)):
                    one.score = score
                    found.append(one)
                    some += 1
                if some >= wanted:
                    break
        return nsmallest(wanted, self._once(found), key=lambda f: (f.score, f.key))[skip:]

    # -- how many ------------------------------------------------------------------------------

    def count(self) -> int:
        """How many places there are."""
        self._load_parts()
        timed = self.since is not None or self.until is not None
        total = 0
        for shard in self.shards:
            for first, source, _, numbers in _by_run(shard, self._numbers(shard)):
                parts, mixed = self._parts_of(source)
                if parts and not timed and not mixed:
                    total += len(numbers)
                else:
                    total += sum(1 for _ in self._found(shard, source, first, numbers))
        return total

    # -- sessions ------------------------------------------------------------------------------

    def _parts_of(self, source: int) -> tuple[dict[int, str], bool]:
        """Session of each part of a source that is wanted; whether the source has several."""
        known = self._parts.get(source)
        if known is None:
            if self._all_parts:
                return _NONE
            known = self._parts[source] = ({}, False)
            for part, session, mixed, old in self.db.execute(
                f"{self._parts_sql} and p.source = ?", (*self.values, source)
            ):
                known[0][part] = session
                if old:
                    self._old.add(source)
                known = self._parts[source] = (known[0], bool(mixed))
        return known

    def _load_parts(self) -> None:
        if self._all_parts:
            return
        sql = self._parts_sql.replace("select ", "select p.source, ", 1)
        self._parts.clear()
        for source, part, session, mixed, old in self.db.execute(sql, self.values):
            if old:
                self._old.add(source)
            parts, _ = self._parts.get(source) or ({}, False)
            parts[part] = session
            self._parts[source] = (parts, bool(mixed))
        self._all_parts = True


_NONE: tuple[dict[int, str], bool] = ({}, False)


def _key(found: Found) -> tuple[int, str, int]:
    return found.key


def _run_of(shard: Shard, number: int) -> tuple[int, int, int]:
    """(first number, source, ceiling) of the run that a document is in."""
    row: tuple[int, int, int] = shard.db.execute(
        "select first, source, ceiling from run where first <= ? order by first desc limit 1",
        (number,),
    ).fetchone()
    return row


def _by_run(shard: Shard, numbers: list[int]) -> Iterator[tuple[int, int, int, list[int]]]:
    """(first number, source, last time, numbers) of each run that some documents, in ascending
    order, are in."""
    runs = shard.db.execute("select first, source, last_at from run order by first").fetchall()
    starts = [r[0] for r in runs]
    at = 0
    while at < len(numbers):
        i = bisect_right(starts, numbers[at]) - 1
        stop = starts[i + 1] if i + 1 < len(starts) else numbers[-1] + 1
        end = bisect_right(numbers, stop - 1, at)
        yield *runs[i], numbers[at:end]
        at = end
