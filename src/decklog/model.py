"""The central types of decklog: frozen, keyword-only Structs that import nothing of ours.

Times are integers: milliseconds since the Unix epoch, UTC. Where a transcript states a time, the
text it stated is kept beside it (``at_text``). Tokens are counts of provider tokens. Money is in
millionths of a US dollar (``micro_usd``). Session ids read ``agent:native``.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

Origin: TypeAlias = Literal[
    "wrapper", "provider_file", "provider_log", "stdout", "stderr", "backfill"
]
Completeness: TypeAlias = Literal["full", "partial", "metadata_only"]
Relation: TypeAlias = Literal["fork", "subagent", "resume", "continuation"]
ToolKind: TypeAlias = Literal[
    "shell",
    "file_read",
    "file_write",
    "file_edit",
    "search",
    "sub_agent",
    "web",
    "notebook",
    "other",
]
SourceKind: TypeAlias = Literal["jsonl", "json", "sqlite", "dir"]
Basis: TypeAlias = Literal["computed", "reported", "unknown", "mixed"]

NULL = msgspec.Raw(b"null")
"""The raw JSON of a field that has nothing in it."""


class Source(Struct, frozen=True, kw_only=True):
    """Where bytes come from: one file, one database or one directory tree of one agent."""

    agent: str
    uri: str
    """Absolute path."""
    kind: SourceKind = "jsonl"
    size: int = 0
    mtime_ns: int = 0
    device: int = 0
    inode: int = 0
    host: str = ""


class Cursor(Struct, frozen=True, kw_only=True):
    """How far a source has been read. A reader made from it goes on as if it had read it all."""

    source: Source
    offset: int = 0
    """Bytes read: always just past a newline, never inside a record."""
    line: int = 0
    """Lines read."""
    check: bytes = b""
    """Hash of the (at most) 4 KiB before ``offset``."""
    state: bytes = b""
    """The reader's own continuation; opaque to everyone else."""


class Ref(Struct, frozen=True):
    """The place a fact was read from."""

    source: str = ""
    """Path of the source; empty when the reader was fed by hand."""
    offset: int = 0
    """Byte offset of the record (its ordinal in a document or database)."""
    length: int = 0
    line: int = 0
    """Line number, from 1; 0 where there are no lines."""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one or more provider responses, in disjoint parts.

    ``input + cache_read + cache_write`` is what went in, ``output`` is all that came out.
    Where a provider does not report cache writes they are part of ``input``.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    """The part of ``cache_write`` that was written for one hour (dearer at some providers)."""
    output: int = 0
    reasoning: int = 0
    """The part of ``output`` that was reasoning."""

    @property
    def total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


class Cost(Struct, frozen=True, kw_only=True):
    """What usage cost. ``micro_usd`` is None where no price is known: unknown is not zero."""

    micro_usd: int | None = None
    basis: Basis = "unknown"
    reported_micro_usd: int | None = None
    """What the agent itself said it cost, kept beside the computed figure."""
    prices_date: str = ""
    """Date of the price list used (YYYY-MM-DD)."""


class Counts(Struct, frozen=True, kw_only=True):
    prompts: int = 0
    """Prompts a person (or a calling program) gave; injected text does not count."""
    messages: int = 0
    """Prompts and assistant texts."""
    tool_calls: int = 0
    tool_errors: int = 0
    files: int = 0
    """Distinct paths touched by tools."""
    responses: int = 0
    """Provider responses counted in this session's own usage."""
    subagents: int = 0
    compactions: int = 0
    aborts: int = 0
    limits: int = 0
    """Times the provider refused for a usage limit."""
    findings: int = 0


