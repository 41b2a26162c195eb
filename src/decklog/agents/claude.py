"""Claude Code: JSON Lines under ``~/.claude/projects``. Sources of the facts: docs/formats/claude.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct

from decklog.agents import Agent, Claim, Root
from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    ReaderState,
    clean,
    count,
    micro_usd,
    paths_in,
    to_ms,
    tool_kind,
)
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Cursor,
    Event,
    Facts,
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

ABSENT = Raw(b"")
"""Stands for a key that a record does not have at all."""
PATH_KEYS = ("file_path", "notebook_path", "path")

INJECTED = (
    "<local-command-stdout>",
    "<local-command-stderr>",
    "<local-command-caveat>",
    "Caveat: The messages below",
    "<bash-input>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<task-notification>",
    "<teammate-message",
    "<system-reminder>",
    "<user-prompt-submit-hook>",
    "Base directory for this skill",
    "[Image",
    "This session is being continued from a previous conversation",
)
INTERRUPTED = "[Request interrupted by user"
RECENT = 16
"""Responses whose records may still be interleaved."""
KNOWN_QUIET = frozenset(
    ["attachment", "file-history-snapshot", "file-history-delta", "last-prompt", "permission-mode", "mode", "bridge-session", "worktree-state", "cost-state", "atis-latch", "sessions-index", "stream_event", "content-replacement", "marble-origami-commit", "marble-origami-snapshot", "speculation-accept", "tag", "attribution-snapshot", "task-summary", "agent-color", "agent-setting", "relocated", "started", "rate_limit_event", "control_request", "control_response", "keep_alive", "auth_status"]
)
"""Record types that hold no prompt, answer, tool or usage."""

_command = re.compile(r"<command-name>\s*(\S+?)\s*</command-name>")
_args = re.compile(r"<command-args>(.*?)</command-args>", re.S)
_limit = re.compile(
    r"usage limit reached|hit your (?:\S+ )*limit|limit reached|spend(?:ing)? limit|"
    r"out of (?:extra )?usage",
    re.I,
)
_reset = re.compile(r"reset(?:s)?(?: at)? ([^·|\n]{1,60})|\|(\d{9,13})", re.I)


class CacheCreation(Struct):
    ephemeral_1h_input_tokens: int | None = None


class Tokens(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None


class LeanInput(Struct):
    file_path: str | None = None
    notebook_path: str | None = None
    path: str | None = None


class LeanBlock(Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: LeanInput | None = None
    tool_use_id: str | None = None
    is_error: bool | None = None


class FullBlock(Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NULL
    tool_use_id: str | None = None
    is_error: bool | None = None
    thinking: str | None = None
    content: Any = None


class LeanMessage(Struct):
    id: str | None = None
    role: str | None = None
    model: str | None = None
    usage: Tokens | None = None
    content: str | list[LeanBlock] | None = None


class FullMessage(Struct):
    id: str | None = None
    role: str | None = None
    model: str | None = None
    usage: Tokens | None = None
    content: str | list[FullBlock] | None = None


class CompactMetadata(Struct):
    trigger: str | None = None
    preTokens: int | None = None  # noqa: N815


class Embedded(Struct):
    """A subagent's message inside a ``progress`` record of its parent."""

    type: str | None = None
    message: LeanMessage | None = None
    requestId: Any = None  # noqa: N815
    timestamp: str | None = None


class Progress(Struct):
    type: str | None = None
    message: Embedded | None = None
    agentId: str | None = None  # noqa: N815


class ModelUsage(Struct):
    inputTokens: int | None = None  # noqa: N815
    outputTokens: int | None = None  # noqa: N815
    cacheCreationInputTokens: int | None = None  # noqa: N815
    cacheReadInputTokens: int | None = None  # noqa: N815


class Denial(Struct):
    tool_name: str | None = None
    tool_use_id: str | None = None


class ResultInfo(Struct):
    """What is kept of ``toolUseResult`` where its body is not wanted."""

    agentId: str | None = None  # noqa: N815


