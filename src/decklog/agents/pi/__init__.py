"""Pi: JSON Lines under ``~/.pi/agent/sessions``. Sources of the facts: docs/formats/pi.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from decklog.agents import Agent, Claim, Invocation, Reader, Root, Sign
from decklog.agents.pi.places import id_in
from decklog.agents.pi.terminal import LAUNCH, SCREEN
from decklog.model import Conversation, Cursor, Transcript
from decklog.model.turns import AnyBlock


class Pi(Agent):
    name = "pi"
    title = "Pi"
    variables = ("PI_CODING_AGENT_DIR", "PI_CODING_AGENT_SESSION_DIR")
    screen = SCREEN
    launch = LAUNCH
    clean_up = "deletes nothing by itself"

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = env.get("PI_CODING_AGENT_DIR") or "~/.pi/agent"
        folders = (env.get("PI_CODING_AGENT_SESSION_DIR", ""), f"{home.rstrip('/')}/sessions")
        paths = [re.sub(r"^~(?=/|$)", lambda _: env["HOME"], f) for f in folders if f]
        return tuple(Root(p, skip=("subagent-artifacts",)) for p in dict.fromkeys(paths))

    def claim(self, relative: str) -> Claim | None:
        *folders, name = relative.split("/")
        if name.endswith(".jsonl"):
            return "jsonl"
        if name.startswith(".") or any(map(id_in, folders)):
            return "ignore"  # a desktop's own files; what extensions keep for a session
        return None

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        from decklog.agents.pi.reader import PiReader

        return PiReader(cursor, text=text, companions=companions)

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        from decklog.agents.pi import live

        return live.process(argv, exe)

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        from decklog.agents.pi import live

        return live.signs(line)

    def parts(self, record: bytes) -> tuple[AnyBlock, ...]:
        from decklog.agents.pi.transcript import parts

        return parts(record)

    def transcript(self, conversation: Conversation, native: str, at: int) -> Transcript:
        from decklog.agents.pi.transcript import write

        return write(conversation, native, at)


AGENT = Pi()
