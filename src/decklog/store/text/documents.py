"""Events to documents: what the text index takes of one read of a source. Pure, and written once.

A document is the text of one event: a prompt, an answer, reasoning, the input of a tool call, its
result, a summary, an error; beside it the paths that the event names. Who speaks and with which
tool is said by marks: words that no text can hold, so that ``role:`` and ``tool:`` are answered by
the index and plain words never meet them.

What a tool recorded beside its result (`ToolReturned.data`) is not indexed: it repeats the result,
or holds whole files that nobody was shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from decklog.decoding import unpacked
from decklog.model import (
    AssistantMessage,
    Compacted,
    Facts,
    ProviderStatus,
    Reasoning,
    SessionEnded,
    SessionResult,
    SessionStarted,
    Stderr,
    ToolCalled,
    ToolReturned,
    UsageLimitHit,
    UserEvent,
    UserMessage,
)
from decklog.store.text.marks import plain, role, spaced, tool

MAX_TEXT = 4 << 20
"""Characters of one text that are indexed; what is longer is counted as shortened."""
OPEN_CALLS = 256
"""Tool calls that may wait for their results."""


class Document(NamedTuple):
    seq: int
    """Of the event within its source; below zero: the title of part ``-1 - seq``."""
    at: int | None
    text: str
    paths: str
    marks: str


class Carried(msgspec.Struct):
    """What has to be known of a source to go on after its cursor."""

    calls: dict[str, str] = {}
    """Marks of calls without result as yet, by tool id."""
    titles: list[str] = []
    """Titles as indexed, by part."""


class Documents:
    """Collects the documents of one source between two commits."""

    def __init__(self, carried: bytes = b"", *, verbatim: bool = False) -> None:
        kept = unpacked(carried, Carried) if carried else Carried()
        self.calls, self.titles = kept.calls, kept.titles
        self.verbatim = verbatim
        """Texts are taken as they were said, to be shown, not as they are indexed."""
        self.found: list[Document] = []
        self.size = 0
        """Characters in ``found``."""
        self.shortened = 0
        """Texts in ``found`` that are indexed only in part."""
        self.stale: list[int] = []
        """Numbers of titles in the index that are titles no more."""

    def carried(self) -> bytes:
        if not self.calls and not self.titles:
            return b""
        return msgspec.msgpack.encode(Carried(self.calls, self.titles))

    def add(self, events: Sequence[Any]) -> None:
        """Take the documents of some events (any of `decklog.model.Event`)."""
        for e in events:
            take = _TAKE.get(type(e))
            if take is not None:
                take(self, e)

    def entitle(self, facts: Mapping[str, Facts]) -> None:
        """Take the titles that changed."""
        for part, f in enumerate(facts.values()):
            if part == len(self.titles):
                self.titles.append("")
            if f.title != self.titles[part]:
                if self.titles[part]:
                    self.stale.append(-1 - part)
                self.titles[part] = f.title
                if f.title:
                    self._put(-1 - part, f.last_at, f.title, (), _TITLE)

    def taken(self) -> list[Document]:
        """The documents so far; the collection starts anew."""
        found = self.found
        self.found, self.stale, self.size, self.shortened = [], [], 0, 0
        return found

    def _put(
        self, seq: int, at: int | None, text: str | None, paths: Iterable[str], marks: str
    ) -> None:
        if not text and not paths:
            return
        text = plain(text or "")
        if self.verbatim:
            self.found.append(Document(seq, at, text, "\n".join(paths), marks))
            return
        if len(text) > 1_024:
            text = self._bounded(text)
        if not text.isascii():
            text = spaced(text)
        self.size += len(text)
        self.found.append(Document(seq, at, text, spaced("\n".join(paths)), marks))

    def _bounded(self, text: str) -> str:
        if len(text) > MAX_TEXT:
            text = text[:MAX_TEXT]
            self.shortened += 1
        if len(text) > 24 * (text.count(" ") + text.count("\n")):
            text = _encoded.sub(" ", text)
        return text

    # -- by kind of event ----------------------------------------------------------------------

    def _user(self, e: UserMessage) -> None:
        self._put(e.seq, e.at, e.content, (), _SYSTEM if e.injected else _USER)

    def _assistant(self, e: AssistantMessage) -> None:
        self._put(e.seq, e.at, e.content, (), _ASSISTANT)

    def _reasoning(self, e: Reasoning) -> None:
        self._put(e.seq, e.at, e.content, (), _REASONING)

    def _called(self, e: ToolCalled) -> None:
        marks = tool_marks(e.tool_name, e.tool_kind)
        if e.tool_id:
            if len(self.calls) >= OPEN_CALLS:
                del self.calls[next(iter(self.calls))]
            self.calls[e.tool_id] = marks
        self._put(e.seq, e.at, given(e.input), e.paths, marks)

    def _returned(self, e: ToolReturned) -> None:
        marks = self.calls.pop(e.tool_id or "", "") or tool_marks(e.tool_name or "", e.tool_kind)
        text = e.output or ""
        if e.error and e.error != text:
            text = f"{text}\n{e.error}" if text else e.error
        self._put(e.seq, e.at, text, e.paths, marks)

    def _started(self, e: SessionStarted) -> None:
        self._put(e.seq, e.at, "", (e.cwd,) if e.cwd else (), _SYSTEM)

    def _compacted(self, e: Compacted) -> None:
        self._put(e.seq, e.at, e.summary, (), _SYSTEM)


def _said(field: str) -> Callable[[Documents, Any], None]:
    def take(into: Documents, e: Any) -> None:
        into._put(e.seq, e.at, getattr(e, field), (), _SYSTEM)

    return take


_TAKE: dict[type, Callable[[Documents, Any], None]] = {
    UserMessage: Documents._user,
    AssistantMessage: Documents._assistant,
    Reasoning: Documents._reasoning,
    ToolCalled: Documents._called,
    ToolReturned: Documents._returned,
    SessionStarted: Documents._started,
    Compacted: Documents._compacted,
    ProviderStatus: _said("message"),
    UserEvent: _said("message"),
    Stderr: _said("message"),
    SessionResult: _said("result"),
    SessionEnded: _said("error"),
    UsageLimitHit: _said("raw"),
}

_USER, _SYSTEM, _TITLE = role("user"), role("system"), role("title")
_ASSISTANT = role("assistant")
_REASONING = f"{_ASSISTANT} {role('reasoning')}"

_encoded = re.compile(r"[A-Za-z0-9+/=_-]{512,}")
"""Base64 and its like: nobody looks for a word in it."""

_tools: dict[tuple[str, str | None], str] = {}


def tool_marks(name: str, kind: str | None) -> str:
    marks = _tools.get((name, kind))
    if marks is None:
        words = [role("tool"), *(tool(w) for w in dict.fromkeys((name, kind or "")) if w)]
        marks = " ".join(words)
        if len(_tools) < 10_000:
            _tools[name, kind] = marks
    return marks


def given(raw: bytes | msgspec.Raw) -> str:
    """The texts and numbers of a tool's input (raw JSON), one a line, names left out."""
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bytes(raw).decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    found: list[str] = []
    if isinstance(value, dict):
        for v in value.values():
            if isinstance(v, str):
                found.append(v)
            else:
                _walk(v, found)
    else:
        _walk(value, found)
    return "\n".join(found)


_decode = msgspec.json.Decoder().decode


def _walk(value: Any, found: list[str]) -> None:
    todo = [value]
    while todo:
        v = todo.pop()
        if isinstance(v, str):
            found.append(v)
        elif isinstance(v, dict):
            todo += reversed(v.values())
        elif isinstance(v, list):
            todo += reversed(v)
        elif v is not None and not isinstance(v, bool):
            found.append(str(v))
