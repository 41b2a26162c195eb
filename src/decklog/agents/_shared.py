"""What the readers share: records with salvage, times, texts, tool kinds, paths."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
from msgspec import Meta, Raw

from decklog.model import Cursor, Event, Facts, ParseWarning, Ref, ToolKind

PROMPT_LENGTH = 500
TITLE_LENGTH = 200
PREVIEW = 64 * 1024
"""Bytes of a damaged span kept inline."""
Name: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""An id, path, time, name or version in a record. These outlive their record in a reader's state: a
longer one is no such thing, and is dropped as a field that does not fit."""
SALVAGE_WORK = 32_000_000
"""Characters that salvage may look at in one line, so that hostile lines cannot hang it."""
SCANNED = 1 << 18
"""Characters of a broken object, at most, in which the brackets are matched."""
DEEP = 500
"""Levels of an object beside damage that are looked into, once one was found to be too deep."""


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


# --- records ----------------------------------------------------------------------------------


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= 20 else digits


_json = json.JSONDecoder(strict=False, parse_int=_whole)
"""Takes what strict JSON does not: control characters in strings, and numbers that are none or
beyond all bounds. `mend` makes texts of those, so that the field that wanted a number says so."""


def loads(data: bytes | Raw) -> Any:
    """Any JSON value as well as it can be read; None where it cannot."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return mend(_json.decode(bytes(data).decode("utf-8", "surrogateescape")))
    except (ValueError, RecursionError):
        return None


_path = re.compile(r" - at `\$(.*)`$")
_element = re.compile(r"^(.*)\[\d+\]")
_steps = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def salvage(line: bytes) -> list[tuple[int, int, Any]]:
    """Split a damaged line into spans ``(start, end, value)`` that cover it.

    ``value`` is the decoded object for a whole JSON object that begins at the top level of the
    line, None for bytes that are part of no object. Objects that start inside an unfinished one
    (a torn record with the next one glued to it) are found too.
    """
    text = line.decode("utf-8", "surrogateescape")
    spans: list[tuple[int, int, Any]] = []
    done = at = 0  # in characters
    offset = 0  # in bytes, of ``done``
    budget = max(SALVAGE_WORK, 4 * len(text))  # characters that may be looked at

    def put(end: int, value: Any) -> None:
        nonlocal done, offset
        n = len(text[done:end].encode("utf-8", "surrogateescape"))
        if n:
            spans.append((offset, offset + n, value))
        done, offset = end, offset + n

    dated = '"timestamp"' in text or '"uuid"' in text
    hopeless: set[int] = set()
    while budget > 0 and (at := text.find('{"', at)) >= 0:
        before = _last(text, done, at)
        if at in hopeless or (before in INSIDE and not dated):
            at += 1
            continue
        try:
            value, end = _json.raw_decode(text, at)
        except ValueError as error:
            hopeless |= _hopeless(text, at, getattr(error, "pos", len(text)))
            budget -= len(text) - at
            at += 1
            continue
        except RecursionError:
            hopeless |= _hopeless(text, at, len(text), DEEP)
            budget -= len(text) - at
            at += 1
            continue
        if before and _is_inner(before, value, text[end : end + 1]):
            budget -= end - at
            at += 1
            continue
        if before:
            put(at, None)
        put(end, value)
        at = end
    if text[done:].strip():
        put(len(text), None)
    return spans


_bracket = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[{}\[\]]', re.S)


def _hopeless(text: str, start: int, end: int, deepest: int = 0) -> set[int]:
    """Where objects begin within a broken one that are broken with it: they do not end before
    ``end`` either, or hold more levels than ``deepest``. To decode one after the other would take
    time by the square of their depth. Nothing is known of a long text."""
    found: set[int] = set()
    if end - start > SCANNED:
        return found
    opened: list[int] = []
    levels = [0]  # that the values opened last hold
    for token in _bracket.finditer(text, start, end):
        at = token.start()
        first = text[at]
        if first in "{[":
            opened.append(at)
            levels.append(0)
        elif first != '"' and opened:
            at, height = opened.pop(), levels.pop() + 1
            levels[-1] = max(levels[-1], height)
            if deepest and height > deepest:
                found.add(at)
    return found.union(opened)


def _last(text: str, start: int, end: int) -> str:
    """The last character there that is no white space; empty when there is none."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return text[end - 1 : end] if end > start else ""


INSIDE = frozenset(":,[")
"""Behind these stands a value."""
_RECORD = {"type", "timestamp", "uuid", "id", "payload", "role", "record_type", "$set"}


