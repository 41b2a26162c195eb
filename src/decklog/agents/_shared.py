"""What the readers share: times, texts, tool kinds, paths, and the reader they are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta

from decklog.agents._salvage import (
    COUNTED,
    LENIENT,
    convert_lenient,
    is_utf8,
    mend,
    recoded,
    salvage,
    values,
)
from decklog.decoding import decoder, unpacked
from decklog.model import Cursor, Event, Facts, ParseWarning, Ref, ToolKind

PROMPT_LENGTH = 500
TITLE_LENGTH = 200
PREVIEW = 64 * 1024
"""Bytes of a damaged span kept inline."""
Name: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""An id, path, time, name or version in a record. These outlive their record in a reader's state: a
longer one is no such thing, and is dropped as a field that does not fit."""


# --- times ------------------------------------------------------------------------------------

_EARLIEST, _LATEST = 946_684_800_000, 4_102_444_800_000  # years 2000 and 2100
_minutes: dict[str, int] = {}
_SECONDS = {f":{s:02d}.": s * 1000 for s in range(60)}
_MILLIS = {f"{ms:03d}Z": ms for ms in range(1000)}


def to_ms(text: str) -> int | None:
    """Milliseconds UTC of an RFC 3339 time; None when it is none, has no offset, or is absurd."""
    if len(text) == 24:  # 2026-01-02T03:04:05.678Z, the usual form: three look-ups
        try:
            return _minutes[text[:16]] + _SECONDS[text[16:20]] + _MILLIS[text[20:]]
        except KeyError:
            pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        return None
    ms = round(at.timestamp() * 1000)
    if not _EARLIEST <= ms < _LATEST:
        return None
    if len(text) == 24 and text[10] == "T" and text[16:20] in _SECONDS and text[20:] in _MILLIS:
        if len(_minutes) > 50_000:
            _minutes.clear()
        _minutes[text[:16]] = ms - ms % 60_000
    return ms


def sane_ms(value: object) -> int | None:
    """An epoch time in milliseconds, or None when it is no plausible one."""
    if isinstance(value, (int, float)) and _EARLIEST <= value < _LATEST:
        return int(value)
    return None


# --- texts ------------------------------------------------------------------------------------


def clean(text: str, limit: int = PROMPT_LENGTH) -> str:
    """One line of text: white space collapsed, a ``<session>`` wrapper dropped, cut short."""
    line = " ".join(text[: limit * 2].split())  # nearly always enough
    if len(line) < limit < len(text) or line.startswith("<session>"):
        line = " ".join(text[: limit * 20].split())
        if line.startswith("<session>") and line.endswith("</session>"):
            line = line[9:-10].strip()
    return line[:limit]


# --- settings ---------------------------------------------------------------------------------


