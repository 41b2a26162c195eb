"""What a document of OpenCode holds, and its token counts in our words.

Whatever the layout, the reader is fed one document for a session::

    {"id": session id, "info": {the session}, "origins": [{"id", "title"}, ...],
     "messages": [{"id", "type", "info": {the message}, "parts": [{a part}, ...]}, ...],
     "recorded": [{"id", "at", "source", "cost", "tokens"}, ...],
     "damaged": [place of what could not be read, ...]}

``opencode export`` writes the same with ``info`` and ``messages`` only. What may be large is left
undecoded (`msgspec.Raw`) until somebody asks for it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from decklog.agents._shared import Name, count
from decklog.model import NULL, Usage

Number = int | float | None


class Time(Struct):
    """Milliseconds since the epoch. A tool call's are ``start, end``, in 2.x ``ran, completed``."""

    created: Number = None
    completed: Number = None
    start: Number = None
    end: Number = None
    ran: Number = None


NEVER = Time()


class Cache(Struct):
    read: Number = None
    write: Number = None


class Tokens(Struct):
    total: Number = None
    input: Number = None
    output: Number = None
    reasoning: Number = None
    cache: Cache | None = None


class Model(Struct):
    id: Name | None = None
    modelID: Name | None = None  # noqa: N815
    providerID: Name | None = None  # noqa: N815


class Session(Struct):
    id: Name | None = None
    parentID: Name | None = None  # noqa: N815
    forkSessionID: Name | None = None  # noqa: N815
    directory: Name | None = None
    title: str | None = None
    version: Name | None = None
    model: Model | None = None
    time: Time | None = None


class Origin(Struct):
    """A session that holds the same first message as a fork, and so may be its parent."""

    id: str = ""
    title: str | None = None


class ErrorData(Struct):
    message: str | None = None
    statusCode: Number = None  # noqa: N815


class Failure(Struct):
    """``name, data`` up to 1.x, ``type, message, status`` in 2.x."""

    name: Name | None = None
    data: ErrorData | None = None
    type: Name | None = None
    message: str | None = None
    status: Number = None


class Place(Struct):
    """``path`` of a 1.x message; ``location`` of a 2.x session that moved; changed ``files``."""

    cwd: Name | None = None
    directory: Name | None = None
    files: list[str] | None = None


class Attachment(Struct):
    mime: Name | None = None


class Message(Struct):
    id: Name | None = None
    role: Name | None = None
    type: Name | None = None
    agent: Name | None = None
    providerID: Name | None = None  # noqa: N815
    modelID: Name | None = None  # noqa: N815
    model: Model | None = None
    path: Place | None = None
    time: Time | None = None
    cost: Any = None
    tokens: Tokens | None = None
    error: Failure | None = None
    summary: Raw = NULL
    content: Raw = NULL
    output: Raw = NULL
    text: str | None = None
    files: list[Attachment] | None = None
    command: str | None = None
    reason: str | None = None
    status: Name | None = None
    location: Place | None = None
    snapshot: Place | None = None


class Part(Struct):
    type: str = ""
    text: str | None = None
    synthetic: bool | None = None
    ignored: bool | None = None
    tool: Name | None = None
    name: Name | None = None
    callID: Name | None = None  # noqa: N815
    id: Name | None = None
    state: Raw = NULL
    time: Time | None = None
    mime: Name | None = None
    files: list[str] | None = None
    auto: bool | None = None
    prompt: str | None = None
    cost: Any = None
    tokens: Tokens | None = None
    error: Failure | None = None


class State(Struct):
    """``state`` of a tool part."""

    status: Name | None = None
    input: Raw = NULL
    output: Raw = NULL
    content: Raw = NULL
    error: Raw = NULL
    metadata: Raw = NULL
    structured: Raw = NULL
    time: Time | None = None


class Details(Struct):
    """What is read of a tool's ``metadata``."""

    exit: Number = None
    sessionId: Name | None = None  # noqa: N815
    sessionID: Name | None = None  # noqa: N815


class Entry(Struct):
    """A message with its parts."""

    id: Name | None = None
    type: Name | None = None
    info: Raw = NULL
    parts: Raw = NULL


class Recorded(Struct):
    """Usage of a request that made no message, such as the one for the title (2.x)."""

    id: Name | None = None
    at: Number = None
    source: str | None = None
    cost: Any = None
    tokens: Tokens | None = None


class Document(Struct):
    id: Name | None = None
    info: Raw = NULL
    messages: Raw = NULL
    recorded: Raw = NULL
    origins: list[Origin] | None = None
    damaged: list[str] | None = None


def put_in(p: Part) -> bool:
    """True for text that OpenCode or a plugin put in."""
    return bool(p.synthetic or p.ignored)


def typed(parts: list[Part]) -> str:
    texts = (p.text for p in parts if p.type == "text" and p.text and not put_in(p))
    return "\n\n".join(t for t in texts if t)


def name_of(model: Model | None) -> str:
    return (model and (model.id or model.modelID)) or ""


def counts_of(t: Tokens | None) -> str:
    t = t or Tokens()
    cache = t.cache or Cache()
    numbers = (t.input, t.output, t.reasoning, cache.read, cache.write)
    return ":".join(str(count(n)) for n in numbers)


def usage_of(t: Tokens | None, within: bool) -> Usage:
    """Our usage of OpenCode's: its ``output`` leaves reasoning out, but did not always.

    Up to 1.3.15 it was what the provider's library called output, which mostly includes it; the
    ``total`` tells, and for sessions older than that field ``within``.
    """
    if t is None:
        return Usage()
    cache = t.cache or Cache()
    read, write = count(cache.read), count(cache.write)
    given, output, reasoning = count(t.input), count(t.output), count(t.reasoning)
    if total := count(t.total):
        within = total == given + output + read + write
    if not (within and reasoning <= output):
        output += reasoning
    return Usage(
        input=given, cache_read=read, cache_write=write, output=output, reasoning=reasoning
    )
