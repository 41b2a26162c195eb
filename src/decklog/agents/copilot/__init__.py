"""GitHub Copilot CLI: event logs under ``~/.copilot``. Facts: docs/formats/copilot.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from decklog.agents import Agent, Claim, Invocation, Own, Reader, Root, Sign
from decklog.agents.copilot.terminal import LAUNCH, SCREEN
from decklog.model import Cursor

TOLD = (b"cwd:", b"branch:", b"repository:", b"host_type:", b"name:", b"summary:", b"user_named:")
"""What the reader takes from ``workspace.yaml``; its times and counts change with every turn."""


class Copilot(Agent):
    name = "copilot"
    title = "GitHub Copilot CLI"
    provider = "github.copilot"
    variables = ("COPILOT_HOME",)
    screen = SCREEN
    launch = LAUNCH
    clean_up = "may delete the event log of an old session and keep its folder"
    holds_files = True
    questions = ("ask_user",)

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = (env.get("COPILOT_HOME") or f"{env['HOME']}/.copilot").rstrip("/")
        return (Root(f"{home}/session-state"), Root(f"{home}/history-session-state"))

    def claim(self, relative: str) -> Claim | None:
        folder, _, name = relative.rpartition("/")
        if not folder:  # before a session had a folder; documents still older are not read
            return "jsonl" if name.endswith(".jsonl") else None
        if "/" not in folder and name == "events.jsonl":
            return "jsonl"
        if "/" not in folder and name == "workspace.yaml":
            return "companion"
        return "ignore"  # plans, checkpoints, locks, and whatever else the agent works with

    def companions(self, uri: str) -> tuple[str, ...]:
        folder, _, name = uri.rpartition("/")
        return (f"{folder}/workspace.yaml",) if name == "events.jsonl" else ()

    def mark(self, uri: str, companions: Mapping[str, bytes]) -> str:
        lines = (line for data in companions.values() for line in data.splitlines())
        return super().mark(uri, {uri: b"\n".join(x for x in lines if x.startswith(TOLD))})

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        from decklog.agents.copilot.reader import CopilotReader

        return CopilotReader(cursor, text=text, companions=companions)

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        from decklog.agents.copilot import live

        return live.process(argv, exe)

    def held(self, path: str) -> str:
        from decklog.agents.copilot import live

        return live.held(path)

    def own_files(self, env: Mapping[str, str]) -> tuple[str, ...]:
        from decklog.agents.copilot import live

        return live.own_files(env)

    def own(self, path: str, data: bytes) -> Own | None:
        from decklog.agents.copilot import live

        return live.own(path, data)

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        from decklog.agents.copilot import live

        return live.signs(line)


AGENT = Copilot()
