"""What a wrapped agent said on its output, in one form for all, to events of our own log.

For agents whose transcripts are not read. Where they are, the transcript tells it better, and
nothing of this is needed.
"""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from decklog.agents._shared import tool_kind
from decklog.model import (
    NULL,
    AssistantMessage,
    Event,
    Permission,
    ProviderStatus,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)


class Piece(Struct, frozen=True, kw_only=True, tag_field="type"):
    """A block of a message: ``text``, or ``tool_use``."""


class TextPiece(Piece, frozen=True, kw_only=True, tag="text"):
    text: str = ""


class ToolUsePiece(Piece, frozen=True, kw_only=True, tag="tool_use"):
    name: str = ""
    id: str | None = None
    input: Raw = NULL


AnyPiece: TypeAlias = TextPiece | ToolUsePiece


class Part(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One thing of an `Output`."""


class Init(Part, frozen=True, kw_only=True, tag="init"):
    model: str = ""
    working_directory: str | None = None
    metadata: Raw = NULL


class UserSaid(Part, frozen=True, kw_only=True, tag="user_message"):
    content: tuple[AnyPiece, ...] = ()


class AgentSaid(Part, frozen=True, kw_only=True, tag="assistant_message"):
    content: tuple[AnyPiece, ...] = ()


class ToolRan(Part, frozen=True, kw_only=True, tag="tool_execution"):
    tool_name: str = ""
    tool_id: str | None = None
    success: bool | None = None
    output: str | None = None
    error: str | None = None
    data: Raw = NULL


class Asked(Part, frozen=True, kw_only=True, tag="permission_request"):
    tool_name: str = ""
    description: str = ""
    granted: bool = False


class Failed(Part, frozen=True, kw_only=True, tag="error"):
    message: str = ""
    details: Raw = NULL


class Done(Part, frozen=True, kw_only=True, tag="result"):
    message: str | None = None
    success: bool = True
    duration_ms: int | None = None
    num_turns: int | None = None


class TurnDone(Part, frozen=True, kw_only=True, tag="turn_complete"):
    turn_index: int = 0
    stop_reason: str | None = None
    usage: Raw = NULL


class LimitMet(Part, frozen=True, kw_only=True, tag="usage_limit"):
    provider: str = ""
    scope: str = ""
    reset_at: str | None = None
    raw: str | None = None


AnyPart: TypeAlias = (
    Init | UserSaid | AgentSaid | ToolRan | Asked | Failed | Done | TurnDone | LimitMet
)


class Used(Struct, frozen=True, kw_only=True):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


class Output(Struct, frozen=True, kw_only=True):
    """What one run of an agent said."""

    session_id: str = ""
    """Native id; empty or ``unknown`` where the agent told none."""
    events: tuple[AnyPart, ...] = ()
    usage: Used | None = None
    total_cost_usd: float | None = None

    @property
    def native(self) -> str:
        return "" if self.session_id == "unknown" else self.session_id


def to_events(output: Output, agent: str) -> list[Event]:
    """The events of an output, in its order; usage last."""
    made: list[Event] = []
    common = {"agent": agent, "origin": "wrapper"}
    for part in output.events:
        made += (msgspec.structs.replace(e, **common) for e in _events(part))
    if output.usage is not None or output.total_cost_usd is not None:
        made.append(msgspec.structs.replace(_usage(output, agent), **common))
    return made


def _events(part: AnyPart) -> list[Event]:
    match part:
        case Init():
            data = _raw(working_directory=part.working_directory, metadata=part.metadata)
            return [ProviderStatus(message=f"Initialized {part.model}", data=data)]
        case UserSaid():
            return [UserMessage(content=p.text) for p in part.content if isinstance(p, TextPiece)]
        case AgentSaid():
            return [_said(p) for p in part.content]
        case ToolRan():
            return [
                ToolReturned(
                    tool_name=part.tool_name, tool_kind=tool_kind(part.tool_name),
                    tool_id=part.tool_id, success=part.success, output=part.output,
                    error=part.error, data=part.data,
                )
            ]  # fmt: skip
        case Asked():
            return [
                Permission(
                    tool_name=part.tool_name, description=part.description, granted=part.granted
                )
            ]
        case Failed():
            return [ProviderStatus(message=part.message, data=part.details)]
        case Done():
            data = _raw(
                success=part.success, duration_ms=part.duration_ms, num_turns=part.num_turns
            )
            return [ProviderStatus(message=part.message or "Result emitted", data=data)]
        case TurnDone():
            data = _raw(stop_reason=part.stop_reason, turn_index=part.turn_index, usage=part.usage)
            return [ProviderStatus(message=f"Turn {part.turn_index} complete", data=data)]
        case LimitMet():
            return [
                UsageLimitHit(
                    provider=part.provider, scope=part.scope, reset_at=part.reset_at,
                    incident_id=str(uuid4()), raw=part.raw,
                )
            ]  # fmt: skip


def _said(piece: AnyPiece) -> Event:
    if isinstance(piece, TextPiece):
        return AssistantMessage(content=piece.text)
    return ToolCalled(
        tool_name=piece.name, tool_kind=tool_kind(piece.name), tool_id=piece.id, input=piece.input
    )


def _usage(output: Output, agent: str) -> Event:
    used = output.usage or Used()
    cost = output.total_cost_usd
    return UsageReported(
        key=f"{agent}:output:{uuid4()}",
        usage=Usage(
            input=used.input_tokens,
            output=used.output_tokens,
            cache_read=used.cache_read_tokens,
            cache_write=used.cache_creation_tokens,
        ),
        reported_micro_usd=None if cost is None else round(cost * 1_000_000),
    )


def _raw(**data: Any) -> Raw:
    return Raw(msgspec.json.encode(data))
