"""The events: one Struct for each kind, tagged by ``type`` with its wire name."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Struct

from decklog.model.base import NULL, Completeness, Origin, Ref, Relation, ToolKind, Usage


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
