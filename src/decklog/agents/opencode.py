"""OpenCode: a SQLite database, before 1.2 a tree of JSON files. Facts: docs/formats/opencode.md.

Whatever the layout, the reader is fed one document for a session::

    {"id": session id, "info": {the session}, "origins": [{"id", "title"}, ...],
     "messages": [{"id", "type", "info": {the message}, "parts": [{a part}, ...]}, ...],
     "recorded": [{"id", "at", "data": {usage of a request that is in no message}}, ...],
     "damaged": [place of what could not be read, ...]}

``opencode export`` writes the same with ``info`` and ``messages`` only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Raw, Struct

from decklog.agents import Agent, Claim, Queries, Root
from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    clean,
    convert_lenient,
    count,
    mend_text,
    micro_usd,
    patch_paths,
    paths_in,
    sane_ms,
    tool_kind,
)
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Cursor,
    Event,
    Facts,
    Forked,
    ProviderStatus,
    Reasoning,
    Ref,
    SessionStarted,
    StateChanged,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)

T = TypeVar("T")
Number = int | float | None

TRUE = Raw(b"true")

QUIET_MESSAGES = frozenset({"system", "idle"})
QUIET_PARTS = frozenset({"step-start", "step-finish", "snapshot", "patch", "file", "agent"})
"""Parts that are no event of their own; steps, patches and files are looked at as a whole."""
QUIET_STORAGE = frozenset(
    ("project", "session_diff", "session_share", "todo", "permission", "migration", "plugin")
)
"""What else OpenCode keeps below ``storage``: no messages."""
LIMITS = ("provider.rate-limit", "provider.quota")
"""What 2.x calls the errors of a provider that wants to be asked later."""
CHANNELS = ("", "-", "-beta", "-dev", "-local", "-next")
"""Builds that are no release keep a database of their own: ``opencode-<channel>.db``."""

_default_title = re.compile(r"(?:New|Child) session - \d{4}-\d\d-\d\dT")
_fork_title = re.compile(r"(.+) \(fork #(\d+)\)", re.S)
_old_version = re.compile(r"v?(?:0\.|1\.[01]\.)")
_limit = re.compile(
    r"(?:usage|rate)[ _-]?limit|quota|too many requests|limit (?:reached|exceeded)|hit your limit",
    re.I,
)
_scope = re.compile(r"\b(weekly|monthly|daily|hourly)\b", re.I)
_reset = re.compile(r"(?:try again|resets?)(?: at| in| on)? ([^.\n]{1,60})", re.I)
_tree = re.compile(r"(?:^|/)(session|message|part)/([^/]+)/([^/]+)\.json$")


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
    id: str | None = None
    modelID: str | None = None  # noqa: N815
    providerID: str | None = None  # noqa: N815


class Session(Struct):
    id: str | None = None
    parentID: str | None = None  # noqa: N815
    forkSessionID: str | None = None  # noqa: N815
    directory: str | None = None
    title: str | None = None
    version: str | None = None
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

    name: str | None = None
    data: ErrorData | None = None
    type: str | None = None
    message: str | None = None
    status: Number = None


class Place(Struct):
    """``path`` of a 1.x message; ``location`` of a 2.x session that moved; changed ``files``."""

    cwd: str | None = None
    directory: str | None = None
    files: list[str] | None = None


class Attachment(Struct):
    mime: str | None = None


class Message(Struct):
    id: str | None = None
    role: str | None = None
    type: str | None = None
    agent: str | None = None
    providerID: str | None = None  # noqa: N815
    modelID: str | None = None  # noqa: N815
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
    status: str | None = None
    location: Place | None = None
    snapshot: Place | None = None


class Part(Struct):
    type: str = ""
    text: str | None = None
    synthetic: bool | None = None
    ignored: bool | None = None
    tool: str | None = None
    name: str | None = None
    callID: str | None = None  # noqa: N815
    id: str | None = None
    state: Raw = NULL
    time: Time | None = None
    mime: str | None = None
    files: list[str] | None = None
    auto: bool | None = None
    prompt: str | None = None
    cost: Any = None
    tokens: Tokens | None = None
    error: Failure | None = None


class State(Struct):
    """``state`` of a tool part."""

    status: str | None = None
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
    sessionId: str | None = None  # noqa: N815
    sessionID: str | None = None  # noqa: N815


class Entry(Struct):
    """A message with its parts."""

    id: str | None = None
    type: str | None = None
    info: Raw = NULL
    parts: Raw = NULL


class Recorded(Struct):
    """Usage of a request that made no message, such as the one for the title (2.x)."""

    id: str | None = None
    at: Number = None
    source: str | None = None
    cost: Any = None
    tokens: Tokens | None = None


class Document(Struct):
    id: str | None = None
    info: Raw = NULL
    messages: Raw = NULL
    recorded: Raw = NULL
    origins: list[Origin] | None = None
    damaged: list[str] | None = None


_decoders: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (Session, Entry, Message, Part, State, Details, Recorded)
}
_list = msgspec.json.Decoder(list[Raw])


class OpenCodeReader(BaseReader):
    agent = "opencode"
    Record: ClassVar[Any] = Document

    out: list[Event]
    f: Facts
    place: Ref
    base: dict[str, Any]
    """What the events of the current message have in common; ``nth`` of them are made."""
    nth: int
    native = ""
    provider = ""
    trigger = ""
    compacted: list[Usage]
    old = False
    """True for sessions begun before 1.2, whose ``tokens`` have no ``total``."""

    def session_id(self) -> str:
        return f"opencode:{self.native}"

    # -- decoding ------------------------------------------------------------------------------

    def _lenient(self, value: Any, ref: Ref, line: bytes) -> list[Event]:
        self.out, self.place = [], ref
        document = self._mend(value, Document)
        notes = self.out
        return notes if document is None else [*notes, *self.record(document, ref)]

    def _read(self, raw: Raw, kind: type[T]) -> T | None:
        """Decode one piece of the document; what does not fit is dropped with a warning."""
        try:
            value: T = _decoders[kind].decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._mend(json.loads(bytes(raw).decode("utf-8", "replace")), kind)
        return value

    def _mend(self, value: Any, kind: type[T]) -> T | None:
        value = mend_text(value)
        if not isinstance(value, dict):
            self._warn("bad_field", f"no {kind.__name__.lower()}")
            return None
        fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]
        raw = {f.name: value.pop(f.name) for f in fields if f.type is Raw and f.name in value}
        try:
            record, bad = convert_lenient(value, kind)
        except msgspec.ValidationError as error:
            self._warn("unknown", f"not understood: {error}")
            return None
        for name, held in raw.items():
            setattr(record, name, Raw(msgspec.json.encode(held)))
        self._warn("bad_field", ", ".join(bad) or "not Unicode")
        mended: T = record
        return mended

    def _each(self, raw: Raw, kind: type[T]) -> Iterator[T]:
        items: list[Raw] = []
        try:
            items = [] if raw == NULL else _list.decode(raw)
        except msgspec.DecodeError:
            self._warn("bad_field", f"no list of {kind.__name__.lower()}s")
        for item in items:
            value = self._read(item, kind)
            if value is not None:
                yield value

    def _warn(self, reason: str, message: str) -> None:
        self.out.append(self.warn(reason, message, self.place))

    def _put(self, kind: Any, **own: Any) -> None:
        self.s.seq += 1
        uid = f"{self.base['uid']}:{self.nth}" if self.nth else self.base["uid"]
        self.nth += 1
        self.out.append(kind(seq=self.s.seq, **{**self.base, "uid": uid, **own}))

    def _begin(self, uid: str, at: Number) -> None:
        """Everything put from now on belongs to the record of this uid and time."""
        self.nth = 0
        ms = self._seen(at)
        self.base = {
            "session": f"opencode:{self.native}",
            "agent": "opencode",
            "at": ms,
            "at_text": "" if ms is None else str(ms),
            "ref": self.place,
            "uid": uid,
        }

    def _when(self, at: Number) -> dict[str, Any]:
        """The time of an event that differs from the time of its message."""
        ms = self._seen(at)
        return {} if ms is None else {"at": ms, "at_text": str(ms)}

    def _seen(self, at: Number) -> int | None:
        ms, f = sane_ms(at), self.f
        if ms is not None:
            f.opened_at = ms if f.opened_at is None else min(f.opened_at, ms)
            f.started_at = f.started_at or ms
            f.last_at = max(f.last_at or ms, ms)
        return ms

    # -- the session ---------------------------------------------------------------------------

    def record(self, record: Any, ref: Ref) -> list[Event]:
        d: Document = record
        self.out, self.place = [], ref
        self.native, self.provider, self.trigger = d.id or "", "", ""
        self.compacted = []
        info = (None if d.info == NULL else self._read(d.info, Session)) or Session()
        stem = re.split(r"[/#]", self.uri)[-1].removesuffix(".json")
        self.native = info.id or self.native or stem or "session"
        self.f = self.facts[self.native] = Facts(native=self.native)
        self._session(info, d.origins or [])
        for entry in self._each(d.messages, Entry):
            self._message(entry)
        self.f.model = self.f.model or _named(info.model)
        for recorded in self._each(d.recorded, Recorded):
            self._recorded(recorded)
        for place in d.damaged or ():
            self._warn("damaged", f"unreadable: {place}")
        return self.out

    def _session(self, info: Session, origins: list[Origin]) -> None:
        f, title = self.f, info.title or ""
        f.cwd, f.agent_version = info.directory or "", info.version or ""
        self.old = _old_version.match(f.agent_version) is not None
        self._begin(f"start:{self.native}", (info.time or NEVER).created)
        self._put(SessionStarted, command="opencode", cwd=f.cwd or None)
        if info.parentID:
            f.parent, f.relation = info.parentID, "subagent"
        elif parent := info.forkSessionID or _forked_from(title, origins):
            f.parent, f.relation = parent, "fork"
            self._put(Forked, parent=f"opencode:{parent}", relation="fork")
        if title and not _default_title.match(title):
            f.title, f.title_rank = clean(title, TITLE_LENGTH), 2
            self._put(StateChanged, at=None, at_text="", what="title", new=f.title)

    def _recorded(self, r: Recorded) -> None:
        usage = _usage(r.tokens, within=False)
        # A compaction's usage stands in its message too, once the version is new enough.
        if usage.total and not (r.source == "compaction" and usage in self.compacted):
            self._begin(r.id or f"{self.native}:{r.at}", r.at)
            self._report(usage, r.cost, f"opencode:{r.id or self.base['uid']}", "", "")

    # -- messages ------------------------------------------------------------------------------

    def _message(self, entry: Entry) -> None:
        m = None if entry.info == NULL else self._read(entry.info, Message)
        if m is None:
            self._warn("damaged", f"unreadable message {entry.id or ''}".rstrip())
            return
        m.id = m.id or entry.id
        kind = entry.type or m.type or m.role or ""
        parts = [*self._each(entry.parts, Part), *self._each(m.content, Part)]
        if m.text and kind in ("user", "synthetic", "skill"):
            parts.append(Part(type="text", text=m.text, synthetic=kind != "user"))
        parts += [Part(type="file", mime=a.mime) for a in m.files or ()]
        created = (m.time or NEVER).created
        # The id of a message differs in a fork's copy of it, its time and content do not.
        told = "".join(p.text or "" for p in parts) if kind == "user" else _counts(m.tokens)
        digest = sha256(told.encode()).hexdigest()[:12]
        self._begin(f"{kind}:{created:.0f}:{digest}" if created else m.id or digest, created)
        if m.path and m.path.cwd and not self.f.cwd:
            self.f.cwd = m.path.cwd
        if kind in ("user", "synthetic", "skill"):
            self._user(m, parts)
        elif kind == "assistant":
            self._assistant(m, parts)
        elif kind == "compaction":
            self._compaction(m)
        elif kind == "shell":
            said = f"!{m.command or ''}\n{_text(m.output)}".rstrip()
            self._put(UserMessage, content=self._body(said), message_id=m.id, injected=True)
        elif kind == "model-switched" and m.model:
            self._model(_named(m.model))
        elif kind == "agent-switched":
            self._put(StateChanged, what="mode", new=m.agent)
        elif kind == "location-switched" and m.location:
            self._put(StateChanged, what="cwd", new=m.location.directory)
        elif kind not in QUIET_MESSAGES:
            self._warn("unknown", f"message type {kind!r}")

    def _user(self, m: Message, parts: list[Part]) -> None:
        f = self.f
        typed = [p.text for p in parts if p.type == "text" and p.text and not _put_in(p)]
        text = "\n\n".join(typed)
        if typed or any(p.type == "file" for p in parts):
            f.prompts += 1
            f.messages += 1
            f.first_uid = f.first_uid or self.base["uid"]
            f.prompt = f.prompt or clean(text)
            images = sum((p.mime or "").startswith("image/") for p in parts)
            self._put(UserMessage, content=text, message_id=m.id, images=images)
        for p in parts:
            said = p.prompt if p.type == "subtask" else p.text
            if p.type == "subtask" or (p.type == "text" and said and _put_in(p)):
                self._put(UserMessage, content=self._body(said), message_id=m.id, injected=True)
            elif p.type == "compaction":
                self.trigger = "manual" if p.auto is False else "auto"
            elif p.type != "text" and p.type not in QUIET_PARTS:
                self._warn("unknown", f"part type {p.type!r}")

    def _assistant(self, m: Message, parts: list[Part]) -> None:
        f, model = self.f, m.modelID or _named(m.model)
        self.provider = provider = m.providerID or (m.model and m.model.providerID) or ""
        summary = m.summary == TRUE
        if not summary:
            self._model(model)
        done = self._when((m.time or NEVER).completed)
        changed = [p for part in parts if part.type == "patch" for p in part.files or ()]
        changed += (m.snapshot and m.snapshot.files) or []
        tools = [i for i, p in enumerate(parts) if p.type == "tool"]
        for i, p in enumerate(parts):
            if p.type == "text":
                if p.text and not summary and not _put_in(p):
                    f.messages += 1
                    f.first_uid = f.first_uid or self.base["uid"]
                    own = {"content": self._body(p.text), "message_id": m.id, "model": model}
                    self._put(AssistantMessage, **own, **self._when((p.time or NEVER).start))
            elif p.type == "reasoning":
                if p.text:
                    own = {"content": self._body(p.text), "message_id": m.id}
                    self._put(Reasoning, **own, **self._when((p.time or NEVER).start))
            elif p.type == "tool":
                self._tool(p, changed if i == tools[-1] else [])
            elif p.type == "retry" and p.error:
                self._failed(p.error)
            elif p.type not in QUIET_PARTS and p.type not in ("compaction", "subtask"):
                self._warn("unknown", f"part type {p.type!r}")
        self.base |= done
        if m.error:
            self._failed(m.error)
        elif summary and done:
            f.compactions += 1
            told = "\n".join(p.text for p in parts if p.type == "text" and p.text)
            self._put(Compacted, trigger=self.trigger or "auto", summary=self._body(told))
        # The tokens of a message with several steps are those of the last step.
        within = self.old and not provider.startswith(("google", "xai"))
        steps = [p for p in parts if p.type == "step-finish"]
        usage = _usage(m.tokens, within)
        stepped = sum((_usage(p.tokens, within) for p in steps), Usage())
        if stepped.total > usage.total:
            usage = stepped
        cost = m.cost or sum(p.cost for p in steps if isinstance(p.cost, int | float))
        self._report(usage, cost, self._key(m, provider, model), provider, model)

    def _compaction(self, m: Message) -> None:
        """A compaction of 2.x, request and outcome in one."""
        if m.status in (None, "completed"):
            self.f.compactions += 1
            summary = _text(m.summary) if self.text else ""
            self._put(Compacted, trigger=m.reason or "", summary=summary)
        elif m.error:
            self._failed(m.error)
        model = _named(m.model) or self.f.model
        provider = (m.model and m.model.providerID) or self.provider
        usage = _usage(m.tokens, within=False)
        self.compacted.append(usage)
        self._report(usage, m.cost, self._key(m, provider, model), provider, model)

    # -- their parts ---------------------------------------------------------------------------

    def _body(self, text: str | None) -> str:
        return text or "" if self.text else ""

    def _model(self, model: str) -> None:
        old = self.f.model
        if model and old and model != old:
            self._put(StateChanged, what="model", old=old, new=model)
        self.f.model = model or old

    def _tool(self, p: Part, changed: list[str]) -> None:
        state = self._read(p.state, State) if p.state != NULL else State()
        if state is None:
            return
        raw = state.structured if state.metadata == NULL else state.metadata
        details = (self._read(raw, Details) if raw != NULL else None) or Details()
        child = details.sessionId or details.sessionID or ""
        time = state.time or p.time or NEVER
        start = time.start or time.ran or time.created
        end = time.end or time.completed
        given = _decode(state.input)
        paths = paths_in(_flat(given), ("filePath", "file_path", "path"))
        if isinstance(given, dict) and isinstance(given.get("patchText"), str):
            paths += patch_paths(given["patchText"])
        name = p.tool or p.name or "?"
        both: dict[str, Any] = {
            "tool_name": name,
            "tool_kind": tool_kind(name),
            "tool_id": p.callID or p.id,
            "child": f"opencode:{child}" if child else None,
        }
        called = {"input": state.input.copy(), "paths": paths} if self.text else {"paths": paths}
        self._put(ToolCalled, **both, **called, **self._when(start))
        if state.status not in ("completed", "success", "error"):
            return
        body: dict[str, Any] = {}
        if self.text:
            output = _text(state.output if state.content == NULL else state.content)
            error = _text(state.error)
            body = {"output": output or error, "error": error or None, "data": raw.copy()}
        first, last = sane_ms(start), sane_ms(end)
        self._put(
            ToolReturned,
            **both,
            **body,
            success=state.status != "error" and not details.exit,
            paths=tuple(dict.fromkeys(c for c in changed if c not in paths)),
            duration_ms=max(0, last - first) if first and last else None,
            **self._when(end),
        )

    def _failed(self, e: Failure) -> None:
        name = e.name or e.type or "error"
        text = (e.data and e.data.message) or e.message or ""
        status = e.status or (e.data and e.data.statusCode)
        if name in ("MessageAbortedError", "aborted"):
            self.f.aborts += 1
            self._put(StateChanged, what="aborted", new=text[:200] or None)
        elif status == 429 or name in LIMITS or _limit.search(text):
            self.f.limits += 1
            scope, reset = _scope.search(text), _reset.search(text)
            self._put(
                UsageLimitHit,
                provider=self.provider,
                scope=scope[1].lower() if scope else "",
                reset_at=reset[1].strip() if reset else None,
                incident_id=self.base["uid"],
                raw=text[:1000],
            )
        else:
            self._put(ProviderStatus, message=f"{name}: {text[:1000]}")

    def _key(self, m: Message, provider: str, model: str) -> str:
        """Names a response by what every copy of its message keeps.

        A fork gives its copies new ids; the move to 2.x replaces the time of completion.
        """
        created = sane_ms((m.time or NEVER).created)
        if created is None:
            return f"opencode:{m.id or self.base['uid']}"
        return f"opencode:{created}:{provider}:{model}:{_counts(m.tokens)}"

    def _report(self, usage: Usage, cost: Any, key: str, provider: str, model: str) -> None:
        micro = micro_usd(cost)
        if usage.total or micro:
            self._put(
                UsageReported,
                key=key,
                usage=usage,
                provider=provider,
                model=model or "unknown",
                reported_micro_usd=micro or None,
            )


def _put_in(p: Part) -> bool:
    """True for text that OpenCode or a plugin put in."""
    return bool(p.synthetic or p.ignored)


def _named(model: Model | None) -> str:
    return (model and (model.id or model.modelID)) or ""


def _counts(t: Tokens | None) -> str:
    t = t or Tokens()
    cache = t.cache or Cache()
    numbers = (t.input, t.output, t.reasoning, cache.read, cache.write)
    return ":".join(str(count(n)) for n in numbers)


def _usage(t: Tokens | None, within: bool) -> Usage:
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


def _forked_from(title: str, origins: list[Origin]) -> str:
    """The session that a 1.x fork was made of, which only its title and its content tell."""
    found = _fork_title.fullmatch(title)
    if not found or not origins:
        return ""
    nth = int(found[2])
    before = found[1] if nth < 2 else f"{found[1]} (fork #{nth - 1})"
    return next((o.id for o in origins if o.title == before), origins[0].id)


def _decode(raw: Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _flat(value: Any) -> dict[str, str]:
    items = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in items if isinstance(v, str)}


def _text(raw: Raw) -> str:
    """Text of a string, of ``{message}``, or of a list of ``{text}``."""
    value = _decode(raw)
    if isinstance(value, dict):
        value = value.get("message")
    if isinstance(value, list):
        texts = (v.get("text") for v in value if isinstance(v, dict))
        value = "\n".join(t for t in texts if isinstance(t, str))
    return value if isinstance(value, str) else ""


# --- how a database is read -----------------------------------------------------------------------

_SESSION = {
    "id": "id",
    "parentID": "parent_id",
    "forkSessionID": "fork_session_id",
    "directory": "directory",
    "title": "title",
    "version": "version",
}
"""Our name of a session's fact (that of an export) to its column."""

