"""One line of a conversation's file, both ways. Pure. The format: docs/formats/conversations.md.

The three record types, and all keys that they need, are those of the coding agent whose session
files this format goes back to: its files are read here, and it can read ours. What it does not
know stands where it does not look: in further keys, never in further record or block types.
"""

from __future__ import annotations

import re
from typing import Any
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from decklog.model import (
    NULL,
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

VERSION = 1
ROLES = ("system", "user", "assistant", "tool")
MAX_RECORD = 64 * 1024 * 1024
"""Bytes of one record that are still written and read."""

_U32, _U64 = 2**32 - 1, 2**63 - 1
_sealed = re.compile(rb'\{"at":(?:\d+|null),"check":"([0-9a-f]{8})",')
NO_CRC = b"00000000"


DAMAGE = ("damaged", "too_long", "too_deep")
"""Reasons for which a line is no record of any version."""


class BadRecordError(Exception):
    """A line that is no record; ``reason`` is one of those of `decklog.model.Finding`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Sealed(Struct, frozen=True, kw_only=True):
    """The file that rotation set aside, as its successor names it."""

    file: str
    bytes: int = 0
    crc: int = 0
    """CRC-32 of the whole file."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a record leaves the conversation: what the next one goes on from."""

    leaf: str | None = None
    """Id of the last entry of the branch."""
    n: int = 0
    """Messages on the branch."""
    seq: int = 0
    """Records of the conversation up to this one, counted from 1."""


class Meta(Struct, frozen=True, kw_only=True):
    """The head of a file; further ones tell that the leaf moved. The last one stands."""

    id: str
    version: int = VERSION
    created_at: int = 0
    updated_at: int = 0
    fork: Fork | None = None
    title: str = ""
    cwd: str = ""
    origin: str = ""
    place: Place | None = None
    """None in a head that is not of ours."""
    sealed: Sealed | None = None


class Said(Struct, frozen=True, kw_only=True):
    message: Message
    """Without an id where the record is not of ours."""
    place: Place | None = None


class Summed(Struct, frozen=True, kw_only=True):
    compaction: Compaction
    place: Place | None = None


Record = Meta | Said | Summed


def is_object(text: str) -> bool:
    """Whether a text is a JSON object or array."""
    if text[:1] not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text, type=Raw)
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


# --- reading ----------------------------------------------------------------------------------


def parse(line: bytes) -> Record:
    """The record of a line, ours or older. Raises BadRecordError, and nothing else."""
    if len(line) > MAX_RECORD:
        raise BadRecordError("too_long", f"a record of {len(line)} bytes")
    found = _sealed.match(line)
    if found and crc32(line[: found.start(1)] + NO_CRC + line[found.end(1) :]) != int(found[1], 16):
        raise BadRecordError("damaged", "its checksum does not match")
    record = decode(line)
    if not found and "seq" in record:
        raise BadRecordError("damaged", "its checksum is not readable")
    kind = record.get("type")
    if not isinstance(kind, str):
        raise BadRecordError("bad_field", "missing type")
    if kind == "session_meta":
        return _meta(record)
    if kind == "message":
        if "message" not in record:
            raise BadRecordError("bad_field", "missing message")
        return Said(message=_message(record["message"], record), place=_place(record))
    if kind == "compaction":
        return Summed(compaction=compaction_of(record), place=_place(record))
    raise BadRecordError("unknown", f"unsupported record type: {kind[:80]}")


