"""Shapes of the records of a rollout: only the fields that are read, every one of them optional.

A line is an envelope with a payload; both are told by their ``type``, so that a line is decoded
once, into no more than what its kind needs. Kinds that are left out here, and the layouts of old
versions, are lifted into these by the reader.
"""

from __future__ import annotations

from typing import Any, TypeAlias, get_args

from msgspec import Raw, Struct, field

from decklog.agents._shared import Name
from decklog.model import NULL

# --- parts ------------------------------------------------------------------------------------


class Part(Struct):
    """One part of a message, a summary, or a list-shaped output."""

    type: str = ""
    text: str | None = None


Parts: TypeAlias = list[Part] | str | None


class Tokens(Struct):
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_output_tokens: int | None = None


class TokenInfo(Struct):
    total_token_usage: Tokens | None = None
    last_token_usage: Tokens | None = None


class Elapsed(Struct):
    secs: int | None = None
    nanos: int | None = None


class Problem(Struct):
    message: str | None = None
    codex_error_info: Any = None


class Annotations(Struct):
    content_item_kinds: list[str] | None = None
    """Where each part of a message comes from: ``user.text``, ``environments.…``."""


class Harness(Struct):
    """What Codex notes for itself beside a response item."""

    compaction_output: bool | None = None
    inherited_user_message: bool | None = None


# --- response items ---------------------------------------------------------------------------


class Message(Struct, tag="message"):
    id: Name | None = None
    role: Name | None = None
    content: Parts = None
    internal_chat_message_metadata_passthrough: Annotations | None = None


class AgentMessage(Struct, tag="agent_message"):
    """A message from one agent of a team to another."""

    id: Name | None = None
    content: Parts = None


class Thought(Struct, tag="reasoning"):
    id: Name | None = None
    summary: Parts = None
    content: Parts = None


class FunctionCall(Struct, tag="function_call"):
    call_id: Name | None = None
    name: Name | None = None
    namespace: Name | None = None
    arguments: Raw = NULL


class CustomCall(Struct, tag="custom_tool_call"):
    """A call whose input is free text: a patch, a script."""

    call_id: Name | None = None
    name: Name | None = None
    namespace: Name | None = None
    arguments: Raw = field(default=NULL, name="input")


class ToolSearch(Struct, tag="tool_search_call"):
    call_id: Name | None = None
    arguments: Raw = NULL


class LocalShell(Struct, tag="local_shell_call"):
    id: Name | None = None
    call_id: Name | None = None
    arguments: Raw = field(default=NULL, name="action")


class WebSearch(Struct, tag="web_search_call"):
    id: Name | None = None
    status: Name | None = None
    arguments: Raw = field(default=NULL, name="action")


class ImageMade(Struct, tag="image_generation_call"):
    id: Name | None = None
    status: Name | None = None


class FunctionOutput(Struct, tag="function_call_output"):
    call_id: Name | None = None
    output: Raw = NULL


class CustomOutput(Struct, tag="custom_tool_call_output"):
    call_id: Name | None = None
    output: Raw = NULL


class ToolsFound(Struct, tag="tool_search_output"):
    call_id: Name | None = None
    status: Name | None = None


class GhostSnapshot(Struct, tag="ghost_snapshot"):
    """A commit that Codex made to undo a turn."""


ResponseItem: TypeAlias = (
    Message
    | AgentMessage
    | Thought
    | FunctionCall
    | CustomCall
    | ToolSearch
    | LocalShell
    | WebSearch
    | ImageMade
    | FunctionOutput
    | CustomOutput
    | ToolsFound
    | GhostSnapshot
)

# --- events -----------------------------------------------------------------------------------


class UserSaid(Struct, tag="user_message"):
    message: str | None = None
    images: list[Any] | None = None
    local_images: list[Any] | None = None


class AgentSaid(Struct, tag="agent_message"):
    message: str | None = None


class AgentThought(Struct, tag="agent_reasoning"):
    """Repeats one part of a `Thought`."""


class TokenCount(Struct, tag="token_count"):
    info: TokenInfo | None = None


class TurnStarted(Struct, tag="task_started"):
    turn_id: Name | None = None


class TurnEnded(Struct, tag="task_complete"):
    turn_id: Name | None = None
    error: Problem | str | None = None


class TurnAborted(Struct, tag="turn_aborted"):
    turn_id: Name | None = None
    reason: str | None = None
    error: Problem | str | None = None


class Failure(Struct, tag="error"):
    message: str | None = None
    codex_error_info: Any = None


class Settings(Struct):
    model: Name | None = None
    model_provider_id: Name | None = None


class SettingsApplied(Struct, tag="thread_settings_applied"):
    thread_settings: Settings | None = None


class Renamed(Struct, tag="thread_name_updated"):
    thread_name: str | None = None


