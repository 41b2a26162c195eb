"""Collectors: each looks at one source of evidence and says what it sees, no more.

What it means is for `decklog.state` (states), `decklog.match` (sessions) and `decklog.thoughts`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from decklog import sources
from decklog.agents import Agent, Own, Reader, Sign
from decklog.agents._shared import to_ms
from decklog.match import Claim
from decklog.model import (
    AssistantMessage,
    Cursor,
    Event,
    Reasoning,
    Ref,
    Source,
    StateChanged,
    ToolCalled,
    ToolReturned,
    UsageLimitHit,
    UserMessage,
)
from decklog.model.fleet import AgentProcess, Evidence, Identity, Process, Says
from decklog.state import observed
from decklog.unpacking import Bomb

FIRST_LOOK = 8 * 1024
"""Bytes of a transcript's end that are read at first; more where no turn is seen in them."""
FURTHEST_LOOK = 1024 * 1024
Stamp: TypeAlias = tuple[int, int, int] | None
Stamps: TypeAlias = tuple[Stamp, Stamp]
"""Of a transcript, and of the write-ahead log beside it."""
TORN = 3
"""Times that a file is read again which an agent is just rewriting."""


# -- processes -------------------------------------------------------------------------------------


def started(tree: AgentProcess) -> Evidence:
    """That the agent runs."""
    who = tree.root.identity
    return observed(
        "process", "started", tree.root.started_at, id=f"process:{_name(who)}",
        generation=_name(who), detail=f"process {who.pid}",
    )  # fmt: skip


def ended(who: Identity, now: int) -> Evidence:
    """That it runs no more."""
    return observed(
        "process", "exited", now, id=f"process:{_name(who)}:ended", generation=_name(who),
        detail=f"process {who.pid}",
    )  # fmt: skip


def _name(who: Identity) -> str:
    return f"{who.boot}:{who.pid}:{who.start_ticks}"


# -- files that agents keep of their processes -----------------------------------------------------


class Stated(NamedTuple):
    """What such files say: for the match and for the states, by root."""

    claims: list[Claim]
    states: dict[Identity, list[Evidence]]


def own_files(
    trees: Iterable[AgentProcess], agents: Mapping[str, Agent], env: Mapping[str, str]
) -> Stated:
    """Read the files that agents keep of the processes of these trees."""
    found = Stated([], {})
    for tree in trees:
        agent = agents[tree.agent]
        patterns = agent.own_files(env)
        for p in tree.members if patterns else ():
            if p.agent and not any(agent.held(f) for f in p.files):
                for pattern in patterns:
                    for path in _paths(pattern.replace("{pid}", str(p.pid))):
                        _state(found, tree, p, path, _own(agent, path))
    return found


def own_paths(
    trees: Iterable[AgentProcess], agents: Mapping[str, Agent], env: Mapping[str, str]
) -> list[str]:
    """Those of these files whose names are known beforehand, whether they are there or not."""
    return [
        pattern.replace("{pid}", str(p.pid))
        for tree in trees
        for pattern in agents[tree.agent].own_files(env)
        if "*" not in pattern
        for p in tree.members
        if p.agent
    ]


def _paths(pattern: str) -> list[str]:
    if "*" not in pattern:
        return [pattern]
    import glob

    return sorted(glob.glob(pattern))


def _own(agent: Agent, path: str) -> tuple[Own, int] | None:
    """What the file says, and when it was written (ms)."""
    for attempt in range(TORN):
        try:
            with open(path, "rb") as f:
                data = f.read(64 * 1024)
                written = os.fstat(f.fileno()).st_mtime_ns // 1_000_000
        except OSError:
            return None
        if (own := agent.own(path, data)) is not None:
            return own, written
        time.sleep(0.002 * attempt)
    return None


def _state(
    found: Stated, tree: AgentProcess, p: Process, path: str, said: tuple[Own, int] | None
) -> None:
    if said is None:
        return
    own, written = said
    if own.pid != p.pid or own.start_ticks not in (0, p.start_ticks):
        return  # of a process that had this number before
    at = own.at if own.at is not None else written
    who = Identity(p.boot if own.start_ticks else "", p.pid, own.start_ticks)
    found.claims.append(Claim(who, own.native, own.kind, at, path))
    if own.says and (own.start_ticks or at >= (p.started_at or 0)):
        said_at = own.said_at if own.said_at is not None else at
        found.states.setdefault(tree.root.identity, []).append(
            observed(
                "status_file", own.says, said_at, id=f"{path}:{own.says}:{said_at}",
                session=f"{tree.agent}:{own.native}", detail=own.detail or path,
            )
        )  # fmt: skip


# -- transcripts -----------------------------------------------------------------------------------


class Heard(NamedTuple):
    """What was written since the last look."""

    evidence: list[Evidence]
    events: list[Event]
    anew: bool = False
    """True when the events are of the whole session, not only the new ones."""


