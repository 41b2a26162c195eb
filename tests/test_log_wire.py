"""Events as lines of the log, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from decklog import agents
from decklog.log import lines, wire
from decklog.model import (
    AssistantMessage,
    Compacted,
    Event,
    Forked,
    Heartbeat,
    ParseWarning,
    ProviderStatus,
    Ref,
    SessionEnded,
    SessionStarted,
    StateChanged,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageLimitHit,
    UsageLimitResumed,
    UsageReported,
    UserEvent,
    UserMessage,
)
from decklog.testing import documents, read

FIXTURES = Path(__file__).parent / "agents"


def told(event: Event) -> tuple[str, dict[str, Any]]:
    """All that an event says but its number, raw JSON as values."""
    fields = msgspec.structs.asdict(event)
    del fields["seq"]
    raw = msgspec.Raw
    return wire.kind_of(event), {
        k: msgspec.json.decode(v) if isinstance(v, raw) else v for k, v in fields.items()
    }


def line(event: Event, **kwargs: Any) -> dict[str, Any]:
    body = wire.encode(event, log="w1", now=1_764_000_000_000, **kwargs)
    fields: dict[str, Any] = msgspec.json.decode(body)
    return fields


@pytest.mark.spec("B4", "BW12")
def test_the_envelope_comes_first_and_the_fields_of_the_kind_beside_it() -> None:
    event = AssistantMessage(
        at=1_763_991_000_123, at_text="2025-11-24T13:30:00.123Z", session="claude:s1",
        agent="claude", uid="u1", ref=Ref("/t.jsonl", 10, 20, 2), content="hello", message_id="m1",
        model="opus",
    )  # fmt: skip
    assert list(line(event).items()) == [
        ("v", 1),
        ("ts", "2025-11-24T13:30:00.123Z"),
        ("provider", "claude"),
        ("wrapper_session_id", "w1"),
        ("provider_session_id", "s1"),
        ("source_kind", "provider_file"),
        ("completeness", "full"),
        ("type", "assistant_message"),
        ("content", "hello"),
        ("message_id", "m1"),
        ("model", "opus"),
        ("uid", "u1"),
        ("ref", {"source": "/t.jsonl", "offset": 10, "length": 20, "line": 2}),
    ]


B5 = {
    "session_started": {"command", "model", "cwd", "resumed", "backfilled"},
    "user_message": {"role", "content", "message_id"},
    "assistant_message": {"content", "message_id"},
    "reasoning": {"content", "message_id"},
    "tool_call": {"tool_name", "tool_id", "input"},
    "tool_result": {"tool_name", "tool_id", "success", "output", "error", "data"},
    "permission": {"tool_name", "description", "granted"},
    "provider_status": {"message", "data"},
    "stderr": {"message"},
    "parse_warning": {"message", "raw"},
    "session_cleared": {"old_session_id", "new_session_id"},
    "session_ended": {"success", "error"},
    "session_result": {"result"},
    "heartbeat": {"interval_secs"},
    "usage": {"input_tokens", "output_tokens"},
    "user_event": {"level", "message"},
    "usage_limit_hit": {"scope", "fallback_used", "incident_id"},
    "usage_limit_resumed": {"incident_id", "resume_message", "attempt"},
    "usage_limit_resume_failed": {"incident_id", "error", "attempt"},
}
"""The kinds that old readers know, with the fields they must find."""
ENVELOPE = {"v", "ts", "provider", "wrapper_session_id", "provider_session_id", "source_kind",
            "completeness", "type", "at", "at_text"}  # fmt: skip


@pytest.mark.spec("B5", "B6")
@pytest.mark.parametrize("kind", sorted(wire._KINDS))
def test_a_line_of_any_kind_can_be_read_by_old_readers(kind: str) -> None:
    fields = line(wire._KINDS[kind]())  # type: ignore[arg-type]
    assert fields["type"] in B5
    assert set(fields) - ENVELOPE - {"kind"} == B5[fields["type"]]
    assert fields.get("kind", kind) == kind


@pytest.mark.spec("B1", "B5")
def test_kinds_that_old_readers_do_not_know_go_under_the_nearest_one() -> None:
    event = StateChanged(agent="claude", what="model", old="opus", new="sonnet", at=0, at_text="x")
    fields = line(event)
    keys = ("type", "kind", "message", "what", "old", "new")
    said = {k: fields[k] for k in keys}
    assert said == {
        "type": "provider_status", "kind": "state_changed", "message": "state_changed",
        "what": "model", "old": "opus", "new": "sonnet",
    }  # fmt: skip


@pytest.mark.spec("BW7")
def test_a_providers_own_name_does_not_take_the_place_of_the_agents() -> None:
    limit = line(UsageLimitHit(agent="claude", provider="anthropic", scope="weekly"))
    used = line(UsageReported(agent="claude", provider="anthropic"))
    assert (limit["provider"], limit["limit_provider"]) == ("claude", "anthropic")
    assert (used["provider"], used["usage_provider"]) == ("claude", "anthropic")


@pytest.mark.spec("B5", "B7")
def test_usage_is_told_in_parts_and_comes_back_whole() -> None:
    event = UsageReported(
        agent="claude", key="k", provider="anthropic", model="opus", reported_micro_usd=1234,
        usage=Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=1, output=4, reasoning=2),
    )  # fmt: skip
    fields = line(event)
    assert fields["total_cost_usd"] == 0.001234
    assert {k: v for k, v in fields.items() if k.endswith("_tokens")} == {
        "input_tokens": 1, "cache_read_tokens": 2, "cache_creation_tokens": 3,
        "cache_write_1h_tokens": 1, "output_tokens": 4, "reasoning_tokens": 2,
    }  # fmt: skip
    assert told(wire.decode(msgspec.json.encode(fields)).event) == told(event)


ODD: list[Event] = [
    SessionEnded(agent="a", session="no colon", at=10**17, error="e"),
    SessionStarted(agent="a", session="other:agent", at=-1, at_text="1969", resumed=True),
    UserMessage(agent="a", session="a:b:c", content='line\n"quoted" \u2028 \x00 end', at=5),
    UserEvent(agent="", level="", message="", data=msgspec.Raw(b'{"seq":1,"crc":"00000000"}')),
    ToolCalled(agent="a", tool_name="t", input=msgspec.Raw(b"[1,\n 2]"), paths=("/x",)),
    ToolReturned(agent="a", data=msgspec.Raw(b"null"), success=None, child="a:b", duration_ms=3),
    UsageLimitHit(agent="a", provider="p", reset_at="2026-01-01T00:00:00Z", raw="r"),
    UsageLimitResumed(agent="a", attempt=3),
    Compacted(agent="a", trigger="auto", summary="s", tokens_before=9),
    Forked(agent="a", parent="a:x", relation="resume"),
    Heartbeat(agent="a", interval_secs=10),
    ParseWarning(agent="a", reason="too_long", raw=None),
    ProviderStatus(agent="a", message="m", origin="stdout", completeness="partial"),
]


def fixture_events() -> list[Event]:
    found: list[Event] = []
    for home in sorted(FIXTURES.glob("*/*/input")):
        agent = agents.get(home.parent.parent.name)
        for uri, kind, data in documents(agent, home):
            found += read(agent, uri, kind, data)[0]
    return found


@pytest.mark.spec("B1", "B5", "B7", "B8")
def test_every_event_comes_back_as_it_was() -> None:
    events = [*ODD, *fixture_events()]
    assert len(events) > 1000
    for event in events:
        entry = wire.decode(lines.framed("seq", 7, wire.encode(event, log="w", now=3))[:-1])
        assert told(entry.event) == told(event)
        assert (entry.seq, entry.event.seq, entry.kind, entry.extra) == (
            7, 7, wire.kind_of(event), {},
        )  # fmt: skip


@pytest.mark.spec("B7", "B8")
def test_lines_of_other_writers_are_read_with_the_defaults_of_the_format() -> None:
    head = b'{"seq":3,"ts":"2026-01-02T03:04:05+01:00","provider":"codex","wrapper_session_id":"w",'
    head += b'"source_kind":"provider_log","completeness":"partial",'
    call = wire.decode(head + b'"type":"tool_call","tool_name":"Bash","input":{"a":1}}\n').event
    assert isinstance(call, ToolCalled)
    assert (call.tool_kind, call.at, call.session) == (None, 1_767_319_445_000, "")
    hit = wire.decode(head + b'"type":"usage_limit_hit","scope":"weekly","incident_id":"i"}').event
    assert isinstance(hit, UsageLimitHit)
    assert hit.fallback_used is False
    resumed = wire.decode(head + b'"type":"usage_limit_resumed","incident_id":"i"}').event
    assert isinstance(resumed, UsageLimitResumed)
    assert resumed.attempt == 1


def test_keys_and_kinds_that_are_not_known_survive() -> None:
    body = (
        b'{"ts":"2026-01-02T03:04:05Z","provider":"x","type":"stderr","message":"m","new":{"a":1}}'
    )
    entry = wire.decode(body)
    assert {k: bytes(v) for k, v in entry.extra.items()} == {"new": b'{"a":1}'}
    again = msgspec.json.decode(wire.encode(entry.event, log="w", now=0, extra=entry.extra))
    assert again["new"] == {"a": 1}
    unknown = wire.decode(body.replace(b'"stderr"', b'"dreamt"'))
    assert unknown.kind == "dreamt"
    assert isinstance(unknown.event, ParseWarning)
    assert unknown.event.raw == body.replace(b'"stderr"', b'"dreamt"').decode()


def test_an_event_of_no_known_time_gets_that_of_its_writing_and_says_so() -> None:
    fields = line(UserMessage(agent="a", content="c"))
    assert (fields["ts"], fields["at"]) == ("2025-11-24T16:00:00.000Z", None)


@pytest.mark.spec("BW14")
def test_a_text_beyond_measure_is_cut_with_a_mark() -> None:
    event = ToolReturned(agent="a", output="x" * (wire.TOO_LONG + 1), ref=Ref("/t", 0, 9))
    fields = line(event)
    assert fields["output"] == "x" * wire.KEPT
    assert fields["cut"] == {"output": wire.TOO_LONG + 1}


@pytest.mark.spec("BW17")
def test_events_are_known_by_their_record_and_not_by_who_wrote_them() -> None:
    seen = UserMessage(agent="a", content="c", uid="u", origin="provider_file")
    told_again = UserMessage(agent="a", content="c", uid="u", origin="stdout")
    assert wire.key_of(seen) == wire.key_of(told_again) == "user_message u"
    place = Ref("/a/b.jsonl", 5, 2)
    titled = StateChanged(agent="a", what="title", new="t", ref=place)
    moved = StateChanged(agent="a", what="title", new="t", ref=Ref("/x/b.jsonl.zst", 5, 2))
    other = StateChanged(agent="a", what="mode", new="t", ref=place)
    assert wire.key_of(titled) == wire.key_of(moved) != wire.key_of(other)
    assert wire.key_of(UserMessage(content="no uid, no place")) == ""
