"""What all writers of transcripts share: messages in the order that models insist on, and a count
of what had to be changed or left out. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from decklog.model import Image, Message, Opaque, Text, ToolResult, ToolUse
from decklog.model.turns import AnyBlock

NO_RESULT = "No result of this call was recorded."


def image_of(media_type: object, data: object) -> Image | None:
    """An image that a transcript holds in base64."""
    if not isinstance(data, str) or not data:
        return None
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return Image(media_type=media_type if isinstance(media_type, str) else "", size=size, data=data)


def content_of(record: bytes, *path: str) -> list[dict[str, Any]]:
    """The objects in a list that stands at this path of a JSON record; none where there is none."""
    try:
        value: Any = msgspec.json.decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return [x for x in value if isinstance(x, dict)] if isinstance(value, list) else []


class Lost:
    """Counts what an agent's format has no place for."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, what: str, n: int = 1) -> None:
        if n:
            self._counts[what] += n

    def told(self) -> tuple[str, ...]:
        return tuple(f"{n:,} {what}" for what, n in self._counts.items())


def settled(messages: Sequence[Message], lost: Lost) -> list[Message]:
    """Messages in which every call is followed by its result, and every result has its call.

    A call without a result gets one that says so; a result without its call becomes text.
    """
    results: dict[str, tuple[int, ToolResult]] = {}
    for i, m in enumerate(messages):
        for block in m.blocks:
            if isinstance(block, ToolResult):
                results.setdefault(block.id, (i, block))
    found: list[Message] = []
    taken: set[str] = set()
    for i, m in enumerate(messages):
        left = tuple(_without_call(b, taken, lost) for b in m.blocks)
        blocks = tuple(b for b in left if b is not None)
        if blocks:
            role = "user" if m.role == "tool" and isinstance(blocks[0], Text) else m.role
            found.append(replace(m, role=role, blocks=blocks))
        calls = [b for b in m.blocks if isinstance(b, ToolUse)] if m.role == "assistant" else []
        for n, call in enumerate(calls):
            at, result = results.get(call.id, (-1, None))
            if result is None or at <= i or call.id in taken:
                lost.note("tool calls without a result: one that says so stands for it")
                result = ToolResult(id=call.id, ok=False, output=NO_RESULT)
                at = i
            taken.add(call.id)
            name = result.name or call.name
            answer = replace(result, name=name)
            source = messages[at]
            found.append(
                replace(
                    source, id=f"{source.id}.{n}", role="tool", model="", usage=None,
                    blocks=(answer,), at=source.at if at != i else m.at,
                )
            )  # fmt: skip
    return found


def _without_call(block: AnyBlock, taken: set[str], lost: Lost) -> AnyBlock | None:
    """A block as it stands in its message; a result that follows its call stands there."""
    if isinstance(block, ToolResult):
        if block.id in taken:
            return None
        lost.note("tool results without their call: told as text")
        return Text(text=f"[result of {block.name or 'a tool'}]\n{block.output}")
    if isinstance(block, Opaque):
        lost.note("parts that are not understood: left out")
        return None
    return block


def iso(at: int | None, instead: int) -> str:
    """An RFC 3339 time with milliseconds, as JavaScript writes it."""
    ms = instead if at is None else at
    stamp = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{ms % 1000:03d}Z"


_odd = re.compile(r"[^A-Za-z0-9_-]")


class CallIds:
    """Ids of tool calls that every provider takes: others are changed, each to one of its own."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def of(self, call: str) -> str:
        found = self._ids.get(call)
        if found is None:
            found = _odd.sub("_", call)[:56] or "call"
            if found in self._ids.values():
                found = f"{found}_{len(self._ids)}"
            self._ids[call] = found
        return found
