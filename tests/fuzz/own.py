"""Fuzzing of what else is read that may be anything: settings, queries, packs of the archive, and
the files beside a transcript.

Nothing raises but `UsageError`, which names the file. What is whole in a pack is met in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from decklog import agents, config, pricing
from decklog.archive import records
from decklog.errors import UsageError
from decklog.model import Ref
from decklog.search import grammar
from decklog.store.rows import Rows
from fuzz.mutations import Record, mutated
from fuzz.readers import Fuzz, Hang, Violation, assert_can_be_stored, watchdog

Reading = Callable[[bytes, Random], object]
"""Reads some bytes; what else it needs it draws."""


def settings(seed: int, runs: Sequence[int]) -> int:
    whole = _records(
        b'tz = "Europe/Berlin"\njobs = 4\nsync = false\narchive = true\n',
        b"tz = 'UTC'  # here\njobs = 0x10\n[more]\nlist = [1, 2.5, {a = 1979-05-27}]\n",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.toml")
        env = {"HOME": folder, "DECKLOG_HOME": folder}

        def load(data: bytes, _: Random) -> None:
            path.write_bytes(data)
            try:
                config.load(env)
            except UsageError as error:
                if not str(error).startswith(str(path)):
                    raise Violation(f"does not name the file: {error}") from None

        return _held("settings", seed, runs, whole, load)


def queries(seed: int, runs: Sequence[int]) -> int:
    whole = _records(
        b'tool:bash "no such file" -test fi* OR dir* file:src/a.py role:user',
        b'agent:claude since:2026-01-01 until:"yesterday" project:me -"not this" "say \\"so\\""',
    )

    def ask(data: bytes, _: Random) -> None:
        try:
            query = grammar.parse(data.decode("utf-8", "replace"))
            grammar.check(query, str.split)
        except UsageError:
            return
        for term in query.words():
            if not term.text:
                raise Violation("looks for nothing")

    return _held("queries", seed, runs, whole, ask)


def packs(seed: int, runs: Sequence[int]) -> int:
    parts = [
        records.begun(1, "claude", "/home/me/one.jsonl", "jsonl", 1_700_000_000_000),
        records.record(records.BLOCK, 1, b"first line\n" * 9),
        records.record(records.BLOCK, 1, Random(1).randbytes(300), offset=99),
        records.named(1, "/home/me/two.jsonl"),
        records.ended(1, 399, 399, 399, 1, "1.0"),
    ]

    def scan(data: bytes, _: Random) -> None:
        met = list(records.scan(data, 0))
        if b"".join(data[m.at : m.at + m.size] for m in met) != data:
            raise Violation("what was met is not all there is")
        found = {data[m.at : m.at + m.size] for m in met if m.head}
        if lost := [part for part in parts if part in data and part not in found]:
            raise Violation(f"not met: {lost}")

    return _held("packs", seed, runs, [Record.of(b"".join(parts))], scan)


def companions(seed: int, runs: Sequence[int]) -> int:
    """Of all agents, in turn."""
    held = 0
    for n, fuzz in enumerate(_FURNISHED):
        held += _beside(fuzz, seed, runs[n :: len(_FURNISHED)])
    return held


def _beside(fuzz: Fuzz, seed: int, runs: Sequence[int]) -> int:
    places = [p for p in fuzz.places if p.beside]

    def read(data: bytes, r: Random) -> None:
        place = r.choice(places)
        name = r.choice(sorted(place.beside))
        reader: Any = fuzz.a.reader(place.cursor, companions={**place.beside, name: data})
        rows = Rows(1, fuzz.a.name, pricing.price, lambda at: "2026-01-01", reader.facts)
        for piece, ref in ((place.record.data, Ref("", 0, 1, 1)), *place.behind):
            rows.add(reader.feed(piece, ref))
        assert_can_be_stored(rows.batch((0, 0, 0, 0), 0, 0, b"", reader.state()), numbers=True)

    whole = _records(*{data for p in places for data in p.beside.values() if data})
    return _held(f"beside {fuzz.a.name}", seed, runs, whole, read)


TARGETS = {"settings": settings, "queries": queries, "packs": packs, "companions": companions}


def _records(*texts: bytes) -> list[Record]:
    return [Record.of(text) for text in sorted(texts)]


def _held(name: str, seed: int, runs: Sequence[int], whole: Sequence[Record], do: Reading) -> int:
    """The numbered runs of a seed; how many held. Raises Violation for the first that does not."""
    r = Random()
    with watchdog() as watch:
        for number in runs:
            r.seed(seed << 40 | number)
            data, names = mutated(r, r.choice(whole), whole)
            watch(True)
            try:
                do(data, r)
            except (Exception, Hang) as error:
                what = f"{name}, seed {seed}, run {number} ({', '.join(names)}): {error!r}"
                raise Violation(f"{what}\n  {data[:3000]!r}") from error
            finally:
                watch(False)
    return len(runs)


_FURNISHED = [f for f in map(Fuzz, agents.BUILT_IN) if any(p.beside for p in f.places)]
