"""Gemini CLI: documents and replay logs under ``~/.gemini/tmp``. Facts: docs/formats/gemini.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from decklog.agents import Agent, Claim, CleanUp, Hook, Invocation, Reader, Root, Sign
from decklog.agents._shared import setting
from decklog.agents.gemini.terminal import LAUNCH, SCREEN
from decklog.model import Cursor

_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "m": 30}
"""Days of the units in which an age is set."""


class Gemini(Agent):
    name = "gemini"
    title = "Gemini CLI"
    provider = "gcp.gemini"
    variables = ("GEMINI_CLI_HOME",)
    screen = SCREEN
    launch = LAUNCH
    clean_up = "deletes chats after general.sessionRetention (settings.json), 30 days by default"
    questions = ("ask_user",)
    hook_reply = "{}"
    hook_time_unit = 1000

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = env.get("GEMINI_CLI_HOME") or env["HOME"]
        base = f"{home.rstrip('/')}/.gemini"
        return (
            Root(f"{base}/tmp", skip=("tool-outputs",)),
            Root(base, only=("projects.json", "history"), skip=(".git",)),
        )

    def clean_up_files(self, env: Mapping[str, str]) -> tuple[str, ...]:
        home = env.get("GEMINI_CLI_HOME") or env["HOME"]
        return ("/etc/gemini-cli/settings.json", f"{home.rstrip('/')}/.gemini/settings.json")

    def clean_up_after(self, settings: Mapping[str, bytes]) -> CleanUp | None:
        key = "general.sessionRetention.maxAge"
        for path, data in settings.items():
            if setting(data, "general.sessionRetention.enabled") is False:
                return None
            age = setting(data, key)
            if isinstance(age, str) and age[:-1].isdecimal() and age[-1:] in _DAYS:
                return CleanUp(int(age[:-1]) * _DAYS[age[-1]], path, key)
        return CleanUp(30, "default", key)

    def claim(self, relative: str) -> Claim | None:
        _, below, rest = f"/{relative}".partition("/chats/")
        folder, _, name = rest.rpartition("/")
        if not below:  # checkpoints, logs.json, plans, shell history: nothing that is a session
            told = relative.endswith("/.project_root") or relative == "projects.json"
            return "companion" if told else "ignore"
        if name.startswith("session-") or folder:
            if name.endswith(".jsonl"):
                return "jsonl"
            if name.endswith(".json"):
                return "json"
            if ".jsonl." in name:  # .tmp-<pid> and .unreadable-<ms> beside a file rewritten whole
                return "ignore"
        return "ignore" if name.startswith(".") else None

    def companions(self, uri: str) -> tuple[str, ...]:
        from decklog.agents.gemini import places

        return places.companions(uri)

    def mark(self, uri: str, companions: Mapping[str, bytes]) -> str:
        from decklog.agents.gemini import places

        return places.workspace(uri, companions)

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        from decklog.agents.gemini.reader import GeminiReader

        return GeminiReader(cursor, text=text, companions=companions)

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        from decklog.agents.gemini import live

        return live.process(argv, exe)

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        from decklog.agents.gemini import live

        return live.signs(line)

    def hooks(self) -> tuple[Hook, ...]:
        from decklog.agents.gemini import live

        return live.HOOKS

    def hook_file(self, env: Mapping[str, str]) -> str:
        from decklog.agents.gemini import live

        return live.hook_file(env)

    def hook_sign(self, event: str, data: Mapping[str, Any]) -> Sign:
        from decklog.agents.gemini import live

        return live.notified(data) if event == "Notification" else super().hook_sign(event, data)


AGENT = Gemini()
