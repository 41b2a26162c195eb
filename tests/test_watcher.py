"""The watcher knows what a survey knows, whatever happened in between, and does little else."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decklog import sources
from decklog.live import following, hints, watching
from decklog.live.watching import TICK, Changed, Watcher
from followed import deck_on
from forked import in_child
from homes import Claude

pytestmark = pytest.mark.spec("R33")

Roots = list[tuple[str, tuple[str, ...], tuple[str, ...]]]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Silent:
    """Hints of a system that takes every watch and never says anything."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.next: list[hints.Hint] = []

    def add(self, folder: str) -> bool:
        return True

    def drop(self, folder: str) -> None: ...
    def expect(self, folder: str) -> None: ...

    def read(self, timeout: float) -> list[hints.Hint]:
        self.clock.now += timeout
        found, self.next = self.next, []
        return found

    def wake(self) -> None: ...
    def close(self) -> None: ...


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    (tmp_path / "a" / "one" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "skipped").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/x", "a/one/y", "a/one/deep/z", "a/skipped/no", "b/only", "b/not"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "one")
    (tmp_path / "a" / "broken").symlink_to(tmp_path / "nowhere")
    return [
        (str(tmp_path / "a"), (), ("skipped",)),
        (str(tmp_path / "b"), ("only", "later"), ()),
        (str(tmp_path / "absent"), (), ()),
    ]


def same(watcher: Watcher) -> None:
    files, mark = watcher.survey()
    expected, expected_mark = sources.survey(watcher.roots)
    assert [sorted(f) for f in files] == [sorted(f) for f in expected]
    assert mark == expected_mark


