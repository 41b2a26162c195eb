"""What followers are told: everything, once, in order, and what any later reading says."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from decklog import agents, sync, testing
from decklog.errors import StoreTooNew
from decklog.hub import Decklog
from decklog.live import following, ring, watching
from decklog.model import (
    Change,
    Event,
    Lagged,
    SessionBack,
    SessionGone,
    SessionNew,
    SessionRenamed,
    UserMessage,
)
from decklog.store import journal
from followed import bare, deck_on, events, taken
from homes import Claude, Codex, clean, different, files

pytestmark = pytest.mark.spec("X6")

FIXTURES = Path(__file__).parent / "agents"
SITUATIONS = {p.parent.relative_to(FIXTURES).as_posix(): p for p in FIXTURES.glob("*/*/input")}


class Place:
    def __init__(self, folder: Path) -> None:
        self.home, self.own = folder / "home", folder / "own"
        self.home.mkdir()
        self.talk = Claude("11111111-1111-4111-8111-111111111111")
        self.talk.prompt("begin")
        self.talk.answer("a", (1, 2, 3, 4), tool="Read")
        self.talk.write(self.home)

    def deck(self) -> Decklog:
        return deck_on(self.home, self.own)

    def say(self, text: str) -> None:
        self.talk.prompt(text)
        with open(self.home / self.talk.path, "ab") as f:
            f.write(self.talk.lines[-1].data)

    @property
    def path(self) -> Path:
        return self.home / self.talk.path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests wait for the last of what is put off."""
    monkeypatch.setattr(following, "SETTLE_AFTER", 0.02)
    monkeypatch.setattr(watching, "TICK", 0.05)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def deck(place: Place) -> Iterator[Decklog]:
    with place.deck() as opened:
        yield opened


def prompts(changes: list[Change]) -> list[str]:
    return [e.content for e in events(changes) if isinstance(e, UserMessage)]


# --- the law ----------------------------------------------------------------------------------

NAMES = "session_index.jsonl"
"""Names that Codex gives sessions, beside their transcripts: an event tells the name there was when
its transcript began to be read."""


@pytest.mark.parametrize("situation", sorted(SITUATIONS))
def test_live_events_are_those_of_a_later_reading(situation: str, tmp_path: Path) -> None:
    """A HOME that grows in pieces: each event is told once, as it is read when all is there, and
    the store is that of one sync."""
    random = Random(situation)
    whole, home = SITUATIONS[situation], tmp_path / "home"
    home.mkdir()
    left = {p.relative_to(whole): p.read_bytes() for p in files(whole)}
    lines = {p for p in left if p.suffix == ".jsonl"}
    for path in [p for p in left if p.name == NAMES]:
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(left.pop(path))
    told: list[Change] = []
    with deck_on(home, tmp_path / "own") as deck:
        changes = deck.changes()
        while left:
            for path in random.sample(sorted(left), min(len(left), random.randint(1, 6))):
                data = left.pop(path)
                n = random.randint(1, len(data)) if path in lines and len(data) > 1 else len(data)
                (home / path).parent.mkdir(parents=True, exist_ok=True)
                with open(home / path, "ab") as f:
                    f.write(data[:n])
                if data[n:]:
                    left[path] = data[n:]
            told += [c for c in iter(lambda: changes.poll(0.01), None) if c]
        told += taken(deck, changes)
        again = taken(deck, deck.changes(since=0))
        dump = list(deck.dump(text=True))
    assert not [c for c in told if isinstance(c, Lagged)]
    assert different(dump, clean(home, tmp_path / "new")) == ""
    assert [c.seq for c in told] == sorted({c.seq for c in told})
    live_events: dict[str, list[Event]] = defaultdict(list)
    for event in events(told):
        live_events[event.ref.source].append(event)
    agent = agents.get(situation.partition("/")[0])
    for uri, kind, data in testing.documents(agent, home):
        expected, _ = testing.read(agent, uri, kind, data)
        if kind == "jsonl":
            assert live_events.pop(uri, []) == expected
        else:  # what was changed in place was told more than once
            missing = Counter(map(bare, expected)) - Counter(map(bare, live_events.pop(uri, [])))
            assert not missing
    assert not live_events
    if lines and not [p for p in files(home) if p.suffix not in (".jsonl", "")]:
        assert again == told


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.spec("R66")
def test_a_follower_goes_on_where_it_left_off(place: Place) -> None:
    with place.deck() as deck:
        changes = deck.changes()
        place.say("one")
        assert prompts(taken(deck, changes)) == ["one"]
        since = changes.seq
        place.say("two")
        taken(deck, deck.changes())
    place.say("three")  # nobody was there
    with place.deck() as deck:
        deck.sync()
        place.say("four")
        assert prompts(taken(deck, deck.changes(since))) == ["two", "three", "four"]
        assert prompts(taken(deck, deck.changes(since + 1))) == ["three", "four"]
        assert prompts(taken(deck, deck.changes(0)))[0] == "begin"