class LeanLine(Struct):
    type: str = ""
    subtype: str | None = None
    uuid: str | None = None
    sessionId: str | None = None  # noqa: N815
    session_id: str | None = None
    timestamp: str | None = None
    cwd: str | None = None
    gitBranch: str | None = None  # noqa: N815
    version: str | None = None
    isSidechain: bool | None = None  # noqa: N815
    isMeta: bool | None = None  # noqa: N815
    isCompactSummary: bool | None = None  # noqa: N815
    isApiErrorMessage: bool | None = None  # noqa: N815
    agentId: str | None = None  # noqa: N815
    requestId: Any = None  # noqa: N815
    costUSD: Any = None  # noqa: N815
    message: LeanMessage | None = None
    toolUseResult: Any = ABSENT  # noqa: N815
    tool_use_result: Raw = ABSENT
    data: Progress | None = None
    content: Any = None
    summary: str | None = None
    aiTitle: str | None = None  # noqa: N815
    customTitle: str | None = None  # noqa: N815
    agentName: str | None = None  # noqa: N815
    operation: str | None = None
    compactMetadata: CompactMetadata | None = None  # noqa: N815
    prUrl: str | None = None  # noqa: N815
    error: Any = None
    modelUsage: dict[str, ModelUsage] | None = None  # noqa: N815
    duration_ms: Any = None
    durationMs: Any = None  # noqa: N815
    result: Any = None
    permission_denials: list[Denial] | None = None
    forkedFrom: Any = None  # noqa: N815


class FullLine(LeanLine):
    message: FullMessage | None = None  # type: ignore[assignment]
    toolUseResult: Raw = ABSENT  # noqa: N815


class LeanRecord(LeanLine):
    toolUseResult: ResultInfo | str | list[Raw] | bool | int | None = ABSENT  # type: ignore[assignment]  # noqa: N815


class State(ReaderState, kw_only=True):
    current: str = ""
    started: list[str] = []
    requests: dict[str, str] = {}
    """Recent message id to request id: a record of a known message may lack it."""
    stated: dict[str, list[int]] = {}
    """Totals that ``result`` records stated, by session and model."""
    recorded: dict[str, list[int]] = {}
    """Totals of the responses recorded in this source, by session and model."""
    last: dict[str, list[int]] = {}
    """Recent responses' own figures, so that a better record replaces a worse one."""


