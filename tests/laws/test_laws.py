"""Laws of counting: however the files of a HOME come into being, and however often we look on, the
store is the one that a single look at the finished HOME makes: row for row, no column left out.

Two HOMEs would differ in what a dump does not hold: times and inodes of files. So a HOME is
compared with itself: the store that saw it grow, and a new one. What is left out of the laws is
history that the sources do not hold any more (rewritten and vanished files): see test_sync.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import decklog
from decklog import reading, sources, sync
from decklog.store import link
from families import family, used
from homes import Synced, Transcript, clean, different, files, truth

FIXTURES = Path(__file__).parent.parent / "agents"
SITUATIONS = {p.parent.relative_to(FIXTURES).as_posix(): p for p in FIXTURES.glob("*/*/input")}
SITUATIONS["sample"] = Path(decklog.__file__).parent / "sample/home"
SYNCS = 8
"""Looks at a growing HOME, at most."""

Files = dict[str, bytes]
Steps = list[tuple[str, int]]
"""Path and number of bytes of each append."""


def law(examples: int) -> settings:
    full = bool(os.environ.get("DECKLOG_FULL_SIZE"))
    return settings(
        max_examples=examples * (20 if full else 1),
        derandomize=not full,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# --- how files come into being ----------------------------------------------------------------


def cuttings(files: Files) -> st.SearchStrategy[Steps]:
    """Each file in turn, cut anywhere."""
    return _pieces(files).map(lambda pieces: [(p, n) for p, sizes in pieces.items() for n in sizes])


def orders(files: Files) -> st.SearchStrategy[Steps]:
    """Whole files, in any order."""
    return st.permutations(sorted(files)).map(lambda paths: [(p, len(files[p])) for p in paths])


@st.composite
def interleavings(draw: st.DrawFn, files: Files) -> Steps:
    """Files cut anywhere, the pieces of all in any order."""
    pieces = draw(_pieces(files))
    order = draw(st.permutations([p for p, sizes in pieces.items() for _ in sizes]))
    left = {p: iter(sizes) for p, sizes in pieces.items()}
    return [(p, next(left[p])) for p in order]


@st.composite
def _pieces(draw: st.DrawFn, files: Files) -> dict[str, list[int]]:
    pieces = {}
    for path in sorted(files):
        size = len(files[path])
        cuts = sorted(draw(st.lists(st.integers(0, size), max_size=3)))
        pieces[path] = [b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
    return pieces


WAYS = {"cut": cuttings, "order": orders, "interleaved": interleavings}


@contextmanager
def engine(rows: int, chunk: int) -> Iterator[None]:
    """Commit after so many rows, read so many bytes at a time."""
    kept = reading.ROWS_PER_BATCH, sync.ROWS_PER_BATCH, sources.CHUNK
    reading.ROWS_PER_BATCH = sync.ROWS_PER_BATCH = rows
    sources.CHUNK = chunk
    try:
        yield
    finally:
        reading.ROWS_PER_BATCH, sync.ROWS_PER_BATCH, sources.CHUNK = kept


ENGINES = st.sampled_from([(4_000, 4 << 20), (1, 4 << 20), (1, 300), (4_000, 50)])


class Growing:
    """A HOME that comes into being step by step, and a store that looks on."""

    def __init__(self, folder: str, files: Files) -> None:
        self.folder = Path(folder)
        self.home = self.folder / "home"
        self.home.mkdir()
        self.left = dict(files)
        self.deck = Synced(self.home, self.folder / "own")

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *_: object) -> None:
        self.deck.deck.close()

    def steps(self, steps: Steps) -> Iterator[dict[str, int]]:
        """Append and look on; gives the bytes written of each file so far. Of many steps only
        some are looked at."""
        every = -(-len(steps) // SYNCS)
        written: dict[str, int] = {}
        for i, (path, size) in enumerate(steps, 1):
            place = self.home / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("ab") as f:
                f.write(self.left[path][:size])
            self.left[path] = self.left[path][size:]
            written[path] = written.get(path, 0) + size
            if i % every == 0 or i == len(steps):
                self.deck.sync()
                yield written

    def assert_as_clean(self) -> None:
        seen, new = self.deck.dump(), clean(self.home, self.folder / "new")
        assert seen == new, different(seen, new)

    def assert_counted_once(self) -> None:
        """Each response that is known and states any tokens counts, and counts once."""
        known: dict[str, set[bool]] = {}
        elsewhere: set[str] = set()
        for r in self.deck.store.ledger({}):
            known.setdefault(r["key"], set())
            if r["counted"]:
                assert True not in known[r["key"]], f"{r['key']} counts twice"
                known[r["key"]].add(True)
            elif r["counted_in"] is not None or "states no tokens" in r["reason"]:
                elsewhere.add(r["key"])
        lost = [k for k, counted in known.items() if not counted and k not in elsewhere]
        assert not lost, f"counts nowhere: {lost}"


def load(home: Path) -> Files:
    return {p.relative_to(home).as_posix(): p.read_bytes() for p in files(home)}


def grown(
    found: Files,
    steps: Steps,
    engine_: tuple[int, int] = (4_000, 4 << 20),
    members: Sequence[Transcript] = (),
) -> None:
    """Take the steps and hold the laws; of ``members`` the truth is known at every step."""
    with (
        tempfile.TemporaryDirectory() as folder,
        engine(*engine_),
        Growing(folder, found) as home,
    ):
        totals = []
        for written in home.steps(steps):
            home.assert_counted_once()
            totals.append(home.deck.total())
            if members:
                assert used(members, written) in (None, totals[-1])
        if all(p.endswith((".jsonl", ".zst")) for p in found):  # documents may shrink
            assert all(a <= b for t in totals for a, b in zip(t, totals[-1], strict=True)), totals
        home.assert_as_clean()


# --- the laws -----------------------------------------------------------------------------------


@pytest.mark.spec("R43", "R38", "R31", "R45", "X6", "AW3", "R41")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_growth_of_a_situation_does_not_show(situation: str) -> None:
    found = load(SITUATIONS[situation])
    ways = st.sampled_from(sorted(WAYS)).flatmap(lambda way: WAYS[way](found))

    @law(4)
    @given(steps=ways, engine_=ENGINES)
    def holds(steps: Steps, engine_: tuple[int, int]) -> None:
        grown(found, steps, engine_)

    holds()


@st.composite
def growing_families(draw: st.DrawFn) -> tuple[list[Transcript], Steps]:
    random = draw(st.randoms(use_true_random=False))
    members = [m for i in range(random.randint(1, 2)) for m in family(random, str(i))]
    assume(members)
    way = draw(st.sampled_from(sorted(WAYS)))
    return members, draw(WAYS[way]({m.path: m.data for m in members}))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.spec("R43", "R38", "R44", "R45", "R47", "X6", "AW3", "AW1", "Y2")
@law(60)
@given(made=growing_families(), engine_=ENGINES)
def test_growth_of_families_does_not_show(
    made: tuple[list[Transcript], Steps], engine_: tuple[int, int]
) -> None:
    members, steps = made
    grown({m.path: m.data for m in members}, steps, engine_, members)


@pytest.mark.spec("R38", "R40")
@law(15)
@given(made=growing_families())
def test_a_store_that_grew_is_rebuilt_the_same(made: tuple[list[Transcript], Steps]) -> None:
    members, steps = made
    found = {m.path: m.data for m in members}
    with tempfile.TemporaryDirectory() as folder, Growing(folder, found) as home:
        for _ in home.steps(steps):
            pass
        before = home.deck.dump()
        home.deck.deck.sync(rebuild=True)
        assert home.deck.dump() == before
        assert home.deck.total() == truth(x for m in members for x in m.lines)


# --- shown able to fail ---------------------------------------------------------------------------

BROKEN: dict[str, tuple[object, str, object]] = {
    "copies are not looked for": (link.Linker, "_share_near", lambda self: None),
    "children of a fork are forgotten": (link, "_CHILDREN", link._PARENTS),
    "the first to be read is the original": (link._Origins, "of", lambda self, group: min(
        group, key=lambda name: self.db.execute(
            "select min(source) from part where session = ?", (name,)).fetchone()[0])),
    "a response counts where it was read": (link.Linker, "_resolve_replays", lambda self: None),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_linker_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[what])
    with pytest.raises(AssertionError):
        _grow_sixty_families()


def _grow_sixty_families() -> None:
    for seed in range(60):
        random = Random(seed)
        members = [m for i in range(2) for m in family(random, str(i))]
        steps = [(m.path, len(m.data)) for m in members]
        random.shuffle(steps)
        grown({m.path: m.data for m in members}, steps, members=members)
