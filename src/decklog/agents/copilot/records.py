"""Shapes of Copilot CLI's events: only the fields that are read, every one of them optional.

All events share an envelope; what is in ``data`` depends on the type. One shape takes in the
fields of all types, since their names agree where their meaning does.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct, field

from decklog.agents._shared import Name, patch_paths, paths_in
from decklog.agents.copilot.accounting import NONE, Amounts, ByAgent, ByModel, plus
from decklog.model import NULL

PATH_KEYS = ("path", "paths", "file_path", "filePath", "fileName")

MOST = 2**53
"""No count is higher: what is recorded beyond it is taken for damage."""
Count: TypeAlias = (
    Annotated[int, Meta(ge=0, le=MOST)] | Annotated[float, Meta(ge=0, le=MOST)] | None
)


class Context(Struct, rename="camel", gc=False):
    cwd: Name | None = None
    branch: Name | None = None
    repository: Name | None = None
    host_type: Any = None
    repository_host: Any = None


class Charge(Struct, rename="camel", gc=False):
    total_nano_aiu: Count = None


class Tokens(Struct, rename="camel", gc=False):
    """``input``, ``output`` and ``cachedInput`` are the names of older compactions."""

    model: Name | None = None
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_tokens: Count = None
    cache_write_tokens: Count = None
    reasoning_tokens: Count = None
    input: Count = None
    output: Count = None
    cached_input: Count = None
    api_call_id: Name | None = None
    accounting: Accounting | None = None
    copilot_usage: Charge | None = None


class Accounting(Struct, rename="camel", gc=False):
    source_session_id: Name | None = None
    sequence: int | None = None


class Metric(Struct, rename="camel", gc=False):
    usage: Tokens | None = None
    total_nano_aiu: Count = None


class Metrics(Struct, rename="camel", gc=False):
    model_metrics: dict[str, Metric] | None = None


class ProviderMetric(Struct, rename="camel", gc=False):
    model_id: Name | None = None
    metrics: Metric | None = None


class Snapshot(Struct, rename="camel", gc=False):
    model_metrics: dict[str, Metric] | None = None
    agent_metrics: dict[str, Metrics] | None = None


class Request(Struct, rename="camel", gc=False):
    tool_call_id: Name | None = None
    name: Name | None = None
    arguments: Any = None


class FileEdit(Struct, gc=False):
    path: Name | None = None


class Asked(Struct, rename="camel", gc=False):
    """What a permission is asked for."""

    kind: Name | None = None
    tool_name: Name | None = None
    intention: str | None = None
    full_command_text: str | None = None
    path: Name | None = None
    file_name: Name | None = None


class LeanResult(Struct, gc=False):
    kind: Any = None


class FullResult(LeanResult, rename="camel", gc=False):
    content: Any = None
    detailed_content: Any = None


class LeanData(Struct, rename="camel", gc=False):
    # sessions
    session_id: Name | None = None
    copilot_version: Name | None = None
    start_time: Name | None = None
    selected_model: Name | None = None
    context: Context | None = None
    cwd: Name | None = None
    branch: Name | None = None
    repository: Name | None = None
    host_type: Any = None
    title: str | None = None
    new_model: Name | None = None
    new_mode: Name | None = None
    previous_mode: Name | None = None
    shutdown_type: Name | None = None
    error_reason: Name | None = None
    summary: str | None = None
    # messages
    message_id: Name | None = None
    content: str | None = None
    source: str | None = None
    is_autopilot_continuation: Any = None
    attachments: list[Any] | None = None
    model: Name | None = None
    reasoning_text: str | None = None
    output_tokens: Count = None
    tool_requests: list[Request] | None = None
    # tools and subagents
    tool_call_id: Name | None = None
    tool_name: Name | None = None
    arguments: Any = None
    success: Any = None
    result: LeanResult | str | None = None
    error: Any = None
    file_edits: list[FileEdit] | None = None
    parent_tool_call_id: Name | None = None
    agent_display_name: Name | None = None
    agent_description: str | None = None
    # permissions
    request_id: Name | None = None
    permission_request: Asked | None = None
    # notices
    reason: str | None = None
    message: str | None = None
    error_type: Name | None = None
    status_code: Any = None
    warning_type: Name | None = None
    info_type: Name | None = None
    # usage
    usage: Tokens | None = None
    compaction_tokens_used: Tokens | None = None
    compaction_attempt_id: Name | None = None
    pre_compaction_tokens: Count = None
    trigger: Name | None = None
    model_metrics: dict[str, Metric] | None = None
    agent_metrics: dict[str, Metrics] | None = None
    provider_model_metrics: list[ProviderMetric] | None = None
    accounting_snapshot: Snapshot | None = None
    usage_accounting_watermarks: Any = None


class FullData(LeanData, rename="camel", gc=False):
    result: FullResult | str | None = None
    shell_execution: Any = None
    tool_telemetry: Any = None
    summary_content: Any = None


class LeanLine(Struct, gc=False):
    type: str = ""
    data: LeanData | None = None
    id: Name | None = None
    timestamp: Name | None = None
    agent_id: Name | None = field(name="agentId", default=None)


class FullLine(LeanLine, gc=False):
    data: FullData | None = None


# --- what is in them --------------------------------------------------------------------------


def amounts_of(tokens: Tokens, nano: Count = None) -> Amounts:
    charge = tokens.copilot_usage
    return [
        int(n or 0)
        for n in (
            tokens.input_tokens or tokens.input,
            tokens.output_tokens or tokens.output,
            tokens.cache_read_tokens or tokens.cached_input,
            tokens.cache_write_tokens,
            tokens.reasoning_tokens,
            nano or (charge.total_nano_aiu if charge else 0),
        )
    ]


def totals_of(data: LeanData) -> tuple[ByModel, ByAgent]:
    """Totals by model, and by agent and model where they are told apart."""
    snapshot = data.accounting_snapshot or Snapshot()
    models = _by_model(data.model_metrics) or _by_model(snapshot.model_metrics)
    if not models:
        for p in data.provider_model_metrics or ():
            if p.metrics is not None and p.metrics.usage is not None:
                amounts = amounts_of(p.metrics.usage, p.metrics.total_nano_aiu)
                known = models.get(p.model_id or "unknown", list(NONE))
                models[p.model_id or "unknown"] = plus(known, amounts)
    agents = data.agent_metrics or snapshot.agent_metrics or {}
    return models, {a: _by_model(m.model_metrics) for a, m in agents.items()}


def _by_model(metrics: dict[str, Metric] | None) -> ByModel:
    return {
        model: amounts_of(m.usage, m.total_nano_aiu)
        for model, m in (metrics or {}).items()
        if m.usage is not None
    }


def paths_of(arguments: Any) -> tuple[str, ...]:
    """Paths that a tool's arguments name directly, or that a patch changes."""
    if isinstance(arguments, str):
        return patch_paths(arguments)
    if not isinstance(arguments, dict):
        return ()
    return paths_in({k: v for k, v in arguments.items() if isinstance(v, str)}, PATH_KEYS)


