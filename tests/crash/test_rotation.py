"""Killed while it reads transcripts that are being written, cut, moved, replaced and deleted, a
sync is made up for by the next one: all that stands there counts, and counts once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from decklog import reading, sources, sync
from decklog.archive import Archive
from decklog.search.indexing import Texts
from decklog.store.sqlite import SqliteStore
from forked import killed, start, suicide
from homes import Synced
from rotating import CHANGES, SLOTS, WRITES, World

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
            step = random.choice(WRITES if random.random() < 0.75 else CHANGES)
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


@pytest.mark.spec("R41", "R27", "R38")
def test_killed_between_the_steps_of_a_renaming(tmp_path: Path) -> None:
    """Store and archive call a source the same, wherever a sync was killed that renamed it."""

    def stopped(world: World, steps: int) -> Callable[[], None]:
        def work() -> None:
            left = steps

            def trace(cursor: object, sql: str, values: object) -> bool:
                nonlocal left
                left -= sql.startswith("begin")
                if not left:
                    suicide()
                return True

            with Synced(world.home, world.own) as deck:
                deck.store.db.exec_trace = trace
                deck.deck.archive.files.index.db.exec_trace = trace
                deck.sync()

        return work

    for steps in range(1, 40):
        world = World(tmp_path / str(steps))
        world.write(0, 4)
        world.write(1, 4)
        world.look()
        world.move(0, 0)
        world.replace(1, 1)
        world.close()
        dead = killed(stopped(world, steps), 20.0)
        world.replace(0, 1)
        world.replace(1, 1)
        world.look(exact=False)
        world.rebuild()
        world.close()
        if not dead:
            break
    assert 5 < steps < 39


@pytest.mark.spec("R41", "R27")
@pytest.mark.parametrize("known", [True, False], ids=["goes on", "is new"])
@pytest.mark.parametrize("kept", [True, False], ids=["with its copy", "its copy lost"])
@pytest.mark.parametrize("change", [World.replace, World.delete])
def test_changed_after_text_and_copy_were_ahead_of_the_rows(
    change: Callable[[World, int, int], None],
    kept: bool,
    known: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()  # one commit at the end
    world = World(tmp_path)
    if known:
        world.write(0, 4)
    world.look()
    world.write(0, 4)
    world.close()

    def work() -> None:
        SqliteStore.apply = lambda *_: suicide()  # type: ignore[method-assign]
        if not kept:
            Archive.commit = lambda _: None  # type: ignore[method-assign]
        with Synced(world.home, world.own) as deck:
            deck.sync()

    assert killed(work, 20.0)
    change(world, 0, 1)
    world.look(exact=False)
    world.rebuild()
    world.close()


@pytest.mark.spec("R41", "R44")
def test_a_reading_process_that_outlives_its_caller(tmp_path: Path) -> None:
    """Nobody else writes to the text index until it has ended."""
    world = World(tmp_path, jobs=2)
    for slot in range(2):
        world.write(slot, 4)
    late = tmp_path / "late"

    def work() -> None:
        close = Texts.close

        def slow(self: Texts) -> None:
            late.touch()
            time.sleep(0.3)
            close(self)

        Texts.close = slow  # type: ignore[method-assign]
        with Synced(world.home, world.own, jobs=2) as deck:
            deck.sync()

    pid = start(work)
    until = time.monotonic() + 20
    while not late.exists():
        assert time.monotonic() < until
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    world.look()
    world.rebuild()
    world.close()
