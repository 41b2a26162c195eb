"""Changes of state, written down: each once, replayable, bounded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from decklog import checked, transitions
from decklog.model.fleet import AgentState, Evidence, Identity, StateEvent, Transition
from decklog.state import observed, replay, steps
from decklog.transitions import Transitions
from fleets import identity


def events(*evidence: Evidence, pid: int = 7) -> list[StateEvent]:
    return [
        StateEvent(
            at=e.by.at or 0,
            agent="claude",
            root=identity(pid),
            transition=e.transition,
            before=e.before,
            by=e.by,
        )
        for e in steps(evidence)[1]
    ]


def turns(count: int, pid: int = 7) -> list[StateEvent]:
    says = ("turn_started", "turn_ended")
    told = [observed("transcript", says[n % 2], n * 1000) for n in range(count)]
    return events(observed("process", "started", 0), *told, pid=pid)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "fleet")


@pytest.mark.spec("R92")
def test_each_is_written_once_and_follows_from_what_is_written_with_it(folder: str) -> None:
    found = turns(5)
    one, two = Transitions(folder), Transitions(folder)
    assert [e.seq for e in one.add(found[:3])] == [1, 2, 3]
    assert two.add(found[:3]) == []  # another process saw the same
    assert [e.seq for e in two.add(found)] == [4, 5, 6]
    assert one.add(found[2:5]) == []  # a look that was late
    written = Transitions(folder).events()
    assert [e.transition for e in written] == [e.transition for e in found]
    assert [e.seq for e in written] == [1, 2, 3, 4, 5, 6]
    assert [e.seq for e in one.events(after=4)] == [5, 6]
    for event in written:
        assert replay([event.by], event.before)[1] == [event.transition]
    assert Path(folder, "states.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.spec("R92")
def test_what_two_weak_signs_decided_follows_too(folder: str) -> None:
    said = ("busy", "composer_empty", "composer_empty", "waiting_approval", "busy", "busy")
    seen = [observed("screen", says, 2000 * n) for n, says in enumerate(said)]  # type: ignore[arg-type]
    Transitions(folder).add(events(*seen))
    found = Transitions(folder).events()
    assert [e.transition.new for e in found] == ["busy", "idle", "waiting_approval", "busy"]
    for event in found:
        assert replay([event.by], event.before)[1] == [event.transition]


def test_damage_costs_one_step(folder: str) -> None:
    Transitions(folder).add(turns(3))
    path = Path(folder, "states.log")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"busy", b"bury") + lines[2] + lines[3][:-9])
    again = Transitions(folder)
    assert [e.seq for e in again.events()] == [1, 3]
    assert [e.seq for e in again.add(turns(5))] == [4, 5, 6]
    assert [e.seq for e in again.events()] == [1, 3, 4, 5, 6]


def test_a_large_file_is_begun_anew_and_old_ones_go(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "LARGE", 4000)
    found = turns(79)
    one, two = Transitions(folder), Transitions(folder)
    one.add(turns(0, pid=8))
    for n in range(2, 80, 2):
        (one, two)[n % 4 // 2].add(found[:n])
    left = Transitions(folder).events()
    assert [e.seq for e in left if e.root.pid == 7] == list(range(left[1].seq, left[-1].seq + 1))
    assert left[0].root.pid == 8  # it still runs, so its last event is carried along
    assert left[-1].transition == found[77].transition
    files = list(Path(folder).glob("states.log*"))
    assert len(files) <= 1 + checked.OLD
    assert sum(f.stat().st_size for f in files) < 4 * 2 * 4000


def test_many_writers_tell_each_once(folder: str) -> None:
    found = turns(39)

    def write() -> None:
        mine = Transitions(folder)
        for n in range(1, 41):
            mine.add(found[:n])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.seq for e in Transitions(folder).events()] == list(range(1, 41))


def test_whole_states_come_back(folder: str) -> None:
    root = Identity("boot", 3, 4)
    before = AgentState(state="busy", since=1, evidence=(observed("hook", "busy", 1, id="h"),))
    by = observed("hook", "turn_ended", 2)
    change = Transition(at=2, old="busy", new="idle", evidence=(by,), confidence=0.95)
    event = StateEvent(
        at=5, agent="pi", root=root, pane="w:0.1", transition=change, before=before, by=by
    )
    [kept] = Transitions(folder).add([event])
    assert Transitions(folder).events() == [kept]