# 1.x: rows are changed in place, so their ids and number do not tell what is new.
_V1 = """
    SELECT m.id, NULL AS type, 0 AS age, m.time_created AS nth,
           CASE WHEN json_valid(m.data) THEN m.data END AS info,
           (SELECT json_group_array(
                CASE WHEN json_valid(p.data) THEN json(p.data) END ORDER BY p.id)
            FROM part p WHERE p.message_id = m.id) AS parts
    FROM message m WHERE m.session_id = :id"""
_V2 = """
    SELECT m.id, m.type, 1 AS age, m.seq AS nth,
           CASE WHEN json_valid(m.data) THEN m.data END AS info, NULL AS parts
    FROM session_message m WHERE m.session_id = :id"""
# A database that 2.x took over holds its old sessions twice. The 1.x rows are the fuller copy
# (parts, usage of compactions), so of the others only those are taken that came later.
_V2_LATER = """
    AND m.seq > coalesce((SELECT max(n.seq) FROM session_message n
                          JOIN message o ON o.id = n.id WHERE n.session_id = :id), -1)"""
_MESSAGES = """(
    SELECT json_group_array(json_object(
        'id', id, 'type', type, 'info', json(info), 'parts', json(parts)) ORDER BY age, nth, id)
    FROM ({rows}))"""
