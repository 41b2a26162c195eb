"""Gemini CLI while it runs. Facts: docs/formats/gemini.md, section Running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from decklog.agents import Hook, Invocation, Sign
from decklog.agents._argv import given, is_program, program, session_id, value

NAMES = ("gemini",)
PACKAGES = ("@google/gemini-cli",)
OTHER_PURPOSES = frozenset(
    "mcp extensions extension skills skill hooks hook gemma auth update help".split()
)
ONLY_LISTS = ("--version", "-v", "--help", "-h", "--list-sessions", "--delete-session",
              "--list-extensions", "-l")  # fmt: skip


def process(argv: Sequence[str], exe: str) -> Invocation | None:
    p = program(argv)
    if p is None or not is_program(p, NAMES, PACKAGES):
        return None
    args = p.args
    if (args and args[0] in OTHER_PURPOSES) or given(args, *ONLY_LISTS):
        return None
    return Invocation(
        role="headless" if given(args, "-p", "--prompt") else "interactive",
        native=session_id(value(args, "--session-id") or value(args, "--resume", "-r")),
        resumes=given(args, "--resume", "-r"),
        runner=p.runner,
    )


def signs(line: bytes) -> tuple[Sign, ...]:
    """An answer that calls no tool ends the turn. But a call stands there only once it ended: one
    that runs, or waits for permission, looks the same. So this is little more than a guess."""
    head = line.replace(b'": "', b'":"')
    if b'"type":"gemini"' in head and b'"toolCalls":[{' not in line.replace(b" ", b""):
        return (Sign("turn_ended", confidence=0.5),)
    if b'"type":"info"' in head and b"Request cancelled" in line:
        return (Sign("interrupted"),)
    if b'"type":"error"' in head:
        return (Sign("error"),)
    return ()


HOOKS = (
    Hook("SessionStart"),
    Hook("BeforeAgent", "turn_started"),
    Hook("AfterTool", "tool_ended"),
    Hook("Notification"),
    Hook("AfterAgent", "turn_ended"),
    Hook("SessionEnd", "session_ended"),
)


def hook_file(env: Mapping[str, str]) -> str:
    home = env.get("GEMINI_CLI_HOME") or env["HOME"]
    return f"{home.rstrip('/')}/.gemini/settings.json"


def notified(data: Mapping[str, Any]) -> Sign:
    asks = data.get("notification_type") == "ToolPermission"
    return Sign("waiting_approval" if asks else "")
