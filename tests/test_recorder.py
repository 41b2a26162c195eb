"""Recording a run: what the wrapper knows, what the transcript tells, and how it ended."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decklog.errors import WriteError
from decklog.hub import Decklog
from decklog.log import Entry, Logs
from decklog.model import Event, Happened, SessionStarted, UsageLimitHit, UserMessage
from decklog.outputs import Output
from decklog.recorder import Recorder
from followed import deck_on
from homes import Claude
from waiting import until

CWD = "/home/me/work"
NATIVE = "11111111-1111-4111-8111-111111111111"


class Told:
    """Changes that a test gives."""

    def __init__(self) -> None:
        self.seq = 0
        self.events: list[Event | Exception] = []

    def poll(self, timeout: float) -> Happened | None:
        if not self.events:
            time.sleep(min(timeout, 0.01))
            return None
        event = self.events.pop(0)
        if isinstance(event, Exception):
            raise event
        self.seq += 1
        return Happened(seq=self.seq, event=event)

    def close(self) -> None: ...


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(str(tmp_path))


def recorder(logs: Logs, told: Told | None = None, **options: Any) -> Recorder:
    return Recorder(
        logs.open(agent="claude"), agent="claude", started_at=1_000_000, changes=told, **options
    )


def said(text: str, session: str = f"claude:{NATIVE}", **own: Any) -> UserMessage:
    return UserMessage(agent="claude", session=session, content=text, uid=text, at=1, **own)


def began(session: str, at: int = 1_000_500, cwd: str = CWD) -> SessionStarted:
    return SessionStarted(agent="claude", session=session, cwd=cwd, at=at, uid=f"begin {session}")


def kinds(logs: Logs, made: Recorder) -> list[str]:
    return [e.kind for e in logs.read(made.writer.id)]


@pytest.mark.spec("B25", "B27", "B29", "B32", "B17")
def test_a_run_is_told_from_its_beginning_to_its_end(logs: Logs) -> None:
    seen: list[Entry] = []
    with recorder(logs, cwd=CWD) as made:
        subscription = made.start(
            command="claude -p hello", prompt="  hello ", callback=seen.append
        )
    entries = list(logs.read(made.writer.id))
    assert [(e.kind, e.event.origin) for e in entries] == [
        ("session_started", "wrapper"), ("user_message", "wrapper"), ("session_ended", "wrapper"),
    ]  # fmt: skip
    assert entries[1].event.content == "  hello "
    assert subscription is not None
    subscription.close()
    assert [e.seq for e in seen] == [1, 2, 3]
    (logged,) = logs.sessions()
    assert logged.ended_at


@pytest.mark.spec("B32")
@pytest.mark.parametrize("prompt", [None, "", " \n"])
def test_a_blank_prompt_is_none(logs: Logs, prompt: str | None) -> None:
    with recorder(logs) as made:
        made.start(prompt=prompt)
    assert kinds(logs, made) == ["session_started", "session_ended"]


@pytest.mark.spec("B26", "BW17")
def test_what_the_transcript_tells_is_recorded_once(logs: Logs) -> None:
    told = Told()
    with recorder(logs, told, native=NATIVE) as made:
        made.start(prompt="hello")
        told.events += [said("hello"), said("elsewhere", "claude:other"), said("more")]
    entries = list(logs.read(made.writer.id))
    texts = [(e.event.content, e.event.origin) for e in entries if isinstance(e.event, UserMessage)]
    assert texts == [("hello", "wrapper"), ("hello", "provider_file"), ("more", "provider_file")]
    repeats = [e.extra.get("repeats") for e in entries if isinstance(e.event, UserMessage)]
    assert [r and bytes(r) for r in repeats] == [None, b"2", None]


@pytest.mark.spec("B28", "BW9")
def test_a_look_that_fails_is_not_the_last_one(logs: Logs) -> None:
    told = Told()
    with recorder(logs, told, native=NATIVE) as made:
        made.start()
        told.events += [OSError("gone"), said("after"), ValueError("odd"), said("all")]
        until(lambda: not told.events)
    assert kinds(logs, made) == ["session_started", "user_message", "user_message", "session_ended"]


@pytest.mark.spec("B29", "BW9", "BW10")
def test_the_end_is_said_once_and_always(logs: Logs) -> None:
    def unable() -> int:
        raise OSError("no disk")

    made = recorder(logs, Told(), catch_up=unable)
    made.start()
    assert made.finish(False, "exit 3", exit_code=3)
    assert not made.finish(True)
    assert kinds(logs, made) == ["session_started", "session_ended"]
    assert isinstance(made.failure, OSError)


@pytest.mark.spec("BW8")
def test_a_recorder_that_is_dropped_ends_its_session(logs: Logs) -> None:
    made = recorder(logs, Told())
    made.start()
    name, thread = made.writer.id, made._thread
    del made
    gc.collect()
    until(lambda: [e.kind for e in logs.read(name)] == ["session_started", "session_ended"])
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.spec("R20")
def test_a_full_disk_loses_nothing(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    with recorder(logs, told, native=NATIVE) as made:
        made.start()
        emit = made.writer.emit

        def full(*_: Any, **__: Any) -> Any:
            raise WriteError("no space")

        monkeypatch.setattr(made.writer, "emit", full)
        told.events += [said("one"), said("two")]
        until(lambda: not told.events)
        until(lambda: isinstance(made.failure, WriteError))
        monkeypatch.setattr(made.writer, "emit", emit)
    texts = [e.event.content for e in logs.read(made.writer.id) if e.kind == "user_message"]
    assert texts == ["one", "two"]


@pytest.mark.spec("B31")
def test_the_session_is_found_by_its_folder_and_time(logs: Logs) -> None:
    told = Told()
    with recorder(logs, told, cwd=CWD) as made:
        made.start()
        told.events += [
            began("claude:old", at=1), said("old", "claude:old"),
            began("claude:else", cwd="/elsewhere"), said("elsewhere", "claude:else"),
            began("claude:mine"), said("mine", "claude:mine"),
            said("a subagent", "claude:mine.agent-1"),
        ]  # fmt: skip
    texts = [e.event.content for e in logs.read(made.writer.id) if e.kind == "user_message"]
    assert texts == ["mine", "a subagent"]
    assert logs.sessions()[0].provider_session_id == "mine"


@pytest.mark.spec("B31")
def test_a_session_that_is_cleared_goes_on_in_another(logs: Logs) -> None:
    told = Told()
    on = ["one"]
    with recorder(logs, told, cwd=CWD, native="one", named=lambda: on[0]) as made:
        made.start()
        told.events += [said("first", "claude:one"), began("claude:stranger")]
        until(lambda: not told.events)
        on[0] = "two"
        told.events += [began("claude:two"), said("second", "claude:two")]
    told_kinds = kinds(logs, made)
    assert told_kinds == [
        "session_started", "user_message", "session_cleared", "session_started", "user_message",
        "session_ended",
    ]  # fmt: skip
    cleared = list(logs.read(made.writer.id))[2].event
    assert (cleared.old_session_id, cleared.new_session_id) == ("one", "two")


def test_an_id_that_comes_late_brings_what_was_told_before(logs: Logs) -> None:
    told = Told()
    with recorder(logs, told) as made:
        made.start()
        told.events += [began("claude:mine"), said("early", "claude:mine")]
        until(lambda: not told.events)
        made.native("mine")
    assert kinds(logs, made)[1:3] == ["session_started", "user_message"]


def test_a_usage_limit_is_known_until_something_comes_after_it(logs: Logs) -> None:
    told = Told()
    hit = UsageLimitHit(agent="claude", session=f"claude:{NATIVE}", uid="l", reset_at="5pm")
    with recorder(logs, told, native=NATIVE) as made:
        made.start()
        told.events += [said("go"), hit]
    assert made.limit == hit


@pytest.mark.spec("BW16", "B26")
def test_signs_of_life_are_no_events(logs: Logs) -> None:
    with recorder(logs, heartbeat=0.01) as made:
        made.start()
        until(lambda: (logs.last_beat(made.writer.id) or {}).get("beats", 0) > 3)
    assert kinds(logs, made) == ["session_started", "session_ended"]


OUTPUT = {
    "session_id": NATIVE,
    "events": [
        {"type": "init", "model": "m", "working_directory": "/w", "metadata": {"a": 1}},
        {"type": "user_message", "content": [{"type": "text", "text": "do"}]},
        {
            "type": "assistant_message",
            "content": [
                {"type": "text", "text": "yes"},
                {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {"type": "tool_execution", "tool_name": "Bash", "tool_id": "t", "success": True,
         "output": "x", "data": {"exit": 0}},
        {"type": "permission_request", "tool_name": "Write", "description": "a file"},
        {"type": "error", "message": "odd", "details": [1]},
        {"type": "usage_limit", "provider": "anthropic", "scope": "weekly", "raw": "limit"},
        {"type": "turn_complete", "turn_index": 1, "stop_reason": "end_turn"},
        {"type": "result", "success": True, "duration_ms": 5, "num_turns": 1},
    ],
    "usage": {"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3},
    "total_cost_usd": 0.25,
}  # fmt: skip


@pytest.mark.spec("B34", "B35", "B36", "B37", "B38", "B39", "B40", "B41", "B42", "B43")
def test_the_output_of_a_wrapped_agent(logs: Logs) -> None:
    with recorder(logs) as made:
        made.start()
        made.record_output(msgspec.json.decode(msgspec.json.encode(OUTPUT), type=Output))
        made.record_output(Output(session_id="unknown"))
        made.record_output(Output(total_cost_usd=0.5))
    events = [e.event for e in logs.read(made.writer.id)][1:-1]
    assert {(e.origin, e.session) for e in events} == {("wrapper", f"claude:{NATIVE}")}
    plain = [msgspec.json.decode(msgspec.json.encode(e)) for e in events]
    keys = ("message", "content", "tool_name", "tool_kind", "tool_id", "input", "success", "output",
            "data", "granted", "description", "scope", "message_id")  # fmt: skip
    brief = [{"type": p["type"], **{k: p[k] for k in keys if p.get(k) is not None}} for p in plain]
    assert brief == [
        {"type": "provider_status", "message": "Initialized m",
         "data": {"working_directory": "/w", "metadata": {"a": 1}}},
        {"type": "user_message", "content": "do"},
        {"type": "assistant_message", "content": "yes"},
        {"type": "tool_call", "tool_name": "Bash", "tool_kind": "shell", "tool_id": "t",
         "input": {"command": "ls"}},
        {"type": "tool_result", "tool_name": "Bash", "tool_kind": "shell", "tool_id": "t",
         "success": True, "output": "x", "data": {"exit": 0}},
        {"type": "permission", "tool_name": "Write", "description": "a file", "granted": False},
        {"type": "provider_status", "message": "odd", "data": [1]},
        {"type": "usage_limit_hit", "scope": "weekly"},
        {"type": "provider_status", "message": "Turn 1 complete",
         "data": {"stop_reason": "end_turn", "turn_index": 1, "usage": None}},
        {"type": "provider_status", "message": "Result emitted",
         "data": {"success": True, "duration_ms": 5, "num_turns": 1}},
        {"type": "usage"}, {"type": "usage"},
    ]  # fmt: skip
    usages = [(p["usage"]["input"], p["reported_micro_usd"]) for p in plain if p["type"] == "usage"]
    assert usages == [(1, 250_000), (0, 500_000)]


# --- with a real transcript -------------------------------------------------------------------


@pytest.fixture
def deck(tmp_path: Path) -> Iterator[Decklog]:
    (tmp_path / "home").mkdir()
    with deck_on(tmp_path / "home", tmp_path / "own") as opened:
        yield opened


@pytest.mark.spec("B26", "B29", "B30", "X6")
def test_a_recorded_run_is_what_is_read_afterwards(deck: Decklog, tmp_path: Path) -> None:
    with deck.record("claude", cwd=CWD) as made:
        made.start(command="claude")
        talk = Claude(NATIVE, now=made.started_at)
        path = tmp_path / "home" / talk.path
        path.parent.mkdir(parents=True)
        for i in range(5):
            talk.prompt(f"say {i}")
            talk.answer(f"a{i}", (1, 2, 3, 4), records=2, tool="Read")
            with open(path, "ab") as f:
                f.write(talk.data[f.tell() :])
    entries = list(deck.log.read(made.writer.id))
    recorded = [e.event for e in entries if e.event.origin == "provider_file"]
    expected = list(deck.events(talk.id))
    assert list(map(comparable, recorded)) == list(map(comparable, expected))
    assert entries[-1].kind == "session_ended"


def comparable(event: Event) -> Any:
    plain = msgspec.json.decode(msgspec.json.encode(event))
    return {k: v for k, v in plain.items() if k != "seq"}
