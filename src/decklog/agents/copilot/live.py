"""Copilot CLI while it runs. Facts: docs/formats/copilot.md, section Running."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from decklog.agents import Invocation, Own, Sign
from decklog.agents._argv import UUID, given, is_program, program, session_id, value

NAMES = ("copilot",)
PACKAGES = ("@github/copilot", "@github/copilot-linux-x64", "@github/copilot-linux-arm64",
            "@github/copilot-darwin-x64", "@github/copilot-darwin-arm64")  # fmt: skip
OTHER_PURPOSES = frozenset(
    """app completion config help init instruction login logout lsp mcp memories plugin sandbox
    sessions skill update version""".split()
)


def process(argv: Sequence[str], exe: str) -> Invocation | None:
    p = program(argv)
    if p is None or not is_program(p, NAMES, PACKAGES):
        return None
    args = p.args
    if (args and args[0] in OTHER_PURPOSES) or given(args, "--version", "-v", "--help", "-h"):
        return None
    service = given(args, "--acp", "--server", "--headless")
    headless = given(args, "-p", "--prompt")
    return Invocation(
        role="service" if service else "headless" if headless else "interactive",
        native=session_id(value(args, "--resume", "--session-id", "-r")),
        resumes=given(args, "--resume", "--continue", "-r"),
        runner=p.runner,
    )


_held = re.compile(rf"/session-state/({UUID.pattern})/inuse\.(\d+)\.(?:hold|lock)$")


def held(path: str) -> str:
    found = _held.search(path)
    return found[1] if found else ""


def own_files(env: Mapping[str, str]) -> tuple[str, ...]:
    home = (env.get("COPILOT_HOME") or f"{env['HOME']}/.copilot").rstrip("/")
    return (f"{home}/session-state/*/inuse.{{pid}}.lock",)


def own(path: str, data: bytes) -> Own | None:
    found = _held.search(path)
    if found is None or data.strip() not in (b"", found[2].encode()):
        return None
    return Own(pid=int(found[2]), native=found[1], kind="lock_file")


def signs(line: bytes) -> tuple[Sign, ...]:
    kind = line[:60]
    if b'"permission.' in kind:
        try:
            data = json.loads(line)["data"]
            request = data.get("permissionRequest") or {}
            ref = request.get("toolCallId") or data.get("toolCallId") or data.get("requestId") or ""
        except (ValueError, LookupError, TypeError, AttributeError):
            return ()
        asked = b'"permission.requested"' in kind
        return (Sign("waiting_approval" if asked else "prompt_gone", str(ref)),)
    if b'"assistant.turn_start"' in kind:
        return (Sign("turn_started"),)
    if b'"session.error"' in kind:
        return (Sign("error"),)
    if b'"assistant.message"' in kind:
        try:
            calls = json.loads(line)["data"].get("toolRequests")
        except (ValueError, LookupError, TypeError, AttributeError):
            return ()
        return () if calls else (Sign("turn_ended"),)
    return ()