_RECORDED = """(
    SELECT json_group_array(json_object(
        'id', e.id, 'at', {at}, 'source', e.data ->> '$.source', 'cost', e.data ->> '$.cost',
        'tokens', json(e.data -> '$.tokens')) ORDER BY e.seq)
    FROM event e
    WHERE e.aggregate_id = :id AND e.type GLOB 'session.usage.recorded*' AND json_valid(e.data))"""
# Sessions that began before a fork, with a message of the very time of one of the fork's copies.
_ORIGINS = """(
    SELECT json_group_array(json_object('id', p.id, 'title', p.title) ORDER BY p.time_created DESC)
    FROM session s JOIN session p ON p.project_id = s.project_id AND p.time_created < s.time_created
    WHERE s.id = :id AND s.title GLOB '*(fork #*)' AND EXISTS (
        SELECT 1 FROM message a
        JOIN message b ON b.session_id = p.id AND b.time_created = a.time_created
        WHERE a.session_id = s.id AND a.time_created < s.time_created))"""


def _session_row(table: str, columns: frozenset[str]) -> str:
    pairs = [f"'{key}', s.{column}" for key, column in _SESSION.items() if column in columns]
    if "model" in columns:
        pairs.append("'model', CASE WHEN json_valid(s.model) THEN json(s.model) END")
    if "time_created" in columns:
        pairs.append("'time', json_object('created', s.time_created)")
    return f"(SELECT json_object({', '.join(pairs)}) FROM {table} s WHERE s.id = :id)"


