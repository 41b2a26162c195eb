"""Copies that nobody has waited for: who follows never waits for the disk, and what a disk loses
of them is copied again."""

from __future__ import annotations

import os
import threading
from contextlib import closing
from pathlib import Path

import pytest

from decklog import durable, sync
from decklog.archive import Archive
from decklog.archive.unflushed import MARK
from decklog.hub import Decklog
from decklog.live import flushing, following, watching
from followed import deck_on, taken
from homes import Claude

TOKENS = (10, 200, 30, 40)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SETTLE_AFTER", 0.02)
    monkeypatch.setattr(watching, "TICK", 0.05)
    monkeypatch.setattr(flushing, "AFTER", 0.01)
    monkeypatch.setattr(flushing, "SHORTEN_AFTER", 0.05)


class Place:
    """A transcript that grows, and where its copy is."""

    def __init__(self, folder: Path) -> None:
        self.home, self.own = folder / "home", folder / "own"
        self.home.mkdir()
        self.talk = Claude("talk")
        self.grow()
        self.archive = self.own / "archive"

    def grow(self) -> None:
        self.talk.prompt("question")
        self.talk.answer(f"answer {len(self.talk.lines)}", TOKENS)
        self.talk.write(self.home)

    def deck(self) -> Decklog:
        return deck_on(self.home, self.own)

    @property
    def pack(self) -> Path:
        (pack,) = self.archive.glob("pack-*")
        return pack

    def copied(self) -> bytes:
        with closing(Archive(str(self.own))) as archive:
            copy = archive.copy(str(self.home / self.talk.path))
            assert copy is not None
            return b"".join(archive.open(copy).everything())

    @property
    def written(self) -> bytes:
        return (self.home / self.talk.path).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.spec("R27", "R17")
def test_who_follows_never_waits_for_the_disk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    for name in ("fsync", "fdatasync"):

        def wait(fd: int, call: object = getattr(os, name)) -> None:
            waited.append(threading.current_thread().name)
            call(fd)  # type: ignore[operator]

        monkeypatch.setattr(os, name, wait)
    with place.deck() as deck:
        changes = deck.changes()
        place.grow()
        taken(deck, changes)  # leaves the mark
        assert (place.archive / MARK).exists()
        waited.clear()
        for _ in range(5):
            place.grow()
            taken(deck, changes)
        assert place.copied() == place.written
    assert "decklog-live" not in waited
    assert "decklog-flush" in waited
    assert not (place.archive / MARK).exists()


def sync_unflushed(place: Place, deck: Decklog, archive: Archive) -> None:
    look = sync.lookout(deck.config.env)
    sync.run(deck.store, look, tz="UTC", day=deck.zone.day, archive=archive)
    assert place.copied() == place.written


def assert_copied_again(place: Place) -> None:
    with place.deck() as deck:
        deck.sync()
        assert place.copied() == place.written
        assert not (place.archive / MARK).exists()
        assert [r for r in deck.archive.verify() if "detail" in r] == []


@pytest.mark.spec("R27", "R30")
@pytest.mark.parametrize("lost", ["cut", "zero"])
def test_what_a_power_cut_took_is_copied_again(place: Place, lost: str) -> None:
    """The index tells of bytes that never came to the disk; another boot shows it."""
    with place.deck() as deck:
        deck.sync()
        whole = place.pack.stat().st_size
        place.grow()
        archive = Archive(str(place.own), later=True)  # of a process that never closes it
        sync_unflushed(place, deck, archive)
    with open(place.pack, "r+b") as f:
        size = os.fstat(f.fileno()).st_size
        f.truncate(whole)
        if lost == "zero":
            f.truncate(size)
    (place.archive / MARK).write_text("another boot")
    assert_copied_again(place)


@pytest.mark.spec("R27", "R19")
@pytest.mark.parametrize("first", [True, False])
def test_what_a_flush_failed_for_is_written_again(
    place: Place, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the system may have dropped what can still be read: it is taken back,
    with the whole pack where that was new."""
    with place.deck() as deck:
        if not first:
            deck.sync()
            whole = place.pack.stat().st_size
            place.grow()
        with closing(Archive(str(place.own), later=True)) as archive:
            sync_unflushed(place, deck, archive)
            with monkeypatch.context() as patch:
                patch.setattr(durable, "flush", failing)
                archive.flush()
            with archive.writing():
                left = [p.stat().st_size for p in place.archive.glob("pack-*")]
                assert left == ([] if first else [whole])
    assert_copied_again(place)


def failing(fd: int) -> None:
    raise OSError(5, "Input/output error")