class ClaudeReader(BaseReader):
    agent = "claude"
    State: ClassVar[type[ReaderState]] = State
    Record = FullLine
    Lean = LeanRecord

    def __init__(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(cursor, text=text, companions=companions)
        name = self.uri.rpartition("/")[2].removesuffix(".jsonl")
        self.stem = name
        self.file_agent = name[6:] if name.startswith("agent-") else ""
        self.folder_session = ""
        if self.file_agent and "/subagents/" in self.uri:
            self.folder_session = self.uri.rpartition("/subagents/")[0].rpartition("/")[2]

    def session_id(self) -> str:
        return f"claude:{self.s.current or self.stem}"

    # -- one record --------------------------------------------------------------------------

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: LeanLine = record
        native, f = self._session(r)
        at_text = r.timestamp or ""
        at = to_ms(at_text) if at_text else None
        if at is not None:
            if f.opened_at is None:
                f.opened_at = at
            if f.started_at is None or at < f.started_at:
                f.started_at = at
            if f.last_at is None or at > f.last_at:
                f.last_at = at
        if r.cwd and not f.cwd:
            f.cwd = r.cwd
        if r.gitBranch and r.gitBranch != "HEAD":
            f.branch = r.gitBranch
        if r.version:
            f.agent_version = r.version
            f.copies = "resume" if r.version[:2] in ("0.", "1.") else "fork"
        base = {
            "session": f"claude:{native}",
            "agent": "claude",
            "at": at,
            "at_text": at_text,
            "ref": ref,
            "uid": r.uuid or "",
        }
        out: list[Event] = []
        kind = r.type
        if kind in ("user", "assistant") and native not in self.s.started:
            self.s.started.append(native)
            out.append(self._started(f, base))
        if kind == "assistant":
            self._assistant(r, f, base, out)
        elif kind == "user":
            self._user(r, f, base, out)
        elif kind == "progress":
            self._progress(r, base, out)
        elif kind == "system":
            self._system(r, f, base, out)
        elif kind == "result":
            self._result(r, f, base, out)
        elif kind in ("summary", "ai-title", "custom-title", "agent-name"):
            self._title(r, f, base, out)
        elif kind in ("queue-operation", "pr-link"):
            what = r.operation or r.prUrl or ""
            self._put(out, ProviderStatus, base, message=f"{kind} {what}".strip())
        elif kind not in KNOWN_QUIET:
            out.append(self.warn("unknown", f"record type {kind!r}", ref))
        return out

    def _put(self, out: list[Event], kind: Any, base: dict[str, Any], **own: Any) -> None:
        self.s.seq += 1
        if out and base["uid"]:
            own["uid"] = f"{base['uid']}:{len(out)}"
            out.append(kind(seq=self.s.seq, **{**base, **own}))
        else:
            out.append(kind(seq=self.s.seq, **base, **own))

    def _session(self, r: LeanLine) -> tuple[str, Facts]:
        sid = r.sessionId or r.session_id or ""
        agent = self.file_agent or (r.agentId if r.isSidechain and r.agentId else "")
        if agent:
            parent = sid or self.folder_session or self.s.current.rpartition(".agent-")[0]
            native = f"{parent}.agent-{agent}" if parent else f"agent-{agent}"
        else:
            native = sid or self.s.current or self.stem or "session"
            parent = ""
        self.s.current = native
        f = self.facts.get(native)
        if f is None:
            f = self.fact(native)
            if parent:
                f.parent, f.relation = parent, "subagent"
                self._companion(f)
        return native, f

    def _companion(self, f: Facts) -> None:
        data = self.companions.get(self.uri.removesuffix(".jsonl") + ".meta.json")
        if data:
            try:
                meta = msgspec.json.decode(data, type=dict[str, Any])
            except msgspec.DecodeError:
                return
            if isinstance(meta.get("description"), str):
                f.title, f.title_rank = clean(meta["description"], TITLE_LENGTH), 2

    def _started(self, f: Facts, base: dict[str, Any]) -> Event:
        self.s.seq += 1
        start = {**base, "uid": f"start:{f.native}"}
        return SessionStarted(seq=self.s.seq, **start, command="claude", cwd=f.cwd or None)

    # -- kinds of record -----------------------------------------------------------------------

    def _assistant(self, r: LeanLine, f: Facts, base: dict[str, Any], out: list[Event]) -> None:
        m = r.message
        if m is None:
            out.append(self.warn("unknown", "assistant record without message", base["ref"]))
            return
        model = m.model or ""
        real = model != "<synthetic>"
        if model and real:
            if f.model and f.model != model:
                self._put(out, StateChanged, base, what="model", old=f.model, new=model)
            f.model = model
        content = m.content
        if isinstance(content, str):
            content = [LeanBlock(type="text", text=content)] if content else []
        for b in content or ():
            kind = b.type
            if kind == "text":
                self._answer(r, f, b.text or "", model, base, out, real)
            elif kind == "tool_use":
                self._tool(b, base, out)
            elif kind in ("thinking", "redacted_thinking"):
                thought = getattr(b, "thinking", None) or ""
                self._put(out, Reasoning, base, content=thought, message_id=m.id)
            elif kind in ("server_tool_use", "mcp_tool_use"):
                self._tool(b, base, out)
            elif kind.endswith("_tool_result"):
                self._put(out, ToolReturned, base, tool_id=b.tool_use_id, success=not b.is_error)
            elif kind not in ("image", "fallback"):
                out.append(self.warn("unknown", f"content block {kind!r}", base["ref"]))
        if m.usage is not None and real:
            self._usage(r, m, f, base, out)

    def _answer(
        self,
        r: LeanLine,
        f: Facts,
        text: str,
        model: str,
        base: dict[str, Any],
        out: list[Event],
        real: bool,
    ) -> None:
        if not real and (r.isApiErrorMessage or r.error):
            if r.error == "rate_limit" or _limit.search(text):
                f.limits += 1
                found = _reset.search(text)
                self._put(
                    out,
                    UsageLimitHit,
                    base,
                    provider="anthropic",
                    scope="weekly" if "weekly" in text else "session",
                    reset_at=(found[1] or found[2]).strip() if found else None,
                    incident_id=r.uuid or "",
                    raw=text[:1000],
                )
            else:
                self._put(out, ProviderStatus, base, message=text[:1000] or "API error")
            return
        if not f.first_uid:
            f.first_uid = base["uid"]
        f.messages += 1
        self._put(out, AssistantMessage, base, content=text, message_id=r.message.id, model=model)  # type: ignore[union-attr]

    def _tool(self, b: Any, base: dict[str, Any], out: list[Event]) -> None:
        paths: tuple[str, ...] = ()
        raw = NULL
        given = b.input
        if isinstance(given, LeanInput):
            paths = tuple(
                dict.fromkeys(
                    p for p in (given.file_path, given.notebook_path, given.path) if p
                )
            )
        elif given:
            raw = given.copy()
            try:
                paths = paths_in_top(msgspec.json.decode(raw))
            except msgspec.DecodeError:
                paths = ()
        name = b.name or "?"
        self._put(
            out,
            ToolCalled,
            base,
            tool_name=name,
            tool_kind=tool_kind(name),
            tool_id=b.id,
            input=raw,
            paths=paths,
        )

    def _usage(
        self, r: LeanLine, m: LeanMessage, f: Facts, base: dict[str, Any], out: list[Event]
    ) -> None:
        usage = _tokens(m.usage)
        message, request = m.id or "", r.requestId if isinstance(r.requestId, str) else ""
        if message:
            key = self._key(message, request)
        else:
            key = request or r.uuid or f"{self.uri}:{base['ref'].offset}"
        key = f"claude:{key}"
        if self.s.stated or not r.uuid:  # a captured stream, which may end in stated totals
            self._remember(base["session"], m.model or "unknown", key, usage)
        self._put(
            out,
            UsageReported,
            base,
            key=key,
            usage=usage,
            provider="anthropic",
            model=m.model or "unknown",
            reported_micro_usd=micro_usd(r.costUSD),
        )

    def _key(self, message: str, request: str) -> str:
        """One key for all records of a response, whether or not each of them has both ids."""
        known = self.s.requests.get(message)
        if known is None or (known and request and known != request):
            if len(self.s.requests) >= RECENT:
                del self.s.requests[next(iter(self.s.requests))]
            self.s.requests[message] = known = request
        return f"{message}:{known}" if known else message

    def _user(self, r: LeanLine, f: Facts, base: dict[str, Any], out: list[Event]) -> None:
        m = r.message
        content = m.content if m is not None else r.content
        texts: list[str] = []
        images = 0
        is_result = r.toolUseResult is not ABSENT or r.tool_use_result is not ABSENT
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            for b in content:
                if not isinstance(b, LeanBlock | FullBlock):
                    continue
                if b.type == "tool_result":
                    is_result = True
                    self._returned(r, b, base, out)
                elif b.type == "text":
                    texts.append(b.text or "")
                elif b.type in ("image", "document"):
                    images += 1
                elif b.type:
                    out.append(self.warn("unknown", f"content block {b.type!r}", base["ref"]))
        text = "\n".join(t for t in texts if t)
        if text.startswith(INTERRUPTED):
            f.aborts += 1
            self._put(out, StateChanged, base, what="aborted", new=text[:200])
            return
        if not text and not (images and not is_result):
            return
        command = _command.search(text[:2000]) if "<command-" in text[:200] else None
        if command:
            args = _args.search(text)
            text = f"{command[1]} {args[1].strip() if args else ''}".strip()
        injected = (
            bool(r.isMeta or r.isCompactSummary)
            or (is_result and _only_reminders(texts))
            or (not command and text.startswith(INJECTED))
        )
        if not injected:
            f.prompts += 1
            f.messages += 1
            if not f.first_uid:
                f.first_uid = base["uid"]
            if not f.prompt and not command:
                f.prompt = clean(text)
        self._put(
            out,
            UserMessage,
            base,
            content=text,
            message_id=r.uuid,
            injected=injected,
            images=images,
        )

    def _returned(self, r: LeanLine, b: Any, base: dict[str, Any], out: list[Event]) -> None:
        info = r.toolUseResult
        child = None
        data = NULL
        if isinstance(info, ResultInfo):
            child = info.agentId
        elif isinstance(info, Raw) and info is not ABSENT:
            data = info.copy()
            try:
                child = msgspec.json.decode(info, type=ResultInfo).agentId
            except msgspec.DecodeError:
                child = None
        sid = base["session"].removeprefix("claude:").partition(".agent-")[0]
        output = _result_text(getattr(b, "content", None)) if self.text else None
        self._put(
            out,
            ToolReturned,
            base,
            tool_id=b.tool_use_id,
            success=not b.is_error,
            output=output,
            error=output if b.is_error else None,
            data=data,
            child=f"claude:{sid}.agent-{child}" if child else None,
        )

    def _progress(self, r: LeanLine, base: dict[str, Any], out: list[Event]) -> None:
        p = r.data
        if p is None or p.type != "agent_progress" or p.message is None or not p.agentId:
            return
        inner, m = p.message, p.message.message
        if inner.type != "assistant" or m is None or m.usage is None or not m.id:
            return
        request = inner.requestId if isinstance(inner.requestId, str) else ""
        sid = base["session"].removeprefix("claude:").partition(".agent-")[0]
        child = f"{sid}.agent-{p.agentId}"
        f = self.fact(child)
        f.parent, f.relation, f.completeness = sid, "subagent", "partial"
        f.model = f.model or m.model or ""
        at_text = inner.timestamp or base["at_text"]
        at = to_ms(at_text)
        if at is not None:
            f.started_at = min(f.started_at or at, at)
            f.last_at = max(f.last_at or at, at)
        self._put(
            out,
            UsageReported,
            {**base, "session": f"claude:{child}", "at": at, "at_text": at_text},
            key=f"claude:{self._key(m.id, request)}",
            usage=_tokens(m.usage),
            provider="anthropic",
            model=m.model or "unknown",
            rank=1,
        )

    def _system(self, r: LeanLine, f: Facts, base: dict[str, Any], out: list[Event]) -> None:
        if r.subtype in ("compact_boundary", "microcompact_boundary"):
            meta = r.compactMetadata
            if r.subtype == "compact_boundary":
                f.compactions += 1
            self._put(
                out,
                Compacted,
                base,
                trigger=(meta.trigger if meta else None) or r.subtype.removesuffix("_boundary"),
                tokens_before=meta.preTokens if meta else None,
            )
        else:
            text = r.content if isinstance(r.content, str) else ""
            message = f"{r.subtype or 'system'} {clean(text, 1000)}".strip()
            self._put(out, ProviderStatus, base, message=message)

    def _result(self, r: LeanLine, f: Facts, base: dict[str, Any], out: list[Event]) -> None:
        """The end of a captured ``--output-format stream-json`` run, with cumulative totals."""
        for model, u in (r.modelUsage or {}).items():
            f.model = f.model or model
            stated = [
                count(u.inputTokens),
                count(u.outputTokens),
                count(u.cacheCreationInputTokens),
                count(u.cacheReadInputTokens),
            ]
            key = f"{base['session']}|{model}"
            self.s.stated[key] = stated = [
                max(a, b) for a, b in zip(stated, self.s.stated.get(key, stated), strict=True)
            ]
            seen = self.s.recorded.get(key, [0, 0, 0, 0])
            rest = [max(0, a - b) for a, b in zip(stated, seen, strict=True)]
            if any(rest) or key in self.s.last:
                self._put(
                    out,
                    UsageReported,
                    base,
                    key=f"claude:result:{key}",
                    usage=Usage(
                        input=rest[0], output=rest[1], cache_write=rest[2], cache_read=rest[3]
                    ),
                    provider="anthropic",
                    model=model,
                    rank=0,
                )
                self.s.last[key] = rest
        ms = count(r.duration_ms)
        if ms and f.last_at is None and f.started_at is not None:
            f.last_at = f.started_at + ms
        for d in r.permission_denials or ():
            self._put(out, Permission, base, tool_name=d.tool_name or "?", granted=False)
        text = r.result if isinstance(r.result, str) else ""
        self._put(out, SessionResult, base, result=text)

    def _remember(self, session: str, model: str, key: str, usage: Usage) -> None:
        total = self.s.recorded.setdefault(f"{session}|{model}", [0, 0, 0, 0])
        now = [usage.input, usage.output, usage.cache_write, usage.cache_read]
        before = self.s.last.get(key, [0, 0, 0, 0])
        for i in range(4):
            total[i] += now[i] - before[i]
        if len(self.s.last) >= RECENT:
            del self.s.last[next(iter(self.s.last))]
        self.s.last[key] = now

    def _title(self, r: LeanLine, f: Facts, base: dict[str, Any], out: list[Event]) -> None:
        rank, text = {
            "summary": (1, r.summary),
            "ai-title": (2, r.aiTitle),
            "agent-name": (2, r.agentName),
            "custom-title": (3, r.customTitle),
        }[r.type]
        text = clean(text or "", TITLE_LENGTH)
        if text and rank >= f.title_rank and text != f.title:
            self._put(out, StateChanged, base, what="title", old=f.title or None, new=text)
            f.title, f.title_rank = text, rank


def _tokens(t: Tokens | None) -> Usage:
    if t is None:
        return Usage()
    written = t.cache_creation_input_tokens or 0
    hour = (t.cache_creation.ephemeral_1h_input_tokens or 0) if t.cache_creation else 0
    return Usage(
        input=max(0, t.input_tokens or 0),
        output=max(0, t.output_tokens or 0),
        cache_write=max(0, written),
        cache_write_1h=max(0, min(hour, written)),
        cache_read=max(0, t.cache_read_input_tokens or 0),
    )


def paths_in_top(value: object) -> tuple[str, ...]:
    """Paths named directly in a tool's input."""
    flat = {k: v for k, v in value.items() if isinstance(v, str)} if isinstance(value, dict) else {}
    return paths_in(flat, PATH_KEYS)


def _result_text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (b.get("text") for b in content if isinstance(b, dict))
        return "\n".join(p for p in parts if isinstance(p, str))
    return ""


def _only_reminders(texts: list[str]) -> bool:
    return all(t.startswith(INJECTED) or not t.strip() for t in texts)


class Claude(Agent):
    name = "claude"
    title = "Claude Code"
    provider = "anthropic"
    variables = ("CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME")
    clean_up = "deletes transcripts after cleanupPeriodDays (settings.json), 30 days by default"

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = env["HOME"]
        given = [p for p in env.get("CLAUDE_CONFIG_DIR", "").split(",") if p]
        config = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
        bases = given or [f"{home}/.claude", f"{config}/claude"]
        skip = ("tool-results", "memory")
        return tuple(Root(f"{b.rstrip('/')}/projects", skip=skip) for b in dict.fromkeys(bases))

    def claim(self, relative: str) -> Claim | None:
        name = relative.rpartition("/")[2]
        if name.endswith(".jsonl"):
            return "ignore" if name == "journal.jsonl" else "jsonl"
        if name.endswith(".meta.json"):
            return "companion"
        if name.startswith(".") or not name.endswith((".zst", ".gz", ".db", ".sqlite")):
            return "ignore"
        return None

    def companions(self, uri: str) -> tuple[str, ...]:
        if uri.rpartition("/")[2].startswith("agent-"):
            return (uri.removesuffix(".jsonl") + ".meta.json",)
        return ()

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> ClaudeReader:
        return ClaudeReader(cursor, text=text, companions=companions)


AGENT = Claude()
