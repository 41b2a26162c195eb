"""One read feeds several projections, each from a cursor of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from decklog import reading, sources
from decklog.errors import StoreError
from decklog.model import Event, Ref
from decklog.reading import NOT_WANTED, Mark, Projection, Step, Task, Told
from decklog.store.rows import Batch

HERE = Path(__file__).parent / "agents"
TRANSCRIPTS = sorted(
    p
    for agent, folder in (("claude", ".claude"), ("codex", ".codex"), ("pi", ".pi"))
    for p in HERE.glob(f"{agent}/*/input/{folder}/**/*.jsonl")
    if p.read_bytes().count(b"\n") > 6
)[::5]


class Taker(Projection):
    """Keeps all it is given."""

    def __init__(self, name: str = "taker", *, bodies: bool = True) -> None:
        self.name, self.bodies = name, bodies
        self.counts = {"events": 0}
        self.taken: list[Any] = []
        self.marks: list[Mark] = []
        self.began: list[int] = []
        self.pieces: list[tuple[int, bytes]] = []

    def begin(self, task: Task, start: int) -> None:
        self.began.append(start)

    def chunk(self, chunk: sources.Chunk) -> None:
        self.pieces.append((chunk.start, chunk.block))

    def document(self, data: bytes) -> None:
        self.pieces.append((0, data))

    def events(self, events: Sequence[Event]) -> None:
        self.counts["events"] += len(events)
        self.taken += events

    def reached(self, mark: Mark, facts: Any) -> None:
        self.marks.append(mark)


class Read(NamedTuple):
    batches: list[Batch]
    steps: list[Step]
    told: list[Told]


def task(path: Path, **own: Any) -> Task:
    st = path.stat()
    agent = path.relative_to(HERE).parts[0] if path.is_relative_to(HERE) else "claude"
    stat = (st.st_size, st.st_mtime_ns, st.st_dev, st.st_ino)
    return Task(agent, 1, str(path), "jsonl", stat, 0, 0, b"", b"")._replace(**own)


def read(task: Task, *projections: Projection) -> Read:
    items = list(reading.read([task], str, projections))
    return Read(
        [i for i in items if isinstance(i, Batch)],
        [i for i in items if isinstance(i, Step)],
        [i for i in items if isinstance(i, Told)],
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transcripts are read in many small pieces."""
    monkeypatch.setattr(sources, "CHUNK", 300)
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 1)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda p: p.stem[-12:])
@pytest.mark.usefixtures("small")
def test_each_projection_takes_what_lies_past_its_own_cursor(path: Path) -> None:
    whole = Taker()
    everything = read(task(path, others=(("taker", 0),)), whole)
    assert b"".join(data for _, data in whole.pieces) == path.read_bytes()
    assert whole.marks[-1][1:3] == everything.batches[-1][2:4]
    cursors = [m for m in whole.marks if m.offset < path.stat().st_size][::3]
    for behind in cursors:
        ahead = cursors[len(cursors) // 2]
        early, late = sorted([behind, ahead], key=lambda m: m.offset)
        resumed = {f: getattr(early, f) for f in ("offset", "line", "check", "state", "version")}
        for rows, other in ((early.offset, late.offset), (late.offset, early.offset)):
            taker = Taker()
            made = read(task(path, rows=rows, others=(("taker", other),), **resumed), taker)
            assert taker.taken == [e for e in whole.taken if e.ref.offset >= other]
            assert _place(taker.marks[-1]) == _place(whole.marks[-1])
            alone = read(task(path, **{**resumed, **_at(cursors, rows)}, rows=rows))
            assert _rows(made.batches) == _rows(alone.batches)


def _at(cursors: list[Mark], offset: int) -> dict[str, Any]:
    mark = next(m for m in cursors if m.offset == offset)
    return {f: getattr(mark, f) for f in ("offset", "line", "check", "state", "version")}


def _place(mark: Mark) -> Mark:
    """Without the state, of which the same may be written in several ways."""
    return mark._replace(state=b"")


def _rows(batches: list[Batch]) -> list[Any]:
    """What the batches add up to, however they are cut."""
    fields = ("usage", "calls", "results", "touched", "prompts", "findings")
    events = sum(r[2] for b in batches for r in b.events)
    return [
        events,
        batches[-1].parts,
        batches[-1][1:5],
        *([tuple(r) for b in batches for r in getattr(b, f)] for f in fields),
    ]


def test_no_rows_are_made_where_only_another_projection_is_behind() -> None:
    path = TRANSCRIPTS[0]
    taker = Taker()
    made = read(task(path, rows=NOT_WANTED, others=(("taker", 0),)), taker)
    assert not made.batches
    assert made.steps[-1].offset == path.stat().st_size
    assert made.told == [Told("taker", {"events": len(taker.taken)}, ("", ""))]


def test_bodies_are_read_only_when_someone_wants_them() -> None:
    path = next(HERE.glob("claude/tools/input/.claude/projects/*/*.jsonl"))

    def outputs(*takers: Taker) -> list[bool]:
        read(task(path, others=tuple((t.name, 0) for t in takers)), *takers)
        found = [e for e in takers[0].taken if type(e).__name__ == "ToolReturned"]
        return [e.output is not None for e in found]

    plain, full = Taker("plain", bodies=False), Taker("full")
    assert set(outputs(plain)) == {False}
    assert set(outputs(Taker("plain", bodies=False), full)) == {True}


def test_a_projection_that_failed_takes_no_more_and_says_why() -> None:
    taker = Taker()
    taker.failed = StoreError("disk full", hint="free some space")
    path = TRANSCRIPTS[0]
    made = read(task(path, others=(("taker", 0),)), taker)
    assert made.batches
    assert taker.began == []
    assert made.told == [Told("taker", {"events": 0}, ("disk full", "free some space"))]


def test_a_record_too_long_for_its_bodies_is_read_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LEAN_LINE", 2_000)
    path = tmp_path / "11111111-2222-4333-8444-555555555555.jsonl"
    line = (
        '{"type":"user","uuid":"%s","sessionId":"s","timestamp":"2026-01-01T00:00:00.000Z",'
        '"toolUseResult":"x","message":{"role":"user","content":[{"type":"tool_result",'
        '"tool_use_id":"t","content":"%s"}]}}\n'
    )
    path.write_text(line % ("a", "short") + line % ("b", "long" * 1_000) + line % ("c", "short"))
    taker = Taker()
    read(task(path, others=(("taker", 0),)), taker)
    found = [(e.seq, e.output) for e in taker.taken if type(e).__name__ == "ToolReturned"]
    assert found == [(3, "short"), (4, None), (5, "short")]
    assert taker.taken[0].ref == Ref(str(path), 0, len(path.read_bytes().split(b"\n")[0]), 1)
