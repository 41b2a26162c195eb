"""The world around a sync: permissions that go and come back, times that cannot be, files that
change between the look and the read. Each is told, nothing is lost, and it ends with its cause."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from decklog import mounts, reading, sources
from forked import in_child, powerless
from homes import Claude, Codex, Synced, clean, different, truth


def talk(name: str, folder: str = "-home-me-work") -> Claude:
    made = Claude(name, folder=folder)
    made.prompt("hello")
    made.answer(name, (1, 2, 3, 4))
    return made


def assert_as_new(deck: Synced, home: Path, tmp_path: Path) -> None:
    seen, new = deck.dump(), clean(home, tmp_path / "new")
    assert seen == new, different(seen, new)


# --- permissions ------------------------------------------------------------------------------


@pytest.mark.spec("R37", "R12", "R34")
@pytest.mark.parametrize("mode", [0o000, 0o444, 0o111], ids=["nothing", "list", "enter"])
@pytest.mark.parametrize("where", [".claude/projects", ".claude/projects/-a"])
def test_a_folder_that_may_not_be_read_any_more(
    where: str, mode: int, home: Path, tmp_path: Path
) -> None:
    one, other = talk("one", "-a"), talk("other", "-b")
    codex = Codex("019b7000-0000-7000-8000-000000000001")
    codex.prompt("hello")
    for made in (one, other, codex):
        made.write(home)
    own = tmp_path / "own"
    with Synced(home, own) as deck:
        deck.sync()
        before = deck.dump()
    folder = home / where

    def look() -> Any:
        powerless()
        with Synced(home, own) as deck:
            report = deck.sync()
            again = deck.sync()
            gone = [s["id"] for s in deck.sessions().values() if s["gone"]]
            found = [(f["reason"], f["source"]) for f in deck.store.findings()]
            return [report.problems, again.problems, gone, found, deck.total()]

    folder.chmod(mode)
    try:
        problems, again, gone, found, total = in_child(look)
    finally:
        folder.chmod(0o700)
    assert gone == []
    assert tuple(total) == truth([*one.lines, *other.lines])
    if mode == 0o444 and where.endswith("-a"):  # its names can be listed, no more
        assert found == [["unreadable", str(home / one.path)]]
    elif mode == 0o444:  # what kind of thing they are can be seen too
        assert {reason for reason, _ in found} == {"unreadable"}
    else:
        assert found == [["unreadable", str(folder)]]
    assert problems == again == len(found)
    with Synced(home, own) as deck:
        deck.sync()
        assert deck.dump() == before
        assert deck.store.partial() == 0


@pytest.mark.spec("R37", "R12")
def test_a_folder_that_could_never_be_read(home: Path, tmp_path: Path) -> None:
    one = talk("one")
    folder = one.write(home).parent
    own = tmp_path / "own"

    def look() -> Any:
        powerless()
        with Synced(home, own) as deck:
            deck.sync()
            return [(f["reason"], f["source"], f["detail"]) for f in deck.store.findings()]

    folder.chmod(0)
    try:
        found = in_child(look)
    finally:
        folder.chmod(0o700)
    detail = "the folder cannot be read: Permission denied"
    assert found == [["unreadable", str(folder), detail]]
    with Synced(home, own) as deck:
        deck.sync()
        assert deck.total() == truth(one.lines)
        assert_as_new(deck, home, tmp_path)


@pytest.mark.spec("R37")
def test_a_folder_on_a_bad_disk(
    home: Path, deck: Synced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = talk("one")
    folder = one.write(home).parent
    deck.sync()
    scandir = os.scandir

    def bad(path: str) -> Any:
        if str(path) == str(folder):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", bad)
    assert deck.sync().problems == 1
    assert not deck.sessions()[one.id]["gone"]
    monkeypatch.undo()
    assert deck.sync().problems == 0
    assert_as_new(deck, home, tmp_path)


# --- times ------------------------------------------------------------------------------------


@pytest.mark.spec("R47")
@pytest.mark.parametrize("seconds", [-(2**40), -1, 2**34, 2**40], ids=str)
def test_a_file_of_an_impossible_time(
    seconds: int, home: Path, deck: Synced, tmp_path: Path
) -> None:
    one = talk("one")
    path = one.write(home)
    for _ in range(2):
        os.utime(path, (seconds, seconds))
        deck.sync()
        assert deck.total() == truth(one.lines)
        one.answer("more", (10, 20, 30, 40))
        with path.open("ab") as f:
            f.write(one.lines[-1].data)
    deck.sync()
    assert deck.total() == truth(one.lines)
    assert deck.store.partial() == 0
    assert_as_new(deck, home, tmp_path)


@pytest.mark.spec("R47")
def test_a_clock_that_is_set_back(home: Path, deck: Synced, tmp_path: Path) -> None:
    """Every change makes files older here; each is seen all the same."""
    one = talk("one")
    path = one.write(home)
    for n in range(5):
        os.utime(path, (2_000_000_000 - n * 86_400,) * 2)
        deck.sync()
        one.answer(f"more{n}", (n, n, n, n))
        with path.open("ab") as f:
            f.write(one.lines[-1].data)
    os.utime(path, (1_000_000_000,) * 2)
    deck.sync()
    assert deck.total() == truth(one.lines)
    assert_as_new(deck, home, tmp_path)


@pytest.mark.spec("R54")
def test_a_companion_that_is_too_large_is_a_finding(home: Path, deck: Synced) -> None:
    path = home / ".claude/projects/-w/session/subagents/agent-1.jsonl"
    made = Claude("agent-1")
    made.prompt("look")
    path.parent.mkdir(parents=True)
    path.write_bytes(made.data)
    with path.with_suffix(".meta.json").open("wb") as f:
        f.truncate((16 << 20) + 1)
    assert deck.sync().problems == 1
    (found,) = deck.store.findings()
    assert (found["source"], found["reason"]) == (str(path), "too_long")
    assert found["detail"] == "agent-1.meta.json is left out: 16777217 bytes, more than 16 MiB"


# --- what happens between the look and the read -----------------------------------------------


def rewritten(path: Path, new: Claude) -> None:
    path.write_bytes(new.data)


def replaced(path: Path, new: Claude) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(new.data)
    os.replace(beside, path)


def made_a_pipe(path: Path, new: Claude) -> None:
    path.unlink()
    os.mkfifo(path)


def made_a_folder(path: Path, new: Claude) -> None:
    path.unlink()
    path.mkdir()


def made_a_circle(path: Path, new: Claude) -> None:
    path.unlink()
    path.symlink_to(path.name)


def deleted(path: Path, new: Claude) -> None:
    path.unlink()


CHANGES: list[Callable[[Path, Claude], None]] = [
    rewritten, replaced, made_a_pipe, made_a_folder, made_a_circle, deleted,
]  # fmt: skip


@pytest.mark.spec("R32", "R35", "R37", "R31")
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("grown", [False, True], ids=["met first", "grown"])
def test_a_file_that_changes_between_the_look_and_the_read(
    grown: bool,
    change: Callable[[Path, Claude], None],
    home: Path,
    deck: Synced,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = talk("one"), talk("one")
    path = old.write(home)
    if grown:
        deck.sync()
        old.answer("later", (5, 5, 5, 5))
        old.write(home)
    for n in range(40):
        new.answer(f"new{n}", (n, 1, 1, 1))
    batches = reading.batches

    def late(*given: Any) -> Any:
        change(path, new)
        monkeypatch.undo()
        return batches(*given)

    monkeypatch.setattr(reading, "batches", late)
    deck.sync()
    deck.sync()
    deck.sync()
    if change in (rewritten, replaced):  # what was read before stands beside what is there now
        kept = old.lines[:2] if grown else []
        assert deck.total() == truth([*kept, *new.lines])
        assert deck.store.partial() == 0
    else:
        assert deck.total() == truth(old.lines[:2] if grown else [])
        assert deck.store.partial() == int(change in (made_a_pipe, made_a_circle))


@pytest.mark.spec("R35")
def test_a_file_that_is_cut_while_it_is_read(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = talk("one"), talk("one")
    for n in range(40):
        old.answer(f"old{n}", (n, 1, 1, 1))
    path = old.write(home)
    monkeypatch.setattr(sources, "CHUNK", 2_000)
    monkeypatch.setattr(reading, "ROWS_PER_BATCH", 2)
    pieces = sources._pieces

    def cut(*given: Any) -> Iterator[sources.Chunk]:
        for n, chunk in enumerate(pieces(*given)):
            yield chunk
            if n == 3:
                path.write_bytes(new.data)

    with monkeypatch.context() as m:
        m.setattr(sources, "_pieces", cut)
        deck.sync()
    deck.sync()
    whole, seen = truth([*old.lines, *new.lines]), deck.total()
    assert all(a <= b for a, b in zip(seen, whole, strict=True))
    assert set(deck.counted()) >= {x.key for x in new.lines if x.key}
    assert [f["reason"] for f in deck.store.findings()] == ["rewritten"]
    assert deck.store.partial() == 0


# --- disks ------------------------------------------------------------------------------------


@pytest.mark.spec("R39", "R12")
def test_a_question_is_answered_on_a_full_disk(home: Path, tmp_path: Path) -> None:
    """Files may not grow any more here, which a database meets like a full disk."""
    one, own = talk("one"), tmp_path / "own"
    path = one.write(home)
    with Synced(home, own) as deck:
        deck.sync()
    for n in range(200):
        one.answer(f"more{n}", (1, 1, 1, 1))
    path.write_bytes(one.data)

    def ask() -> Any:
        with Synced(home, own) as deck:
            limit = 4096
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return [deck.deck.refresh(), [s.id for s in deck.deck.sessions()]]

    note, found = in_child(ask)
    assert "what is shown may be old" in note
    assert found == [one.id]
    with Synced(home, own) as deck:
        deck.sync()
        assert deck.total() == truth(one.lines)


@pytest.mark.spec("R67")
def test_on_a_network_file_system_no_database_needs_shared_memory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "file_system", lambda path: "nfs4")
    own, talk = tmp_path / "own", Claude("t1")
    talk.answer("a", (1, 2, 3, 4))
    talk.write(home)
    for key in "bc":
        talk.answer(key, (1, 2, 3, 4))
        talk.write(home)
        with Synced(home, own) as deck:
            deck.sync()
            modes = [deck.store.db.pragma("journal_mode")]
            modes += [shard.db.pragma("journal_mode") for shard in deck.store.shards()]
            assert set(modes) == {"delete"}
            assert deck.deck.archive.files.index.db.pragma("journal_mode") == "delete"
            deck.deck.sync(rebuild=True)
            assert deck.store.db.pragma("journal_mode") == "delete"
            dump = deck.dump()
    assert not [p for p in own.rglob("*") if p.name.endswith(("-wal", "-shm"))]
    monkeypatch.undo()
    assert dump == clean(home, tmp_path / "new")