@pytest.mark.spec("R66")
def test_one_that_is_slow_misses_nothing(
    place: Place, deck: Decklog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "KEPT_CHANGES", 3)
    slow, other = deck.changes(), deck.changes()
    said = [f"say {i}" for i in range(20)]
    for text in said:
        place.say(text)
        taken(deck, other)
    assert prompts(taken(deck, slow)) == said


@pytest.mark.spec("R66")
def test_what_cannot_be_told_any_more_is_said(place: Place) -> None:
    with place.deck() as deck:
        deck.sync()
        for i in range(4):
            place.say(str(i))
            deck.sync()
        start, end = deck.store.journal_ends()
        with deck.store.writing(), deck.store._transaction():
            deck.store.db.execute("delete from journal where seq < ?", (end - 2,))
        kept, _ = deck.store.journal_ends()
        changes = deck.changes(start)
        first, *others = taken(deck, changes)
        assert first == Lagged(seq=kept - 1, missed=kept - 1 - start)
        assert prompts(others) == ["2", "3"]
        deck.sync(rebuild=True)
        (lagged,) = taken(deck, deck.changes(end - 1))
        assert lagged == Lagged(seq=deck.store.journal_ends()[1] - 1, missed=None)


def test_the_journal_is_bounded(deck: Decklog) -> None:
    deck.sync()
    db = deck.store.db
    base = journal.end(db)
    rows = [(base + 2 * i, 2, "events", 1) for i in range(25)]
    db.executemany("insert into journal(seq, events, what, source) values(?, ?, ?, ?)", rows)
    journal.trim(db, kept=15)
    assert journal.start(db) < base
    journal.trim(db, kept=10)
    assert (journal.start(db), journal.end(db)) == (base + 30, base + 50)


@pytest.mark.spec("R60")
def test_others_follow_the_one_that_watches_and_take_its_place(place: Place) -> None:
    first = place.deck()
    a = first.changes()
    with place.deck() as second:
        b = second.changes()
        assert (first.live.watches, second.live.watches) == (True, False)
        place.say("one")
        told = taken(first, a)
        assert prompts(told) == ["one"]
        assert taken(second, b) == told
        first.close()
        place.say("two")
        assert prompts(taken(second, b)) == ["two"]
        assert second.live.watches


@pytest.mark.spec("R68")
def test_a_store_that_became_newer_is_not_written_to(place: Place, deck: Decklog) -> None:
    changes = deck.changes()
    deck.store.db.pragma("user_version", 99)
    place.say("one")
    with pytest.raises(StoreTooNew, match="newer decklog"):
        for _ in changes:
            pass
    assert not deck.live.running


def test_async_for(place: Place, deck: Decklog) -> None:
    async def follow() -> list[Change]:
        found: list[Change] = []
        changes = deck.changes(types=["user_message"])
        place.say("one")
        async for change in changes:
            found.append(change)
            if len(found) == 3:
                break
            place.say("more")
        changes.close()
        return found

    assert prompts(asyncio.run(follow())) == ["one", "more", "more"]