def _queries(tables: Mapping[str, frozenset[str]]) -> Queries | None:
    none: frozenset[str] = frozenset()
    sessions = [t for t in ("session_v2", "session") if "id" in tables.get(t, none)]
    v1 = {"message", "part"} <= tables.keys()
    v2 = {"seq", "type"} <= tables.get("session_message", none)
    if not sessions or not (v1 or v2):
        return None

    def changed(table: str, key: str = "session_id") -> str:
        fresh = "max(time_updated)" if "time_updated" in tables[table] else "sum(length(data))"
        return f"(SELECT json_array(count(*), {fresh}) FROM {table} WHERE {key} = d.id)"

    stamps = [changed(t, "id") for t in sessions if "time_updated" in tables[t]]
    stamps += [changed(t) for t in ("message", "part") if v1]
    stamps += [changed("session_message")] * v2
    if "event_sequence" in tables:
        stamps.append("(SELECT seq FROM event_sequence WHERE aggregate_id = d.id)")
    ids = " UNION ".join(f"SELECT id FROM {t}" for t in sessions)

    rows = [_V1] * v1 + [_V2 + _V2_LATER if v1 else _V2] * v2
    info = ", ".join(_session_row(t, tables[t]) for t in sessions)
    pairs = [
        "'id', :id",
        f"'info', json(coalesce({info}, NULL))",
        f"'messages', json({_MESSAGES.format(rows=' UNION ALL '.join(rows))})",
    ]
    event = tables.get("event", none)
    if {"aggregate_id", "type", "data", "seq"} <= event:
        at = "e.created" if "created" in event else "NULL"
        pairs.append(f"'recorded', json({_RECORDED.format(at=at)})")
    if v1 and {"project_id", "time_created", "title"} <= tables.get("session", none):
        pairs.append(f"'origins', json({_ORIGINS})")
    return Queries(
        documents=f"SELECT d.id, json_array({', '.join(stamps)}) FROM ({ids}) d",
        document=f"SELECT json_object({', '.join(pairs)})",
    )


