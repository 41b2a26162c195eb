"""Messages with their blocks, tool calls, turns."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from decklog.model.base import NULL, Cost, ToolKind, Usage


class Block(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One part of a message."""


class Text(Block, frozen=True, kw_only=True, tag="text"):
    text: str = ""


class Thinking(Block, frozen=True, kw_only=True, tag="thinking"):
    text: str = ""
    signature: str = ""
    """The provider's own seal on it: only the provider that gave it takes it back."""


class ToolUse(Block, frozen=True, kw_only=True, tag="tool_use"):
    id: str = ""
    name: str = ""
    input: msgspec.Raw = NULL


class ToolResult(Block, frozen=True, kw_only=True, tag="tool_result"):
    id: str = ""
    """Id of the call (`ToolUse`) that it answers."""
    name: str = ""
    """Name of the tool, where it is known."""
    ok: bool | None = None
    output: str = ""


class Image(Block, frozen=True, kw_only=True, tag="image"):
    media_type: str = ""
    size: int = 0
    """Bytes of the image; 0 where that is not known."""
    data: str = ""
    """The image itself in base64, or empty."""
    uri: str = ""
    """Where it is to be found, or empty."""


class Opaque(Block, frozen=True, kw_only=True, tag="opaque"):
    """A part that is not understood, kept as it was, byte for byte."""

    raw: msgspec.Raw = NULL


AnyBlock: TypeAlias = Text | Thinking | ToolUse | ToolResult | Image | Opaque


class Message(Struct, frozen=True, kw_only=True):
    id: str
    parent: str | None = None
    role: str = "user"
    model: str = ""
    at: int | None = None
    usage: Usage | None = None
    blocks: tuple[AnyBlock, ...] = ()


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool call joined to its result."""

    id: str
    session: str
    name: str
    kind: ToolKind
    input: msgspec.Raw = NULL
    paths: tuple[str, ...] = ()
    at: int | None = None
    duration_ms: int | None = None
    ok: bool | None = None
    """None while no result has been recorded."""
    output: str | None = None
    data: msgspec.Raw = NULL
    child: str | None = None
    """Session id of the subagent it started."""


class Turn(Struct, frozen=True, kw_only=True):
    """A prompt and all that follows until the next prompt."""

    session: str
    index: int
    prompt: str = ""
    at: int | None = None
    ended_at: int | None = None
    reply: str = ""
    """The last assistant text of the turn."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    cost: Cost = Cost()
    paths: tuple[str, ...] = ()
    outcome: Literal["done", "aborted", "limited", "error", "open"] = "open"
