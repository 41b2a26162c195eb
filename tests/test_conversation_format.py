"""The lines of a conversation's file: old ones are read, ours are read by an old program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

import strict
from chats import START, Clock, shelf, texts
from decklog.conversations import records, writing
from decklog.conversations.loading import is_conversation, load
from decklog.conversations.records import BadRecordError, Place, Said, parse
from decklog.errors import FormatError, UsageError
from decklog.model import (
    Compaction,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Usage,
)
from decklog.model.turns import AnyBlock


def old(*records_: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(r, sort_keys=True).encode() + b"\n" for r in records_)


META = {
    "type": "session_meta", "version": 1, "session_id": "session-1700000000000-0",
    "created_at_ms": 1_700_000_000_000, "updated_at_ms": 1_700_000_000_500,
}  # fmt: skip


def said(role: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "message", "message": {"role": role, "blocks": list(blocks), **more}}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


CALL = {"type": "tool_use", "id": "tool-1", "name": "bash", "input": "echo hi"}
RESULT = {
    "type": "tool_result", "tool_use_id": "tool-1", "tool_name": "bash", "output": "hi",
    "is_error": False,
}  # fmt: skip
USAGE = {
    "input_tokens": 10, "output_tokens": 4, "cache_creation_input_tokens": 1,
    "cache_read_input_tokens": 2,
}  # fmt: skip
OLD = old(
    META,
    {"type": "compaction", "count": 2, "removed_message_count": 4, "summary": "Earlier work."},
    said("user", text("hello")),
    said("assistant", text("thinking"), CALL, usage=USAGE),
    said("tool", RESULT),
)


@pytest.mark.spec("C2", "C7", "C8", "C9", "C17")
def test_a_file_of_the_old_program(tmp_path: Path) -> None:
    conversation, findings = load(OLD, "x.jsonl")
    assert findings == []
    assert [m.role for m in conversation.entries] == ["user", "assistant", "tool"]
    assert conversation.entries[1].blocks == (
        Text(text="thinking"),
        ToolUse(id="tool-1", name="bash", input=Raw(b'"echo hi"')),
    )
    assert conversation.entries[1].usage == Usage(input=10, output=4, cache_write=1, cache_read=2)
    assert conversation.entries[1].usage.total == 17
    assert conversation.entries[2].blocks == (
        ToolResult(id="tool-1", name="bash", output="hi", ok=True),
    )
    assert [(c.count, c.removed, c.summary) for c in conversation.compactions] == [
        (2, 4, "Earlier work.")
    ]
    chats = shelf(tmp_path)
    kept = chats.add(conversation)
    assert kept.id == "session-1700000000000-0"
    again = kept.read()
    assert (again.created_at, again.updated_at) == (1_700_000_000_000, 1_700_000_000_500)
    assert strict.load(Path(kept.path).read_text()) == strict.load(OLD.decode())


@pytest.mark.spec("C10", "C12", "C14")
def test_blank_lines_no_head_and_nothing_at_all() -> None:
    spaced = b"\n  \r\n" + OLD.replace(b"\n", b"  \r\n\n")
    assert texts(load(spaced, "x")[0]) == texts(load(OLD, "x")[0])
    headless, findings = load(old(said("user", text("hello"))), "x")
    assert (headless.id, headless.version, headless.created_at, findings) == ("", 1, 0, [])
    empty, findings = load(b"", "x")
    assert (empty.entries, findings) == ((), [])
    only_head, findings = load(old(META), "x")
    assert (only_head.id, only_head.entries) == ("session-1700000000000-0", ())


@pytest.mark.spec("C13")
def test_the_older_single_object() -> None:
    legacy = {"version": 1, "messages": [said("user", text("legacy"))["message"]]}
    for data in (json.dumps(legacy), json.dumps(legacy, indent=2), "\ufeff" + json.dumps(legacy)):
        conversation, findings = load(data.encode(), "x.json")
        assert (texts(conversation), findings) == (["legacy"], [])
    times = {"created_at_ms": 5, "session_id": "s", "compaction": {
        "count": 1, "removed_message_count": 3, "summary": "x"}}  # fmt: skip
    conversation, _ = load(json.dumps(legacy | times).encode(), "x.json")
    assert (conversation.id, conversation.created_at, conversation.updated_at) == ("s", 5, 5)
    assert conversation.compactions[0].summary == "x"
    for broken, told in (
        ({"messages": [], "version": "1"}, "missing version"),
        ({"version": 1, "messages": {}}, "missing messages"),
        ({"version": 1, "messages": [{"role": "user"}]}, "missing blocks"),
        ({"version": -1, "messages": []}, "version out of range"),
    ):
        with pytest.raises(FormatError, match=told):
            load(json.dumps(broken).encode(), "x.json")


@pytest.mark.spec("C11", "C15", "CW1")
@pytest.mark.parametrize(
    ("line", "reason", "told"),
    [
        (b'{"type":"message","mess', "damaged", "invalid JSON"),
        (b"\xff\xfe{}", "damaged", "invalid JSON"),
        (b"[1]", "damaged", "not a JSON object"),
        (b"{}", "bad_field", "missing type"),
        (b'{"type":"message"}', "bad_field", "missing message"),
        (b'{"type":"later","x":1}', "unknown", "unsupported record type: later"),
        (old(said("robot"))[:-1], "bad_field", "unsupported message role: robot"),
        (old(said("user", {"text": "x"}))[:-1], "bad_field", "missing block type"),
        (old(said("user", {"type": "text"}))[:-1], "bad_field", "missing text"),
        (old(said("tool", RESULT | {"is_error": 1}))[:-1], "bad_field", "missing is_error"),
        (old(said("user", usage={"input_tokens": 1}))[:-1], "bad_field", "missing output_tokens"),
        (
            old(said("user", usage=USAGE | {"input_tokens": 2**32}))[:-1],
            "bad_field",
            "input_tokens out of range",
        ),
        (
            old(said("user", usage=USAGE | {"input_tokens": -1}))[:-1],
            "bad_field",
            "input_tokens out of range",
        ),
        (old(META | {"version": True})[:-1], "bad_field", "missing version"),
        (old(META | {"created_at_ms": 1.5})[:-1], "bad_field", "missing created_at_ms"),
        (old(META | {"fork": []})[:-1], "bad_field", "fork metadata must be an object"),
        (b'{"type":"compaction","count":1}', "bad_field", "missing removed_message_count"),
        (b"[" * 100_000, "too_deep", "nested too deeply"),
    ],
)
def test_a_bad_record_costs_itself_only(line: bytes, reason: str, told: str) -> None:
    good = OLD.split(b"\n")
    data = b"\n".join([*good[:3], line, *good[3:]])
    conversation, findings = load(data, "x.jsonl")
    assert [m.role for m in conversation.entries] == ["user", "assistant", "tool"]
    assert [(f.line, f.reason) for f in findings] == [(4, reason)]
    assert told in findings[0].detail
    assert data[findings[0].offset :].startswith(line[:20])


@pytest.mark.spec("CW1")
def test_a_block_of_a_later_version_is_kept() -> None:
    later = {"type": "hologram", "depth": [1, 2]}
    conversation, findings = load(old(META, said("user", text("a"), later)), "x")
    assert findings == []
    kept, opaque = conversation.entries[0].blocks
    assert kept == Text(text="a")
    assert isinstance(opaque, Opaque)
    assert json.loads(bytes(opaque.raw)) == later


@pytest.mark.spec("CW10")
def test_a_version_that_is_not_known_yet_is_refused() -> None:
    with pytest.raises(FormatError, match="version 2 is newer than 1") as caught:
        load(old(META | {"version": 2}), "x.jsonl")
    assert caught.value.hint == "upgrade decklog"


def test_nothing_in_it_is_a_record() -> None:
    with pytest.raises(FormatError, match="line 1: invalid JSON"):
        load(b"not a conversation\nat all\n", "x.txt")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (OLD, True),
        (b"", True),
        (b'{"version":1,"messages":[]}', True),
        (b'{"type":"user","message":{"role":"user","content":"x"}}\n', False),
        (b'{"timestamp":"t","type":"session_meta","payload":{"id":"x"}}\n', False),
        (b'{"type":"session","version":3,"id":"x"}\n', False),
        (b'{"sessionId":"x","messages":[{"id":"1","type":"user","content":"x"}]}', False),
        (b"plain text\n", False),
        (b'{"type":"message","mess\n' + OLD, True),
    ],
)
def test_whose_file_it_is(data: bytes, answer: bool) -> None:
    assert is_conversation(data) is answer


BLOCKS: tuple[AnyBlock, ...] = (
    Thinking(text="hm", signature="c2ln"),
    Text(text='Grüße 😀 \u2028 \x00 \\ " \n'),
    Image(media_type="image/png", size=3, data="AAAA", uri="file:///x.png"),
    ToolUse(id="1", name="bash", input=Raw(b'{"b": 1,  "a":[1.50, 1e3, 18446744073709551616]}')),
    ToolUse(id="2", name="bash", input=Raw(b'"echo hi"')),
    ToolUse(id="3", name="bash", input=Raw(b'"{\\"a\\":1}"')),
    ToolUse(id="4", name="bash", input=Raw(b'"{no json"')),
    ToolUse(id="5", name="bash", input=Raw(b"null")),
    ToolUse(id="6", name="bash", input=Raw(b"1.50")),
    ToolResult(id="1", name="bash", ok=None, output="?"),
    ToolResult(id="2", name="bash", ok=False, output="no"),
    Opaque(raw=Raw(b'{ "type":"x",\n  "n": 1.10 }')),
    Text(text="end"),
)


@pytest.mark.spec("C2", "CW11")
def test_every_block_comes_back_byte_for_byte() -> None:
    usage = Usage(input=1, output=2, cache_read=3, cache_write=4, cache_write_1h=4, reasoning=1)
    message = Message(
        id="m", parent="p", role="assistant", model="claude", at=5, usage=usage, blocks=BLOCKS
    )
    line = writing.message_line(message, Place(leaf="m", n=7, seq=9))
    assert line.count(b"\n") == 1
    assert parse(line[:-1]) == Said(message=message, place=Place(leaf="m", n=7, seq=9))


@pytest.mark.spec("C7", "CW11", "X3")
def test_the_old_program_reads_what_we_write(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new(title="t", cwd="/w")
    chat.append("user", "hello")
    chat.append("assistant", BLOCKS[:9], usage=Usage(input=1, output=1), model="m")
    for result in BLOCKS[9:11]:
        chat.append("tool", [result])
    chat.append("system", "end")
    chat.compact(threshold=0, keep=1)
    chat.rewind(4)
    fork = chats.fork(chat.id, at=2, branch=" side ")
    fork.append("user", "of the fork")

    read = strict.load(Path(chat.path).read_text())
    assert (read["session_id"], read["version"]) == (chat.id, 1)
    assert [m["role"] for m in read["messages"]] == ["user", "assistant", "tool", "tool", "system"]
    assert [b["type"] for b in read["messages"][1]["blocks"]] == ["text", *["tool_use"] * 6]
    assert read["messages"][1]["blocks"][2]["input"] == "echo hi"
    assert read["compaction"]["count"] == 1
    assert read["updated_at_ms"] == chat.read().updated_at  # a later head says when it went back

    read = strict.load(Path(fork.path).read_text())
    assert read["fork"] == {"parent_session_id": chat.id, "branch_name": "side"}
    assert [m["blocks"] for m in read["messages"]] == [[text("of the fork")]]
    for line in Path(chat.path).read_text().splitlines():
        assert list(json.loads(line)) == sorted(json.loads(line))


def test_what_cannot_be_told_in_it_is_refused(tmp_path: Path) -> None:
    chat = shelf(tmp_path).new()
    before = Path(chat.path).read_bytes()
    for role, blocks, usage, told in (
        ("robot", (Text(text="x"),), None, "unsupported message role: robot"),
        ("user", (Text(text="\ud800"),), None, "not valid Unicode"),
        ("user", (Opaque(raw=Raw(b"\xff")),), None, "not UTF-8"),
        ("user", (), Usage(input=2**32), "input_tokens out of range"),
        ("user", (Text(text="x" * records.MAX_RECORD),), None, "bytes is more than"),
    ):
        with pytest.raises(UsageError, match=told):
            chat.append(role, blocks, usage=usage)
    assert Path(chat.path).read_bytes() == before
    assert chat.messages == 0


@pytest.mark.spec("R15")
def test_every_changed_byte_of_a_record_is_found() -> None:
    message = Message(id="m", role="user", at=START, blocks=(Text(text="hello"),))
    line = writing.message_line(message, Place(leaf="m", n=1, seq=2))[:-1]
    summed = writing.compaction_line(
        Compaction(id="c", at=START, summary="s"), Place(leaf="c", n=1, seq=3)
    )[:-1]
    head = writing.meta_line(records.Meta(id="x", updated_at=START, place=Place(seq=1)))[:-1]
    for whole in (line, summed, head):
        parse(whole)
        for i in range(len(whole)):
            for bit in range(8):
                damaged = bytearray(whole)
                damaged[i] ^= 1 << bit
                with pytest.raises(BadRecordError):
                    parse(bytes(damaged))
        for i in range(len(whole)):
            with pytest.raises(BadRecordError):
                parse(whole[:i])


@pytest.mark.spec("C4", "CW6", "R18")
def test_ids_are_random_and_sort_by_time() -> None:
    from decklog.durable import new_id, safe_id

    clock = Clock()
    made = [new_id(clock()) for _ in range(1000)]
    assert sorted(made) == made
    assert len({new_id(START) for _ in range(1000)}) == 1000
    assert all(safe_id(name)[14] == "7" and name[19] in "89ab" for name in made)
