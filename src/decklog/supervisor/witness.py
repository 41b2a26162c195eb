"""Whether an agent took a text: what its transcripts and its own status file say since."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from decklog import agents, collect, sources
from decklog.agents import Agent
from decklog.errors import DecklogError
from decklog.model import Cursor, Ref, Source, UserMessage
from decklog.model.fleet import AgentProcess, Evidence
from decklog.unpacking import Bomb

EVERY = 0.1
"""Seconds between looks; a sending asks more often."""
MARGIN_MS = 50
"""The clock of an agent's record may be so much behind ours."""


class Witness:
    """Made before a text is typed; called afterwards, again and again.

    It says ``turn_started`` when a transcript that grew since then holds the text as a prompt, and
    ``busy`` when the agent's status file turned to it since.
    """

    def __init__(self, process: AgentProcess, env: Mapping[str, str], text: str, now: int) -> None:
        self.process = process
        self.env = env
        self.text = _bare(text)
        self.since = now
        self.agent: Agent = agents.get(process.agent)
        self._sizes = self._transcripts()
        self._busy = {e.id for e in self._stated()}
        self._found: tuple[Evidence, ...] = ()
        self._next = 0.0

    def __call__(self) -> Sequence[Evidence]:
        if self._found or time.monotonic() < self._next:
            return self._found
        self._next = time.monotonic() + EVERY
        self._found = (*self._written(), *(e for e in self._stated() if e.id not in self._busy))
        return self._found

    def _stated(self) -> list[Evidence]:
        stated = collect.own_files([self.process], {self.agent.name: self.agent}, self.env)
        states = stated.states.get(self.process.root.identity, ())
        return [e for e in states if e.says == "busy" and (e.at or 0) >= self.since - MARGIN_MS]

    def _written(self) -> list[Evidence]:
        found = []
        for path, size in self._transcripts().items():
            before = self._sizes.get(path, 0)
            if size > before:
                with suppress(OSError, Bomb, DecklogError):
                    found += self._read(path, before)
        return found

    def _transcripts(self) -> dict[str, int]:
        """Size of every transcript that is a file of lines."""
        found = {}
        for root in self.agent.roots(self.env):
            for relative, entry in sources.walk(root.path, root.only, root.skip):
                if self.agent.claim(relative) == "jsonl" and not relative.endswith(".zst"):
                    with suppress(OSError):
                        found[entry.path] = entry.stat().st_size
        return found

    def _read(self, path: str, offset: int) -> list[Evidence]:
        source = Source(agent=self.agent.name, uri=path)
        reader = self.agent.reader(Cursor(source=source, offset=offset), text=True)
        return [
            self._heard(event, f"{path}:{at}")
            for chunk in sources.chunks(path, offset)
            for at, record in chunk.lines
            for event in reader.feed(record, Ref(path, at, len(record)))
            if isinstance(event, UserMessage) and self.text in _bare(event.content)
        ]

    def _heard(self, event: UserMessage, place: str) -> Evidence:
        return Evidence(
            kind="transcript",
            says="turn_started",
            session=event.session or "",
            at=event.at,
            id=place,
            confidence=0.95,
            detail=os.path.basename(place),
        )


def _bare(text: str) -> str:
    return "".join(text.split())
