"""Claude Code while it runs: its process, the file it keeps of itself, marks in its records.

Facts: docs/formats/claude.md, section Running.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from decklog.agents import Hook, Invocation, Own, Sign
from decklog.agents._argv import given, is_program, program, session_id, value
from decklog.model.fleet import Says

NAMES = ("claude",)
PACKAGES = ("@anthropic-ai/claude-code",)
OTHER_PURPOSES = frozenset(
    """agents auth auto-mode config doctor install mcp migrate-installer plugin plugins project
    remote-control setup-token ultrareview update upgrade""".split()
)
"""Subcommands that open no session."""
QUESTIONS = ("AskUserQuestion", "ExitPlanMode")
"""Tools that ask the user something."""


def process(argv: Sequence[str], exe: str) -> Invocation | None:
    p = program(argv)
    if p is None or not is_program(p, NAMES, PACKAGES):
        return None
    args = p.args
    if args and (args[0] in OTHER_PURPOSES or given(args, "--version", "-v", "--help", "-h")):
        return None
    older = session_id(value(args, "--resume", "-r"))
    forks = given(args, "--fork-session")
    opened = session_id(value(args, "--session-id"))
    return Invocation(
        role="headless" if given(args, "-p", "--print") else "interactive",
        native=opened or ("" if forks else older),
        resumes=given(args, "--resume", "-r", "--continue", "-c"),
        forks=forks,
        runner=p.runner,
    )


def own_files(env: Mapping[str, str]) -> tuple[str, ...]:
    folders = [f for f in env.get("CLAUDE_CONFIG_DIR", "").split(",") if f]
    return tuple(f"{f.rstrip('/')}/sessions/{{pid}}.json" for f in folders or _homes(env))


def _homes(env: Mapping[str, str]) -> list[str]:
    config = env.get("XDG_CONFIG_HOME") or f"{env['HOME']}/.config"
    return [f"{env['HOME']}/.claude", f"{config}/claude"]


WAITS: dict[str, Says] = {"permission prompt": "waiting_approval"}
"""What it waits for by its own words; anything else wants an answer."""


def own(path: str, data: bytes) -> Own | None:
    try:
        found = json.loads(data)
        native, pid, start = found["sessionId"], found["pid"], found.get("procStart")
    except (ValueError, LookupError, TypeError):
        return None  # it is rewritten in place: half of it, or nothing yet
    if not (session_id(native) and isinstance(pid, int)):
        return None
    status, waits = found.get("status"), found.get("waitingFor")
    says: Says = ""
    if status in ("busy", "idle"):
        says = status
    elif status == "waiting":
        says = WAITS.get(waits, "waiting_answer") if isinstance(waits, str) else "waiting_approval"
    return Own(
        pid=pid,
        native=native,
        start_ticks=int(start) if isinstance(start, str) and start.isdigit() else 0,
        at=_ms(found.get("updatedAt")),
        says=says,
        said_at=_ms(found.get("statusUpdatedAt")),
        detail=waits if isinstance(waits, str) else "",
    )


def _ms(value: object) -> int | None:
    return value if isinstance(value, int) else None


_ended = re.compile(rb'"stop_reason":\s*"(?:end_turn|stop_sequence|max_tokens|refusal)"')
_task = re.compile(r"<task-id>([^<]{1,100})</task-id>")
_started = re.compile(rb'"(?:backgroundTaskId|task_id|agentId)":\s*"([^"]{1,100})"')


def signs(line: bytes) -> tuple[Sign, ...]:
    if b'"turn_duration"' in line and b'"type":"system"' in line.replace(b'": "', b'":"'):
        return (Sign("turn_ended"),)
    if b'"isApiErrorMessage":true' in line.replace(b": ", b":"):
        return (Sign("error", detail="API error"),)
    if b"<task-notification>" in line and b"<status>" in line:
        text = line.decode("utf-8", "replace")
        return tuple(Sign("background_ended", ref) for ref in _task.findall(text))
    found: list[Sign] = []
    if b'"backgroundTaskId"' in line or b'"async_launched"' in line:
        found += [Sign("background_started", m.decode()) for m in _started.findall(line)[:1]]
    if _ended.search(line) and b'"type":"assistant"' in line.replace(b": ", b":"):
        found.append(Sign("turn_ended"))
    return tuple(found)


# PreToolUse runs before every tool; only questions are worth its time.
HOOKS = (
    Hook("SessionStart"),
    Hook("UserPromptSubmit", "turn_started"),
    Hook("PreToolUse", "waiting_answer", matcher="|".join(QUESTIONS)),
    Hook("PermissionRequest", "waiting_approval"),
    Hook("Notification"),
    Hook("Stop", "turn_ended"),
    Hook("SessionEnd", "session_ended"),
)
NOTIFIED: dict[str, Says] = {
    "permission_prompt": "waiting_approval",
    "elicitation_dialog": "waiting_answer",
    "idle_prompt": "idle",
}


def hook_file(env: Mapping[str, str]) -> str:
    folder = env.get("CLAUDE_CONFIG_DIR", "").split(",")[0] or f"{env['HOME']}/.claude"
    return f"{folder.rstrip('/')}/settings.json"


def notified(data: Mapping[str, Any]) -> Sign:
    kind = str(data.get("notification_type", ""))
    if not kind and "permission" in str(data.get("message", "")):
        kind = "permission_prompt"  # before notifications had types
    return Sign(NOTIFIED.get(kind, ""), detail=kind)
