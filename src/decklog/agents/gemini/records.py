"""Shapes of Gemini CLI's records: only the fields that are read, every one of them optional.

The lean shapes leave out what only text is made of. None of these values can be part of a cycle,
so the garbage collector need not look at them (``gc=False``).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct, field

from decklog.agents._shared import Name, paths_in
from decklog.model import NULL

PATH_KEYS = ("file_path", "absolute_path", "path", "filepath")
SNAPSHOT = "<state_snapshot>"
"""How the summary begins that takes the place of a compacted history."""


class Empty(Struct, gc=False):
    """An object of which only the presence matters."""


class Part(Struct, rename="camel", gc=False):
    text: Any = None
    thought: Any = None
    function_response: Empty | None = None
    inline_data: Empty | None = None
    file_data: Empty | None = None


Content: TypeAlias = str | list[Part | str] | Part | None


Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)] | None


class Tokens(Struct, gc=False):
    input: Count = None
    cached: Count = None
    output: Count = None
    thoughts: Count = None
    tool: Count = None


class LeanCall(Struct, rename="camel", gc=False):
    id: Name | None = None
    name: Name | None = None
    args: Any = None
    status: Name | None = None
    timestamp: Name | None = None
    agent_id: Name | None = None
    result: list[Empty | str | None] | Empty | str | None = None


class Result(Struct, rename="camel", gc=False):
    text: Any = None
    function_response: Any = None


class FullCall(LeanCall, rename="camel", gc=False):
    result: list[Result | str | None] | Result | str | None = None  # type: ignore[assignment]
    result_display: Any = None


class Thought(Struct, gc=False):
    subject: Any = None
    description: Any = None


class LeanMessage(Struct, rename="camel", gc=False):
    id: Name | None = None
    timestamp: Name | None = None
    type: Name | None = None
    content: Content = None
    display_content: Content = None
    model: Name | None = None
    tokens: Tokens | None = None
    thoughts: list[Empty] | None = None
    tool_calls: list[LeanCall] | None = None


class FullMessage(LeanMessage, rename="camel", gc=False):
    thoughts: list[Thought] | None = None  # type: ignore[assignment]
    tool_calls: list[FullCall] | None = None  # type: ignore[assignment]


class Head(Struct, rename="camel", gc=False):
    """What is said of the session: in the first line, in ``$set``, around a document's messages."""

    session_id: Name | None = None
    start_time: Name | None = None
    last_updated: Name | None = None
    summary: str | None = None
    directories: list[str] | None = None


NOTHING = Head()


class LeanSet(Head, rename="camel", gc=False):
    messages: list[LeanMessage] | None = None


class FullSet(Head, rename="camel", gc=False):
    messages: list[FullMessage] | None = None


class LeanLine(LeanMessage, rename="camel", gc=False):
    """A line of a replay log, or a whole document (which has ``messages``)."""

    session_id: Name | None = None
    start_time: Name | None = None
    last_updated: Name | None = None
    summary: str | None = None
    directories: list[str] | None = None
    messages: list[LeanMessage] | None = None
    change: LeanSet | None = field(name="$set", default=None)
    rewind_to: Name | None = field(name="$rewindTo", default=None)


class FullLine(LeanLine, rename="camel", gc=False):
    thoughts: list[Thought] | None = None  # type: ignore[assignment]
    tool_calls: list[FullCall] | None = None  # type: ignore[assignment]
    messages: list[FullMessage] | None = None  # type: ignore[assignment]
    change: FullSet | None = field(name="$set", default=None)  # type: ignore[assignment]


class Messages(Struct, gc=False):
    """Where the messages of a document are."""

    messages: Raw = Raw()


_messages = msgspec.json.Decoder(Messages).decode
_each = msgspec.json.Decoder(list[Raw]).decode


def spans(document: bytes) -> list[tuple[int, int]]:
    """(offset, length) of each message in a document; none where they cannot be told apart."""
    try:
        found = _messages(document).messages
        messages = _each(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    at = document.find(found) + 1
    spans = []
    for message in messages:
        body = memoryview(message)
        at = document.index(body[:1], at)  # before it are a comma and white space at most
        spans.append((at, body.nbytes))
        at += body.nbytes
    return spans


# --- what is in them --------------------------------------------------------------------------


def texts_of(content: Content) -> list[str]:
    """Texts of a content that are not thoughts, blank ones left out."""
    if isinstance(content, str):
        return [content] if content.strip() else []
    if content is None:
        return []
    found = []
    for p in content if isinstance(content, list) else [content]:
        text = p if isinstance(p, str) else None if p.thought else p.text
        if isinstance(text, str) and text.strip():
            found.append(text)
    return found


def is_snapshot(texts: list[str]) -> bool:
    return any(t.lstrip().startswith(SNAPSHOT) for t in texts)


def extras(content: Content) -> tuple[bool, int]:
    """Whether a content answers tool calls, and how many images or files it holds."""
    parts = [p for p in content if isinstance(p, Part)] if isinstance(content, list) else []
    answered = any(p.function_response is not None for p in parts)
    return answered, sum(p.inline_data is not None or p.file_data is not None for p in parts)


def thought(t: Thought) -> str:
    return ": ".join(x for x in (t.subject, t.description) if isinstance(x, str) and x)


def paths(args: Any) -> tuple[str, ...]:
    if isinstance(args, dict):
        for key, value in args.items():
            if key in PATH_KEYS or isinstance(value, dict | list):
                return paths_in(args, PATH_KEYS)
    return ()


def raw(value: Any) -> Raw:
    if value is None:
        return NULL
    try:
        return Raw(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return NULL


def output_of(result: Any) -> str | None:
    """What a tool gave back: text of the function responses' ``output`` or ``error``."""
    if isinstance(result, str):
        return result
    texts = []
    for r in result if isinstance(result, list) else [result]:
        if isinstance(r, str):
            texts.append(r)
        elif isinstance(r, Result):
            reply = r.function_response
            inner = reply.get("response") if isinstance(reply, dict) else None
            found = [r.text]
            found += [inner.get("output"), inner.get("error")] if isinstance(inner, dict) else []
            texts += [t for t in found if isinstance(t, str)]
    return "\n".join(texts) if texts else None