def setting(data: bytes, key: str) -> object:
    """A value in a JSON settings file, by its dotted key; None when it is not there."""
    try:
        value: object = json.loads(data.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


# --- tools ------------------------------------------------------------------------------------

_TOOL_KINDS: dict[str, ToolKind] = {
    "task": "sub_agent",
    "agent": "sub_agent",
    "spawn_agent": "sub_agent",
    "delegate_to_agent": "sub_agent",
    "exec_command": "shell",
    "write_stdin": "shell",
    "local_shell": "shell",
    "bashoutput": "shell",
    "killshell": "shell",
    "powershell": "shell",
    "unified_exec": "shell",
    "websearch": "web",
    "web_search": "web",
    "google_web_search": "web",
    "webfetch": "web",
    "web_fetch": "web",
    "todowrite": "other",
    "todoread": "other",
    "write_todos": "other",
    "taskcreate": "other",
    "taskupdate": "other",
    "taskoutput": "other",
    "wait_agent": "other",
    "send_message": "other",
    "update_plan": "other",
    "replace": "file_edit",
    "multiedit": "file_edit",
    "str_replace_editor": "file_edit",
    "str_replace": "file_edit",
    "create": "file_write",
    "ls": "search",
    "list_directory": "search",
    "glob": "search",
    "view": "file_read",
    "cat": "file_read",
    "find": "search",
    "exec": "shell",
}
_words = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_BY_WORD: tuple[tuple[ToolKind, frozenset[str]], ...] = (
    ("notebook", frozenset({"notebook"})),
    ("shell", frozenset({"bash", "shell", "powershell", "exec", "terminal"})),
    ("sub_agent", frozenset({"agent", "subagent"})),
    ("web", frozenset({"web", "fetch", "http", "browser"})),
    ("file_read", frozenset({"read", "view", "cat"})),
    ("file_write", frozenset({"write"})),
    ("file_edit", frozenset({"edit", "patch", "multiedit"})),
    ("search", frozenset({"grep", "glob", "search", "find", "ripgrep", "rg"})),
)
_kinds: dict[str, ToolKind] = {}


def tool_kind(name: str) -> ToolKind:
    """The kind of tool a name stands for: a table of known names, else whole words of the name."""
    known = _kinds.get(name)
    if known is not None:
        return known
    kind: ToolKind = _TOOL_KINDS.get(name.lower(), "other")
    if name.lower() not in _TOOL_KINDS and not name.startswith("mcp__"):
        words = {w.lower() for w in _words.findall(name)}
        kind = next((k for k, ws in _BY_WORD if words & ws), kind)
    if len(_kinds) < 10_000:
        _kinds[name] = kind
    return kind


_NOISE = re.compile(
    r"/\.(?:claude|codex|gemini|git|npm|cache|copilot|pi)/|/node_modules/|CLAUDE\.md|AGENTS\.md"
)


def is_noise(path: str) -> bool:
    """True for paths that say nothing about the work: agents' own files, caches, dependencies."""
    return _NOISE.search(path) is not None


_patch_line = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$", re.M)


def patch_paths(body: str) -> tuple[str, ...]:
    """Paths that an ``apply_patch`` body (or a heredoc that holds one) adds, changes or deletes."""
    if "*** Begin Patch" not in body:
        return ()
    return tuple(dict.fromkeys(_patch_line.findall(body)))


def paths_in(value: object, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Values of the named keys anywhere in a decoded JSON value, outermost and first key first."""
    found: dict[str, None] = {}
    todo = [value]
    while todo:
        v = todo.pop()
        if isinstance(v, dict):
            for k in keys:
                p = v.get(k)
                if isinstance(p, str) and p:
                    found[p] = None
            todo += [x for x in reversed(list(v.values())) if isinstance(x, (dict, list))]
        elif isinstance(v, list):
            todo += [x for x in reversed(v) if isinstance(x, (dict, list))]
    return tuple(found)


def count(value: object) -> int:
    """A token count as recorded; anything that is not a plain non-negative number counts 0."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**53:
        return int(value)
    return 0


def duration(ms: float | None) -> int | None:
    """Milliseconds that something took; None when absent or no plausible time."""
    return int(ms) if ms is not None and 0 <= ms < 2**53 else None


def micro_usd(value: object) -> int | None:
    """US dollars as recorded (a number) in millionths; None when absent or not a plausible sum."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9:
        return round(value * 1_000_000)
    return None


# --- readers ----------------------------------------------------------------------------------


class ReaderState(msgspec.Struct, kw_only=True):
    """What a reader carries from one cursor to the next; agents add their own fields."""

    seq: int = 0
    facts: dict[str, Facts] = {}


class BaseReader:
    """The part of a reader that is the same for all agents.

    A subclass sets `agent`, `State` and `Record` (and `Lean`, a Record type without message
    bodies, when that saves work), and implements `record`, and `placed` where it has to.
    """

    agent: ClassVar[str] = ""
    State: ClassVar[type[ReaderState]] = ReaderState
    Record: ClassVar[Any] = dict
    Lean: ClassVar[Any] = None
    MANY: ClassVar[int] = 250_000
    """A record of more values is left out: each takes some hundred bytes once it is decoded."""

    def __init__(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> None:
        kind = type(self)
        self.text = text
        self.companions = companions or {}
        self.uri = cursor.source.uri if cursor else ""
        self.s: Any = (
            unpacked(cursor.state, kind.State) if cursor and cursor.state else kind.State()
        )
        self.facts: dict[str, Facts] = self.s.facts
        self.kind = kind.Record if text or kind.Lean is None else kind.Lean
        self.decode = decoder(self.kind).decode
        self.placed()

    def placed(self) -> None:
        """Learn what the place of the source tells (``uri``, ``companions``), and what follows from
        the state that a reading before left (``s``, ``facts``)."""

    def state(self) -> bytes:
        return msgspec.msgpack.encode(self.s)

    def record(self, record: Any, ref: Ref) -> list[Event]:
        """Events of one decoded record."""
        raise NotImplementedError

    def session_id(self) -> str:
        """Id that warnings about the current record are filed under."""
        return f"{self.agent}:{next(iter(self.facts), '')}"

    def feed(self, line: bytes, ref: Ref) -> list[Event]:
        if len(line) > COUNTED and values(line, self.MANY) > self.MANY:
            return [self.warn("too_big", f"more than {self.MANY:,} values", ref, line[:1000])]
        try:
            try:
                record = self.decode(line)
                odd = self.text and not is_utf8(line)  # a part kept raw would carry its bytes on
            except UnicodeDecodeError:
                odd = True
            if odd:
                record = self.decode(recoded(line))
        except msgspec.DecodeError:
            return self._recover(line, ref)
        except RecursionError:
            return [self._too_deep(ref, line)]
        return self.record(record, ref)

    def fact(self, native: str) -> Facts:
        """The facts of a session, made when it is met for the first time."""
        f = self.facts.get(native)
        if f is None:
            f = self.facts[native] = Facts(native=native)
        return f

    def warn(self, reason: str, message: str, ref: Ref, raw: bytes | None = None) -> Event:
        self.s.seq += 1
        return ParseWarning(
            seq=self.s.seq,
            session=self.session_id(),
            agent=self.agent,
            ref=ref,
            uid=f"{reason}:{ref.offset}",
            message=message,
            raw=None if raw is None else raw[:PREVIEW].decode("utf-8", "replace"),
            reason=reason,
        )

    def _recover(self, line: bytes, ref: Ref) -> list[Event]:
        """A record that does not decode at once: wrong types, odd numbers, or damaged bytes."""
        if not line.strip():
            return []
        body = line.removeprefix(b"\xef\xbb\xbf")
        try:
            return self._lenient(LENIENT.decode(body.decode("utf-8", "surrogateescape")), ref, line)
        except RecursionError:
            return [self._too_deep(ref, line)]
        except ValueError:
            return self._salvage(line, ref)

    def _too_deep(self, ref: Ref, line: bytes) -> Event:
        return self.warn("too_deep", "nested too deeply", ref, line[:1000])

    def _lenient(self, value: Any, ref: Ref, line: bytes) -> list[Event]:
        value = mend(value)
        if not isinstance(value, dict):
            return [self.warn("damaged", "not a record", ref, line)]
        try:
            record, bad = convert_lenient(value, self.kind)
        except msgspec.ValidationError as error:
            return [self.warn("unknown", f"not understood: {error}", ref, line)]
        events = self.record(record, ref)
        if bad:
            events = [*events, self.warn("bad_field", ", ".join(bad), ref)]
        return events

    def _salvage(self, line: bytes, ref: Ref) -> list[Event]:
        events: list[Event] = []
        for start, end, value in salvage(line):
            place = Ref(ref.source, ref.offset + start, end - start, ref.line)
            if value is None:
                part = line[start:end]
                import hashlib  # seldom needed, and slow to load

                digest = hashlib.sha256(part).hexdigest()[:16]
                what = "NUL bytes" if not part.strip(b"\0") else "no whole record"
                events.append(self.warn("damaged", f"{what} (sha256 {digest})", place, part))
                continue
            try:
                events += self._lenient(value, place, line[start:end])
            except RecursionError:
                events.append(self._too_deep(place, line[start:end]))
        return events