class Session(Struct, frozen=True, kw_only=True):
    """One run of one agent with one native id."""

    id: str
    agent: str
    native: str
    parent: str | None = None
    relation: Relation | None = None
    root: str = ""
    """The session at the top of its subagent chain; its own id where it has no such parent."""
    host: str = ""
    project: str = ""
    cwd: str = ""
    branch: str = ""
    title: str = ""
    prompt: str = ""
    """The beginning of the first prompt (at most 500 characters)."""
    model: str = ""
    agent_version: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    last_at: int | None = None
    counts: Counts = Counts()
    usage: Usage = Usage()
    """Own usage, without subagents and without what a fork inherited."""
    cost: Cost = Cost()
    tree_usage: Usage = Usage()
    """Own usage and that of all subagents below."""
    tree_cost: Cost = Cost()
    completeness: Completeness = "full"
    sources: tuple[str, ...] = ()
    gone: bool = False
    """True when no source of it is on disk any more."""


# --- events ---------------------------------------------------------------------------------


class EventBase(Struct, frozen=True, kw_only=True, omit_defaults=False, tag_field="type"):
    """What every event carries. ``seq`` counts from 1 within its source."""

    seq: int = 0
    at: int | None = None
    at_text: str = ""
    session: str = ""
    agent: str = ""
    origin: Origin = "provider_file"
    completeness: Completeness = "full"
    ref: Ref = Ref()
    uid: str = ""
    """Stable key of the record behind the event: equal in every copy of it."""


class SessionStarted(EventBase, frozen=True, kw_only=True, tag="session_started"):
    command: str = ""
    model: str | None = None
    cwd: str | None = None
    resumed: bool = False
    backfilled: bool = False


class UserMessage(EventBase, frozen=True, kw_only=True, tag="user_message"):
    role: str = "user"
    content: str = ""
    message_id: str | None = None
    injected: bool = False
    """True for text the agent put there itself (reminders, context, command output)."""
    images: int = 0


class AssistantMessage(EventBase, frozen=True, kw_only=True, tag="assistant_message"):
    content: str = ""
    message_id: str | None = None
    model: str = ""


class Reasoning(EventBase, frozen=True, kw_only=True, tag="reasoning"):
    content: str = ""
    message_id: str | None = None


class ToolCalled(EventBase, frozen=True, kw_only=True, tag="tool_call"):
    tool_name: str = ""
    tool_kind: ToolKind | None = None
    tool_id: str | None = None
    input: msgspec.Raw = NULL
    """The call's arguments, raw JSON."""
    paths: tuple[str, ...] = ()
    child: str | None = None
    """Session id of the subagent the call started, when the call itself says so."""


class ToolReturned(EventBase, frozen=True, kw_only=True, tag="tool_result"):
    tool_name: str | None = None
    tool_kind: ToolKind | None = None
    tool_id: str | None = None
    success: bool | None = None
    output: str | None = None
    error: str | None = None
    data: msgspec.Raw = NULL
    """What the agent recorded beside the result (diffs, exit codes), raw JSON."""
    paths: tuple[str, ...] = ()
    """Paths the result names as changed that its call did not."""
    duration_ms: int | None = None
    child: str | None = None


class Permission(EventBase, frozen=True, kw_only=True, tag="permission"):
    tool_name: str = ""
    description: str = ""
    granted: bool = False


class ProviderStatus(EventBase, frozen=True, kw_only=True, tag="provider_status"):
    message: str = ""
    data: msgspec.Raw = NULL


class Stderr(EventBase, frozen=True, kw_only=True, tag="stderr"):
    message: str = ""


class ParseWarning(EventBase, frozen=True, kw_only=True, tag="parse_warning"):
    """Something read that was not understood, or not whole; its place is ``ref``."""

    message: str = ""
    raw: str | None = None
    reason: str = "unknown"
    """One of the finding reasons (see `Finding`)."""


class SessionCleared(EventBase, frozen=True, kw_only=True, tag="session_cleared"):
    old_session_id: str | None = None
    new_session_id: str | None = None


class SessionEnded(EventBase, frozen=True, kw_only=True, tag="session_ended"):
    success: bool = True
    error: str | None = None


class SessionResult(EventBase, frozen=True, kw_only=True, tag="session_result"):
    result: str = ""


