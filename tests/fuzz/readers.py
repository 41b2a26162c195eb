"""Fuzzing of the readers: a mutated record among whole ones, and what must hold all the same.

* No exception, whatever the record, and no record takes a second of processor time.
* A record that is broken altogether leaves no trace: what stands behind it is read as if it were
  not there. A record that is merely odd takes nothing away from those behind it.
* A record that was cut states no usage that it did not state before.
* A whole record behind a torn one is read.
* Whoever goes on from `Reader.state` reads on as if there had been no stop; so does whoever reads
  without text. The state grows by no more than was read.
* The rows that come of it can be stored.
"""

from __future__ import annotations

import signal
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec

from decklog import agents, pricing, reading
from decklog.agents import Agent
from decklog.model import (
    AssistantMessage,
    Cursor,
    ParseWarning,
    Reasoning,
    Ref,
    Source,
    ToolCalled,
    ToolReturned,
    UsageReported,
    UserMessage,
)
from decklog.store.rows import Batch, Rows
from decklog.testing import documents, lines
from fuzz.mutations import Record, mutated

FIXTURES = Path(__file__).parent.parent / "agents"
BEHIND = 2
"""Whole records that are read after the mutated one."""
SECONDS = 3.0
"""Of processor time for all the readings of one run together; a busy machine makes them longer."""
KEPT = 6
"""Bytes by which a state may grow for each that was read: so many places keep a session's id."""
SPOILED = frozenset({"damaged", "too_deep"})
SAID = (UserMessage, AssistantMessage, Reasoning, ToolCalled, ToolReturned)
COUNTERS = frozenset({"codex"})
"""Agents that record running totals: what a response used is the difference to the one before."""
REWRITING = frozenset({"gemini"})
"""Agents that write their history anew: a prompt may be one that was there before."""


class Place(NamedTuple):
    """A record of a fixture, with the reader's state before it and what is read behind it."""

    cursor: Cursor
    beside: dict[str, bytes]
    seq: int
    record: Record
    behind: tuple[tuple[bytes, Ref], ...]
    without: list[Any]
    """Events behind it when it is left out."""
    sure: list[Any]
    """Events behind it that are the same with and without it."""
    usage: Counter[Any]
    """What the whole record itself states to have been used."""


class Violation(AssertionError):
    pass


class Hang(BaseException):
    """Not an Exception: nothing that is fuzzed may take it for its own."""


@contextmanager
def watchdog() -> Iterator[Callable[[bool], None]]:
    """Gives a switch: while it is on, SECONDS of processor time end in `Hang`."""

    def bark(*_: object) -> None:
        raise Hang

    old = signal.signal(signal.SIGVTALRM, bark)
    try:
        yield lambda on: signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS if on else 0) and None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)