def _is_inner(before: str, value: dict[str, Any], behind: str) -> bool:
    """True for an object that is a part of a torn record: it stands where a value stands, or does
    not end where a record can end. (Also a record may be torn just where a value would begin.)"""
    names = value.keys() & _RECORD
    if before in INSIDE:
        return "type" not in names or names.isdisjoint(("timestamp", "uuid"))
    return not names or (behind != "" and behind in ",]}:")


COUNTED = 1 << 20
"""Bytes of a record above which its values are counted before it is decoded."""
_string = re.compile(rb'"(?:[^"\\]+|\\.)*"?', re.S)


def values(line: bytes, most: int) -> int:
    """About how many values a JSON text holds, told by the commas outside its strings; no count
    goes much beyond ``most``."""
    if line.count(b",") <= most:
        return 0
    found = at = 0
    while found <= most:
        quote = line.find(b'"', at)
        found += line.count(b",", at, quote if quote >= 0 else len(line))
        if quote < 0:
            break
        string = _string.match(line, quote)
        at = string.end() if string else quote + 1
    return found


_surrogates = re.compile("[\ud800-\udfff]+")


def _replaced(found: re.Match[str]) -> str:
    """As many signs as `recoded` makes of broken bytes, and one for each half of a pair."""
    each = "\ufffd" * len(found[0])
    try:
        made = found[0].encode("ascii", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return each
    return each if made.strip("\ufffd") else made


def mend(value: Any) -> Any:
    """The value as JSON can hold it, changed in place: what is no character (a broken byte, half a
    pair) replaced, numbers that are infinite or take more than 64 bits as text. As deep as it may
    be: what becomes of a record must not depend on how much of it was read."""
    whole = [value]
    todo: list[Any] = [whole]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict) and not all(map(str.isascii, inner)):
            items = [(_mended(k), v) for k, v in inner.items()]
            inner.clear()
            inner.update(items)
        for k, v in inner.items() if isinstance(inner, dict) else enumerate(inner):
            if isinstance(v, (dict, list)):
                todo.append(v)
            elif (mended := _mended(v)) is not v:
                inner[k] = mended
    return whole[0]


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _surrogates.sub(_replaced, value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


def recoded(data: bytes | Raw) -> bytes:
    """The same JSON text in valid UTF-8: bytes that are part of no character are replaced."""
    return bytes(data).decode("utf-8", "replace").encode()


MANY = 32
"""After so many misfits in one list the list is dropped."""


def convert_lenient(value: Any, kind: Any) -> tuple[Any, list[str]]:
    """Decode a mended value as a Struct type, dropping each field that does not fit.

    Returns the Struct and the places of the dropped fields.
    """
    bad: list[str] = []
    lists: Counter[str] = Counter()
    for _ in range(64):
        try:
            return _decoder(kind).decode(msgspec.json.encode(value)), bad
        except msgspec.ValidationError as error:
            found = _path.search(str(error))
            if found is None:
                raise
            path = found[1]
            if (element := _element.search(path)) is not None:
                lists[element[1]] += 1
                if lists[element[1]] > MANY:
                    path = element[1]
            if not _drop(value, path):
                raise
            bad.append(path.lstrip("."))
    raise msgspec.ValidationError("too many fields of unexpected type")


def _drop(value: Any, path: str) -> bool:
    """Remove the element at a msgspec error path; ``[...]`` stands for any element of a dict."""
    steps = [(m[1] or m[2] or "...") for m in _steps.finditer(path)]
    if not steps:
        return False
    for step in steps[:-1]:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return False
    last = steps[-1]
    if isinstance(value, list) and last.isdigit() and int(last) < len(value):
        value[int(last)] = None if value[int(last)] is not None else {}
        return True
    if isinstance(value, dict):
        if last in value:
            del value[last]
            return True
        if last == "..." and value:
            value.clear()
            return True
    return False


class ReaderState(msgspec.Struct, kw_only=True):
    """What a reader carries from one cursor to the next; agents add their own fields."""

    seq: int = 0
    facts: dict[str, Facts] = {}


class BaseReader:
    """The part of a reader that is the same for all agents.

    A subclass sets `agent`, `State` and `Record` (and `Lean`, a Record type without message
    bodies, when that saves work), and implements `record`.
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
            msgspec.msgpack.decode(cursor.state, type=kind.State)
            if cursor and cursor.state
            else kind.State()
        )
        self.facts: dict[str, Facts] = self.s.facts
        self.kind = kind.Record if text or kind.Lean is None else kind.Lean
        self.decode = _decoder(self.kind).decode

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
            return self._lenient(_json.decode(body.decode("utf-8", "surrogateescape")), ref, line)
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


def is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    found = _decoders.get(kind)
    if found is None:
        found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found