class Heartbeat(EventBase, frozen=True, kw_only=True, tag="heartbeat"):
    interval_secs: int | None = None


class UsageReported(EventBase, frozen=True, kw_only=True, tag="usage"):
    """One usage fact: what one provider response used.

    ``key`` names the response wherever it is recorded: in every streamed record of it, in every
    copy that a fork made. Of several facts with one key the one of highest ``rank`` counts, of
    equal rank the last of a source.
    """

    key: str = ""
    usage: Usage = Usage()
    provider: str = ""
    model: str = ""
    reported_micro_usd: int | None = None
    rank: int = 2
    """2 the response's own record; 1 an embedded copy; 0 a remainder of a stated total."""
    inherits: str = ""
    """Key this fact has in the parent session when it may be a replay of the parent's."""


class UserEvent(EventBase, frozen=True, kw_only=True, tag="user_event"):
    level: str = "info"
    message: str = ""
    data: msgspec.Raw = NULL


class UsageLimitHit(EventBase, frozen=True, kw_only=True, tag="usage_limit_hit"):
    provider: str = ""
    scope: str = ""
    reset_at: str | None = None
    scheduled_resume_at: str | None = None
    fallback_used: bool = False
    incident_id: str = ""
    raw: str | None = None


class UsageLimitResumed(EventBase, frozen=True, kw_only=True, tag="usage_limit_resumed"):
    incident_id: str = ""
    resume_message: str = ""
    attempt: int = 1


class UsageLimitResumeFailed(EventBase, frozen=True, kw_only=True, tag="usage_limit_resume_failed"):
    incident_id: str = ""
    error: str = ""
    attempt: int = 1


class Compacted(EventBase, frozen=True, kw_only=True, tag="compacted"):
    trigger: str = ""
    summary: str = ""
    tokens_before: int | None = None


class Forked(EventBase, frozen=True, kw_only=True, tag="forked"):
    parent: str = ""
    relation: Relation = "fork"


class StateChanged(EventBase, frozen=True, kw_only=True, tag="state_changed"):
    """The agent said that something about the session changed (model, title, mode, abort)."""

    what: str = ""
    old: str | None = None
    new: str | None = None


Event: TypeAlias = (
    SessionStarted
    | UserMessage
    | AssistantMessage
    | Reasoning
    | ToolCalled
    | ToolReturned
    | Permission
    | ProviderStatus
    | Stderr
    | ParseWarning
    | SessionCleared
    | SessionEnded
    | SessionResult
    | Heartbeat
    | UsageReported
    | UserEvent
    | UsageLimitHit
    | UsageLimitResumed
    | UsageLimitResumeFailed
    | Compacted
    | Forked
    | StateChanged
)


# --- what a reader knows of a session, and what is asked of a store ---------------------------


class Facts(Struct, kw_only=True):
    """What one reader has learnt of one session so far. Mutable; part of the reader's state.

    The store keeps one row of it for each (source, session) and merges the rows of a session.
    """

    native: str = ""
    parent: str = ""
    """Native id of the parent session of the same agent, when the transcript states it."""
    relation: Relation | None = None
    copies: Relation = "fork"
    """What it means when this session holds copies of another's responses without saying so."""
    cwd: str = ""
    project: str = ""
    """Identity of the repository when the transcript states it (a remote URL)."""
    branch: str = ""
    title: str = ""
    title_rank: int = 0
    """Higher wins: 1 a summary, 2 the agent's own title, 3 the user's."""
    prompt: str = ""
    model: str = ""
    agent_version: str = ""
    opened_at: int | None = None
    """Time of the first record that carries one, copied or not."""
    started_at: int | None = None
    ended_at: int | None = None
    last_at: int | None = None
    first_uid: str = ""
    """uid of the first message: equal in twins of one transcript."""
    prompts: int = 0
    messages: int = 0
    compactions: int = 0
    aborts: int = 0
    limits: int = 0
    completeness: Completeness = "full"