def decode(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises BadRecordError."""
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise BadRecordError("too_deep", "JSON that is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecordError("damaged", f"invalid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRecordError("damaged", "not a JSON object")
    return value


def legacy(value: dict[str, Any]) -> tuple[Meta, Compaction | None, list[Message]]:
    """A whole conversation that is one JSON object. Raises BadRecordError.

    Times that it does not have are 0, its id may be empty.
    """
    version = _number(value, "version", _U32)
    messages = value.get("messages")
    if not isinstance(messages, list):
        raise BadRecordError("bad_field", "missing messages")
    created = _number(value, "created_at_ms", _U64) if "created_at_ms" in value else 0
    updated = _number(value, "updated_at_ms", _U64) if "updated_at_ms" in value else created
    own = value.get("session_id")
    meta = Meta(
        id=own if isinstance(own, str) else "",
        version=version,
        created_at=created,
        updated_at=updated,
        fork=_fork(value["fork"]) if "fork" in value else None,
    )
    compaction = value.get("compaction")
    made = compaction_of(_object(compaction, "compaction")) if "compaction" in value else None
    return meta, made, [_message(m, {}) for m in messages]


def message_of(value: Any) -> Message:
    """A message of the oldest form: ``role``, ``blocks``, ``usage``. Raises BadRecordError."""
    return _message(value, {})


def _meta(r: dict[str, Any]) -> Meta:
    sealed = r.get("sealed")
    return Meta(
        version=_number(r, "version", _U32),
        id=_string(r, "session_id"),
        created_at=_number(r, "created_at_ms", _U64),
        updated_at=_number(r, "updated_at_ms", _U64),
        fork=_fork(r["fork"]) if "fork" in r else None,
        title=_optional(r, "title"),
        cwd=_optional(r, "cwd") or _optional(r, "workspace_root"),
        origin=_optional(r, "origin"),
        place=_place(r),
        sealed=Sealed(
            file=_string(sealed, "file"),
            bytes=_number(sealed, "bytes", _U64),
            crc=_number(sealed, "crc", _U32),
        )
        if isinstance(sealed, dict)
        else None,
    )


def _place(r: dict[str, Any]) -> Place | None:
    if "seq" not in r:
        return None
    leaf = r.get("leaf") if r.get("type") == "session_meta" else r.get("id")
    if leaf is not None and not isinstance(leaf, str):
        raise BadRecordError("bad_field", "missing leaf")
    return Place(leaf=leaf, n=_number(r, "n", _U64), seq=_number(r, "seq", _U64))


def _fork(value: Any) -> Fork:
    fork = _object(value, "fork metadata")
    entry, at = fork.get("entry"), fork.get("at")
    return Fork(
        parent=_string(fork, "parent_session_id"),
        branch=_optional(fork, "branch_name") or None,
        entry=entry if isinstance(entry, str) else None,
        at=at if isinstance(at, int) and at >= 0 else 0,
    )


def _message(value: Any, r: dict[str, Any]) -> Message:
    m = _object(value, "message")
    role = _string(m, "role")
    if role not in ROLES:
        raise BadRecordError("bad_field", f"unsupported message role: {role[:80]}")
    given = m.get("blocks")
    if not isinstance(given, list):
        raise BadRecordError("bad_field", "missing blocks")
    blocks = [_block(b) for b in given]
    for part in r.get("parts") or ():
        match part:
            case [int(i), dict(b)]:
                blocks.insert(i, _part(b))
            case _:
                raise BadRecordError("bad_field", "parts that have no place")
    parent, at = r.get("parent"), r.get("at")
    return Message(
        id=_optional(r, "id"),
        parent=parent if isinstance(parent, str) else None,
        role=role,
        model=_optional(r, "model"),
        at=at if isinstance(at, int) else None,
        usage=_usage(m["usage"]) if "usage" in m else None,
        blocks=tuple(blocks),
    )


def _block(value: Any) -> Any:
    b = _object(value, "block")
    kind = b.get("type")
    if not isinstance(kind, str):
        raise BadRecordError("bad_field", "missing block type")
    if kind == "text":
        return Text(text=_string(b, "text"))
    if kind == "tool_use":
        text = _string(b, "input")
        given = _raw(text) if b.get("json") is True or is_object(text) else _quoted(text)
        return ToolUse(id=_string(b, "id"), name=_string(b, "name"), input=given)
    if kind == "tool_result":
        failed = b.get("is_error")
        if not isinstance(failed, bool):
            raise BadRecordError("bad_field", "missing is_error")
        return ToolResult(
            id=_string(b, "tool_use_id"),
            name=_string(b, "tool_name"),
            output=_string(b, "output"),
            ok=None if b.get("ok", False) is None else not failed,
        )
    return _part(b)


def _part(b: dict[str, Any]) -> Any:
    """A block that the oldest form does not know; one that we do not know either is kept."""
    kind = b.get("type")
    if kind == "thinking":
        text = b.get("thinking") if isinstance(b.get("thinking"), str) else b.get("text")
        return Thinking(text=str(text or ""), signature=_optional(b, "signature"))
    if kind == "image":
        size = b.get("size")
        return Image(
            media_type=_optional(b, "media_type"),
            size=size if isinstance(size, int) else 0,
            data=_optional(b, "data"),
            uri=_optional(b, "uri"),
        )
    if kind == "opaque" and isinstance(b.get("json"), str):
        return Opaque(raw=_raw(b["json"]))
    return Opaque(raw=Raw(msgspec.json.encode(b)))


def _raw(text: str) -> Raw:
    data = text.encode()
    return Raw(data) if data != b"null" else NULL


def _quoted(text: str) -> Raw:
    return Raw(msgspec.json.encode(text))


def compaction_of(r: dict[str, Any]) -> Compaction:
    kept, at = r.get("kept"), r.get("at")
    names = {k: v for k in ("parent", "first", "last") if isinstance(v := r.get(k), str)}
    return Compaction(
        id=_optional(r, "id"),
        at=at if isinstance(at, int) else None,
        count=_number(r, "count", _U32),
        removed=_number(r, "removed_message_count", _U64),
        summary=_string(r, "summary"),
        kept=kept if isinstance(kept, int) and kept >= 0 else None,
        **names,
    )


def _usage(value: Any) -> Usage:
    u = _object(value, "usage")
    return Usage(
        input=_number(u, "input_tokens", _U32),
        output=_number(u, "output_tokens", _U32),
        cache_write=_number(u, "cache_creation_input_tokens", _U32),
        cache_read=_number(u, "cache_read_input_tokens", _U32),
        cache_write_1h=_count(u, "cache_creation_1h_input_tokens"),
        reasoning=_count(u, "reasoning_output_tokens"),
    )


def _count(r: dict[str, Any], key: str) -> int:
    return _number(r, key, _U32) if key in r else 0


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRecordError("bad_field", f"{what} must be an object")
    return value


def _string(r: dict[str, Any], key: str) -> str:
    value = r.get(key)
    if not isinstance(value, str):
        raise BadRecordError("bad_field", f"missing {key}")
    return value


def _optional(r: dict[str, Any], key: str) -> str:
    value = r.get(key)
    return value if isinstance(value, str) else ""


def _number(r: dict[str, Any], key: str, most: int) -> int:
    value = r.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRecordError("bad_field", f"missing {key}")
    if not 0 <= value <= most:
        raise BadRecordError("bad_field", f"{key} out of range")
    return value
