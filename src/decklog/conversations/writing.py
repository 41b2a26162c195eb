"""Records of a conversation's file as lines. Pure; `records` reads them back.

Only what the oldest form of the format knows stands where it looks: see `records`.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec
from msgspec import Raw

from decklog.conversations.records import MAX_RECORD, NO_CRC, ROLES, VERSION, Meta, Place, is_object
from decklog.errors import UsageError
from decklog.model import (
    Compaction,
    Fork,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Usage,
)
from decklog.model.turns import Block

_U32 = 2**32 - 1
_LINE_ENDS = tuple((c.encode(), f"\\u{ord(c):04x}".encode()) for c in "\x85\u2028\u2029")
"""Characters that some programs take for the end of a line."""


def meta_line(meta: Meta) -> bytes:
    record: dict[str, Any] = {
        "type": "session_meta",
        "at": meta.updated_at,
        "version": meta.version,
        "session_id": meta.id,
        "created_at_ms": meta.created_at,
        "updated_at_ms": meta.updated_at,
    }
    if meta.fork is not None:
        record["fork"] = _fork_out(meta.fork)
    for name in ("title", "cwd", "origin"):
        if value := getattr(meta, name):
            record[name] = value
    if meta.sealed is not None:
        record["sealed"] = msgspec.structs.asdict(meta.sealed)
    place = meta.place or Place()
    return _line(record | {"leaf": place.leaf, "n": place.n, "seq": place.seq})


def message_line(message: Message, place: Place) -> bytes:
    parts: list[list[Any]] = []
    record: dict[str, Any] = {
        "type": "message",
        "at": message.at,
        "id": message.id,
        "parent": message.parent,
        "message": message_body(message, parts),
        "n": place.n,
        "seq": place.seq,
    }
    if message.model:
        record["model"] = message.model
    if parts:
        record["parts"] = parts
    return _line(record)


def compaction_line(c: Compaction, place: Place) -> bytes:
    return _line(
        {
            "type": "compaction",
            "at": c.at,
            "id": c.id,
            "parent": c.parent,
            "count": c.count,
            "removed_message_count": c.removed,
            "summary": c.summary,
            "kept": c.kept,
            "first": c.first,
            "last": c.last,
            "n": place.n,
            "seq": place.seq,
        }
    )


def message_body(message: Message, parts: list[list[Any]]) -> dict[str, Any]:
    """The message in its oldest form; blocks that form does not know go to ``parts``, each with
    its place among all blocks. Raises UsageError for what cannot be told in it."""
    if message.role not in ROLES:
        raise UsageError(f"unsupported message role: {message.role}", hint=f"one of: {_roles()}")
    blocks = []
    for i, block in enumerate(message.blocks):
        made, old = _block_out(block)
        if old:
            blocks.append(made)
        else:
            parts.append([i, made])
    body: dict[str, Any] = {"role": message.role, "blocks": blocks}
    if message.usage is not None:
        body["usage"] = _usage_out(message.usage)
    return body


def plain_lines(meta: Meta, compaction: Compaction | None, messages: list[Message]) -> bytes:
    """A whole conversation in the oldest form and nothing else, for programs that know no other.

    Blocks that it has no place for are left out.
    """
    head: dict[str, Any] = {
        "type": "session_meta",
        "version": VERSION,
        "session_id": meta.id,
        "created_at_ms": meta.created_at,
        "updated_at_ms": meta.updated_at,
    }
    if meta.fork is not None:
        fork = {"parent_session_id": meta.fork.parent}
        head["fork"] = fork | ({"branch_name": meta.fork.branch} if meta.fork.branch else {})
    records = [head]
    if compaction is not None:
        records.append(
            {
                "type": "compaction",
                "count": compaction.count,
                "removed_message_count": compaction.removed,
                "summary": compaction.summary,
            }
        )
    records += [{"type": "message", "message": message_body(m, [])} for m in messages]
    return b"".join(_json(r) + b"\n" for r in records)


def _roles() -> str:
    return ", ".join(ROLES)


def _line(record: dict[str, Any]) -> bytes:
    """The record with its checksum: over the whole line, with zeros in the checksum's place."""
    data = _json(record | {"check": NO_CRC.decode()})
    if len(data) > MAX_RECORD:
        raise UsageError(
            f"a record of {len(data):,} bytes is more than {MAX_RECORD:,}",
            hint="keep large things in files and name them in the message",
        )
    start = data.index(b'"check":"') + 9
    return data[:start] + b"%08x" % crc32(data) + data[start + 8 :] + b"\n"


def _json(record: dict[str, Any]) -> bytes:
    try:
        data = msgspec.json.encode(record, order="sorted")
    except UnicodeEncodeError:
        raise UsageError("the text is not valid Unicode", hint="pass it as UTF-8") from None
    for raw, escaped in _LINE_ENDS:
        if raw in data:
            data = data.replace(raw, escaped)
    return data


def _fork_out(fork: Fork) -> dict[str, Any]:
    out: dict[str, Any] = {
        "parent_session_id": fork.parent,
        "entry": fork.entry,
        "at": fork.at,
    }
    if fork.branch:
        out["branch_name"] = fork.branch
    return out


def _block_out(block: Block) -> tuple[dict[str, Any], bool]:
    """(JSON of a block, whether the oldest form knows its type)."""
    match block:
        case Text():
            return {"type": "text", "text": block.text}, True
        case ToolUse():
            text, plain = input_text(block.input)
            use = {"type": "tool_use", "id": block.id, "name": block.name, "input": text}
            return use if plain else use | {"json": True}, True
        case ToolResult():
            result: dict[str, Any] = {
                "type": "tool_result",
                "tool_use_id": block.id,
                "tool_name": block.name,
                "output": block.output,
                "is_error": block.ok is False,
            }
            return result if block.ok is not None else result | {"ok": None}, True
        case Opaque():
            return {"type": "opaque", "json": _text_of(block.raw)}, False
        case Thinking():
            made: dict[str, Any] = {"type": "thinking", "text": block.text}
            return made | ({"signature": block.signature} if block.signature else {}), False
        case Image():
            fields = {k: v for k, v in msgspec.structs.asdict(block).items() if v}
            return {"type": "image"} | fields, False
    raise UsageError(f"unsupported block type: {type(block).__name__}")


def input_text(raw: Raw) -> tuple[str, bool]:
    """A call's input as text, and whether `_input` makes the same of it without being told.

    Objects and arrays are their own JSON text, strings that are none stand as they are.
    """
    text = _text_of(raw)
    if text[:1] in "{[":
        return text, True
    if text[:1] == '"':
        value = msgspec.json.decode(raw, type=str)
        if not is_object(value):
            return value, True
    return text, False


def _text_of(raw: Raw) -> str:
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise UsageError("raw JSON that is not UTF-8") from None


def _usage_out(usage: Usage) -> dict[str, int]:
    made = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
    }
    if usage.cache_write_1h:
        made["cache_creation_1h_input_tokens"] = usage.cache_write_1h
    if usage.reasoning:
        made["reasoning_output_tokens"] = usage.reasoning
    for key, value in made.items():
        if not 0 <= value <= _U32:
            raise UsageError(f"{key} out of range: {value}")
    return made
