"""Records of a transcript to events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    ReaderState,
    clean,
    loads,
    micro_usd,
    to_ms,
    tool_kind,
)
from decklog.agents.claude import prompts
from decklog.agents.claude.records import (
    ABSENT,
    FullBlock,
    FullLine,
    Input,
    Iteration,
    LeanBlock,
    Line,
    Result,
    Tokens,
)
from decklog.agents.claude.totals import Totals
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Cursor,
    Event,
    Facts,
    Forked,
    Permission,
    ProviderStatus,
    Reasoning,
    Ref,
    SessionResult,
    SessionStarted,
    StateChanged,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)

QUIET = frozenset(
    """file-history-snapshot file-history-delta last-prompt permission-mode mode queue-operation
    bridge-session worktree-state cost-state atis-latch sessions-index stream_event frame-link
    content-replacement marble-origami-commit marble-origami-snapshot speculation-accept
    tag attribution-snapshot task-summary agent-color agent-setting relocated started
    rate_limit_event control_request control_response keep_alive auth_status""".split()
)
"""Record types that hold no prompt, answer, tool or usage, or repeat one that is elsewhere."""
BEGINS = frozenset(("user", "assistant", "system", "result"))
"""Record types with which something happens in a session."""
UNIQUE = 20
"""Message ids of this length are the provider's own and name one response in the whole world.
Gateways make shorter ones, which only the request id beside them makes unique."""
RECENT = 64
"""Entries kept of what may still be needed later in the file."""

_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_input = msgspec.json.Decoder(Input).decode
_result = msgspec.json.Decoder(Result).decode


class State(ReaderState, kw_only=True):
    current: str = ""
    started: list[str] = []
    requests: dict[str, str] = {}
    """Recent short message ids to request ids: a record of a known message may lack it."""
    totals: Totals = msgspec.field(default_factory=Totals)
    leaf: str = ""
    """The last record's uuid."""
    summaries: dict[str, str] = {}
    """Titles of conversations that end in a record not met yet, by its uuid."""
    branch: set[str] = set()
    """Copied records of a branch: ``/branch`` has written each of them twice."""


