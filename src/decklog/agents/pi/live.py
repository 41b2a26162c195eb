"""Pi while it runs. Facts: docs/formats/pi.md, section Running."""

from __future__ import annotations

from collections.abc import Sequence

from decklog.agents import Invocation, Sign
from decklog.agents._argv import given, is_program, program, session_id, value

NAMES = ("pi",)
PACKAGES = ("@mariozechner/pi-coding-agent", "@earendil-works/pi-coding-agent")
OTHER_PURPOSES = frozenset("install remove uninstall update list config".split())
ENGINES = ("", "node", "bun", "pi")
"""Programs that run it; others that are called ``pi`` are not it. Empty: may not be read."""


def process(argv: Sequence[str], exe: str) -> Invocation | None:
    p = program(argv)
    if p is None or not is_program(p, NAMES, PACKAGES):
        return None
    args = p.args
    if (args and args[0] in OTHER_PURPOSES) or given(args, "--version", "-v", "--help", "-h"):
        return None
    engine = exe.rpartition("/")[2].removesuffix(" (deleted)")
    if not p.script and not p.runner and engine not in ENGINES:
        return None
    named = value(args, "--session") or ""
    return Invocation(
        role="headless" if given(args, "-p", "--print") or value(args, "--mode") else "interactive",
        native=session_id(named) or session_id(named.removesuffix(".jsonl").rpartition("_")[2]),
        resumes=bool(named) or given(args, "--continue", "-c", "--resume", "-r"),
        runner=p.runner,
    )


def signs(line: bytes) -> tuple[Sign, ...]:
    tight = line.replace(b'": "', b'":"')
    if b'"stopReason":"stop"' in tight or b'"stopReason":"length"' in tight:
        return (Sign("turn_ended"),)
    return (Sign("error"),) if b'"stopReason":"error"' in tight else ()
