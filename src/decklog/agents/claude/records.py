"""What is read of a record. Fields stand in the order Claude Code writes them, which is the order
that decodes fastest; what may be of any type, and is looked at rarely, is `Any` or raw.

The lean forms leave message and tool bodies out. They accept exactly what the full ones accept.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Raw, Struct

from decklog.agents._shared import Name
from decklog.model import NULL

ABSENT: Any = Raw(b"")
"""Stands for a key that a record does not have at all."""

Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]


class CacheCreation(Struct, gc=False):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class Thought(Struct, gc=False):
    thinking_tokens: Count | None = None


class Iteration(Struct, gc=False):
    """One sampling step of a response."""

    type: str = ""
    model: Name | None = None
    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: Count | None = None
    output_tokens_details: Thought | None = None


class Tokens(Struct, gc=False):
    input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation: CacheCreation | None = None
    output_tokens: Count | None = None
    output_tokens_details: Thought | None = None
    iterations: list[Iteration] | None = None


class Input(Struct, gc=False):
    """The arguments of a tool that name files."""

    file_path: Any = None
    notebook_path: Any = None
    path: Any = None


class LeanBlock(Struct, gc=False):
    type: str = ""
    text: str | None = None
    id: Name | None = None
    name: Name | None = None
    input: Input | str | list[Raw] | bool | int | float | None = None
    tool_use_id: Name | None = None
    is_error: bool | None = None


class FullBlock(Struct, gc=False):
    type: str = ""
    text: str | None = None
    id: Name | None = None
    name: Name | None = None
    input: Raw = NULL
    tool_use_id: Name | None = None
    is_error: bool | None = None
    thinking: Raw = NULL
    content: Raw = NULL


class LeanMessage(Struct, gc=False):
    model: Name | None = None
    id: Name | None = None
    content: str | list[LeanBlock] | None = None
    usage: Tokens | None = None


class FullMessage(Struct, gc=False):
    model: Name | None = None
    id: Name | None = None
    content: str | list[FullBlock] | None = None
    usage: Tokens | None = None


class Result(Struct, gc=False):
    """What is kept of ``toolUseResult`` where its body is not wanted."""

    agentId: Any = None  # noqa: N815


class Origin(Struct, gc=False):
    kind: Name | None = None


class Attachment(Struct, gc=False):
    type: Name | None = None
    prompt: Any = None
    commandMode: Name | None = None  # noqa: N815
    origin: Origin | None = None


class ForkedFrom(Struct, gc=False):
    sessionId: Name | None = None  # noqa: N815


class Compaction(Struct, gc=False):
    trigger: Name | None = None
    preTokens: int | None = None  # noqa: N815


class Embedded(Struct, gc=False):
    """A subagent's record inside a ``progress`` record of its parent."""

    type: Name | None = None
    timestamp: Name | None = None
    message: LeanMessage | None = None
    requestId: Name | None = None  # noqa: N815


class Progress(Struct, gc=False):
    type: Name | None = None
    message: Embedded | None = None
    agentId: Name | None = None  # noqa: N815


class ModelUsage(Struct, gc=False):
    inputTokens: Count | None = None  # noqa: N815
    outputTokens: Count | None = None  # noqa: N815
    cacheReadInputTokens: Count | None = None  # noqa: N815
    cacheCreationInputTokens: Count | None = None  # noqa: N815


class Denial(Struct, gc=False):
    tool_name: Name | None = None


class Line(Struct, gc=False):
    isSidechain: bool | None = None  # noqa: N815
    cwd: Name | None = None
    sessionId: Name | None = None  # noqa: N815
    version: Name | None = None
    gitBranch: Name | None = None  # noqa: N815
    agentId: Name | None = None  # noqa: N815
    message: LeanMessage | None = None
    requestId: Name | None = None  # noqa: N815
    type: str = ""
    uuid: Name | None = None
    timestamp: Name | None = None
    toolUseResult: Result | str | list[Raw] | bool | int | float | None = ABSENT  # noqa: N815
    session_id: Name | None = None
    isMeta: bool | None = None  # noqa: N815
    isCompactSummary: bool | None = None  # noqa: N815
    isApiErrorMessage: bool | None = None  # noqa: N815
    error: Any = None
    costUSD: Any = None  # noqa: N815
    origin: Origin | None = None
    attachment: Attachment | None = None
    forkedFrom: ForkedFrom | None = None  # noqa: N815
    data: Progress | None = None
    subtype: Name | None = None
    content: Any = None
    compactMetadata: Compaction | None = None  # noqa: N815
    summary: str | None = None
    leafUuid: Name | None = None  # noqa: N815
    aiTitle: str | None = None  # noqa: N815
    customTitle: str | None = None  # noqa: N815
    agentName: str | None = None  # noqa: N815
    prUrl: Name | None = None  # noqa: N815
    # captured streams (``--output-format stream-json``) only:
    parent_tool_use_id: Name | None = None
    tool_use_result: Raw = ABSENT
    isSynthetic: bool | None = None  # noqa: N815
    modelUsage: dict[str, ModelUsage] | None = None  # noqa: N815
    result: Any = None
    permission_denials: list[Denial] | None = None


class FullLine(Line, gc=False):
    message: FullMessage | None = None  # type: ignore[assignment]
    toolUseResult: Raw = ABSENT  # type: ignore[assignment]  # noqa: N815