def test_only_what_was_asked_for(place: Place, deck: Decklog) -> None:
    other = Codex("019b7000-0000-7000-8000-000000000001")
    all_of_it = deck.changes()
    mine = deck.changes(sessions=[place.talk.id], types=["user_message", "session_new"])
    other.prompt("elsewhere")
    other.write(place.home)
    place.say("here")
    assert len(taken(deck, all_of_it)) > 2
    assert prompts(taken(deck, mine)) == ["here"]


# --- counted work -----------------------------------------------------------------------------


def work_of_one_line(place: Place, prompts: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Transcripts opened, bytes read of them, rows written before it was told, for one line that
    is appended to a transcript of so many prompts."""
    for i in range(prompts):
        place.talk.prompt(f"{i} " + "x" * 1000)
    place.talk.write(place.home)
    monkeypatch.setattr(following, "SETTLE_AFTER", 10.0)
    with place.deck() as deck:
        changes = deck.changes(types=["user_message"])
        place.say("the first one may cost more")
        assert changes.poll(20)
        counts = [0, 0, 0]
        some, pread, opened = sync.some, os.pread, os.open

        def counting_some(store: Any, *given: Any, **named: Any) -> sync.Round:
            before = store.db.total_changes()
            done = some(store, *given, **named)
            counts[2] += store.db.total_changes() - before
            return done

        def counting_pread(fd: int, n: int, at: int) -> bytes:
            data = pread(fd, n, at)
            counts[1] += len(data)
            return data

        def counting_open(path: str, flags: int, *more: int, **named: int) -> int:
            counts[0] += str(path) == str(place.path)
            return opened(path, flags, *more, **named)

        monkeypatch.setattr(os, "pread", counting_pread)
        monkeypatch.setattr(os, "open", counting_open)
        monkeypatch.setattr(sync, "some", counting_some)
        place.say("one line")
        assert changes.poll(20)
        monkeypatch.undo()
    return counts


@pytest.mark.spec("R58")
def test_one_line_costs_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for prompts in (5, 2_000):
        (tmp_path / str(prompts)).mkdir()
        costs.append(work_of_one_line(Place(tmp_path / str(prompts)), prompts, monkeypatch))
    few, many = costs
    assert (few[0], few[2]) == (many[0], many[2])
    assert many[0] <= 4  # to see what was read before, to read on, to tell, for the text index
    assert 0 < many[1] < 32_768  # of two millions
    assert 0 < many[2] < 20


# --- what happens to files --------------------------------------------------------------------


@pytest.mark.spec("R27", "R36")
def test_sessions_come_go_and_are_renamed(place: Place, deck: Decklog) -> None:
    changes = deck.changes(types=["session_new", "session_renamed", "session_gone", "session_back"])
    other = Claude("22222222-2222-4222-8222-222222222222")
    other.prompt("a new one")
    path = other.write(place.home)
    assert [(type(c), c.session) for c in taken(deck, changes)] == [(SessionNew, other.id)]
    other._put("ai-title", "", aiTitle="A better name")
    other.write(place.home)
    assert [(type(c), c.title) for c in taken(deck, changes)] == [(SessionRenamed, "A better name")]
    path.rename(place.home / "kept")
    assert [(type(c), c.session) for c in taken(deck, changes)] == [(SessionGone, other.id)]
    (place.home / "kept").rename(path)
    assert [(type(c), c.session) for c in taken(deck, changes)] == [(SessionBack, other.id)]


@pytest.mark.spec("R36")
def test_moved_replaced_and_compressed_files_are_the_same_session(
    place: Place, deck: Decklog
) -> None:
    changes = deck.changes()
    moved = place.path.parent.parent / "-elsewhere" / place.path.name
    moved.parent.mkdir()
    place.path.rename(moved)
    assert taken(deck, changes) == []
    moved.rename(place.path)
    place.say("after the move")
    assert prompts(taken(deck, changes)) == ["after the move"]
    copy = place.path.with_suffix(".new")
    place.talk.prompt("in the copy")
    copy.write_bytes(place.talk.data)
    os.replace(copy, place.path)
    assert prompts(taken(deck, changes)) == ["in the copy"]
    packed = place.talk.twin(packed=True)
    packed.write(place.home)
    place.path.unlink()
    assert events(taken(deck, changes)) == []


@pytest.mark.spec("R28", "R35")
def test_a_rewritten_file_tells_only_what_is_new(place: Place, deck: Decklog) -> None:
    changes = deck.changes()
    cut = place.talk.twin(lines=1)
    cut.prompt("another way")
    place.path.write_bytes(cut.data)
    assert prompts(taken(deck, changes)) == ["another way"]


def test_a_companion_that_changes_tells_no_event_twice(place: Place, deck: Decklog) -> None:
    changes = deck.changes()
    child = Claude(place.talk.name, agent="abc123")
    child.prompt("look into it")
    path = child.write(place.home)
    assert prompts(taken(deck, changes)) == ["look into it"]
    path.with_name("agent-abc123.meta.json").write_text('{"agentType":"x","description":"y"}')
    assert events(taken(deck, changes)) == []
    child.prompt("and that")
    child.write(place.home)
    assert prompts(taken(deck, changes)) == ["and that"]


def test_a_database_tells_what_is_new_in_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(SITUATIONS["opencode/tools"], home)
    (path,) = home.rglob("opencode.db")
    with deck_on(home, tmp_path / "own") as deck:
        changes = deck.changes()
        db = sqlite3.connect(path)
        db.execute("pragma journal_mode = wal")
        row = db.execute(
            'select id, data from part where data like \'%"type":"text"%\' limit 1'
        ).fetchone()
        data = row[1].replace('"text":"', '"text":"NEWS ', 1)
        db.execute("update part set data = ?, time_updated = time_updated + 1 where id = ?",
                   (data, row[0]))  # fmt: skip
        db.commit()
        told = events(taken(deck, changes))
        assert [e.content.startswith("NEWS ") for e in told if hasattr(e, "content")] == [True]
        assert len(told) == 1
        db.close()


def test_a_database_that_is_being_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_FIRST", 0.05)
    monkeypatch.setattr(following, "QUIET", 1.0)
    home = tmp_path / "home"
    (source,) = SITUATIONS["opencode/tools"].rglob("opencode.db")
    path = home / source.relative_to(SITUATIONS["opencode/tools"])
    path.parent.mkdir(parents=True)
    with deck_on(home, tmp_path / "own") as deck:
        changes = deck.changes()
        db = sqlite3.connect(path, timeout=0, isolation_level=None)
        for i in range(40):  # any reader at the wrong moment makes one of these fail
            db.execute("begin exclusive")
            db.execute(f"create table t{i}(x)")
            db.execute("commit")
            changes.poll(0.01)
        db.close()
        path.write_bytes(source.read_bytes())
        assert events(taken(deck, changes))


@pytest.mark.spec("R34")
def test_a_file_that_fails_is_tried_again_and_holds_up_no_other(
    place: Place, deck: Decklog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_FIRST", 0.05)
    changes = deck.changes(types=["user_message"])
    other = Claude("22222222-2222-4222-8222-222222222222")
    path = place.home / other.path
    path.symlink_to(place.home / "nowhere")
    place.say("still here")
    change = changes.poll(20)
    assert change is not None
    assert prompts([change]) == ["still here"]
    other.prompt("back")
    (place.home / "nowhere").write_bytes(other.data)
    change = changes.poll(20)
    assert change is not None
    assert prompts([change]) == ["back"]


def test_an_interrupt_that_wakes_nobody_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that comes between Python's last look for signals and a wait does not end the wait."""
    monkeypatch.setattr(ring, "LOOK", 0.02)
    waits = threading.Event()

    def interrupted() -> None:
        waits.wait()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)  # taken by this thread: the other has it blocked

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    other = threading.Thread(target=interrupted)
    try:
        other.start()
        with pytest.raises(KeyboardInterrupt):
            _wait(waits)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        other.join()


def _wait(waits: threading.Event) -> None:
    waits.set()
    ring.Ring().after(0, None)
