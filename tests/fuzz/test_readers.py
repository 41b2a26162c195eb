"""Every reader takes 100,000 damaged records in its stride. `just fuzz` does any number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from decklog import agents
from decklog.agents import _shared
from decklog.agents._shared import to_ms
from decklog.agents.pi import reader as pi
from decklog.agents.pi.reader import PiReader
from decklog.model import ParseWarning
from fuzz.dealing import Failed, dealt
from fuzz.readers import Fuzz

RUNS = 100_000
SEED = 20_260_101
PARTS = 2
"""A reader's runs are shared out among so many tests, which may go on at the same time."""
GROWTH = 24 << 20
"""Bytes by which the memory of a process may rise over all its runs: a record leaves none."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.spec("R1", "R2", "R3", "R4", "R5", "R6", "R8", "R9", "R43", "R51")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", agents.BUILT_IN)
def test_no_record_harms_another(name: str, part: int) -> None:
    outcome = dealt(Fuzz(name).run, SEED, range(part, RUNS, PARTS), jobs=1)
    assert outcome.held == RUNS // PARTS
    assert outcome.grown < GROWTH


# --- shown able to fail ---------------------------------------------------------------------------


def raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi, "to_ms", lambda text: to_ms(text) if text.isascii() else 1 // 0)


def hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(line: bytes) -> list[tuple[int, int, Any]]:
        while True:
            pass

    monkeypatch.setattr(_shared, "salvage", slow)


def takes_parts_for_records(monkeypatch: pytest.MonkeyPatch) -> None:
    def anything(line: bytes) -> list[tuple[int, int, Any]]:
        return [(0, len(line), {"type": "usage", "timestamp": "2026-01-02T03:04:05.678Z",
                                "usage": {"input": 7}})]  # fmt: skip

    monkeypatch.setattr(_shared, "salvage", anything)


def is_shaken(monkeypatch: pytest.MonkeyPatch) -> None:
    warn = PiReader.warn

    def shaken(self: PiReader, reason: str, *rest: Any) -> Any:
        self.s.native = "somebody else"
        return warn(self, reason, *rest)

    monkeypatch.setattr(PiReader, "warn", shaken)


def forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PiReader, "state", lambda self: b"")


def keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    record = PiReader.record

    def kept(self: PiReader, r: Any, ref: Any) -> Any:
        events = record(self, r, ref)
        self.f.agent_version += "x" * ref.length * 12
        return events

    monkeypatch.setattr(PiReader, "record", kept)


def counts_beyond_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pi, "count", lambda value: int(value) if isinstance(value, int) else 0)


def drops_a_line_after_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = PiReader.feed

    def dropped(self: PiReader, line: bytes, ref: Any) -> Any:
        drop = getattr(self, "drop", False)
        events = feed(self, line, ref)
        self.drop = any(isinstance(e, ParseWarning) for e in events)  # type: ignore[attr-defined]
        return [] if drop else events

    monkeypatch.setattr(PiReader, "feed", dropped)


MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    raises: "ZeroDivisionError",
    hangs: "hangs",
    takes_parts_for_records: "a cut record states|lost",
    is_shaken: "behind a broken record",
    forgets: "after a stop",
    keeps_all: "the state grew",
    counts_beyond_measure: "stored|more than 64 bits|serialize",
    drops_a_line_after_damage: "behind a broken record",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__)
def test_a_broken_reader_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzz = Fuzz("pi")
    mutant(monkeypatch)
    with pytest.raises(Failed, match=MUTANTS[mutant]):
        dealt(fuzz.run, 1, range(20_000))
