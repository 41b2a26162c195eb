"""Claude Code: JSON Lines under ``~/.claude/projects``. Its facts: docs/formats/claude.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from decklog.agents import Agent, Claim, CleanUp, Hook, Invocation, Own, Reader, Root, Sign
from decklog.agents._shared import setting
from decklog.agents.claude.terminal import LAUNCH, SCREEN
from decklog.model import Conversation, Cursor, Transcript
from decklog.model.turns import AnyBlock

NOTES = ("journal.jsonl", "sessions-index.json")
"""What Claude Code itself keeps beside transcripts."""
NO_SESSIONS = (".md", ".txt", ".lock", ".tmp", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".svg")
"""Ends of names that people, plugins and tools leave there."""


class Claude(Agent):
    name = "claude"
    title = "Claude Code"
    provider = "anthropic"
    variables = ("CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME")
    screen = SCREEN
    launch = LAUNCH
    clean_up = "deletes transcripts after cleanupPeriodDays (settings.json), 30 days by default"
    questions = ("AskUserQuestion", "ExitPlanMode")

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = env["HOME"]
        given = [p for p in env.get("CLAUDE_CONFIG_DIR", "").split(",") if p]
        config = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
        bases = given or [f"{home}/.claude", f"{config}/claude"]
        skip = ("tool-results", "memory", "session-memory")
        return tuple(Root(f"{b.rstrip('/')}/projects", skip=skip) for b in dict.fromkeys(bases))

    def clean_up_files(self, env: Mapping[str, str]) -> tuple[str, ...]:
        bases = (r.path.removesuffix("/projects") for r in self.roots(env))
        return ("/etc/claude-code/managed-settings.json", *(f"{b}/settings.json" for b in bases))

    def clean_up_after(self, settings: Mapping[str, bytes]) -> CleanUp:
        for path, data in settings.items():
            days = setting(data, "cleanupPeriodDays")
            if isinstance(days, (int, float)) and not isinstance(days, bool) and days >= 0:
                return CleanUp(days, path, "cleanupPeriodDays")
        return CleanUp(30, "default", "cleanupPeriodDays")

    def claim(self, relative: str) -> Claim | None:
        name = relative.rpartition("/")[2]
        if name.startswith(".") or name in NOTES or name.endswith(NO_SESSIONS):
            return "ignore"
        if name.endswith((".jsonl", ".jsonl.zst")):  # Claude Code packs nothing; people do
            return "jsonl"
        return "companion" if name.endswith(".meta.json") else None

    def companions(self, uri: str) -> tuple[str, ...]:
        if uri.rpartition("/")[2].startswith("agent-"):
            return (uri.removesuffix(".zst").removesuffix(".jsonl") + ".meta.json",)
        return ()

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        from decklog.agents.claude.reader import ClaudeReader

        return ClaudeReader(cursor, text=text, companions=companions)

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        from decklog.agents.claude import live

        return live.process(argv, exe)

    def own_files(self, env: Mapping[str, str]) -> tuple[str, ...]:
        from decklog.agents.claude import live

        return live.own_files(env)

    def own(self, path: str, data: bytes) -> Own | None:
        from decklog.agents.claude import live

        return live.own(path, data)

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        from decklog.agents.claude import live

        return live.signs(line)

    def parts(self, record: bytes) -> tuple[AnyBlock, ...]:
        from decklog.agents.claude.transcript import parts

        return parts(record)

    def transcript(self, conversation: Conversation, native: str, at: int) -> Transcript:
        from decklog.agents.claude.transcript import write

        return write(conversation, native, at)

    def hooks(self) -> tuple[Hook, ...]:
        from decklog.agents.claude import live

        return live.HOOKS

    def hook_file(self, env: Mapping[str, str]) -> str:
        from decklog.agents.claude import live

        return live.hook_file(env)

    def hook_sign(self, event: str, data: Mapping[str, Any]) -> Sign:
        from decklog.agents.claude import live

        return live.notified(data) if event == "Notification" else super().hook_sign(event, data)


AGENT = Claude()
