"""A conversation as Pi would have written it. Its facts: docs/formats/pi.md."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

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


def write(conversation: Conversation, native: str, at: int) -> Transcript:
    """The session file of a session ``native``. Raises UsageError without a folder."""
    if not conversation.cwd:
        raise UsageError("the conversation has no folder", hint="name one with --cwd")
    writer = _Writer(conversation, native, at)
    for message in settled(conversation.entries, writer.lost):
        writer.put(message)
    folder = "".join("-" if c in "/\\:" else c for c in conversation.cwd.lstrip("/\\"))
    stamp = iso(at, at).replace(":", "-").replace(".", "-")
    return Transcript(
        agent="pi",
        native=native,
        path=f"--{folder}--/{stamp}_{native}.jsonl",
        data=b"".join(writer.lines),
        lost=writer.lost.told(),
    )


class _Writer:
    def __init__(self, conversation: Conversation, native: str, at: int) -> None:
        self.native, self.now = native, at
        self.lost, self.calls = Lost(), CallIds()
        self.lines: list[bytes] = []
        self.parent: str | None = None
        head = {"type": "session", "version": 3, "id": native, "timestamp": iso(at, at)}
        self.lines.append(msgspec.json.encode(head | {"cwd": conversation.cwd}) + b"\n")

    def put(self, m: Message) -> None:
        if m.role == "assistant":
            self._assistant(m)
        elif m.role == "tool":
            for block in m.blocks:
                if isinstance(block, ToolResult):
                    self._result(m, block)
        else:
            if m.role == "system":
                self.lost.note("system messages: told as messages of the user")
            content = [c for b in m.blocks if (c := self._said(b)) is not None]
            if content:
                self._entry(m, {"role": "user", "content": content})

    def _assistant(self, m: Message) -> None:
        content = [c for b in m.blocks if (c := self._said(b)) is not None]
        if not content:
            return
        calls = any(c["type"] == "toolCall" for c in content)
        vendor, api = _vendor(m.model)
        body = {
            "role": "assistant",
            "content": content,
            "api": api,
            "provider": vendor,
            "model": m.model or "unknown",
            "usage": _usage(m.usage or Usage()),
            "stopReason": "toolUse" if calls else "stop",
        }
        self._entry(m, body)

    def _result(self, m: Message, block: ToolResult) -> None:
        body = {
            "role": "toolResult",
            "toolCallId": self.calls.of(block.id),
            "toolName": block.name,
            "content": [{"type": "text", "text": block.output}],
            "isError": block.ok is False,
        }
        self._entry(m, body)

    def _said(self, block: AnyBlock) -> dict[str, Any] | None:
        match block:
            case Text(text=text):
                return {"type": "text", "text": text} if text else None
            case ToolUse():
                return {
                    "type": "toolCall",
                    "id": self.calls.of(block.id),
                    "name": block.name,
                    "arguments": _object(block),
                }
            case Image(data=data) if data:
                return {"type": "image", "data": data, "mimeType": block.media_type}
            case Image():
                self.lost.note("images whose data is not here: a note stands for each")
                return {"type": "text", "text": f"[image {block.uri}]".replace(" ]", "]")}
            case Thinking(signature=""):
                self.lost.note("thoughts without a signature: left out")
                return None
            case Thinking():
                signed = {"thinkingSignature": block.signature}
                return {"type": "thinking", "thinking": block.text} | signed
        return None

    def _entry(self, m: Message, body: dict[str, Any]) -> None:
        ms = self.now if m.at is None else m.at
        own = uuid5(NAMESPACE_OID, f"{self.native}:{len(self.lines)}").hex[:8]
        entry = {
            "type": "message",
            "id": own,
            "parentId": self.parent,
            "timestamp": iso(ms, ms),
            "message": body | {"timestamp": ms},
        }
        self.lines.append(msgspec.json.encode(entry) + b"\n")
        self.parent = own


def _vendor(model: str) -> tuple[str, str]:
    """Provider and wire format of a model's name, as Pi calls them."""
    if model.startswith("claude"):
        return "anthropic", "anthropic-messages"
    if model.startswith("gemini"):
        return "google", "google-generative-ai"
    return "openai", "openai-responses"


def _usage(u: Usage) -> dict[str, Any]:
    cost = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0}
    return {
        "input": u.input,
        "output": u.output,
        "cacheRead": u.cache_read,
        "cacheWrite": u.cache_write,
        "totalTokens": u.total,
        "cost": cost,
    }


def _object(block: ToolUse) -> Any:
    try:
        value = msgspec.json.decode(block.input)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = bytes(block.input).decode("utf-8", "replace")
    if isinstance(value, dict):
        return value
    return {} if value is None else {"input": value}


def parts(record: bytes) -> tuple[AnyBlock, ...]:
    """Images with their data and thoughts with their signature, of one record."""
    found: list[AnyBlock] = []
    for block in content_of(record, "message", "content"):
        match block:
            case {"type": "thinking", "thinking": str(text), "thinkingSignature": str(signature)}:
                found.append(Thinking(text=text, signature=signature))
            case {"type": "image", "data": data, **more}:
                if image := image_of(more.get("mimeType"), data):
                    found.append(image)
    return tuple(found)
