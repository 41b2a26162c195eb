"""Work is counted, not timed: files opened, bytes read, lines decoded, rows written.

Each gate stands beside a decklog that is broken on purpose, which must not pass it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from decklog import agents, hub, sources
from decklog.agents import Agent, Reader
from decklog.model import Cursor, Event, Ref
from decklog.store import link
from decklog.sync import plan
from forked import in_child
from homes import Claude, Codex, Synced, clean

SESSIONS = 12


class Home(NamedTuple):
    folder: Path
    own: Path
    claude: list[Claude]
    codex: list[Codex]

    def deck(self) -> Synced:
        return Synced(self.folder, self.own)

    def settle(self) -> None:
        """Sync until nothing is left to do: the second writer flushes what the first one filled."""
        for _ in range(2):
            with self.deck() as deck:
                deck.sync()

    @property
    def lines(self) -> int:
        return sum(len(m.lines) for m in [*self.claude, *self.codex])

    @property
    def size(self) -> int:
        return sum(len(m.data) for m in [*self.claude, *self.codex])


def make(folder: Path, sessions: int = SESSIONS, answers: int = 5) -> Home:
    home = Home(folder / "home", folder / "own", [], [])
    for i in range(sessions):
        talk, rollout = Claude(f"talk{i:03}"), Codex(f"019b7000-0000-7000-8000-{i:012}")
        for made in (talk, rollout):
            made.prompt("do it")
            for n in range(answers):
                made.answer(f"{i}-{n}", (10, 20, 3, 40))
            made.write(home.folder)
        home.claude.append(talk)
        home.codex.append(rollout)
    fork = home.claude[0].fork("fork")
    fork.answer("own", (1, 1, 1, 1))
    fork.write(home.folder)
    home.claude.append(fork)
    return home


def append(home: Home, made: Claude | Codex) -> int:
    """One more prompt at the end of a transcript; its bytes."""
    before = len(made.lines)
    made.prompt("and then?")
    data = b"".join(x.data for x in made.lines[before:])
    with (home.folder / made.path).open("ab") as f:
        f.write(data)
    return len(data)


class Work(NamedTuple):
    """What a piece of work did, besides its result."""

    opened: list[str]
    read: int
    written: int
    result: Any


def measure(home: Home, work: Callable[[hub.Decklog], Any]) -> Work:
    """Do it in a child, where every open, read and written row is counted."""

    def counted() -> Any:
        with home.deck() as deck:
            opened: list[str] = []
            inside = str(home.folder)

            def hook(event: str, found: tuple[Any, ...]) -> None:
                if event == "open" and str(found[0]).startswith(inside):
                    opened.append(str(found[0]))

            sys.addaudithook(hook)
            with reads() as read:
                before = deck.store.db.total_changes()
                result = work(deck.deck)
                written = deck.store.db.total_changes() - before
        return opened, sum(read), written, result

    return Work(*in_child(counted))


@contextmanager
def reads() -> Iterator[list[int]]:
    """Sizes of all reads by file descriptor. SQLite reads its own files by itself."""
    sizes: list[int] = []
    kept = os.read, os.pread

    def counting(function: Callable[..., bytes]) -> Callable[..., bytes]:
        def call(*found: Any) -> bytes:
            data = function(*found)
            sizes.append(len(data))
            return data

        return call

    os.read, os.pread = (counting(f) for f in kept)
    try:
        yield sizes
    finally:
        os.read, os.pread = kept


def sync(deck: hub.Decklog) -> list[int]:
    return list(deck.sync())


# --- a second sync ------------------------------------------------------------------------------


def gate_second_sync(home: Home) -> None:
    home.settle()
    done = measure(home, sync)
    assert done.opened == []
    assert done.read == 0
    assert done.written == 0
    assert done.result == [2 * SESSIONS + 1, *[0] * 8]  # sources, and nothing else


@pytest.mark.spec("X6", "AW12")
def test_a_second_sync_opens_reads_and_writes_nothing(tmp_path: Path) -> None:
    gate_second_sync(make(tmp_path))


def test_a_second_sync_that_looks_into_files_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plan.Plan.root

    def forgetful(self: plan.Plan, name: str, path: str, files: list[Any]) -> None:
        self.known = {uri: (*r[:4], 0, *r[5:]) for uri, r in self.known.items()}
        root(self, name, path, files)

    monkeypatch.setattr(plan.Plan, "root", forgetful)
    with pytest.raises(AssertionError):
        gate_second_sync(make(tmp_path))


# --- nothing changed ----------------------------------------------------------------------------


def gate_unchanged(home: Home) -> None:
    home.settle()
    done = measure(home, lambda deck: [deck.unchanged(), deck.refresh(), deck.unchanged()])
    assert done.result == [True, "", True]
    assert done.opened == []
    assert done.read == done.written == 0


def test_nothing_changed_is_seen_without_opening_anything(tmp_path: Path) -> None:
    gate_unchanged(make(tmp_path))


def test_a_look_that_opens_files_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = sources.walk

    def curious(*found: Any) -> Iterator[Any]:
        for relative, entry in walk(*found):
            os.close(os.open(entry.path, os.O_RDONLY))
            yield relative, entry

    monkeypatch.setattr(sources, "walk", curious)
    with pytest.raises(AssertionError):
        gate_unchanged(make(tmp_path))


CHANGES: dict[str, Callable[[Home], object]] = {
    "a record more": lambda home: append(home, home.claude[3]),
    "a new file": lambda home: Claude("new").write(home.folder),
    "a file gone": lambda home: (home.folder / home.codex[2].path).unlink(),
    "a file replaced by one of its size and time": lambda home: _replace(home, home.codex[2]),
    "a file renamed": lambda home: (home.folder / home.claude[2].path).rename(
        home.folder / ".claude/projects/-home-me-work/other.jsonl"
    ),
    "a time only": lambda home: os.utime(home.folder / home.claude[1].path, ns=(1, 1)),
}


def _replace(home: Home, made: Codex) -> None:
    path = home.folder / made.path
    stat = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes().replace(b"do it", b"do so"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)


@pytest.mark.spec("AW12", "R35", "R32")
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_noticed(change: str, tmp_path: Path) -> None:
    home = make(tmp_path)
    with home.deck() as deck:
        deck.sync()
        assert deck.deck.unchanged()
        CHANGES[change](home)
        assert not deck.deck.unchanged()
        deck.sync()
        assert deck.deck.unchanged()


# --- one line more ------------------------------------------------------------------------------


def gate_append(small: Home, large: Home) -> None:
    """One more record costs the same in a large HOME as in a small one."""
    done = []
    for home in (small, large):
        home.settle()
        size = append(home, home.claude[1])
        work = measure(home, sync)
        assert set(work.opened) == {str(home.folder / home.claude[1].path)}
        assert work.result[1:5] == [1, size, 1, 1]  # sources read, bytes, lines, sessions renewed
        assert work.result[6] == 1  # text indexed
        # the record, and twice what identifies the place before it
        assert size <= work.read <= size + 2 * sources.CHECK
        done.append(work)
    assert done[0].written == done[1].written <= 40


@pytest.mark.spec("AW12", "R31", "R32")
def test_one_line_more_costs_one_line(tmp_path: Path) -> None:
    gate_append(make(tmp_path / "small", 3, 3), make(tmp_path / "large", 40, 60))


def _link_everything(self: link.Linker, dirty: list[str]) -> None:
    closure(self, [r[0] for r in self.db.execute("select session from part")])


closure = link.Linker._closure
COSTLY: dict[str, tuple[object, str, object]] = {
    "reading from the start": (plan.Plan, "_appended", lambda self, seen, row: False),
    "linking everything": (link.Linker, "_closure", _link_everything),
}


@pytest.mark.parametrize("what", COSTLY)
def test_a_line_that_costs_more_is_caught(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*COSTLY[what])
    small, large = make(tmp_path / "small", 3, 3), make(tmp_path / "large", 40, 60)
    with pytest.raises(AssertionError):
        gate_append(small, large)


# --- each line once -----------------------------------------------------------------------------


class Counting(Agent):
    """An agent whose readers count what they are fed."""

    def __init__(self, agent: Agent, fed: Counter[tuple[str, int]]) -> None:
        self.agent, self.fed = agent, fed
        self.name = agent.name
        self.roots, self.claim = agent.roots, agent.claim  # type: ignore[method-assign]

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        reader = self.agent.reader(cursor, text=text, companions=companions)
        feed, fed = reader.feed, self.fed

        def counting(line: bytes, ref: Ref) -> list[Event]:
            fed[ref.source, ref.offset] += 1
            return feed(line, ref)

        reader.feed = counting  # type: ignore[method-assign]
        return reader


def gate_each_line_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: Counter[tuple[str, int]] = Counter()
    for name in ("claude", "codex"):
        monkeypatch.setitem(agents._loaded, name, Counting(agents.get(name), fed))
    with home.deck() as deck:
        report = deck.sync()
    assert len(fed) == sum(fed.values()) == report.lines == home.lines
    assert report.bytes == home.size
    assert report.read == 2 * SESSIONS + 1


@pytest.mark.spec("X6")
def test_a_first_sync_decodes_each_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate_each_line_once(make(tmp_path), monkeypatch)


def test_decoding_twice_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = sources._split
    monkeypatch.setattr(sources, "_split", lambda block: split(block) + split(block)[:1])
    with pytest.raises(AssertionError):
        gate_each_line_once(make(tmp_path), monkeypatch)


# --- built anew ---------------------------------------------------------------------------------


@pytest.mark.spec("R38", "R40")
def test_a_store_built_anew_is_the_same_row_for_row(tmp_path: Path) -> None:
    home = make(tmp_path)
    with home.deck() as deck:
        deck.sync()
        for made in (home.claude[0], home.codex[0]):
            append(home, made)
            deck.sync()
        before = deck.dump()
        report = deck.deck.sync(rebuild=True)
        assert deck.dump() == before == clean(home.folder, tmp_path / "new")
        assert report.lines == home.lines
        assert deck.deck.unchanged()
    left = {p.name for p in home.own.iterdir()}
    databases = ("decklog.db", "text-0.db", "text-1.db")
    assert left <= {f"{name}{end}" for name in databases for end in ("", "-shm", "-wal")} | {
        "archive",
        "write.lock",
    }


def test_a_row_that_only_history_explains_is_caught(tmp_path: Path) -> None:
    home = make(tmp_path)
    with home.deck() as deck:
        deck.sync()
        deck.store.db.execute("update usage set records = records + 1 where key like '%0-1%'")
        assert deck.dump() != clean(home.folder, tmp_path / "new")
