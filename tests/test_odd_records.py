"""Odd records that fuzzing found, one by one: what each was once able to do."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from decklog import agents
from decklog.model import (
    Cursor,
    Event,
    ParseWarning,
    Ref,
    SessionStarted,
    Source,
    ToolCalled,
    ToolReturned,
    UsageReported,
    UserMessage,
)

NAMES = {
    "claude": "/h/.claude/projects/-w/s.jsonl",
    "codex": "/h/.codex/sessions/2026/01/01/"
    "rollout-2026-01-01T00-00-00-019b7000-0000-7000-8000-000000000001.jsonl",
    "copilot": "/h/.copilot/session-state/3d1f7c10-5b6a-4c2d-9e8f-000000000003.jsonl",
    "gemini": "/h/.gemini/tmp/w/chats/session-2026-01-01T00-00-00000001.jsonl",
    "opencode": "/h/.local/share/opencode/opencode.db#ses_1",
    "pi": "/h/.pi/agent/sessions/--w--/2026-01-01T00-00-00-000Z_01a1fb15.jsonl",
}

PROMPT = {
    "type": "user",
    "uuid": "u",
    "sessionId": "s",
    "timestamp": "2026-01-01T00:00:02.000Z",
    "message": {"role": "user", "content": "hello"},
}


def fed(agent: str, *records: dict[str, Any] | bytes, text: bool = True) -> tuple[list[Event], Any]:
    source = Source(agent=agent, uri=NAMES[agent], kind="jsonl")
    reader = agents.get(agent).reader(Cursor(source=source), text=text)
    events: list[Event] = []
    for n, record in enumerate(records):
        line = record if isinstance(record, bytes) else json.dumps(record).encode()
        events += reader.feed(line, Ref("", n, len(line), n + 1))
    reader.state()
    msgspec.json.encode(events)
    return events, reader


def both(agent: str, *records: dict[str, Any] | bytes) -> list[Event]:
    """The events, which are the same kinds under the same numbers whether text is wanted or not."""
    events, _ = fed(agent, *records)
    lean, _ = fed(agent, *records, text=False)
    assert [(type(e), e.seq, e.ref) for e in lean] == [(type(e), e.seq, e.ref) for e in events]
    return events


def warnings(events: list[Event]) -> list[tuple[str, str]]:
    return [(e.reason, e.message) for e in events if isinstance(e, ParseWarning)]


@pytest.mark.spec("R5")
@pytest.mark.parametrize("secs", [2**64, 10**30, -5, 2**62])
def test_a_duration_beyond_all_measure_is_none(secs: int) -> None:
    item = {"type": "CommandExecution", "id": "call_1", "status": "completed",
            "duration": {"secs": secs, "nanos": 5}}  # fmt: skip
    call = {"type": "function_call", "name": "shell", "call_id": "call_1", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
    events, _ = fed(
        "codex",
        {"timestamp": "2026-01-01T00:00:00.000Z", "type": "response_item", "payload": call},
        {"timestamp": "2026-01-01T00:00:01.000Z", "type": "event_msg",
         "payload": {"type": "item_completed", "item": item}},
        {"timestamp": "2026-01-01T00:00:02.000Z", "type": "response_item", "payload": output},
    )  # fmt: skip
    assert events[-1].duration_ms is None  # type: ignore[union-attr]


@pytest.mark.spec("R5")
def test_an_exit_code_of_thousands_of_digits() -> None:
    output = {"type": "function_call_output", "call_id": "call_1",
              "output": f"Exit code: {'7' * 5000}\nWall time: {'7' * 400} seconds\nno"}  # fmt: skip
    events, _ = fed("codex", {"timestamp": "2026-01-01T00:00:02.000Z", "type": "response_item",
                              "payload": output})  # fmt: skip
    assert (events[-1].success, events[-1].duration_ms) == (False, None)  # type: ignore[union-attr]


@pytest.mark.spec("R5")
def test_a_fork_of_a_number_of_thousands_of_digits() -> None:
    title = f"A title (fork #{'7' * 5000})"
    document = {"id": "ses_1", "info": {"id": "ses_1", "title": title, "version": "1.0.0"},
                "messages": [], "origins": [{"id": "ses_0", "title": "A title"}]}  # fmt: skip
    fed("opencode", document)


@pytest.mark.spec("R8", "R44")
def test_usage_in_a_part_that_is_no_utf8_counts_without_text_too() -> None:
    run = {"messages": [{"role": "assistant", "model": "m", "timestamp": 1767225601000,
                         "content": [{"type": "text", "text": "HERE"}],
                         "usage": {"input": 5, "output": 7}}]}  # fmt: skip
    result = {"type": "message", "id": "b", "timestamp": "2026-01-01T00:00:02.000Z",
              "message": {"role": "toolResult", "toolCallId": "t", "toolName": "subagent",
                          "details": {"results": [run]}}}  # fmt: skip
    events = both("pi", json.dumps(result).encode().replace(b"HERE", b"\xff\xfe"))
    (usage,) = (e.usage for e in events if isinstance(e, UsageReported))
    assert (usage.input, usage.output) == (5, 7)


@pytest.mark.spec("R8", "R9")
def test_a_deep_part_beside_broken_bytes_costs_nothing() -> None:
    deep = '{"a":' * 600 + "1" + "}" * 600
    record = {**PROMPT, "message": {"role": "user", "content": "HERE"}, "toolUseResult": "DEEP"}
    line = json.dumps(record).replace('"DEEP"', deep).encode().replace(b"HERE", b"caf\xe9")
    assert warnings(both("claude", line)) == []


@pytest.mark.spec("R6")
def test_a_body_of_the_wrong_kind_moves_no_number() -> None:
    data = {"success": True, "summaryContent": {"x": "a summary"}}
    events = both("copilot", {"type": "session.compaction_complete", "data": data, "id": "i",
                              "timestamp": "2026-01-01T00:00:02.000Z"})  # fmt: skip
    assert warnings(events) == []


@pytest.mark.spec("R51")
@pytest.mark.parametrize("field", ["sessionId", "cwd", "version", "gitBranch", "uuid", "agentId"])
def test_an_id_as_long_as_a_book_is_none(field: str) -> None:
    events, reader = fed("claude", {**PROMPT, field: "x" * 10**6})
    assert warnings(events) == [("bad_field", field)]
    assert len(reader.state()) < 4096


TORN = {
    "many whole objects in a torn one": b'{"a":[' + b'{"b":"%s"},' % (b"x" * 10_000) * 200,
    "an object of many levels that is torn": b'\0{"a":' + b'{"a":' * 3_000,
    "an object of many levels": b'\0{"b":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_001,
    "many levels in a torn object": b'\0{"b":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
    "lists of many levels": b'\0{"b":' + b"[" * 20_000,
}


@pytest.mark.spec("R2")
@pytest.mark.parametrize("torn", TORN)
def test_a_record_behind_a_torn_one_is_read_however_much_is_torn(torn: str) -> None:
    """Looking into what is torn uses up only a part of the work that a line is worth."""
    events, _ = fed("claude", TORN[torn] + json.dumps(PROMPT).encode())
    assert [e.content for e in events if isinstance(e, UserMessage)] == ["hello"]


@pytest.mark.spec("R9")
def test_a_body_of_many_levels_in_a_record_that_needs_mending() -> None:
    """It is mended at any depth that can be decoded, so that its numbers are those without text."""
    reply = {"functionResponse": {"name": {"x": "\ud800"}, "response": {"output": "@"}}}
    call = {"id": "c", "name": "replace", "args": {"path": "a"}, "status": "success",
            "result": [reply]}  # fmt: skip
    answer = {"id": "a", "type": "gemini", "timestamp": "2026-01-01T00:00:00.000Z",
              "toolCalls": [call]}  # fmt: skip
    line = json.dumps(answer).encode().replace(b'"@"', b"[" * 600 + b"1e400" + b"]" * 600)
    events = both("gemini", line)
    assert [type(e) for e in events] == [SessionStarted, ToolCalled, ToolReturned]
