"""Codex while it runs: its processes, the files they hold, marks in its records.

Facts: docs/formats/codex.md, section Running.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from decklog.agents import Hook, Invocation, Sign
from decklog.agents._argv import Program, given, is_program, program, session_id
from decklog.model.fleet import Role

NAMES = ("codex",)
PACKAGES = ("@openai/codex",)
OTHER_PURPOSES = frozenset(
    """agents login logout mcp mcp-server plugin remote-control completion update doctor sandbox
    debug apply a queue archive unarchive delete migrate-rollouts migrate-nfs-db cloud cloud-tasks
    exec-server features help responses-api-proxy stdio-to-uds execpolicy generate-ts""".split()
)
WITH_VALUE = frozenset(
    """-c --config -i --image -m --model -p --profile -s --sandbox -a --ask-for-approval -C --cd
    --add-dir --local-provider --enable --disable --color --output-schema -o
    --output-last-message --remote --remote-auth-token-env""".split()
)
"""Options followed by a value, so that the first plain word is told from one."""


def process(argv: Sequence[str], exe: str) -> Invocation | None:
    p = program(argv)
    if p is None or not is_program(p, NAMES, PACKAGES):
        return None
    plain, options = _parted(p)
    if given(p.args, "--version", "-V", "--help", "-h"):
        return None
    verb = plain[0] if plain else ""
    if verb in OTHER_PURPOSES:
        return None
    cwd = options.get("-C") or options.get("--cd") or ""
    if verb == "app-server":  # its other verbs watch over the daemon
        if plain[1:2] == ["daemon"]:
            return None
        return Invocation(role="service", runner=p.runner)
    role: Role = "headless" if verb in ("exec", "e", "review") else "interactive"
    words = plain[1:]
    if role == "headless" and words:
        verb, words = (words[0], words[1:]) if words[0] in ("resume", "fork") else (verb, words)
    named = verb in ("resume", "fork") and "--last" not in options
    asked = " ".join(words[1:] if named else words)
    native = session_id(words[0]) if words and named else ""
    forks = verb == "fork"
    return Invocation(
        role=role,
        native="" if forks else native,
        resumes=verb in ("resume", "fork"),
        forks=forks,
        runner=p.runner,
        cwd=cwd,
        prompt=asked if role == "headless" and asked != "-" else "",
    )


def _parted(p: Program) -> tuple[list[str], dict[str, str]]:
    """Plain words, and options with their values."""
    plain: list[str] = []
    options: dict[str, str] = {}
    i = 0
    while i < len(p.args):
        word = p.args[i]
        i += 1
        if word == "--":
            plain += p.args[i:]
            break
        if not word.startswith("-"):
            plain.append(word)
            continue
        name, mark, rest = word.partition("=")
        if not mark and name in WITH_VALUE and i < len(p.args):
            rest = p.args[i]
            i += 1
        options[name] = rest
    return plain, options


_rollout = re.compile(r"/rollout-[^/]*?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl$")
_lock = re.compile(r"/thread-writer-locks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.lock$")


def held(path: str) -> str:
    found = _rollout.search(path) or _lock.search(path)
    return found[1] if found else ""


def signs(line: bytes) -> tuple[Sign, ...]:
    head = line[:400].replace(b'": "', b'":"')
    if b'"type":"task_started"' in head:
        return (Sign("turn_started"),)
    if b'"type":"task_complete"' in head:
        failed = b'"codex_error_info"' in line and b"usage_limit_exceeded" not in line
        return (Sign("error" if failed else "turn_ended"),)
    return ()


HOOKS = (
    Hook("SessionStart"),
    Hook("UserPromptSubmit", "turn_started"),
    Hook("PermissionRequest", "waiting_approval"),
    Hook("PostToolUse", "tool_ended"),
    Hook("Stop", "turn_ended"),
)


def hook_file(env: Mapping[str, str]) -> str:
    return f"{(env.get('CODEX_HOME') or env['HOME'] + '/.codex').rstrip('/')}/hooks.json"
