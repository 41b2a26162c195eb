"""What a line is: kinds that are told apart, and the layouts of old versions."""

from __future__ import annotations

from typing import Any

from decklog.agents.codex.records import EventMsg, ResponseItem, RolloutLine, tags

ITEMS = tags(ResponseItem)
EVENTS = tags(EventMsg)
LINES = tags(RolloutLine)
QUIET = frozenset(
    """state inter_agent_communication_metadata security_risk_score retained_context realtime_item
    rollout_reference agent_response_observation
    response_item/compaction response_item/context_compaction response_item/compaction_trigger
    response_item/compaction_summary response_item/additional_tools
    response_item/configuration_update response_item/other
    event_msg/agent_reasoning_raw_content event_msg/agent_reasoning_section_break
    event_msg/context_compacted event_msg/web_search_end event_msg/web_search_begin
    event_msg/image_generation_end event_msg/image_generation_begin event_msg/item_started
    event_msg/exec_command_begin event_msg/exec_command_output_delta event_msg/patch_apply_begin
    event_msg/mcp_tool_call_begin event_msg/plan_update event_msg/turn_diff
    event_msg/raw_response_item event_msg/session_configured event_msg/shutdown_complete
    event_msg/collab_agent_interaction_end event_msg/collab_waiting_end
    event_msg/collab_close_end event_msg/collab_resume_end
    event_msg/dynamic_tool_call_request event_msg/hook_started""".split()
)
"""Kinds that repeat others, or say nothing of prompts, answers, tools or usage."""
NOTICES = frozenset(
    """entered_review_mode exited_review_mode thread_goal_updated undo_completed warning
    stream_error background_event guardian_warning guardian_assessment model_reroute
    model_verification deprecation_notice hook_completed""".split()
)
"""Events that are passed on as they are."""


def kind_of(value: dict[str, Any]) -> str:
    """The type of a line that is known, else its type and that of its payload."""
    kind, payload = _type(value), value.get("payload")
    if kind in ("response_item", "event_msg") and isinstance(payload, dict):
        known = ITEMS if kind == "response_item" else EVENTS
        if _type(payload) not in known:
            return f"{kind}/{_type(payload)}"
    return kind or "?"


def documents(value: Any) -> list[Any]:
    """The records of a whole document, as the first (TypeScript) CLI wrote them; else the value
    itself."""
    if isinstance(value, dict) and isinstance(value.get("session"), dict):
        items = value.get("items")
        return [value["session"], *(items if isinstance(items, list) else [])]
    return [value]


def lift(value: dict[str, Any]) -> dict[str, Any]:
    """A record of an older version in today's envelope.

    Until August 2025 a line was a bare response item, and the first one bare metadata.
    """
    kind, payload = _type(value), value.get("payload")
    if payload is None:
        if "record_type" in value:
            return {"type": "state"}
        if kind in ITEMS or (not kind and "role" in value):
            line = "response_item"
        elif not kind and "id" in value:
            line = "session_meta"
        else:
            return value
        payload = {**value, "type": kind}
        value = {"timestamp": value.get("timestamp"), "type": line, "payload": payload}
    if isinstance(payload, dict) and not _type(payload) and "role" in payload:
        payload["type"] = "message"
    return value


def _type(value: dict[str, Any]) -> str:
    kind = value.get("type")
    return kind if isinstance(kind, str) else ""
