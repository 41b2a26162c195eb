"""A conversation as Codex would have written it. Its facts: docs/formats/codex.md."""

from __future__ import annotations

import re
from typing import Any

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
)
from decklog.model.turns import AnyBlock

VERSION = "0.169.0"
"""The version whose records these are."""
OPENAI = ("gpt", "o1", "o3", "o4", "codex")
"""How names of models begin whose thoughts OpenAI takes back."""


def write(conversation: Conversation, native: str, at: int) -> Transcript:
    """The rollout of a session ``native``. Raises UsageError without a folder to resume in."""
    if not conversation.cwd:
        raise UsageError("the conversation has no folder", hint="name one with --cwd")
    writer = _Writer(conversation, native, at)
    for message in settled(conversation.entries, writer.lost):
        writer.put(message)
    stamp = iso(at, at)
    name = f"rollout-{stamp[:19].replace(':', '-')}-{native}.jsonl"
    return Transcript(
        agent="codex",
        native=native,
        path="/".join((stamp[:4], stamp[5:7], stamp[8:10], name)),
        data=b"".join(writer.lines),
        lost=writer.lost.told(),
    )


class _Writer:
    def __init__(self, conversation: Conversation, native: str, at: int) -> None:
        self.now = at
        self.lost, self.calls = Lost(), CallIds()
        self.lines: list[bytes] = []
        stamp = iso(at, at)
        head = {
            "session_id": native,
            "id": native,
            "timestamp": stamp,
            "cwd": conversation.cwd,
            "originator": "codex_cli_rs",
            "cli_version": VERSION,
            "source": "cli",
        }
        self._line("session_meta", head, at)

    def put(self, m: Message) -> None:
        pieces: list[dict[str, Any]] = []
        text = "output_text" if m.role == "assistant" else "input_text"
        own = m.model.startswith(OPENAI)
        for block in m.blocks:
            match block:
                case Text():
                    pieces.append({"type": text, "text": block.text})
                case ToolUse() | ToolResult():
                    self._message(m, pieces)
                    pieces = []
                    self._item(self._call(block), m)
                case Image():
                    pieces.append(self._image(block, text))
                case Thinking(signature=signature) if signature and own:
                    self._message(m, pieces)
                    pieces = []
                    self._item(_thought(block), m)
                case Thinking():
                    self.lost.note("thoughts: Codex takes back only what OpenAI encrypted")
        self._message(m, pieces)

    def _message(self, m: Message, pieces: list[dict[str, Any]]) -> None:
        if not pieces:
            return
        role = "developer" if m.role == "system" else m.role
        self._item({"type": "message", "role": role, "content": pieces}, m)
        spoken = "\n".join(p["text"] for p in pieces if "text" in p)
        if m.role == "user":
            told = {"type": "user_message", "message": spoken, "images": [], "local_images": []}
            self._line("event_msg", told, m.at)
        elif m.role == "assistant":
            self._line("event_msg", {"type": "agent_message", "message": spoken}, m.at)

    def _call(self, block: ToolUse | ToolResult) -> dict[str, Any]:
        call = self.calls.of(block.id)
        if isinstance(block, ToolResult):
            return {"type": "function_call_output", "call_id": call, "output": block.output}
        return {
            "type": "function_call",
            "name": block.name,
            "arguments": _arguments(block.input),
            "call_id": call,
        }

    def _image(self, block: Image, text: str) -> dict[str, Any]:
        if block.data and text == "input_text":
            url = f"data:{block.media_type};base64,{block.data}"
            return {"type": "input_image", "image_url": url}
        self.lost.note("images whose data is not here, or in answers: a note stands for each")
        return {"type": text, "text": f"[image {block.uri}]".replace(" ]", "]")}

    def _item(self, item: dict[str, Any], m: Message) -> None:
        self._line("response_item", item, m.at)

    def _line(self, kind: str, payload: dict[str, Any], at: int | None) -> None:
        record = {"timestamp": iso(at, self.now), "type": kind, "payload": payload}
        self.lines.append(msgspec.json.encode(record) + b"\n")


def _thought(block: Thinking) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": block.text}] if block.text else [],
        "content": None,
        "encrypted_content": block.signature,
    }


def _arguments(given: Raw) -> str:
    text = bytes(given).decode("utf-8", "replace")
    return "{}" if text == "null" else text


_data_url = re.compile(r"data:([\w.+/-]{1,100});base64,(.+)", re.S)


def parts(record: bytes) -> tuple[AnyBlock, ...]:
    """Images with their data, and the encrypted thought as a signature, of one record."""
    found: list[AnyBlock] = []
    for block in content_of(record, "payload", "content"):
        url = block.get("image_url")
        if isinstance(url, str) and (data := _data_url.match(url)):
            image = image_of(data[1], data[2])
            found += [image] if image else []
    try:
        thought = msgspec.json.decode(record, type=_Thought).payload
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return tuple(found)
    if thought.type == "reasoning" and thought.encrypted_content:
        text = "\n".join(p.text or "" for p in (*(thought.summary or ()), *(thought.content or ())))
        found.append(Thinking(text=text, signature=thought.encrypted_content))
    return tuple(found)


class _Piece(msgspec.Struct):
    text: str | None = None


class _Payload(msgspec.Struct):
    type: str = ""
    summary: list[_Piece] | None = None
    content: list[_Piece] | None = None
    encrypted_content: str | None = None


class _Thought(msgspec.Struct):
    payload: _Payload