# --- the agent ------------------------------------------------------------------------------------


class OpenCode(Agent):
    name = "opencode"
    title = "OpenCode"
    variables = ("OPENCODE_DATA_DIR", "OPENCODE_DB", "XDG_DATA_HOME")
    clean_up = "deletes nothing by itself; a deleted session's rows go at once, with its children's"

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = f"{env.get('XDG_DATA_HOME') or env['HOME'] + '/.local/share'}/opencode"
        folders = [f.rstrip("/") for f in (env.get("OPENCODE_DATA_DIR", ""), home) if f]
        names = {f: [f"opencode{c}.db" for c in CHANNELS] for f in folders}
        database = env.get("OPENCODE_DB", "")
        if database and database != ":memory:":
            path = database if database.startswith("/") else f"{home}/{database}"
            folder, _, name = path.rpartition("/")
            names[folder] = [*dict.fromkeys([name, *names.get(folder, ())])]
        return tuple(
            Root(f, only=("storage", *(n + end for n in found for end in ("", "-wal", "-shm"))))
            for f, found in names.items()
        )

    def claim(self, relative: str) -> Claim | None:
        folder, _, name = relative.rpartition("/")
        if _tree.search(relative) and not name.startswith(".oc-"):
            return "dir"
        if folder.startswith("storage"):
            top = relative.split("/")[1]
            known = top in QUIET_STORAGE or name.startswith(".oc-")
            return "ignore" if known else None
        if name.startswith("ses_") and name.endswith(".json"):
            return "json"
        ends: dict[str, Claim] = {".db": "sqlite", "-wal": "companion", "-shm": "ignore"}
        return ends.get(name[-3:] if name.endswith(".db") else name[-4:])

    def queries(self, tables: Mapping[str, frozenset[str]]) -> Queries | None:
        return _queries(tables)

    def gather(self, relatives: Iterable[str]) -> dict[str, list[str]]:
        found = [(m[1], m[2], m[3], r) for r in relatives if (m := _tree.search(r))]
        owner = {name: folder for kind, folder, name, _ in found if kind == "message"}
        sessions: dict[str, list[str]] = {}
        for kind, folder, name, relative in sorted(found):
            ids = {"session": name, "message": folder, "part": owner.get(folder)}
            if session := ids[kind]:
                sessions.setdefault(session, []).append(relative)
        return sessions

    def assemble(self, document: str, files: Mapping[str, bytes]) -> bytes:
        info, damaged = NULL, []
        messages: list[tuple[int, str, Raw]] = []
        parts: dict[str, list[Raw]] = {}
        for relative in sorted(files):
            place, data = _tree.search(relative), files[relative]
            try:
                value = msgspec.json.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                damaged.append(relative)
                continue
            kind, folder, name = place.groups() if place else ("", "", "")
            if kind == "session":
                info = Raw(data)
            elif kind == "message":
                time = value.get("time") if isinstance(value, dict) else None
                created = sane_ms(time.get("created")) if isinstance(time, dict) else None
                messages.append((created or 0, name, Raw(data)))
            elif kind == "part":
                parts.setdefault(folder, []).append(Raw(data))
        entries = [
            {"id": name, "info": raw, "parts": parts.get(name, [])}
            for _, name, raw in sorted(messages, key=lambda m: m[:2])
        ]
        whole = {"id": document, "info": info, "messages": entries, "damaged": damaged}
        return msgspec.json.encode(whole)

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> OpenCodeReader:
        return OpenCodeReader(cursor, text=text, companions=companions)


AGENT = OpenCode()