def is_image(attachment: Any) -> bool:
    if not isinstance(attachment, dict):
        return False
    media = attachment.get("mimeType")
    return attachment.get("type") == "image" or (
        isinstance(media, str) and media.startswith("image/")
    )


def result_text(result: Any) -> str | None:
    if isinstance(result, FullResult):
        result = result.content
    return result if isinstance(result, str) else None


def result_extras(data: Any) -> Raw:
    """What is recorded beside a tool's result: diff, exit code, measurements."""
    found = {
        "detailedContent": getattr(data.result, "detailed_content", None),
        "shellExecution": data.shell_execution,
        "toolTelemetry": data.tool_telemetry,
    }
    found = {k: v for k, v in found.items() if v is not None}
    return raw(found) if found else NULL


def raw(value: Any) -> Raw:
    if value is None:
        return NULL
    try:
        return Raw(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return NULL


def yaml_lines(text: str) -> dict[str, str]:
    """The top-level ``key: value`` lines of a small YAML file, blocks of text joined."""
    found: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            if key:
                found[key] = f"{found[key]} {line.strip()}".strip()
            continue
        key, colon, value = line.partition(":")
        if not colon or key.startswith("#"):
            key = ""
            continue
        value = value.strip()
        if value in ("|", "|-", "|+", ">", ">-", ">+"):
            value = ""
        elif len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            quote = value[0]
            value = value[1:-1].replace("''" if quote == "'" else '\\"', quote)
        found[key] = value
    return found
