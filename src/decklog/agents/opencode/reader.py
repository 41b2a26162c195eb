"""OpenCode's documents to events. Sources of the facts: docs/formats/opencode.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Raw

from decklog.agents._salvage import convert_lenient, loads, mend
from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    clean,
    micro_usd,
    patch_paths,
    paths_in,
    sane_ms,
    tool_kind,
)
from decklog.agents.opencode.records import (
    NEVER,
    Details,
    Document,
    Entry,
    Failure,
    Message,
    Number,
    Origin,
    Part,
    Recorded,
    Session,
    State,
    counts_of,
    name_of,
    put_in,
    typed,
    usage_of,
)
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
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

TRUE = Raw(b"true")
QUIET_MESSAGES = frozenset({"system", "idle"})
QUIET_PARTS = frozenset({"step-start", "step-finish", "snapshot", "patch", "file", "agent"})
"""Parts that are no event of their own; steps, patches and files are looked at as a whole."""
DISJOINT = ("anthropic", "google", "xai")
"""Providers whose recorded output never held the reasoning, as that of others did before 1.2."""
LIMITS = ("provider.rate-limit", "provider.quota")
"""What 2.x calls the errors of a provider that wants to be asked later."""

_default_title = re.compile(r"(?:New|Child) session - \d{4}-\d\d-\d\dT")
_fork_title = re.compile(r"\A(.+) \(fork #(\d{1,9})\)\Z", re.S)
_old_version = re.compile(r"v?(?:0\.|1\.[01]\.)")
_limit = re.compile(
    r"(?:usage|rate|spending|request|hourly|daily|weekly|monthly|plan)[ _-]?limit|quota|"
    r"too many requests|hit your (?:\S+ )*limit",
    re.I,
)
_scope = re.compile(r"\b(weekly|monthly|daily|hourly)\b", re.I)
_reset = re.compile(r"(?:try again|resets?)(?: at| in| on)? ([^.\n]{1,60})", re.I)

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (Session, Entry, Message, Part, State, Details, Recorded)
}
_list = msgspec.json.Decoder(list[Raw])


class OpenCodeReader(BaseReader):
    agent = "opencode"
    MANY = 1_000_000  # a document is a whole session, and its parts are decoded one by one
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
            pass
        else:
            return value
        try:
            return self._mend(loads(raw), kind)
        except RecursionError:
            self._warn("too_deep", f"{kind.__name__.lower()} nested too deeply")
            return None

    def _mend(self, value: Any, kind: type[T]) -> T | None:
        value = mend(value)
        if not isinstance(value, dict):
            self._warn("bad_field", f"no {kind.__name__.lower()}")
            return None
        try:
            record, bad = convert_lenient(value, kind)
        except msgspec.ValidationError as error:
            self._warn("unknown", f"not understood: {error}")
            return None
        if bad:
            self._warn("bad_field", ", ".join(bad))
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
            f.opened_at = f.opened_at or ms
            f.started_at = min(f.started_at or ms, ms)
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
        self.f.model = self.f.model or name_of(info.model)
        for recorded in self._each(d.recorded, Recorded):
            self._recorded(recorded)
        for place in d.damaged or ():
            self.f.completeness = "partial"
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
        usage = usage_of(r.tokens, within=False)
        # A compaction's usage stands in its message too, once the version is new enough.
        if usage.total and not (r.source == "compaction" and usage in self.compacted):
            self._begin(r.id or f"{self.native}:{r.at}", r.at)
            self._report(usage, r.cost, f"opencode:{r.id or self.base['uid']}", "", "")

    # -- messages ------------------------------------------------------------------------------

    def _message(self, entry: Entry) -> None:
        m = None if entry.info == NULL else self._read(entry.info, Message)
        if m is None:
            self.f.completeness = "partial"
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
        told = typed(parts) if kind == "user" else counts_of(m.tokens)
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
            self._model(name_of(m.model))
        elif kind == "agent-switched":
            self._put(StateChanged, what="mode", new=m.agent)
        elif kind == "location-switched" and m.location:
            self._put(StateChanged, what="cwd", new=m.location.directory)
        elif kind not in QUIET_MESSAGES:
            self._warn("unknown", f"message type {kind!r}")

    def _user(self, m: Message, parts: list[Part]) -> None:
        f, text = self.f, typed(parts)
        if text or any(p.type == "file" for p in parts):
            f.prompts += 1
            f.messages += 1
            f.first_uid = f.first_uid or self.base["uid"]
            f.prompt = f.prompt or clean(text)
            images = sum((p.mime or "").startswith("image/") for p in parts)
            self._put(UserMessage, content=text, message_id=m.id, images=images)
        for p in parts:
            said = p.prompt if p.type == "subtask" else p.text
            if p.type == "subtask" or (p.type == "text" and said and put_in(p)):
                self._put(UserMessage, content=self._body(said), message_id=m.id, injected=True)
            elif p.type == "compaction":
                self.trigger = "manual" if p.auto is False else "auto"
            elif p.type != "text" and p.type not in QUIET_PARTS:
                self._warn("unknown", f"part type {p.type!r}")

    def _assistant(self, m: Message, parts: list[Part]) -> None:
        f, model = self.f, m.modelID or name_of(m.model)
        self.provider = provider = m.providerID or (m.model and m.model.providerID) or ""
        summary = m.summary == TRUE
        if not summary:
            self._model(model)
        done = self._when((m.time or NEVER).completed)
        changed = [p for part in parts if part.type == "patch" for p in part.files or ()]
        changed += (m.snapshot and m.snapshot.files) or []
        tools = [p for p in parts if p.type == "tool"]
        named: list[str] = []
        for p in parts:
            if p.type == "text":
                if p.text and not summary and not put_in(p):
                    f.messages += 1
                    f.first_uid = f.first_uid or self.base["uid"]
                    own = {"content": self._body(p.text), "message_id": m.id, "model": model}
                    self._put(AssistantMessage, **own, **self._when((p.time or NEVER).start))
            elif p.type == "reasoning":
                if p.text:
                    own = {"content": self._body(p.text), "message_id": m.id}
                    self._put(Reasoning, **own, **self._when((p.time or NEVER).start))
            elif p.type == "tool":
                self._tool(p, named, changed if p is tools[-1] else [])
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
        within = self.old and not provider.startswith(DISJOINT)
        steps = [p for p in parts if p.type == "step-finish"]
        usage = usage_of(m.tokens, within)
        stepped = sum((usage_of(p.tokens, within) for p in steps), Usage())
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
        model = name_of(m.model) or self.f.model
        provider = (m.model and m.model.providerID) or self.provider
        usage = usage_of(m.tokens, within=False)
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

    def _tool(self, p: Part, named: list[str], changed: list[str]) -> None:
        """A call and its result; the last of a message tells what else it changed."""
        state = (self._read(p.state, State) if p.state != NULL else None) or State()
        raw = state.structured if state.metadata == NULL else state.metadata
        details = (self._read(raw, Details) if raw != NULL else None) or Details()
        child = details.sessionId or details.sessionID or ""
        time = state.time or p.time or NEVER
        start = time.start or time.ran or time.created
        end = time.end or time.completed
        given = loads(state.input)
        paths = paths_in(_flat(given), ("filePath", "file_path", "path"))
        if isinstance(given, dict) and isinstance(given.get("patchText"), str):
            paths += patch_paths(given["patchText"])
        named += ["/" + path.lstrip("/") for path in paths]
        name = p.tool or p.name or "?"
        both: dict[str, Any] = {
            "tool_name": name,
            "tool_kind": tool_kind(name),
            "tool_id": p.callID or p.id,
            "child": f"opencode:{child}" if child.startswith("ses_") else None,
        }
        called = {"input": state.input.copy(), "paths": paths} if self.text else {"paths": paths}
        self._put(ToolCalled, **both, **called, **self._when(start))
        if state.status not in ("completed", "success", "error"):
            return
        body: dict[str, Any] = {}
        if self.text:
            output, error = _text(state.content) or _text(state.output), _text(state.error)
            body = {"output": output or error, "error": error or None, "data": raw.copy()}
        first, last = sane_ms(start), sane_ms(end)
        self._put(
            ToolReturned,
            **both,
            **body,
            success=state.status != "error" and not details.exit,
            paths=tuple(c for c in dict.fromkeys(changed) if not f"/{c}".endswith(tuple(named))),
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
        return f"opencode:{created}:{provider}:{model}:{counts_of(m.tokens)}"

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


def _forked_from(title: str, origins: list[Origin]) -> str:
    """The session that a 1.x fork was made of, which only its title and its content tell."""
    found = _fork_title.fullmatch(title)
    if not found or not origins:
        return ""
    nth = int(found[2])
    before = found[1] if nth < 2 else f"{found[1]} (fork #{nth - 1})"
    return next((o.id for o in origins if o.title == before), origins[0].id)


def _flat(value: Any) -> dict[str, str]:
    items = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in items if isinstance(v, str)}


def _text(raw: Raw) -> str:
    """Text of a string, of ``{message}``, or of a list of ``{text}``."""
    value = loads(raw)
    if isinstance(value, dict):
        value = value.get("message")
    if isinstance(value, list):
        texts = (v.get("text") for v in value if isinstance(v, dict))
        value = "\n".join(t for t in texts if isinstance(t, str))
    return value if isinstance(value, str) else ""