class Transcript:
    """One transcript, followed from near its end."""

    def __init__(
        self, agent: Agent, session: str, uri: str, kind: str = "jsonl", known: Stamps | None = None
    ) -> None:
        self.agent, self.session, self.uri, self.kind = agent, session, uri, kind
        self.known = known
        """Its stamp when it was read last, here or by an earlier look."""
        self.offset = 0
        self.seen: Any = None
        self.reader: Reader | None = None

    def stamp(self) -> Stamps:
        """Equal while there is nothing new to read."""
        path = self.uri.partition("#")[0]
        return stamp(path), stamp(f"{path}-wal") if self.kind == "sqlite" else None

    def read(self) -> Heard:
        """What is new. A transcript that cannot be read says nothing."""
        before, self.known = self.known, self.stamp()
        if self.known == before:
            return Heard([], [])
        try:
            if self.kind == "jsonl":
                return self._lines()
            return self._document()
        except (OSError, Bomb):
            return Heard([], [])

    def _lines(self) -> Heard:
        size = os.stat(self.uri).st_size
        if self.reader is not None and size >= self.offset:
            return self._from(self.offset) if size > self.offset else Heard([], [])
        look = FIRST_LOOK
        while True:
            self.offset = 0 if self.uri.endswith(".zst") else max(0, size - look)
            self.reader = self._new_reader()
            heard = self._from(self.offset)
            told = any(e.says in ("turn_started", "turn_ended") for e in heard.evidence)
            if (told and heard.events) or look >= min(size, FURTHEST_LOOK):
                return heard._replace(anew=True)
            look *= 8

    def _new_reader(self) -> Reader:
        source = Source(agent=self.agent.name, uri=self.uri)
        return self.agent.reader(Cursor(source=source, offset=self.offset), text=True)

    def _from(self, offset: int) -> Heard:
        heard = Heard([], [])
        reader = self.reader
        assert reader is not None
        for chunk in sources.chunks(self.uri, offset):
            lines = iter(chunk.lines)
            if chunk.continued:
                next(lines, None)  # the end of a record whose beginning is before our look
            for at, record in lines:
                if len(record) <= sources.LEAN_LINE:
                    found = reader.feed(record, Ref(self.uri, at, len(record)))
                    self._hear(heard, found, self.agent.signs(record), record, f"{self.uri}:{at}")
            self.offset = chunk.end
        return heard

    def _document(self) -> Heard:
        path, _, document = self.uri.partition("#")
        seen = tuple(stamp(p) for p in (path, f"{path}-wal"))
        if seen == self.seen:
            return Heard([], [])
        from decklog import databases, reading

        try:
            data = reading.document_bytes(self.agent, self.uri, self.kind, document, [])
        except (databases.Unreadable, databases.UnknownSchema):
            return Heard([], [])
        self.seen = seen
        if not data:
            return Heard([], [])
        self.reader = self._new_reader()
        heard = Heard([], [], anew=True)
        found = self.reader.feed(data, Ref(self.uri, 0, len(data)))
        self._hear(heard, found, self.agent.signs(data), b"", self.uri)
        return heard

    def _hear(
        self, heard: Heard, found: Sequence[Event], signs: Sequence[Sign], record: bytes, place: str
    ) -> None:
        events = [e for e in found if e.session == self.session]
        if found and not events:
            return  # of a subagent, or of a session that this one was forked from
        heard.events.extend(events)
        closes = any(s.says in ("turn_ended", "error", "interrupted") for s in signs)
        for n, e in enumerate(events):
            says, ref, detail = _said(e, self.agent.questions)
            if says and not (closes and says == "activity"):
                heard.evidence.append(self._observed(says, e.at, f"{place}:{n}", ref, detail))
        at = next((e.at for e in reversed(events) if e.at is not None), None) or _time(record)
        limited = any(isinstance(e, UsageLimitHit) for e in events)
        for sign in signs:
            if limited and sign.says == "error":
                continue  # the limit is the error
            one = self._observed(sign.says, at, f"{place}:{sign.says}", sign.ref, sign.detail)
            if sign.confidence is not None:
                one = msgspec.structs.replace(one, confidence=sign.confidence)
            heard.evidence.append(one)

    def _observed(self, says: Says, at: int | None, id: str, ref: str, detail: str) -> Evidence:
        return observed("transcript", says, at, id=id, ref=ref, detail=detail, session=self.session)


def _said(e: Event, questions: Sequence[str]) -> tuple[Says, str, str]:
    match e:
        case UserMessage(injected=False):
            return "turn_started", "", ""
        case ToolCalled(tool_name=name, tool_id=ref):
            return ("waiting_answer" if name in questions else "tool_started"), ref or "", name
        case ToolReturned(tool_id=ref):
            return "tool_ended", ref or "", ""
        case AssistantMessage() | Reasoning():
            return "activity", "", ""
        case StateChanged(what="aborted"):
            return "interrupted", "", e.new or ""
        case UsageLimitHit():
            return "limited", "", e.reset_at or ""
        case _:
            return "", "", ""


_stated_time = re.compile(rb'"timestamp":\s*"([^"]{10,40})"')


def _time(record: bytes) -> int | None:
    found = _stated_time.search(record)
    return to_ms(found[1].decode("ascii", "replace")) if found else None


def stamp(path: str) -> Stamp:
    """Size, time and inode of a file; None where there is none."""
    try:
        s = os.stat(path)
    except OSError:
        return None
    return s.st_size, s.st_mtime_ns, s.st_ino
