"""Whatever writers do to their files, what was whole when we looked counts, once and for ever.

Programs of everything that happens to transcripts, with looks in between, some of which are killed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decklog import sources
from decklog.store.sqlite import SqliteStore
from decklog.sync import plan
from rotating import CHANGES, SLOTS, WRITES, Step, World

PROGRAMS = int(os.environ.get("DECKLOG_PROGRAMS", "200"))

HAPPENINGS = [
    *WRITES, *WRITES, *CHANGES, World.look, World.look, World.look, World.look_and_be_killed,
]  # fmt: skip
STEPS = st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, SLOTS - 1), st.integers(0, 99))
ROOM = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Where nothing waits for a disk."""


def run(program: list[Step], *, archive: bool = True) -> None:
    with tempfile.TemporaryDirectory(dir=ROOM) as folder:
        world = World(Path(folder), archive=archive)
        try:
            for step, slot, n in program:
                step(world, slot, n)
            world.look()
            if archive and len(program) % 4 == 0:  # it takes as long as all the rest
                world.rebuild()
        finally:
            world.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.spec("R31", "R32", "R35", "R36", "R27", "R28", "R41", "R44")
def test_what_was_whole_at_a_look_counts_for_ever() -> None:
    hold(PROGRAMS)


def hold(programs: int) -> None:
    @settings(
        max_examples=programs,
        derandomize=programs <= 1500,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(STEPS, min_size=4, max_size=40))
    def holds(program: list[Step]) -> None:
        run(program)

    holds()


# --- shown able to fail ---------------------------------------------------------------------------

BROKEN: dict[str, tuple[object, str, object]] = {
    "growth is believed": (plan.Plan, "_appended", lambda self, seen, row: True),
    "bytes before the cursor are not compared": (sources, "matches", lambda *given: True),
    "unfinished lines are taken": (sources, "_whole", lambda line: line),
    "what was rewritten is forgotten": (SqliteStore, "retire", lambda self, source, uri, copy=0:
                                        self.forget(source)),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_tailer_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[what])
    with pytest.raises(AssertionError):
        _run_forty_programs()


def _run_forty_programs() -> None:
    """Without an archive, which would make good what is lost."""
    for seed in range(40):
        random = Random(seed)
        program = [
            (random.choice(HAPPENINGS), random.randrange(SLOTS), random.randrange(100))
            for _ in range(random.randint(10, 30))
        ]
        run(program, archive=False)


def test_the_tailer_is_not_caught_without_a_break() -> None:
    _run_forty_programs()
