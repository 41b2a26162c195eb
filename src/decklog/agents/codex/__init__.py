"""Codex CLI: rollouts under ``~/.codex/sessions``. Sources of the facts: docs/formats/codex.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from decklog.agents import Agent, Claim, Hook, Invocation, Reader, Root, Sign
from decklog.agents.codex.terminal import LAUNCH, SCREEN
from decklog.model import Conversation, Cursor, Transcript
from decklog.model.turns import AnyBlock

INDEX = "session_index.jsonl"
"""Names of all sessions, beside the folders of the transcripts."""


class Codex(Agent):
    name = "codex"
    title = "Codex CLI"
    provider = "openai"
    variables = ("CODEX_HOME",)
    screen = SCREEN
    launch = LAUNCH
    clean_up = "deletes nothing; packs transcripts older than 7 days as .jsonl.zst"
    holds_files = True
    questions = ("request_user_input",)
    hook_note = "Codex runs new hooks only after you have reviewed them: type /hooks in it"

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = (env.get("CODEX_HOME") or f"{env['HOME']}/.codex").rstrip("/")
        return (
            Root(f"{home}/sessions"),
            Root(f"{home}/archived_sessions"),
            Root(home, only=(INDEX,)),
        )

    def claim(self, relative: str) -> Claim | None:
        name = relative.rpartition("/")[2]
        if relative == INDEX:
            return "companion"
        if name.startswith("rollout-"):
            if name.endswith((".jsonl", ".jsonl.zst")):
                return "jsonl"
            if name.endswith(".json"):
                return "json"
        if name.startswith(".") or ".tmp" in name or name.endswith((".lock", "~")):
            return "ignore"  # a desktop's own files, unfinished packing, locks
        return None

    def companions(self, uri: str) -> tuple[str, ...]:
        for folder in ("archived_sessions", "sessions"):
            home, found, _ = uri.rpartition(f"/{folder}/")
            if found:
                return (f"{home}/{INDEX}",)
        return ()

    def mark(self, uri: str, companions: Mapping[str, bytes]) -> str:
        from decklog.agents.codex.core import title_of

        return title_of(uri, companions)

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        from decklog.agents.codex.reader import CodexReader

        return CodexReader(cursor, text=text, companions=companions)

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        from decklog.agents.codex import live

        return live.process(argv, exe)

    def held(self, path: str) -> str:
        from decklog.agents.codex import live

        return live.held(path)

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        from decklog.agents.codex import live

        return live.signs(line)

    def parts(self, record: bytes) -> tuple[AnyBlock, ...]:
        from decklog.agents.codex.transcript import parts

        return parts(record)

    def transcript(self, conversation: Conversation, native: str, at: int) -> Transcript:
        from decklog.agents.codex.transcript import write

        return write(conversation, native, at)

    def hooks(self) -> tuple[Hook, ...]:
        from decklog.agents.codex import live

        return live.HOOKS

    def hook_file(self, env: Mapping[str, str]) -> str:
        from decklog.agents.codex import live

        return live.hook_file(env)


AGENT = Codex()