class ClaudeReader(BaseReader):
    agent = "claude"
    State: ClassVar[type[ReaderState]] = State
    Record = FullLine
    Lean = Line

    def __init__(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(cursor, text=text, companions=companions)
        self.stem = self.uri.rpartition("/")[2].removesuffix(".jsonl")
        self.file_agent = self.stem[6:] if self.stem.startswith("agent-") else None
        self.folder_session = ""
        if self.file_agent and "/subagents/" in self.uri:
            self.folder_session = self.uri.partition("/subagents/")[0].rpartition("/")[2]
        # the session in hand
        self.f: Any = None
        self.sid: str | None = None
        self.side: str | None = None
        self.native = self.session = ""
        self.begun = False
        # the record in hand
        self.ref = Ref()
        self.at: int | None = None
        self.at_text = self.uid = ""

    def session_id(self) -> str:
        return self.session or f"claude:{self.s.current or self.stem}"

    # -- one record --------------------------------------------------------------------------

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: Line = record
        sid = r.sessionId or r.session_id
        side = self.file_agent or (r.agentId if r.isSidechain else None)
        f = self.f
        if f is None or (sid and (sid != self.sid or side != self.side)):
            f = self._enter(sid, side)
        self.ref = ref
        self.at_text = at_text = r.timestamp or ""
        self.at = at = to_ms(at_text) if at_text else None
        if at is not None:
            if f.last_at is None:
                f.started_at = f.last_at = at
                f.opened_at = f.opened_at or at
            elif at > f.last_at:
                f.last_at = at
            elif at < f.started_at:
                f.started_at = at
        if not f.cwd and r.cwd:
            f.cwd = r.cwd
        if r.gitBranch and r.gitBranch != f.branch and r.gitBranch != "HEAD":
            f.branch = r.gitBranch
        if r.version and r.version != f.agent_version:
            f.agent_version = r.version
            f.copies = "resume" if r.version[:2] in ("0.", "1.") else "fork"
        out: list[Event] = []
        self.uid = uid = r.uuid or ""
        s = self.s
        if uid:
            if (s.branch or r.forkedFrom is not None) and self._repeated(r, uid):
                return out
            s.leaf = uid
        kind = r.type
        if not self.begun and kind in BEGINS:
            self._begin(r, out)
        if kind == "assistant":
            self._assistant(r, f, out)
        elif kind == "user":
            self._user(r, f, out)
        elif (handle := OTHERS.get(kind)) is not None:
            handle(self, r, f, out)
        elif kind not in QUIET:
            out.append(self.warn("unknown", f"record type {kind!r}", ref))
        if uid in s.summaries:
            self._entitle(1, s.summaries.pop(uid), f, out)
        return out

    def _enter(self, sid: str | None, side: str | None) -> Facts:
        """Turn to the session that a record names; without a name it stays the current one."""
        s = self.s
        parent = ""
        if not sid and s.current:
            native = s.current
        elif side:
            parent = sid or self.folder_session
            native = f"{parent}.agent-{side}" if parent else f"agent-{side}"
        else:
            native = sid or self.stem or "session"
        self.sid, self.side, self.native = sid, side, native
        self.session = f"claude:{native}"
        self.begun = native in s.started
        s.current = native
        f = self.facts.get(native)
        if f is None:
            f = self.fact(native)
            if parent:
                f.parent, f.relation = parent, "subagent"
                self._companion(f)
        self.f = f
        return f

    def _companion(self, f: Facts) -> None:
        data = self.companions.get(self.uri.removesuffix(".jsonl") + ".meta.json")
        try:
            meta = msgspec.json.decode(data or b"{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        if isinstance(meta.get("description"), str):
            f.title, f.title_rank = clean(meta["description"], TITLE_LENGTH), 2

    def _begin(self, r: Line, out: list[Event]) -> None:
        self.begun = True
        self._start(self.native, out)
        parent = r.forkedFrom.sessionId if r.forkedFrom is not None else None
        f = self.f
        if parent and parent != self.native and not f.parent:
            f.parent, f.relation = parent, "fork"
            self._put(out, Forked, parent=f"claude:{parent}", uid=f"fork:{self.native}")
        sid = self.sid
        if not self.file_agent and sid and sid != self.stem and _uuid.fullmatch(self.stem):
            out.append(self.warn("misfiled", f"records of session {sid}", self.ref))

    def _start(self, native: str, out: list[Event]) -> None:
        self.s.started.append(native)
        self._put(
            out,
            SessionStarted,
            session=f"claude:{native}",
            uid=f"start:{native}",
            command="claude",
            cwd=self.f.cwd or None,
        )

    def _repeated(self, r: Line, uid: str) -> bool:
        """True for the second of two copies of a record in a branch."""
        branch, short = self.s.branch, uid[:18]
        if short in branch or (uid == self.s.leaf and branch):
            return True
        if r.forkedFrom is not None:
            branch.add(short)
        return False

    def _put(self, out: list[Event], kind: Any, **own: Any) -> None:
        """Events that are rare enough to be made the short way."""
        self.s.seq += 1
        own = {"session": self.session, "uid": self.uid, **own}
        out.append(
            kind(seq=self.s.seq, at=self.at, at_text=self.at_text, agent="claude", ref=self.ref,
                 **own)
        )  # fmt: skip

    def _nth(self, n: object) -> str:
        """uid of a further event of the record in hand."""
        return f"{self.uid}:{n}" if n and self.uid else self.uid

    # -- what the model says -------------------------------------------------------------------

    def _assistant(self, r: Line, f: Facts, out: list[Event]) -> None:
        m = r.message
        if m is None:
            out.append(self.warn("unknown", "assistant record without message", self.ref))
            return
        model = m.model or ""
        real = model != "<synthetic>"
        inline = self._inline(r) if r.isSidechain or r.parent_tool_use_id else False
        if model != f.model and model and real and not inline:
            if f.model:
                uid = self._nth("model")
                self._put(out, StateChanged, uid=uid, what="model", old=f.model, new=model)
            f.model = model
        n = 0
        if isinstance(m.content, str):
            self._answer(r, f, m.content, inline, self.uid, out)
            n = 1
        elif m.content:
            for b in m.content:
                kind = b.type
                uid = self._nth(n) if n else self.uid
                n += 1
                if kind == "text":
                    if b.text:
                        self._answer(r, f, b.text, inline, uid, out)
                elif kind == "tool_use":
                    self._call(b, uid, out)
                elif kind == "thinking":
                    self._thought(b, m.id, uid, out)
                else:
                    self._other(b, m.id, uid, out)
        if m.usage is not None and real:
            self._usage(r, m, m.usage, self._nth(n), out)

    def _inline(self, r: Line) -> bool:
        """True for a subagent's record among its parent's, without an id of its own."""
        return bool((r.isSidechain and not self.side) or r.parent_tool_use_id)

    def _answer(
        self, r: Line, f: Facts, text: str, inline: bool, uid: str, out: list[Event]
    ) -> None:
        m: Any = r.message
        model = m.model or ""
        if model == "<synthetic>":
            if r.isApiErrorMessage or r.error or text.startswith(prompts.NO_ANSWER):
                self._refusal(r, f, text, out)
                return
            model = ""
        if not inline:
            f.messages += 1
            f.first_uid = f.first_uid or self.uid
        s = self.s
        s.seq += 1
        out.append(
            AssistantMessage(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="claude",
                ref=self.ref,
                uid=uid,
                content=text,
                message_id=m.id,
                model=model,
            )
        )

    def _thought(self, b: Any, message: str | None, uid: str, out: list[Event]) -> None:
        s = self.s
        s.seq += 1
        out.append(
            Reasoning(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="claude",
                ref=self.ref,
                uid=uid,
                content=_text(b.thinking) if self.text else "",
                message_id=message,
            )
        )

    def _other(self, b: Any, message: str | None, uid: str, out: list[Event]) -> None:
        kind = b.type
        if kind in ("server_tool_use", "mcp_tool_use"):
            self._call(b, uid, out)
        elif kind == "redacted_thinking":
            self._thought(b, message, uid, out)
        elif kind.endswith("_tool_result"):
            ok = not b.is_error
            self._put(out, ToolReturned, uid=uid, tool_id=b.tool_use_id, success=ok)
        elif kind not in ("image", "fallback"):
            out.append(self.warn("unknown", f"content block {kind!r}", self.ref))

    def _refusal(self, r: Line, f: Facts, text: str, out: list[Event]) -> None:
        limit = prompts.limit(text, r.error)
        if limit is None:
            self._put(out, ProviderStatus, message=text[:1000])
            return
        f.limits += 1
        self._put(
            out,
            UsageLimitHit,
            provider="anthropic",
            scope=limit.scope,
            reset_at=limit.reset_at,
            incident_id=self.uid,
            raw=text[:1000],
        )

    def _call(self, b: Any, uid: str, out: list[Event]) -> None:
        given = b.input
        raw = NULL
        if isinstance(given, Raw):
            raw = given.copy()
            try:
                given = _input(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                given = None
        paths: tuple[str, ...] = ()
        if isinstance(given, Input):
            path = given.file_path
            if given.notebook_path is not None or given.path is not None:
                found = (path, given.notebook_path, given.path)
                paths = tuple(dict.fromkeys(p for p in found if p and isinstance(p, str)))
            elif path and isinstance(path, str):
                paths = (path,)
        name = b.name or "?"
        s = self.s
        s.seq += 1
        out.append(
            ToolCalled(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="claude",
                ref=self.ref,
                uid=uid,
                tool_name=name,
                tool_kind=tool_kind(name),
                tool_id=b.id,
                input=raw,
                paths=paths,
            )
        )

    # -- what it used --------------------------------------------------------------------------

    def _usage(
        self, r: Line, m: Any, tokens: Tokens, uid: str, out: list[Event]
    ) -> None:
        usage = _used(tokens)
        model = m.model or "unknown"
        if m.id:
            key = f"claude:{m.id}" if len(m.id) >= UNIQUE else self._key(m.id, r.requestId)
        else:
            key = f"claude:{r.requestId or self.uid or f'{self.uri}:{self.ref.offset}'}"
        s = self.s
        if r.version is None or s.totals.stated:  # no transcript: such a stream may end in totals
            s.totals.record(self.session, model, key, usage)
        s.seq += 1
        out.append(
            UsageReported(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="claude",
                ref=self.ref,
                uid=uid,
                key=key,
                usage=usage,
                provider="anthropic",
                model=model,
                reported_micro_usd=None if r.costUSD is None else micro_usd(r.costUSD),
            )
        )
        if tokens.iterations:
            self._asides(key, model, tokens.iterations, uid, out)

    def _asides(
        self, key: str, model: str, steps: list[Iteration], uid: str, out: list[Event]
    ) -> None:
        """Steps of a response that its own figures leave out, perhaps of another model."""
        for i, step in enumerate(steps):
            if step.type not in ("advisor_message", "compaction"):
                continue
            self._put(
                out,
                UsageReported,
                uid=f"{uid}:{i}" if uid else "",
                key=f"{key}:{step.type}:{i}",
                usage=_used(step),
                provider="anthropic",
                model=step.model or model,
            )

    def _key(self, message: str, request: str | None) -> str:
        """One key for all records of a response, whether or not each of them has both ids."""
        requests = self.s.requests
        known = requests.get(message)
        if known is None or (known and request and known != request):
            if len(requests) >= RECENT:
                del requests[next(iter(requests))]
            requests[message] = known = request or ""
        return f"claude:{message}:{known}" if known else f"claude:{message}"

    def _progress(self, r: Line, f: Facts, out: list[Event]) -> None:
        """A subagent's answer embedded in a record of its parent; counts where the subagent's own
        transcript is missing."""
        p = r.data
        if p is None or p.type != "agent_progress" or p.message is None or not p.agentId:
            return
        inner, m = p.message, p.message.message
        if inner.type != "assistant" or m is None or m.usage is None or not m.id:
            return
        parent = self.native.partition(".agent-")[0]
        child = f"{parent}.agent-{p.agentId}"
        self.at_text = inner.timestamp or self.at_text
        self.at = at = to_ms(self.at_text)
        if child not in self.s.started:
            self._start(child, out)
        f = self.fact(child)
        f.parent, f.relation, f.completeness = parent, "subagent", "partial"
        f.model = f.model or m.model or ""
        if at is not None:
            f.started_at = min(f.started_at or at, at)
            f.last_at = max(f.last_at or at, at)
        self._put(
            out,
            UsageReported,
            session=f"claude:{child}",
            key=f"claude:{m.id}" if len(m.id) >= UNIQUE else self._key(m.id, inner.requestId),
            usage=_used(m.usage),
            provider="anthropic",
            model=m.model or "unknown",
            rank=1,
        )

    def _stated(self, r: Line, f: Facts, out: list[Event]) -> None:
        """The end of a captured ``--output-format stream-json`` run."""
        for model, u in (r.modelUsage or {}).items():
            f.model = f.model or model
            stated = (
                u.inputTokens or 0,
                u.outputTokens or 0,
                u.cacheCreationInputTokens or 0,
                u.cacheReadInputTokens or 0,
            )
            rest = self.s.totals.state(self.session, model, stated)
            self._put(
                out,
                UsageReported,
                key=f"claude:result:{self.native}|{model}",
                usage=rest,
                provider="anthropic",
                model=model,
                rank=0,
            )
        for d in r.permission_denials or ():
            self._put(out, Permission, tool_name=d.tool_name or "?", granted=False)
        self._put(out, SessionResult, result=r.result if isinstance(r.result, str) else "")

    # -- what it is told -----------------------------------------------------------------------

    def _user(self, r: Line, f: Facts, out: list[Event]) -> None:
        m = r.message
        content = m.content if m is not None else None
        texts: list[str] = []
        images = n = 0
        is_result = r.toolUseResult is not ABSENT or r.tool_use_result is not ABSENT
        if isinstance(content, str):
            if content:
                texts.append(content)
        elif content:
            for b in content:
                kind = b.type
                if kind == "tool_result":
                    is_result = True
                    self._returned(r, b, self._nth(n) if n else self.uid, out)
                    n += 1
                elif kind == "text":
                    if b.text:
                        texts.append(b.text)
                elif kind in ("image", "document"):
                    images += 1
                else:
                    out.append(self.warn("unknown", f"content block {kind!r}", self.ref))
        if texts or (images and not is_result):
            put_in = bool(r.isMeta or r.isCompactSummary or r.isSynthetic) or _not_human(r.origin)
            if is_result:
                images = 0
            self._said(texts, images, put_in or self._inline(r), self._nth(n), f, out)

    def _said(
        self, texts: list[str], images: int, put_in: bool, uid: str, f: Facts, out: list[Event]
    ) -> None:
        """Texts of one record: what was typed is one event, what was put in another."""
        injected, typed = [], []
        for text in texts:
            if text.startswith(prompts.INTERRUPTED):
                f.aborts += 1
                self._put(out, StateChanged, what="aborted", new=text[:200])
                continue
            before, after = (text, "") if put_in else prompts.parted(text)
            if before:
                injected.append(before)
            if after:
                typed.append(after)
        if injected and (typed or (images and not put_in)):
            around = f"{uid}:around" if uid else ""
            self._message("\n".join(injected), 0, True, around, out)
        elif injected or put_in:
            if injected or images:
                self._message("\n".join(injected), images, True, uid, out)
            return
        if not typed and not images:
            return
        text = "\n".join(typed)
        command = prompts.command(text)
        f.prompts += 1
        f.messages += 1
        f.first_uid = f.first_uid or self.uid
        if not f.prompt and command.partition(" ")[0] not in prompts.OWN_COMMANDS:
            f.prompt = clean(command or text)
        self._message(command or text, images, False, uid, out)

    def _message(
        self, text: str, images: int, injected: bool, uid: str, out: list[Event]
    ) -> None:
        s = self.s
        s.seq += 1
        out.append(
            UserMessage(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="claude",
                ref=self.ref,
                uid=uid,
                content=text,
                message_id=self.uid or None,
                injected=injected,
                images=images,
            )
        )

    def _attachment(self, r: Line, f: Facts, out: list[Event]) -> None:
        """A prompt typed while the agent was at work stands in an attachment and nowhere else."""
        a = r.attachment
        if a is None or a.type != "queued_command":
            return
        texts, images = [], 0
        for part in a.prompt if isinstance(a.prompt, list) else [a.prompt]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str) and text:
                texts.append(text)
            elif isinstance(part, dict) and part.get("type") in ("image", "document"):
                images += 1
        if not self.begun:
            self._begin(r, out)
        put_in = a.commandMode not in (None, "prompt") or _not_human(a.origin)
        self._said(texts, images, put_in or self._inline(r), self.uid, f, out)

    def _returned(self, r: Line, b: Any, uid: str, out: list[Event]) -> None:
        info: Any = r.toolUseResult
        data = NULL
        output = None
        if self.text:
            output = _text(b.content)
            if info is not ABSENT:
                data = info.copy()
                try:
                    info = _result(data)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    info = None
        child = info.agentId if isinstance(info, Result) else None
        if child is not None:
            parent = self.native.partition(".agent-")[0]
            child = f"claude:{parent}.agent-{child}" if child and isinstance(child, str) else None
        s = self.s
        s.seq += 1
        out.append(
            ToolReturned(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="claude",
                ref=self.ref,
                uid=uid,
                tool_id=b.tool_use_id,
                success=not b.is_error,
                output=output,
                error=output if b.is_error else None,
                data=data,
                child=child,
            )
        )

    # -- what happens around it ----------------------------------------------------------------

    def _system(self, r: Line, f: Facts, out: list[Event]) -> None:
        subtype = r.subtype or "system"
        if subtype in ("compact_boundary", "microcompact_boundary"):
            meta = r.compactMetadata
            f.compactions += subtype == "compact_boundary"
            self._put(
                out,
                Compacted,
                trigger=(meta.trigger if meta else None) or subtype.removesuffix("_boundary"),
                tokens_before=meta.preTokens if meta else None,
            )
            return
        text = clean(r.content, 1000) if isinstance(r.content, str) else ""
        self._put(out, ProviderStatus, message=f"{subtype} {text}".strip())

    def _link(self, r: Line, f: Facts, out: list[Event]) -> None:
        self._put(out, ProviderStatus, message=f"pr-link {r.prUrl or ''}".strip())

    def _summary(self, r: Line, f: Facts, out: list[Event]) -> None:
        """A title of the conversation that ends in ``leafUuid``: often of another file's."""
        s = self.s
        if not r.leafUuid or r.leafUuid == s.leaf:
            self._entitle(1, r.summary, f, out)
        elif r.summary:
            if len(s.summaries) >= RECENT:
                del s.summaries[next(iter(s.summaries))]
            s.summaries[r.leafUuid] = clean(r.summary, TITLE_LENGTH)

    def _agent_title(self, r: Line, f: Facts, out: list[Event]) -> None:
        self._entitle(2, r.aiTitle or r.agentName, f, out)

    def _user_title(self, r: Line, f: Facts, out: list[Event]) -> None:
        self._entitle(3, r.customTitle, f, out)

    def _entitle(self, rank: int, text: str | None, f: Facts, out: list[Event]) -> None:
        text = clean(text or "", TITLE_LENGTH)
        if not text or rank < f.title_rank or text == f.title:
            return
        if self.begun:
            self._put(out, StateChanged, uid="", what="title", old=f.title or None, new=text)
        f.title, f.title_rank = text, rank


OTHERS: dict[str, Callable[[ClaudeReader, Line, Facts, list[Event]], None]] = {
    "attachment": ClaudeReader._attachment,
    "progress": ClaudeReader._progress,
    "system": ClaudeReader._system,
    "result": ClaudeReader._stated,
    "pr-link": ClaudeReader._link,
    "summary": ClaudeReader._summary,
    "ai-title": ClaudeReader._agent_title,
    "agent-name": ClaudeReader._agent_title,
    "custom-title": ClaudeReader._user_title,
}


def _used(t: Tokens | Iteration) -> Usage:
    written = t.cache_creation_input_tokens or 0
    hour = 0
    if t.cache_creation is not None:
        hour = min(written, t.cache_creation.ephemeral_1h_input_tokens or 0)
    reasoning = 0
    if t.output_tokens_details is not None:
        reasoning = min(t.output_tokens or 0, t.output_tokens_details.thinking_tokens or 0)
    return Usage(
        input=t.input_tokens or 0,
        output=t.output_tokens or 0,
        cache_write=written,
        cache_write_1h=hour,
        cache_read=t.cache_read_input_tokens or 0,
        reasoning=reasoning,
    )


def _not_human(origin: Any) -> bool:
    return origin is not None and origin.kind not in (None, "", "human")


def _text(raw: Raw) -> str:
    """The text of a raw value: a string, or blocks with texts among them."""
    value = loads(raw)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = (b.get("text") for b in value if isinstance(b, dict))
        return "\n".join(p for p in parts if isinstance(p, str))
    return ""
