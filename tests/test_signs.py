"""What records, files and hooks of each agent say about its state, in its own file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from decklog import agents, collect
from decklog.agents import Own, Sign
from decklog.model import AssistantMessage, UsageLimitHit
from decklog.model.fleet import Says

ID = "d24cebe2-7a2b-47ea-b035-608d61291614"
ENDED = (Sign("turn_ended"),)


def answer(stop: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "stop_reason": stop, "content": []}
    return {"type": "assistant", "message": message, **more}


@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize(
    ("agent", "record", "signs"),
    [
        ("claude", answer("end_turn"), ENDED),
        ("claude", answer("max_tokens"), ENDED),
        ("claude", answer("tool_use"), ()),
        ("claude", answer(None), ()),
        ("claude", {"type": "user", "message": {"content": '"stop_reason":"end_turn"'}}, ()),
        ("claude", {"type": "system", "subtype": "turn_duration", "durationMs": 5}, ENDED),
        ("claude", answer("stop_sequence", isApiErrorMessage=True),
         (Sign("error", detail="API error"),)),
        ("claude", {"type": "user", "toolUseResult": {"backgroundTaskId": "bash_1"}},
         (Sign("background_started", "bash_1"),)),
        ("claude", {"type": "user", "toolUseResult": {"status": "async_launched", "agentId": "a1"}},
         (Sign("background_started", "a1"),)),
        ("claude", {"type": "user", "message": {"content":
            "<task-notification>\n<task-id>a1</task-id>\n<status>completed</status>"}},
         (Sign("background_ended", "a1"),)),
        ("codex", {"type": "event_msg", "payload": {"type": "task_started"}},
         (Sign("turn_started"),)),
        ("codex", {"type": "event_msg", "payload": {"type": "task_complete"}}, ENDED),
        ("codex", {"type": "event_msg", "payload": {"type": "task_complete", "error":
            {"message": "m", "codex_error_info": {"http": 429}}}}, (Sign("error"),)),
        ("codex", {"type": "event_msg", "payload": {"type": "task_complete", "error":
            {"message": "m", "codex_error_info": "usage_limit_exceeded"}}}, ENDED),
        ("codex", {"type": "response_item", "payload": {"type": "message"}}, ()),
        ("gemini", {"id": "1", "type": "gemini", "content": "Done."},
         (Sign("turn_ended", confidence=0.5),)),
        ("gemini", {"id": "1", "type": "gemini", "content": "x", "toolCalls": [{"id": "1"}]}, ()),
        ("gemini", {"id": "1", "type": "info", "content": "Request cancelled."},
         (Sign("interrupted"),)),
        ("copilot", {"type": "permission.requested", "data":
            {"requestId": "r", "permissionRequest": {"toolCallId": "t"}}},
         (Sign("waiting_approval", "t"),)),
        ("copilot", {"type": "permission.completed", "data": {"requestId": "r", "toolCallId": "t"}},
         (Sign("prompt_gone", "t"),)),
        ("copilot", {"type": "permission.requested", "data": None}, ()),
        ("copilot", {"type": "assistant.message", "data": {"content": "x", "toolRequests": []}},
         ENDED),
        ("copilot", {"type": "assistant.message", "data": {"toolRequests": [{"name": "b"}]}}, ()),
        ("copilot", {"type": "assistant.turn_end", "data": {}}, ()),
        ("pi", {"type": "message", "message": {"role": "assistant", "stopReason": "stop"}}, ENDED),
        ("pi", {"type": "message", "message": {"role": "assistant", "stopReason": "toolUse"}}, ()),
        ("pi", {"type": "message", "message": {"stopReason": "error"}}, (Sign("error"),)),
        ("opencode", {"messages": [{"role": "assistant", "finish": "stop"}]}, ENDED),
        ("opencode", {"messages": [{"role": "assistant", "finish": "tool-calls"}]}, ()),
        ("opencode", {"messages": [{"role": "assistant", "finish": "stop"}, {"role": "user"}]}, ()),
        ("opencode", {"messages": [{"role": "assistant", "error":
            {"name": "MessageAbortedError"}}]}, (Sign("interrupted"),)),
    ],
)  # fmt: skip
def test_what_a_record_says(
    agent: str, record: dict[str, Any], signs: tuple[Sign, ...], tight: bool
) -> None:
    separators = (",", ":") if tight else (", ", ": ")
    line = json.dumps(record, separators=separators).encode()
    assert agents.get(agent).signs(line) == signs


@pytest.mark.parametrize("agent", agents.BUILT_IN)
def test_any_bytes_at_all_say_nothing_wrong(agent: str) -> None:
    for line in (b"", b"\xff\xfe", b"[]", b'{"type":"permission.requested"}', b"null" * 1000):
        assert agents.get(agent).signs(line) == ()


@pytest.mark.parametrize(
    ("status", "waits", "says"),
    [
        ("busy", None, "busy"),
        ("idle", None, "idle"),
        ("waiting", "permission prompt", "waiting_approval"),
        ("waiting", "dialog open", "waiting_answer"),
        ("waiting", None, "waiting_approval"),
        ("new word", None, ""),
        (None, None, ""),
    ],
)
def test_what_claude_keeps_of_itself(status: str | None, waits: str | None, says: Says) -> None:
    said = {"pid": 7, "sessionId": ID, "procStart": "281279", "status": status,
            "waitingFor": waits, "updatedAt": 5, "statusUpdatedAt": 4}  # fmt: skip
    assert agents.get("claude").own("/x/7.json", json.dumps(said).encode()) == Own(
        pid=7, native=ID, start_ticks=281279, at=5, says=says, said_at=4, detail=waits or ""
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"pid": 7}',
        b'{"pid": "7", "sessionId": "x"}',
        json.dumps({"pid": 7, "sessionId": "../../etc/passwd"}).encode(),
    ],
)
def test_files_that_are_torn_or_foreign_say_nothing(data: bytes) -> None:
    assert agents.get("claude").own("/x/7.json", data) is None


def test_a_lock_of_copilot_names_session_and_pid() -> None:
    copilot = agents.get("copilot")
    path = f"/h/.copilot/session-state/{ID}/inuse.77.lock"
    assert copilot.own(path, b"77") == Own(77, ID, "lock_file")
    assert copilot.own(path, b"78") is None
    assert copilot.held(f"/h/.copilot/session-state/{ID}/inuse.77.hold") == ID
    codex = agents.get("codex")
    assert codex.held(f"/h/.codex/thread-writer-locks/{ID}.lock") == ID
    assert codex.held(f"/h/.codex/sessions/2026/11/20/rollout-2026-11-20T22-40-56-{ID}.jsonl") == ID
    assert codex.held("/h/.codex/state_5.sqlite") == ""


def test_a_usage_limit_is_told_as_one_and_not_as_an_error() -> None:
    session = f"claude:{ID}"
    limit = UsageLimitHit(session=session, at=5, reset_at="1am")
    one = collect.Transcript(agents.get("claude"), session, "/t.jsonl")
    for events, says in (
        ([limit], ["limited"]),
        ([AssistantMessage(session=session, at=5)], ["error"]),
        ([AssistantMessage(session="claude:other", at=5)], []),
    ):
        heard = collect.Heard([], [])
        one._hear(heard, events, (Sign("error"),), b"", "place")
        assert [e.says for e in heard.evidence] == says