class RolledBack(Struct, tag="thread_rolled_back"):
    num_turns: int | None = None


class Content(Struct):
    isError: bool | None = None  # noqa: N815


class McpResult(Struct):
    Ok: Content | None = None
    Err: Any = None


class PatchEnd(Struct, tag="patch_apply_end"):
    call_id: Name | None = None
    success: bool | None = None
    changes: dict[str, Any] | None = None


class McpEnd(Struct, tag="mcp_tool_call_end"):
    call_id: Name | None = None
    duration: Elapsed | str | None = None
    result: McpResult | None = None


class ExecEnd(Struct, tag="exec_command_end"):
    call_id: Name | None = None
    exit_code: int | None = None
    duration: Elapsed | str | None = None


class SubagentActivity(Struct, tag="sub_agent_activity"):
    event_id: Name | None = None
    """Id of the call that caused it."""
    agent_thread_id: Name | None = None
    kind: Name | None = None


class Item(Struct):
    """A finished turn item; which fields it has depends on its type."""

    type: str = ""
    id: Name | None = None
    content: list[Part] | None = None
    status: Name | None = None
    exit_code: int | None = None
    duration: Elapsed | str | None = None
    aggregated_output: str | None = None
    changes: dict[str, Any] | None = None
    path: Name | None = None
    tool: Name | None = None
    kind: Name | None = None
    receiver_thread_ids: list[str] | None = None
    agent_thread_id: Name | None = None


class ItemCompleted(Struct, tag="item_completed"):
    item: Item | None = None


EventMsg: TypeAlias = (
    UserSaid
    | AgentSaid
    | AgentThought
    | TokenCount
    | TurnStarted
    | TurnEnded
    | TurnAborted
    | Failure
    | SettingsApplied
    | Renamed
    | RolledBack
    | PatchEnd
    | McpEnd
    | ExecEnd
    | SubagentActivity
    | ItemCompleted
)

# --- payloads of the other lines --------------------------------------------------------------


class Spawn(Struct):
    parent_thread_id: Name | None = None
    agent_path: Name | None = None
    agent_nickname: Name | None = None


class Subagent(Struct):
    thread_spawn: Spawn | None = None


class Origin(Struct):
    subagent: Subagent | str | None = None


class Git(Struct):
    branch: Name | None = None
    repository_url: Name | None = None


class Meta(Struct):
    id: Name | None = None
    timestamp: Name | None = None
    cwd: Name | None = None
    originator: Name | None = None
    cli_version: Name | None = None
    model_provider: Name | None = None
    source: Origin | str | None = None
    thread_source: Name | None = None
    session_id: Name | None = None
    """In a subagent that of its parent."""
    parent_thread_id: Name | None = None
    forked_from_id: Name | None = None
    agent_path: Name | None = None
    agent_nickname: Name | None = None
    git: Git | None = None


class TurnContext(Struct):
    turn_id: Name | None = None
    cwd: Name | None = None
    model: Name | None = None


class UsageRecord(Struct):
    """What one provider response used."""

    thread_id: Name | None = None
    response_id: Name | None = None
    usage: Tokens | None = None


class Compaction(Struct):
    message: str | None = None
    window_id: Name | None = None
    latest_token_usage_record: UsageRecord | None = None


class AgentNote(Struct):
    """What one agent of a team told another, in older records."""

    id: Name | None = None
    content: Parts = None


# --- lines ------------------------------------------------------------------------------------


class Unread(Struct):
    """A payload that nothing is read from."""


class Line(Struct, tag_field="type"):
    timestamp: Name | None = None
    payload: Any = None


class ItemLine(Line, tag="response_item"):
    payload: ResponseItem | None = None
    metadata: Harness | None = None


class EventLine(Line, tag="event_msg"):
    payload: EventMsg | None = None


class MetaLine(Line, tag="session_meta"):
    payload: Meta | None = None


class ContextLine(Line, tag="turn_context"):
    payload: TurnContext | None = None


class UsageLine(Line, tag="token_usage_record"):
    payload: UsageRecord | None = None


class CompactedLine(Line, tag="compacted"):
    payload: Compaction | None = None


class NoteLine(Line, tag="inter_agent_communication"):
    payload: AgentNote | None = None


class WorldState(Line, tag="world_state"):
    """What the model was told of its surroundings."""

    payload: Unread | None = None


RolloutLine: TypeAlias = (
    ItemLine
    | EventLine
    | MetaLine
    | ContextLine
    | UsageLine
    | CompactedLine
    | NoteLine
    | WorldState
)


def tags(union: object) -> frozenset[str]:
    """The ``type`` words of the members of a union."""
    return frozenset(kind.__struct_config__.tag for kind in get_args(union))


class IndexEntry(Struct):
    """A line of ``session_index.jsonl``."""

    id: str = ""
    thread_name: str = ""
