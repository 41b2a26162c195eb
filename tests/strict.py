"""The reader of the program that the format of conversations goes back to, as strict as that one:
written from the description of its format alone, it shares no code with decklog."""

from __future__ import annotations

import json
from typing import Any


class StrictError(Exception):
    """What that program refuses to load."""


def load(text: str) -> dict[str, Any]:
    """``version, session_id, created_at_ms, updated_at_ms, messages, compaction, fork``."""
    found: dict[str, Any] = {
        "version": 1, "session_id": None, "created_at_ms": None, "updated_at_ms": None,
        "messages": [], "compaction": None, "fork": None,
    }  # fmt: skip
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line:
            continue
        try:
            record = json.loads(line, parse_float=_no_float)
        except ValueError as error:
            raise StrictError(f"invalid JSONL record at line {number}: {error}") from None
        if not isinstance(record, dict):
            raise StrictError(f"JSONL record at line {number} must be an object")
        kind = record.get("type")
        if not isinstance(kind, str):
            raise StrictError(f"JSONL record at line {number} missing type")
        if kind == "session_meta":
            found["version"] = number_of(record, "version", 2**32 - 1)
            found["session_id"] = text_of(record, "session_id")
            for key in ("created_at_ms", "updated_at_ms"):
                found[key] = number_of(record, key, 2**63 - 1)
            found["fork"] = fork(record["fork"]) if "fork" in record else None
        elif kind == "message":
            if "message" not in record:
                raise StrictError(f"JSONL record at line {number} missing message")
            found["messages"].append(message(record["message"]))
        elif kind == "compaction":
            found["compaction"] = {
                "count": number_of(record, "count", 2**32 - 1),
                "removed_message_count": number_of(record, "removed_message_count", 2**63 - 1),
                "summary": text_of(record, "summary"),
            }
        else:
            raise StrictError(f"unsupported JSONL record type at line {number}: {kind}")
    return found


def message(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StrictError("message must be an object")
    role = text_of(value, "role")
    if role not in ("system", "user", "assistant", "tool"):
        raise StrictError(f"unsupported message role: {role}")
    if not isinstance(value.get("blocks"), list):
        raise StrictError("missing blocks")
    made: dict[str, Any] = {"role": role, "blocks": [block(b) for b in value["blocks"]]}
    if "usage" in value:
        keys = (
            "input_tokens", "output_tokens", "cache_creation_input_tokens",
            "cache_read_input_tokens",
        )  # fmt: skip
        made["usage"] = {k: number_of(value["usage"], k, 2**32 - 1) for k in keys}
    return made


def block(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StrictError("block must be an object")
    kind = value.get("type")
    keys = {
        "text": ("text",),
        "tool_use": ("id", "name", "input"),
        "tool_result": ("tool_use_id", "tool_name", "output"),
    }.get(kind)
    if keys is None:
        raise StrictError(f"unsupported block type: {kind}")
    made: dict[str, Any] = {"type": kind} | {k: text_of(value, k) for k in keys}
    if kind == "tool_result":
        if not isinstance(value.get("is_error"), bool):
            raise StrictError("missing is_error")
        made["is_error"] = value["is_error"]
    return made


def fork(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StrictError("fork metadata must be an object")
    branch = value.get("branch_name")
    return {
        "parent_session_id": text_of(value, "parent_session_id"),
        "branch_name": branch if isinstance(branch, str) else None,
    }


def text_of(value: dict[str, Any], key: str) -> str:
    if not isinstance(value.get(key), str):
        raise StrictError(f"missing {key}")
    return str(value[key])


def number_of(value: dict[str, Any], key: str, most: int) -> int:
    found = value.get(key)
    if not isinstance(found, int) or isinstance(found, bool):
        raise StrictError(f"missing {key}")
    if not 0 <= found <= most:
        raise StrictError(f"{key} out of range")
    return found


def _no_float(text: str) -> Any:
    raise ValueError(f"no integer: {text}")
