"""Killed while it reads transcripts that are being written, cut, moved, replaced and deleted, a
sync is made up for by the next one: all that stands there counts, and counts once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest

from decklog import reading, sources, sync
from rotating import CHANGES, SLOTS, WRITES, World

PLAIN = [c for c in CHANGES if c is not World.compress]
"""A packed file is archived only once it was read to its end: killed before that, and rewritten
before the next sync, it leaves rows that only the store has, and a finding that says so."""
KILLS = int(os.environ.get("DECKLOG_KILLS", "60"))
"""Of each way of reading. 150 of each, and more, behind `just kills`."""


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many commits even for small transcripts, so that there are many places to be killed at."""
    monkeypatch.setattr(sources, "CHUNK", 700)
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(sync, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(sync, "BATCHES_PER_COMMIT", 3)
    monkeypatch.setattr(sync, "FORK_BYTES", 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.spec("R41", "R31", "R35", "R27", "R28", "R38", "R39", "R44")
@pytest.mark.parametrize("jobs", [1, 2], ids=["one process", "several processes"])
def test_killed_while_transcripts_rotate(jobs: int, tmp_path: Path) -> None:
    world = World(tmp_path, jobs=jobs)
    random = Random(jobs)
    kills = tries = 0

    def writers(most: int) -> None:
        for _ in range(random.randint(1, most)):
            step = random.choice(WRITES if random.random() < 0.75 else PLAIN)
            step(world, random.randrange(SLOTS), random.randrange(100))
            time.sleep(random.choice((0, 0, 0.002)))

    while kills < KILLS:
        tries += 1
        writers(12)
        kills += world.look_while(lambda: writers(4), random.uniform(0, 0.05))
        if random.random() < 0.4:
            kills += world.look_while(lambda: None, random.uniform(0, 0.05))
        world.look(exact=False)
    assert kills > tries / 4, "hardly any sync was killed"
    deck = world._deck()
    assert deck.store.db.pragma("integrity_check") == "ok"
    world.rebuild()
    world.close()