class Fuzz:
    """All places of one agent's fixtures."""

    def __init__(self, agent: Agent | str, fixtures: Path = FIXTURES) -> None:
        self.a = agents.get(agent) if isinstance(agent, str) else agent
        self.places: list[Place] = []
        for home in sorted((fixtures / self.a.name).glob("*/input")):
            for uri, kind, data in documents(self.a, home):
                beside = reading.companions(self.a, uri.partition("#")[0])
                self._add(uri, kind, beside, lines(uri) if data is None else [(0, data)])
        self.records = [p.record for p in self.places]
        self.ends = list(accumulate(len(r.data) for r in self.records))

    def _add(
        self, uri: str, kind: str, beside: dict[str, bytes], found: Sequence[tuple[int, bytes]]
    ) -> None:
        source = Source(agent=self.a.name, uri=uri, kind=kind)  # type: ignore[arg-type]
        going = self._reader(Cursor(source=source), beside)
        for n, (offset, data) in enumerate(found):
            cursor, seq = Cursor(source=source, state=going.state()), going.s.seq
            own = going.feed(data, Ref(uri, offset, len(data), n + 1))
            if not data.strip():
                continue
            behind = tuple(
                (x, Ref(uri, 10**9 + i, len(x), 10**6 + i))
                for i, (_, x) in enumerate(found[n + 1 : n + 1 + BEHIND])
            )
            after = Cursor(source=source, state=going.state())
            without = _read(self._reader(cursor, beside), behind)
            with_it = _read(self._reader(after, beside), behind)
            keys = {_key(e) for e in with_it}
            sure = [e for e in without if self._own(e) and _key(e) in keys]
            self.places.append(
                Place(cursor, beside, seq, Record.of(data), behind, without, sure, _used(own))
            )

    def _reader(self, cursor: Cursor, beside: dict[str, bytes], text: bool = True) -> Any:
        return self.a.reader(cursor, text=text, companions=beside)

    def _own(self, e: Any) -> bool:
        """True for what a record says by itself, whatever was before it. A running counter does
        not, nor does a total that states what is left over (rank 0)."""
        if type(e) is UsageReported:
            return bool(e.rank) and self.a.name not in COUNTERS
        return isinstance(e, SAID) and not (type(e) is UserMessage and self.a.name in REWRITING)

    def run(self, seed: int, runs: Sequence[int]) -> int:
        """The numbered runs of a seed; how many held. Raises Violation for the first that does not.

        A number stands for the same run wherever it is done, so that runs can be dealt out.
        """
        done = 0
        r = Random()
        with watchdog() as watch:
            for number in runs:
                r.seed(seed << 40 | number)
                place, data, names = self._case(r, number)
                watch(True)
                try:
                    self._hold(place, data, names, r.random())
                except Hang:
                    raise self._violation(place, data, names, seed, number, "hangs") from None
                except Exception as error:
                    what = str(error) if isinstance(error, Violation) else repr(error)
                    raise self._violation(place, data, names, seed, number, what) from error
                finally:
                    watch(False)
                done += 1
        return done

    def _case(self, r: Random, number: int) -> tuple[Place, bytes, tuple[str, ...]]:
        if number % 8 == 0:  # cut at every place there is, in turn
            at = (number // 8) * 7_919 % self.ends[-1]
            n = bisect_right(self.ends, at)
            data = self.records[n].data
            return self.places[n], data[: at - self.ends[n] + len(data)], ("cut",)
        place = r.choice(self.places)
        if place.cursor.source.kind != "jsonl":  # of documents the short ones more often
            place = min(place, *r.choices(self.places, k=2), key=lambda p: len(p.record.data))
        return place, *mutated(r, place.record, self.records)

    def _violation(
        self, p: Place, data: bytes, names: tuple[str, ...], seed: int, number: int, what: str
    ) -> Violation:
        return Violation(
            f"{self.a.name}, seed {seed}, run {number} ({', '.join(names)}): {what}\n"
            f"  {p.cursor.source.uri}\n  {data[:3000]!r}"
        )

    # -- what must hold ------------------------------------------------------------------------

    def _hold(self, p: Place, data: bytes, names: tuple[str, ...], chance: float) -> None:
        source = p.cursor.source
        reader = self._reader(p.cursor, p.beside)
        pieces = [data] if source.kind != "jsonl" else data.split(b"\n")
        own: list[Any] = []
        spoilt = True
        at = 10**6
        for piece in pieces:
            events = reader.feed(piece, Ref(source.uri, at, len(piece), 1000))
            spoilt = spoilt and _spoilt(piece, events)
            own += events
            at += len(piece) + 1
        if spoilt:
            reader.s.seq = p.seq  # so that what is behind it is numbered as if it were not there
        state = reader.state()
        if len(state) > len(p.cursor.state) + KEPT * len(data) + 4096:
            raise Violation(f"the state grew from {len(p.cursor.state)} to {len(state)} bytes")
        behind = _read(reader, p.behind)
        msgspec.json.encode(own)
        self._neighbours(p, data, spoilt, own, behind)
        if names == ("cut",) and (invented := _used(own) - p.usage):
            raise Violation(f"a cut record states {invented}")
        # the rest takes as long as all this: each in its share of the runs
        if chance < 0.25:
            again = _read(self._reader(Cursor(source=source, state=state), p.beside), p.behind)
            if again != behind:
                raise Violation(f"after a stop:\n{again}\nwithout one:\n{behind}")
        elif chance < 0.5:
            lean = self._reader(p.cursor, p.beside, text=False)
            seen: list[Any] = []
            for piece in pieces:
                seen += lean.feed(piece, Ref(source.uri, 0, len(piece), 1000))
            if [_frame(e) for e in seen] != [_frame(e) for e in own]:
                raise Violation(f"without text:\n{seen}\nwith:\n{own}")
        else:
            rows = Rows(1, self.a.name, pricing.price, _day, reader.facts)
            rows.add(own)
            rows.add(behind)
            assert_can_be_stored(rows.batch((0, 0, 0, 0), 0, 0, b"", state), numbers=chance < 0.75)

    def _neighbours(
        self, p: Place, data: bytes, spoilt: bool, own: list[Any], behind: list[Any]
    ) -> None:
        if not p.behind:
            return
        if spoilt:
            if behind != p.without:
                raise Violation(f"behind a broken record:\n{behind}\nwithout it:\n{p.without}")
            return
        said = {_key(e) for e in own} | {_key(e) for e in behind}
        for e in p.sure:
            # A record may well say something that is another's: then it is not said again.
            ids = (e.uid.partition(":")[0], getattr(e, "message_id", None))
            if _key(e) not in said and not any(i and i.encode() in data for i in ids):
                raise Violation(f"lost behind an odd record: {e}")


def _spoilt(piece: bytes, events: Sequence[Any]) -> bool:
    """True when no part of a record was understood: the warnings cover all of it."""
    if any(type(e) is not ParseWarning or e.reason not in SPOILED for e in events):
        return False
    return sum(e.ref.length for e in events) >= len(piece.strip())


def _read(reader: agents.Reader, records: Sequence[tuple[bytes, Ref]]) -> list[Any]:
    return [e for data, ref in records for e in reader.feed(data, ref)]


def _key(e: Any) -> tuple[Any, ...]:
    """What an event says, wherever it stands."""
    if type(e) is UsageReported:
        return UsageReported, e.usage
    return type(e), getattr(e, "content", None) or getattr(e, "tool_id", None)


def _used(events: Sequence[Any]) -> Counter[Any]:
    return Counter((e.key, e.usage) for e in events if type(e) is UsageReported)


def _frame(e: Any) -> tuple[Any, ...]:
    """What of an event is the same with and without text."""
    usage = e.usage if type(e) is UsageReported else None
    return type(e), e.seq, e.at, e.session, e.ref.length, usage


def _day(at: int) -> str:
    return "2026-01-01"


def assert_can_be_stored(batch: Batch, numbers: bool = False) -> None:
    """Raises Violation for a value that a database does not take: a text that is none, a number of
    more than 64 bits. The latter are looked for one by one, which takes its time, if asked for."""
    try:
        msgspec.msgpack.encode(batch)
    except (UnicodeEncodeError, OverflowError) as error:
        raise Violation(f"a row that cannot be stored: {error}") from None
    todo: list[Any] = [*batch] if numbers else []
    while todo:
        value = todo.pop()
        if isinstance(value, (list, tuple)):
            todo += value
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Violation(f"a number of more than 64 bits: {value}")
