"""Records of Pi's transcripts. Texts stay raw JSON until they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from decklog.agents._salvage import loads, recoded
from decklog.agents._shared import Name
from decklog.model import NULL

T = TypeVar("T")
Number: TypeAlias = int | float | None


class Tokens(Struct, rename="camel"):
    """``input`` is without what the cache holds, ``output`` with ``reasoning``."""

    input: Number = None
    output: Number = None
    cache_read: Number = None
    cache_write: Number = None
    cache_write_1h: Number = msgspec.field(default=None, name="cacheWrite1h")
    reasoning: Number = None
    cost: Any = None


class Block(Struct):
    """A piece of a message: ``text``, ``thinking``, ``image`` or ``toolCall``."""

    type: str = ""
    text: Raw = NULL
    thinking: Raw = NULL
    id: Name | None = None
    name: Name | None = None
    arguments: Raw = NULL


Content: TypeAlias = str | list[Block] | None


class Response(Struct, rename="camel"):
    """What is looked at of the messages of a subagent."""

    role: str = ""
    timestamp: Number = None
    provider: Name | None = None
    model: Name | None = None
    usage: Tokens | None = None
    response_id: Name | None = None
    details: Raw = NULL


class Message(Response, rename="camel"):
    content: Content = None
    stop_reason: Name | None = None
    error_message: str | None = None
    tool_call_id: Name | None = None
    tool_name: Name | None = None
    is_error: bool | None = None
    command: str | None = None
    output: Raw = NULL
    synthetic: bool | None = None


class Entry(Struct, rename="camel"):
    type: str = ""
    id: Name | None = None
    timestamp: Name | None = None
    message: Message | None = None
    cwd: Name | None = None
    parent_session: Name | None = None
    branched_from: Name | None = None
    provider: Name | None = None
    model_id: Name | None = None
    model: Name | None = None
    role: Name | None = None
    thinking_level: Name | None = None
    label: str | None = None
    title: str | None = None
    name: Name | None = None
    content: Content = None
    summary: Raw = NULL
    tokens_before: Number = None
    from_hook: bool | None = None
    from_extension: bool | None = None
    usage: Tokens | None = None


class Arguments(Struct):
    """What a tool call says of the files it is about."""

    path: Any = None
    file_path: Any = None
    input: Any = None


class Run(Struct, rename="camel"):
    """A subagent's run, in the result of the tool that started it."""

    messages: list[Response] | None = None
    session_file: Name | None = None


class Details(Struct):
    results: list[Run] | None = None


ARGUMENTS = msgspec.json.Decoder(Arguments)
DETAILS = msgspec.json.Decoder(Details)


def runs_in(details: Raw) -> list[Run]:
    found = None if details == NULL else decoded(details, DETAILS)
    return (found and found.results) or []


def answers_in(run: Run) -> Iterator[Response]:
    """Responses in the messages of a subagent's run, and in those of its own subagents' runs."""
    todo = [run]
    while todo:
        for m in todo.pop().messages or ():
            if m.role == "assistant" and m.usage:
                yield m
            todo += runs_in(m.details)


def decoded(raw: Raw, decoder: msgspec.json.Decoder[T]) -> T | None:
    try:
        return decoder.decode(raw)
    except UnicodeDecodeError:
        return decoded(Raw(recoded(raw)), decoder)
    except (msgspec.DecodeError, RecursionError):
        return None


def text_of(raw: Raw) -> str:
    value = loads(raw)
    return value if isinstance(value, str) else ""


def joined(content: Content) -> str:
    if isinstance(content, list):
        return "\n\n".join(text_of(b.text) for b in content if b.type == "text")
    return content or ""
