"""A conversation as Claude Code would have written it. Its facts: docs/formats/claude.md."""

from __future__ import annotations

import re
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec
from msgspec import Raw

from decklog.agents._handover import CallIds, Lost, content_of, image_of, iso, settled
from decklog.errors import UsageError
from decklog.model import (
    Conversation,
    Image,
    Message,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Transcript,
    Usage,
)
from decklog.model.turns import AnyBlock

VERSION = "2.1.197"
"""The version whose records these are."""
LONGEST = 200
"""Characters of a project folder's name; what is longer is hashed in a way of Claude Code's own."""
FOREIGN = "claude-sonnet-4-5"
"""Model named for answers of other vendors' models."""


def write(conversation: Conversation, native: str, at: int) -> Transcript:
    """The transcript of a session ``native``. Raises UsageError without a folder to resume in."""
    if not conversation.cwd:
        raise UsageError("the conversation has no folder", hint="name one with --cwd")
    folder = re.sub("[^A-Za-z0-9]", "-", conversation.cwd)
    if len(folder) > LONGEST:
        raise UsageError(f"the folder's path has more than {LONGEST} characters")
    writer = _Writer(conversation, native, at)
    for message in settled(conversation.entries, writer.lost):
        writer.put(message)
    return Transcript(
        agent="claude",
        native=native,
        path=f"{folder}/{native}.jsonl",
        data=b"".join(writer.lines),
        lost=writer.lost.told(),
    )


class _Writer:
    def __init__(self, conversation: Conversation, native: str, at: int) -> None:
        self.c, self.native, self.now = conversation, native, at
        self.lost, self.calls = Lost(), CallIds()
        self.lines: list[bytes] = []
        self.parent: str | None = None

    def put(self, m: Message) -> None:
        if m.role == "assistant":
            self._assistant(m)
        elif m.role == "system":
            self._note(m)
        else:
            self._user(m)

    def _user(self, m: Message) -> None:
        content = [c for b in m.blocks if (c := self._said(b)) is not None]
        if len(content) == 1 and content[0]["type"] == "text":
            self._record("user", m, {"role": "user", "content": content[0]["text"]})
        elif content:
            self._record("user", m, {"role": "user", "content": content})

    def _note(self, m: Message) -> None:
        """A system message: what stands for a compacted part is told as Claude Code tells it."""
        text = "\n".join(b.text for b in m.blocks if isinstance(b, Text))
        summary = any(m.id == c.id for c in self.c.compactions)
        if not summary:
            self.lost.note("system messages: told as notes of the user")
        more = {"isCompactSummary": True, "isVisibleInTranscriptOnly": True}
        self._record(
            "user", m, {"role": "user", "content": text}, **(more if summary else {"isMeta": True})
        )

    def _assistant(self, m: Message) -> None:
        own = m.model.startswith("claude")
        content = [c for b in m.blocks if (c := self._told(b, own)) is not None]
        calls = any(c["type"] == "tool_use" for c in content)
        name = f"msg_{uuid5(NAMESPACE_OID, self.native + m.id).hex[:24]}"
        for c in content:  # one record for each block, as Claude Code does it
            body = {
                "id": name,
                "type": "message",
                "role": "assistant",
                "model": m.model if own else FOREIGN,
                "content": [c],
                "stop_reason": "tool_use" if calls else "end_turn",
                "stop_sequence": None,
                "usage": _usage(m.usage or Usage()),
            }
            self._record("assistant", m, body)

    def _told(self, block: AnyBlock, own: bool) -> dict[str, Any] | None:
        match block:
            case Text(text=text):
                return {"type": "text", "text": text} if text.strip() else None
            case ToolUse():
                return {
                    "type": "tool_use",
                    "id": self.calls.of(block.id),
                    "name": block.name,
                    "input": _object(block.input, self.lost),
                }
            case Thinking(signature=signature) if signature and own:
                return {"type": "thinking", "thinking": block.text, "signature": signature}
            case Thinking():
                self.lost.note("thoughts: Claude takes back only those with its own signature")
            case _:
                self.lost.note("images in answers: left out")
        return None

    def _said(self, block: AnyBlock) -> dict[str, Any] | None:
        match block:
            case Text(text=text):
                return {"type": "text", "text": text} if text.strip() else None
            case ToolResult():
                return {
                    "tool_use_id": self.calls.of(block.id),
                    "type": "tool_result",
                    "content": block.output,
                    "is_error": block.ok is False,
                }
            case Image(data=data) if data:
                source = {"type": "base64", "media_type": block.media_type, "data": data}
                return {"type": "image", "source": source}
            case Image():
                self.lost.note("images whose data is not here: a note stands for each")
                return {"type": "text", "text": f"[image {block.uri}]".replace(" ]", "]")}
            case _:
                self.lost.note("thoughts of the user: left out")
        return None

    def _record(self, kind: str, m: Message, body: dict[str, Any], **more: Any) -> None:
        own = str(uuid5(NAMESPACE_OID, f"{self.native}:{len(self.lines)}"))
        record = {
            "parentUuid": self.parent,
            "isSidechain": False,
            "type": kind,
            "message": body,
            **more,
            "uuid": own,
            "timestamp": iso(m.at, self.now),
            "userType": "external",
            "entrypoint": "cli",
            "cwd": self.c.cwd,
            "sessionId": self.native,
            "version": VERSION,
        }
        self.lines.append(msgspec.json.encode(record) + b"\n")
        self.parent = own


def _usage(u: Usage) -> dict[str, Any]:
    return {
        "input_tokens": u.input,
        "cache_creation_input_tokens": u.cache_write,
        "cache_read_input_tokens": u.cache_read,
        "output_tokens": u.output,
    }


def _object(given: Raw, lost: Lost) -> Any:
    """A call's input: Claude takes objects only."""
    try:
        value = msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = bytes(given).decode("utf-8", "replace")
    if isinstance(value, dict):
        return given if bytes(given)[:1] == b"{" else value
    if value is not None:
        lost.note("inputs of tools that are no objects: put into one")
    return {} if value is None else {"input": value}


def parts(record: bytes) -> tuple[AnyBlock, ...]:
    """Images with their data and thoughts with their signature, of one record."""
    found: list[AnyBlock] = []
    for block in content_of(record, "message", "content"):
        match block:
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)}:
                found.append(Thinking(text=text, signature=signature))
            case {"type": "image", "source": {"type": "base64", "data": data, **more}}:
                if image := image_of(more.get("media_type"), data):
                    found.append(image)
    return tuple(found)
