"""OpenCode while it runs. Facts: docs/formats/opencode.md, section Running."""

from __future__ import annotations

import re
from collections.abc import Sequence

from decklog.agents import Invocation, Sign
from decklog.agents._argv import given, is_program, program, value

NAMES = ("opencode",)
PACKAGES = ("opencode-ai",)
OTHER_PURPOSES = frozenset(
    """completion mcp debug providers auth agent upgrade uninstall models stats export import
    github pr session plugin db acp attach help""".split()
)
SERVICES = frozenset(("serve", "web"))
_session = re.compile(r"ses_[0-9A-Za-z]{8,64}", re.ASCII)


def process(argv: Sequence[str], exe: str) -> Invocation | None:
    p = program(argv)
    if p is None or not is_program(p, NAMES, PACKAGES):
        return None
    args = p.args
    verb = args[0] if args else ""
    if verb in OTHER_PURPOSES or given(args, "--version", "-v", "--help", "-h"):
        return None
    named = value(args, "--session", "-s") or ""
    forks = given(args, "--fork")
    native = named if _session.fullmatch(named) and not forks else ""
    return Invocation(
        role="service" if verb in SERVICES else "headless" if verb == "run" else "interactive",
        native=native,
        resumes=bool(named) or given(args, "--continue", "-c"),
        forks=forks,
        runner=p.runner,
    )


_finish = re.compile(rb'"finish":\s*"(?!tool-calls)[a-z_-]+"')
_open = re.compile(rb'"status":\s*"(?:running|pending)"')


def signs(document: bytes) -> tuple[Sign, ...]:
    """The whole session is one document; its last message tells."""
    last = document[document.rfind(b'"role"') :]
    if b'"MessageAbortedError"' in last:
        return (Sign("interrupted"),)
    if b'"APIError"' in last:
        return (Sign("error"),)
    if b'"assistant"' in last[:40] and _finish.search(last) and not _open.search(last):
        return (Sign("turn_ended"),)
    return ()
