"""Killed at any moment, decklog goes on from there: the store that comes of it is that of one
undisturbed sync. Nothing is counted twice, nothing is lost, and no lock is left behind."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw
import pytest

from decklog import reading, sources, sync
from decklog.store import link
from decklog.store.sqlite import LOCK, SqliteStore
from decklog.sync import workers
from families import family
from forked import in_child, killed, suicide
from homes import Synced, clean, different, files

KILLS = 150 * (10 if os.environ.get("DECKLOG_FULL_SIZE") else 1)
"""Of each way of reading: in one process, and in several."""
EVERY = 1 if os.environ.get("DECKLOG_FULL_SIZE") else 9
"""Statements from one kill of a first sync to the next."""
FIXTURES = Path(__file__).parent.parent / "agents"
SITUATIONS = [FIXTURES / name / "input" for name in (
    "opencode/fork", "opencode/tree", "gemini/document", "gemini/twins", "copilot/resumed",
)]  # fmt: skip
"""A database, a folder of documents, documents, and files with companions."""


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many commits even for small transcripts, so that there are many places to be killed at."""
    monkeypatch.setattr(sources, "CHUNK", 700)
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 2)
    monkeypatch.setattr(sync, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(sync, "BATCHES_PER_COMMIT", 3)
    monkeypatch.setattr(sync, "FORK_BYTES", 0)


class Home:
    """A HOME of many files that grows a little whenever it is asked to."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = Random(seed)
        self.home, self.own = folder / "home", folder / "own"
        self.home.mkdir()
        members = [m for i in range(12) for m in family(self.random, str(i))]
        self.left = {m.path: m.data for m in members}
        for situation in SITUATIONS:
            self.left |= {p.relative_to(situation).as_posix(): p.read_bytes()
                          for p in files(situation)}  # fmt: skip
        self.step = -(-sum(map(len, self.left.values())) // KILLS)

    def grow(self) -> None:
        size = self.step
        while size > 0 and self.left:
            path = self.random.choice(sorted(self.left))
            piece = self.left[path][: self.random.randint(1, size)]
            size -= len(piece)
            place = self.home / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("ab") as f:
                f.write(piece)
            self.left[path] = self.left[path][len(piece) :]
            if not self.left[path]:
                del self.left[path]

    def work(self, jobs: int, *, rebuild: bool, statements: int) -> Callable[[], None]:
        """A sync; it kills itself when so many statements have been executed (0: it does not)."""

        def sync_() -> None:
            with Synced(self.home, self.own, jobs=jobs) as deck:
                die_after(deck.store.db, statements)
                deck.deck.sync(rebuild=rebuild)

        return sync_

    def assert_lock_is_free(self, seconds: float = 20) -> None:
        """At once, but for the moment that a process of a killed one needs to see that it is."""
        if not (self.own / LOCK).exists():
            return
        fd = os.open(self.own / LOCK, os.O_RDWR)
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < until, "the killed process has left its lock behind"
                time.sleep(0.001)
        os.close(fd)

    def assert_as_clean(self, name: str) -> None:
        with Synced(self.home, self.own) as deck:
            deck.sync()
            assert deck.store.db.pragma("integrity_check") == "ok"
            assert not [r for r in deck.deck.archive.verify() if "detail" in r]
            seen, new = deck.dump(), clean(self.home, self.own.parent / name)
            assert seen == new, different(seen, new)


def die_after(db: apsw.Connection, statements: int) -> None:
    left = statements

    def trace(*_: object) -> bool:
        nonlocal left
        left -= 1
        if not left:
            suicide()
        return True

    if statements:
        db.exec_trace = trace


@pytest.mark.spec("R41", "R31", "R39", "R40", "R38", "X3")
@pytest.mark.parametrize("jobs", [1, 2], ids=["one process", "several processes"])
def test_killed_at_any_moment(jobs: int, tmp_path: Path) -> None:
    made = Home(tmp_path, seed=jobs)
    random = Random(jobs)
    kills = 0
    while kills < KILLS:
        made.grow()
        rebuild = random.random() < 0.1
        by_statement = random.random() < 0.5
        statements = int(10 ** random.uniform(0, 3.2)) if by_statement else 0
        after = 20.0 if by_statement else random.uniform(0, 0.06)
        dead = killed(made.work(jobs, rebuild=rebuild, statements=statements), after)
        made.assert_lock_is_free()
        kills += dead
        if dead and kills % 50 == 25:
            made.assert_as_clean(f"clean{kills}")
    while made.left:
        made.grow()
    made.assert_as_clean("clean")


@pytest.mark.spec("R41", "R38")
@pytest.mark.parametrize("where", ["link", "rebuild"])
def test_killed_at_every_statement(where: str, tmp_path: Path) -> None:
    """A sync of few files: killed at its first statement, at its second, and so on to its end."""
    made = Home(tmp_path, seed=3)
    made.step = 6_000
    made.grow()
    statements, dead = 0, True
    while dead:
        statements += 1 if where == "link" else 7
        dead = killed(_stopped(made, where, statements), 20.0)
        made.assert_lock_is_free()
    assert statements > 50
    made.assert_as_clean("clean")


@pytest.mark.spec("R41", "R31", "R38")
def test_killed_at_each_statement_of_a_first_sync(tmp_path: Path) -> None:
    """Each time anew: what one kill breaks, the next sync must not find broken."""
    made = Home(tmp_path, seed=5)
    made.left = {p: d for p, d in made.left.items() if p.startswith((".local", ".gemini"))}
    made.step = sum(map(len, made.left.values()))
    while made.left:
        made.grow()
    expected = clean(made.home, tmp_path / "clean")
    statements, dead = 1, True
    while dead:
        made.own = tmp_path / f"own{statements}"
        dead = killed(made.work(1, rebuild=False, statements=statements), 20.0)
        with Synced(made.home, made.own) as deck:
            deck.sync()
            assert deck.dump() == expected, different(deck.dump(), expected)
        statements += EVERY
    assert statements > 200


def _stopped(made: Home, where: str, statements: int) -> Callable[[], None]:
    """A sync that is killed at a statement of its linking, or of the building of a new store."""

    def work() -> None:
        with Synced(made.home, made.own) as deck:
            if where == "link":
                run = link.Linker.run

                def stopped(self: link.Linker, dirty: list[str]) -> int:
                    die_after(self.db, statements)
                    return run(self, dirty)

                link.Linker.run = stopped  # type: ignore[method-assign]
                deck.sync()
            else:
                prepare = SqliteStore._prepare

                def prepared(self: SqliteStore) -> None:
                    die_after(self.db, statements)
                    prepare(self)

                SqliteStore._prepare = prepared  # type: ignore[method-assign]
                deck.deck.sync(rebuild=True)

    return work


# --- shown able to fail ---------------------------------------------------------------------------


def test_a_cursor_that_is_committed_before_its_rows_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = SqliteStore.apply

    def cursors_first(self: SqliteStore, batches: list[reading.Batch]) -> None:
        tables = ("events", "usage", "calls", "results", "touched", "prompts")
        empty: dict[str, list[object]] = {t: [] for t in tables}
        apply(self, [b._replace(**empty) for b in batches])
        suicide()

    made = Home(tmp_path, seed=3)
    made.step = 6_000
    made.grow()
    monkeypatch.setattr(SqliteStore, "apply", cursors_first)
    assert killed(made.work(1, rebuild=False, statements=0), 20.0)
    monkeypatch.setattr(SqliteStore, "apply", apply)
    with pytest.raises(AssertionError, match=r"usage|event|prompt"):
        made.assert_as_clean("clean")


def test_a_lock_that_workers_keep_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Home(tmp_path, seed=3)
    made.step = 20_000
    made.grow()

    def busy(fd: int, batch: object) -> None:
        time.sleep(3)
        os._exit(0)

    monkeypatch.setattr(os, "closerange", lambda low, high: None)
    monkeypatch.setattr(workers, "_send", busy)
    assert killed(made.work(2, rebuild=False, statements=0), 0.5)
    with pytest.raises(AssertionError, match="left its lock"):
        made.assert_lock_is_free(1)


def test_kills_hit_every_part_of_a_sync(tmp_path: Path) -> None:
    """A sync executes about as many statements as the kills are spread over."""
    made = Home(tmp_path, seed=1)
    made.step = 50_000
    made.grow()

    def count() -> int:
        seen = 0

        def trace(*_: object) -> bool:
            nonlocal seen
            seen += 1
            return True

        with Synced(made.home, made.own) as deck:
            deck.store.db.exec_trace = trace
            deck.sync()
        return seen

    assert 100 < in_child(count) < 10**4