class Block(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One part of a message."""


class Text(Block, frozen=True, kw_only=True, tag="text"):
    text: str = ""


class Thinking(Block, frozen=True, kw_only=True, tag="thinking"):
    text: str = ""


class ToolUse(Block, frozen=True, kw_only=True, tag="tool_use"):
    id: str = ""
    name: str = ""
    input: msgspec.Raw = NULL


class ToolResult(Block, frozen=True, kw_only=True, tag="tool_result"):
    id: str = ""
    ok: bool | None = None
    output: str = ""


class Image(Block, frozen=True, kw_only=True, tag="image"):
    media_type: str = ""
    size: int = 0


class Opaque(Block, frozen=True, kw_only=True, tag="opaque"):
    """A part that is not understood, kept as it was."""

    raw: msgspec.Raw = NULL


class Message(Struct, frozen=True, kw_only=True):
    id: str
    parent: str | None = None
    role: str = "user"
    model: str = ""
    at: int | None = None
    usage: Usage | None = None
    blocks: tuple[Text | Thinking | ToolUse | ToolResult | Image | Opaque, ...] = ()


class ToolCall(Struct, frozen=True, kw_only=True):
    """A tool call joined to its result."""

    id: str
    session: str
    name: str
    kind: ToolKind
    input: msgspec.Raw = NULL
    paths: tuple[str, ...] = ()
    at: int | None = None
    duration_ms: int | None = None
    ok: bool | None = None
    """None while no result has been recorded."""
    output: str | None = None
    data: msgspec.Raw = NULL
    child: str | None = None
    """Session id of the subagent it started."""


class Turn(Struct, frozen=True, kw_only=True):
    """A prompt and all that follows until the next prompt."""

    session: str
    index: int
    prompt: str = ""
    at: int | None = None
    ended_at: int | None = None
    reply: str = ""
    """The last assistant text of the turn."""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    cost: Cost = Cost()
    paths: tuple[str, ...] = ()
    outcome: Literal["done", "aborted", "limited", "error", "open"] = "open"


class Finding(Struct, frozen=True, kw_only=True):
    """Something that was not read as it stood: where, how much, and why.

    Reasons: ``damaged`` (bytes that are no record), ``salvaged`` (a record found inside a bad
    line), ``unknown`` (a record type that is not known), ``bad_field``, ``misfiled``,
    ``too_long``, ``too_deep``, ``unrecognized`` (a file in an agent's store that no rule claims),
    ``unreadable``, ``rewritten`` (a source that shrank or was replaced), ``bomb``.
    """

    agent: str
    source: str
    offset: int = 0
    length: int = 0
    line: int = 0
    reason: str = "unknown"
    detail: str = ""
    sha256: str = ""
    count: int = 1


class UsageRow(Struct, frozen=True, kw_only=True):
    """One row of a usage report; ``date`` is a day, ISO week, month, or empty."""

    date: str = ""
    agent: str = ""
    provider: str = ""
    model: str = ""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_micro_usd: int | None = None
    reported_micro_usd: int | None = None
    basis: Basis = "unknown"
    unpriced_responses: int = 0
    responses: int = 0
    sessions: int = 0


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """One recorded usage fact and whether it counted."""

    session: str
    key: str
    at: int | None = None
    date: str = ""
    agent: str = ""
    provider: str = ""
    model: str = ""
    usage: Usage = Usage()
    cost: Cost = Cost()
    counted: bool = True
    reason: str = ""
    """Why it counted, or why it did not."""
    counted_in: str | None = None
    """The session that the same response counted in, when not in this one."""
    records: int = 1
    """Records of this response in the source; the last one stands."""
    ref: Ref = Ref()


class Filter(Struct, frozen=True, kw_only=True):
    """One question type for every face. Times are milliseconds, UTC; ``until`` is exclusive."""

    agents: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    limit: int | None = None
    offset: int = 0
    subagents: bool = True


def to_builtins(value: Any) -> Any:
    """The value as dicts and lists, ready for a JSON encoder."""
    return msgspec.to_builtins(value)
