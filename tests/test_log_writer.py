"""Writing the log of a session: events, index, heartbeats, the end, callbacks."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from decklog.errors import NotFound, UsageError, WriteError
from decklog.log import Entry, Logged, Logs, Receipt, Writer
from decklog.model import (
    AssistantMessage,
    Event,
    Heartbeat,
    Ref,
    SessionStarted,
    UserEvent,
    UserMessage,
)
from forked import in_child, killed, suicide


class Clock:
    """Goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = 1_764_000_000_000

    def __call__(self) -> int:
        self.now += 1000
        return self.now


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(str(tmp_path), clock=Clock())


def said(text: str, uid: str = "") -> Event:
    return UserMessage(agent="claude", session="claude:n1", content=text, uid=uid)


def contents(logs: Logs, name: str) -> list[Any]:
    return [(e.seq, getattr(e.event, "content", e.kind)) for e in logs.read(name)]


def index(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((tmp_path / "log" / "index.json").read_text())[
        "sessions"
    ]
    return rows


@pytest.mark.spec("B15", "B16", "B22", "R18")
def test_a_log_is_made_named_and_gone_on_with(logs: Logs, tmp_path: Path) -> None:
    with logs.open(agent="claude") as writer:
        assert writer.emit(said("one")) == Receipt(1)
    began = index(tmp_path)[0]["started_at"]
    assert began == next(logs.read(writer.id)).ts
    with logs.open(writer.id) as again:
        assert again.emit(said("two")) == Receipt(2)
    assert contents(logs, writer.id) == [(1, "one"), (2, "two")]
    assert [(r["wrapper_session_id"], r["started_at"]) for r in index(tmp_path)] == [
        (writer.id, began)
    ]
    with logs.open() as other:
        assert other.id > writer.id


@pytest.mark.spec("B9", "B10", "B12", "B20", "B21", "B23")
def test_the_indexes_tell_what_the_log_tells(logs: Logs, tmp_path: Path) -> None:
    with logs.open("s1", agent="claude") as writer:
        writer.emit(SessionStarted(command="claude -p", cwd="/src/proj", origin="wrapper"))
        writer.set_provider_session_id("n1")
        writer.add_source_path("/a.jsonl")
        writer.add_source_path("/a.jsonl")
        writer.emit(UserMessage(agent="claude", ref=Ref("/b.jsonl", 0, 5), content="c"))
        assert writer.finish(False, "broke", exit_code=3)
    row = {
        "wrapper_session_id": "s1", "provider": "claude", "provider_session_id": "n1",
        "log_path": str(tmp_path / "log/sessions/s1/0000000000000001.jsonl"),
        "completeness": "full", "started_at": "2025-11-24T16:00:02.000Z",
        "ended_at": "2025-11-24T16:00:04.000Z", "workspace_path": "/src/proj",
        "command": "claude -p", "source_paths": ["/a.jsonl", "/b.jsonl"], "backfilled": False,
        "success": False, "error": "broke", "exit_code": 3, "events": 3,
    }  # fmt: skip
    assert index(tmp_path) == [row]
    outside = json.loads((tmp_path / "sessions_index.json").read_text())
    assert outside == {
        "sessions": [
            {
                "session_id": "s1", "project": "proj", "log_path": row["log_path"],
                "provider": "claude", "started_at": "2025-11-24T16:00:02.000Z",
            }
        ]
    }  # fmt: skip
    assert "\n  " in (tmp_path / "sessions_index.json").read_text()


@pytest.mark.spec("BW1", "R24", "B11")
@pytest.mark.parametrize("damage", [b"", b"{", b'{"sessions": []}', b"\xff\x00"])
def test_a_damaged_index_is_set_aside_and_made_anew(
    logs: Logs, tmp_path: Path, damage: bytes
) -> None:
    for name in ("s1", "s2"):
        with logs.open(name, agent="claude") as writer:
            writer.emit(SessionStarted(command="claude", cwd="/p", origin="wrapper"))
            writer.emit(said("hello"))
            writer.finish()
    path = tmp_path / "log" / "index.json"
    whole, known = path.read_bytes(), logs.sessions()
    path.write_bytes(damage)
    with logs.open("s3", agent="claude") as writer:
        pass
    assert [s for s in logs.sessions() if s.wrapper_session_id != "s3"] == known
    for at in range(0, len(whole), 23):  # one bad byte, anywhere
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert [s for s in logs.sessions() if s.wrapper_session_id != "s3"] == known
    path.unlink()
    assert [s for s in logs.sessions() if s.wrapper_session_id != "s3"] == known
    if damage not in (b'{"sessions": []}',):
        assert list(path.parent.glob("index.json.corrupt-*"))


@pytest.mark.spec("BW1")
def test_processes_that_change_the_index_together_lose_nothing(tmp_path: Path) -> None:
    def record(who: int) -> None:
        logs = Logs(str(tmp_path))
        for i in range(10):
            with logs.open(f"s{who}-{i}", agent="claude") as writer:
                writer.finish()

    children = []
    for who in range(4):
        children.append(threading.Thread(target=in_child, args=(lambda who=who: record(who),)))
        children[-1].start()
    for child in children:
        child.join()
    assert len(index(tmp_path)) == 40
    assert all(row["ended_at"] for row in index(tmp_path))


@pytest.mark.spec("BW2")
def test_the_index_is_written_only_when_something_in_it_changes(logs: Logs, tmp_path: Path) -> None:
    with logs.open("s1", agent="claude") as writer:
        writer.emit(said("a"))
        before = (tmp_path / "log" / "index.json").stat().st_ino
        for i in range(20):
            writer.set_provider_session_id("n1")
            writer.set_completeness("full")
            writer.emit(said(str(i)))
        assert (tmp_path / "log" / "index.json").stat().st_ino == before


@pytest.mark.spec("B18", "B19")
def test_later_events_have_the_native_id_and_are_no_more_complete_than_the_log(
    logs: Logs, tmp_path: Path
) -> None:
    with logs.open("s1", agent="claude") as writer:
        writer.emit(UserEvent(message="before"))
        writer.set_provider_session_id("n1")
        writer.set_completeness("partial")
        writer.set_completeness("full")
        writer.emit(UserEvent(message="after"))
        told = [(e.event.session, e.event.completeness) for e in writer.read()]
    assert told == [("", "full"), ("claude:n1", "partial")]
    assert index(tmp_path)[0]["completeness"] == "partial"


@pytest.mark.spec("BW10", "B21")
def test_a_session_ends_once_and_is_open_again_when_it_is_taken_up(
    logs: Logs, tmp_path: Path
) -> None:
    with logs.open("s1", agent="claude") as writer, logs.open("s1") as second:
        assert writer.finish(exit_code=0)
        assert not writer.finish()
        assert not second.finish()
    assert index(tmp_path)[0]["exit_code"] == 0
    with logs.open("s1") as writer:
        writer.emit(SessionStarted(command="claude --resume", resumed=True, origin="wrapper"))
        row = index(tmp_path)[0]
        assert (row["ended_at"], row["success"], row["exit_code"]) == (None, None, None)
        assert writer.finish(exit_code=1)
    kinds = [e.kind for e in logs.read("s1")]
    assert kinds == ["session_ended", "session_started", "session_ended"]
    assert logs.index.rebuild() == {"s1": logs.find("s1")}


@pytest.mark.spec("BW16")
def test_heartbeats_make_the_log_no_longer(logs: Logs, tmp_path: Path) -> None:
    with logs.open("s1", agent="claude") as writer:
        assert not logs.running("s1")
        for _ in range(50):
            assert writer.emit(Heartbeat(interval_secs=10)) == Receipt(0, new=False)
        assert logs.running("s1")
        assert logs.last_beat("s1") == {
            "ts": "2025-11-24T16:00:51.000Z", "pid": os.getpid(), "beats": 50, "interval_secs": 10,
        }  # fmt: skip
        size = sum(p.stat().st_size for p in (tmp_path / "log/sessions/s1").iterdir())
        assert size < 200
        writer.finish()
        assert not logs.running("s1")
        assert logs.last_beat("s1") is None


@pytest.mark.spec("BW10", "BW16")
def test_a_recorder_that_was_killed_is_not_running(tmp_path: Path) -> None:
    def record() -> None:
        writer = Logs(str(tmp_path)).open("s1", agent="claude")
        writer.heartbeat(10)
        suicide()

    assert killed(record, 60)
    logs = Logs(str(tmp_path))
    assert not logs.running("s1")
    assert logs.last_beat("s1") is not None


@pytest.mark.spec("BW17", "R48")
def test_an_event_that_comes_twice_is_written_once(logs: Logs) -> None:
    with logs.open("s1", agent="claude") as writer:
        assert writer.emit(said("a", "u1")) == Receipt(1)
        again = [said("a", "u1"), said("b", "u2"), said("b", "u2"), said("no key"), said("no key")]
        assert writer.emit_all(again) == [
            Receipt(1, new=False), Receipt(2), Receipt(2, new=False), Receipt(3), Receipt(4),
        ]  # fmt: skip
        assert writer.emit(AssistantMessage(agent="claude", uid="u1")) == Receipt(5)
    with logs.open("s1") as writer:
        assert writer.recall() == 3
        assert writer.emit(said("a", "u1")) == Receipt(1, new=False)


@pytest.mark.spec("BW15", "B17")
def test_callbacks_get_all_events_in_order_and_hold_up_nobody(logs: Logs) -> None:
    quick: list[int] = []
    slow: list[int] = []
    gate = threading.Event()

    def wait(entry: Entry) -> None:
        gate.wait(30)
        slow.append(entry.seq)

    def answer(entry: Entry) -> None:
        quick.append(entry.seq)
        if entry.seq == 1:
            writer.emit(said("an answer"))
        if entry.seq == 5:
            raise ValueError("a callback that fails")

    with logs.open("s1", agent="claude") as writer:
        writer.subscribe(wait)
        answering = writer.subscribe(answer)
        writer.emit(said("a"))
        while len(quick) < 2:
            time.sleep(0.001)
        threads = [
            threading.Thread(target=lambda: [writer.emit(said(str(i))) for i in range(50)])
            for _ in range(4)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        logs.append("s1", said("from elsewhere"))
        assert slow == []
        gate.set()
    assert quick == slow == list(range(1, 204))
    assert isinstance(answering.failure, ValueError)


@pytest.mark.spec("B33", "BW3")
def test_an_event_can_be_written_beside_a_live_writer(logs: Logs, tmp_path: Path) -> None:
    with logs.open("s1", agent="claude", provider_session_id="n1") as writer:
        writer.emit(said("one"))
        before = index(tmp_path)
        assert logs.append("s1", UserEvent(level="warn", message="two")) == Receipt(2)
        assert index(tmp_path) == before
        assert writer.emit(said("three")) == Receipt(3)
    two = list(logs.read("s1"))[1].event
    assert (two.agent, two.session, two.origin) == ("claude", "claude:n1", "wrapper")
    assert logs.append("s2", UserEvent(message="first")) == Receipt(1)
    assert {s.wrapper_session_id for s in logs.sessions()} == {"s1", "s2"}


@pytest.mark.spec("BW13", "R70")
@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/b", "a\\b", "%2e%2e", "a\0b", "CON", "a.", "", " ", "x" * 10_000, ".x"],
)
def test_what_is_no_id_touches_no_file(logs: Logs, tmp_path: Path, name: str) -> None:
    asks: list[Callable[[], object]] = [
        lambda: logs.append(name, UserEvent(message="m")),
        lambda: logs.read(name),
        lambda: logs.tail(name),
        lambda: logs.running(name),
    ]
    if name:  # an empty one asks for a new one
        asks.append(lambda: logs.open(name))
    for ask in asks:
        with pytest.raises(UsageError):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_sessions_are_found_by_either_id_and_by_a_beginning(logs: Logs) -> None:
    for name, native in (("s1", "n1"), ("s2", "n2"), ("t1", "m1")):
        logs.open(name, agent="claude", provider_session_id=native).close()
    assert logs.find("latest").wrapper_session_id == "t1"
    assert logs.find("t").wrapper_session_id == "t1"
    assert logs.find("claude:n2").wrapper_session_id == "s2"
    assert logs.find("m").wrapper_session_id == "t1"
    with pytest.raises(UsageError):
        logs.find("s")
    with pytest.raises(NotFound):
        logs.find("x")


@pytest.mark.spec("B24", "R20")
def test_a_writer_goes_on_after_a_failure(logs: Logs, tmp_path: Path) -> None:
    with logs.open("s1", agent="claude") as writer:
        writer.emit(said("one"))
        folder = tmp_path / "log/sessions/s1"
        (folder / "0000000000000001.jsonl").rename(folder / "elsewhere")
        (folder / "0000000000000001.jsonl").mkdir()
        writer.log.close()
        with pytest.raises(WriteError):
            writer.emit(said("two", "u2"))
        (folder / "0000000000000001.jsonl").rmdir()
        (folder / "elsewhere").rename(folder / "0000000000000001.jsonl")
        assert writer.emit(said("two", "u2")) == Receipt(2)
    assert contents(logs, "s1") == [(1, "one"), (2, "two")]


def test_a_torn_end_is_told_as_an_event(logs: Logs, tmp_path: Path) -> None:
    with logs.open("s1", agent="claude") as writer:
        writer.emit(said("one"))
    with (tmp_path / "log/sessions/s1/0000000000000001.jsonl").open("ab") as file:
        file.write(b'{"seq":2,')
    with logs.open("s1") as writer:
        pass
    entry = list(logs.read("s1"))[1]
    assert (entry.kind, {k: bytes(v) for k, v in entry.extra.items()}) == (
        "log_recovered",
        {
            "bytes": b"9", "kind": b'"log_recovered"',
            "saved": b'"0000000000000001.jsonl.torn-1"',
        },
    )  # fmt: skip


def test_what_is_known_of_a_session_survives_the_writer(logs: Logs) -> None:
    writer: Writer = logs.open("s1", agent="claude")
    writer.emit(said("one"))
    writer.close()
    assert logs.find("s1") == Logged(
        wrapper_session_id="s1", provider="claude", provider_session_id="n1",
        log_path=writer.log.path, started_at="2025-11-24T16:00:02.000Z", events=1,
    )  # fmt: skip


def test_the_end_of_a_session_leaves_its_sealed_segments_compressed(tmp_path: Path) -> None:
    logs = Logs(str(tmp_path), segment_bytes=1000)
    with logs.open("s1", agent="claude") as writer:
        for n in range(30):
            writer.emit(said(f"line {n}"))
        writer.finish()
        names = sorted(os.listdir(writer.log.folder))
    sealed = [n for n in names if n[0] == "0"][:-1]
    assert len(sealed) > 3
    assert all(n.endswith(".jsonl.zst") for n in sealed)
    assert [e.kind for e in logs.read("s1")][-1] == "session_ended"