def happenings(tmp_path: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    a = tmp_path / "a"
    yield "grows", lambda: (a / "one" / "y").write_text("1\n2\n")
    yield "new file", lambda: (a / "new").write_text("n")
    yield "new folders", lambda: (a / "p" / "q").mkdir(parents=True)
    yield "file in them", lambda: (a / "p" / "q" / "f").write_text("f")
    yield "moved", lambda: (a / "x").rename(a / "p" / "x")
    yield "replaced", lambda: ((a / "t").write_text("other"), (a / "t").rename(a / "new"))
    yield "gone", (a / "one" / "deep" / "z").unlink
    yield "folder moved", lambda: (a / "p").rename(a / "one" / "p")
    yield "file in the moved folder", lambda: (a / "one" / "p" / "q" / "g").write_text("g")
    yield "folder out", lambda: (a / "one").rename(tmp_path / "out")
    yield "folder back", lambda: (tmp_path / "out").rename(a / "one")
    yield "wanted at the root", lambda: (tmp_path / "b" / "later").write_text("l")
    yield "not wanted", lambda: (tmp_path / "b" / "other").write_text("o")
    yield "a root comes", lambda: (tmp_path / "absent" / "s").mkdir(parents=True)
    yield "file in it", lambda: (tmp_path / "absent" / "s" / "f").write_text("f")


def settle(watcher: Watcher, seconds: float) -> None:
    """Take changes until what is known is what a survey finds."""
    until = time.monotonic() + seconds
    while watcher.fingerprint != sources.survey(watcher.roots)[1]:
        assert time.monotonic() < until
        watcher.wait(0.05)


@pytest.mark.parametrize("make", [hints.Inotify, hints.Watchfiles])
def test_what_the_system_tells(
    roots: Roots, tmp_path: Path, make: Callable[[], hints.Hints]
) -> None:
    if make is hints.Watchfiles:
        (tmp_path / "a" / "link").unlink()  # it tells of one name of a folder only
    watcher = Watcher(roots, hints=make())
    watcher.scan()
    same(watcher)
    for _, happen in happenings(tmp_path):
        happen()
        settle(watcher, 20)
        same(watcher)
    watcher.close()


@pytest.mark.parametrize("told", [False, True], ids=["no hints", "silent hints"])
def test_looking_in_turn_finds_all_that_was_not_told(
    roots: Roots, tmp_path: Path, told: bool
) -> None:
    clock = Clock()
    silent = Silent(clock)
    watcher = Watcher(roots, hints=silent, clock=clock)
    watcher.scan()
    if not told:
        watcher.untold.add(0)
    for what, happen in happenings(tmp_path):
        happen()
        began = clock.now
        while watcher.fingerprint != sources.survey(roots)[1]:
            watcher.wait(TICK)
            assert clock.now - began <= (600 if told else 16), what
        same(watcher)


def test_a_lost_hint_leads_to_a_look_at_everything(roots: Roots, tmp_path: Path) -> None:
    clock = Clock()
    silent = Silent(clock)
    watcher = Watcher(roots, hints=silent, clock=clock)
    watcher.scan()
    for _, happen in happenings(tmp_path):
        happen()
    silent.next = [(None, "", False)]
    changed = watcher.wait(0.1)
    assert changed
    same(watcher)


def test_what_changed_is_said_once(roots: Roots, tmp_path: Path) -> None:
    (tmp_path / "a" / "link").unlink()
    watcher = Watcher(roots, hints=hints.Inotify())
    watcher.scan()
    y = tmp_path / "a" / "one" / "y"
    y.write_text("longer\n")
    changed = watcher.wait(5)
    assert [sorted(f) for f in changed.files] == [[str(y)], [], []]
    assert changed.gone == [{}, {}, {}]
    y.unlink()
    changed = watcher.wait(5)
    assert changed.gone == [{str(y): "one/y"}, {}, {}]
    assert not watcher.wait(0.01)
    watcher.close()


def test_a_thread_can_be_woken() -> None:
    system = hints.Inotify()
    watcher = Watcher([], hints=system)
    system.wake()
    began = time.monotonic()
    system.read(30)
    assert time.monotonic() - began < 10
    watcher.close()


@pytest.mark.spec("R58")
def test_an_idle_minute_costs_little(tmp_path: Path) -> None:
    """Ten thousand files: half a sweep of looks a minute, no folder listed, no byte read."""
    for d in range(100):
        folder = tmp_path / f"{d:03}"
        folder.mkdir()
        for f in range(100):
            os.close(os.open(folder / f"{f:03}.jsonl", os.O_CREAT | os.O_WRONLY))
    clock = Clock()
    watcher = Watcher([(str(tmp_path), (), ())], hints=Silent(clock), clock=clock)
    assert isinstance(watcher.scan(), Changed)
    listed, stats = watcher.counts.listed, watcher.counts.stats
    until = clock.now + 60
    while clock.now < until:
        assert not watcher.wait(1.0)
    assert watcher.counts.listed == listed
    assert watcher.counts.stats - stats < 10_100 / 2 + 200


# --- what may not be looked at ----------------------------------------------------------------


def as_nobody(work: Callable[[], object]) -> object:
    """Work done in a child that is not root: root may look at everything."""

    def other() -> object:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return work()

    return in_child(other)


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of the user who is nobody, in a place where everybody may go."""
    folder = Path(tempfile.mkdtemp(prefix="decklog-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def give_away(folder: Path) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)


@pytest.mark.spec("R37", "R33")
def test_what_may_not_be_looked_at_is_not_gone(theirs: Path) -> None:
    (theirs / "root" / "one" / "deep").mkdir(parents=True)
    for name in ("x", "one/y", "one/w", "one/deep/z"):
        (theirs / "root" / name).write_text("1\n")
    give_away(theirs)

    def work() -> list[list[str]]:
        one = theirs / "root" / "one"
        clock = Clock()
        watcher = Watcher([(str(theirs / "root"), (), ())], hints=Silent(clock), clock=clock)
        watcher.scan()
        said = []

        def told(act: Callable[[], object]) -> None:
            act()
            changed = Changed(1)
            watcher.rescan(changed)
            said.append(
                [f"{f[1]} {f[2]}" for f in changed.files[0].values()]
                + [f"-{r}" for r in changed.gone[0].values()]
            )
            same(watcher)

        told(lambda: one.chmod(0o000))
        told(lambda: None)
        told(lambda: one.chmod(0o600))  # its names may be seen, and no more
        told(lambda: one.chmod(0o000))
        told(lambda: one.chmod(0o700))
        told(lambda: one.chmod(0o000))

        def meanwhile() -> None:
            one.chmod(0o700)
            (one / "w").unlink()

        told(meanwhile)
        told(lambda: one.chmod(0o000))

        def removed() -> None:
            one.chmod(0o700)
            shutil.rmtree(one)

        told(removed)
        return [sorted(s) for s in said]

    assert as_nobody(work) == [
        ["one/ -1"],
        [],
        ["-one/", "one/deep/ -1", "one/w -1", "one/y -1"],
        ["one/ -1"],
        ["-one/", "one/deep/z 2", "one/w 2", "one/y 2"],
        ["one/ -1"],
        ["-one/", "-one/w", "one/deep/z 2", "one/y 2"],
        ["one/ -1"],
        ["-one/deep/z", "-one/y"],
    ]


@pytest.mark.spec("R37", "R27")
def test_a_session_that_may_not_be_looked_at_goes_on_afterwards(theirs: Path) -> None:
    """Followed: unreadable is a finding, and no session is said to be gone."""
    talk = Claude("talk")
    talk.prompt("before")
    path = talk.write(theirs / "home")
    give_away(theirs)

    def work() -> list[list[str]]:
        following.SETTLE_AFTER, watching.TICK = 0.02, 0.05
        found = []
        with deck_on(theirs / "home", theirs / "own") as deck:
            changes = deck.changes(types=["user_message", "session_gone", "session_back"])

            def told(reasons: set[str], texts: int) -> None:
                until = time.monotonic() + 20
                while {f.reason for f in deck.findings()} != reasons:
                    assert time.monotonic() < until
                    time.sleep(0.02)
                came = [changes.poll(20) for _ in range(texts)]
                came += iter(lambda: changes.poll(0.3), None)
                found.append([getattr(getattr(c, "event", c), "content", str(c)) for c in came])

            path.parent.chmod(0o000)
            told({"unreadable"}, 0)
            path.parent.chmod(0o700)
            with path.open("ab") as f:
                talk.prompt("after")
                f.write(talk.lines[-1].data)
            told(set(), 1)
        return found

    assert as_nobody(work) == [[], ["after"]]
