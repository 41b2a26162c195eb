"""What all parts of the reader share: its state, the clock, the session and its lineage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from decklog.agents._shared import TITLE_LENGTH, BaseReader, ReaderState, clean, to_ms
from decklog.agents.codex import INDEX
from decklog.agents.codex.records import IndexEntry, Meta, Origin, RolloutLine, Spawn, Subagent
from decklog.agents.codex.tokens import Ledger
from decklog.agents.codex.tools import Note
from decklog.model import Event, Facts, Forked, Ref, SessionStarted, StateChanged, ToolKind

KEPT = 64
"""Open calls and recent texts that are remembered."""

_name = re.compile(r"rollout-.*?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json")


class Call(Struct):
    """A tool call whose output is still to come."""

    name: str
    kind: ToolKind
    paths: tuple[str, ...] = ()


class State(ReaderState, kw_only=True):
    native: str = ""
    origin: str = ""
    """Session whose records were copied into this one: the last that named itself."""
    provider: str = ""
    model: str = ""
    turn: str = ""
    copied: bool = False
    """True while a subagent's transcript repeats what its parent had before it."""
    limited: str = ""
    """Turn whose usage limit has been reported."""
    calls: dict[str, Call] = {}
    notes: dict[str, Note] = {}
    """What was said of open calls, by call id."""
    running: dict[str, str] = {}
    """Commands that go on after their call returned: call id to tool name."""
    texts: dict[str, list[int]] = {}
    """How often a recent text was recorded in each way."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)


class Core(BaseReader):
    agent = "codex"
    State: ClassVar[type[ReaderState]] = State
    Record = RolloutLine

    def placed(self) -> None:
        self.s: State
        self.f = self.facts.get(self.s.native) or Facts()
        self.session = f"codex:{self.s.native}"
        self.ready = False
        self.at_text = ""
        self.at: int | None = None
        self._families()

    def session_id(self) -> str:
        return self.session

    def _time(self, text: str) -> None:
        self.at_text = text
        self.at = at = to_ms(text) if text else None
        f = self.f
        if at is None:
            return
        if f.last_at is None or f.started_at is None:
            f.opened_at = f.started_at = f.last_at = at
        elif at > f.last_at:
            f.last_at = at
        elif at < f.started_at:
            f.started_at = at

    def _put(self, out: list[Event], kind: Any, ref: Ref, uid: str, **own: Any) -> None:
        self.s.seq += 1
        out.append(
            kind(
                seq=self.s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=uid or f"{self.s.native}:{self.s.seq}",
                **own,
            )
        )

    def _families(self) -> None:
        """What the ids of records without one of their own begin with: turns keep their id when
        a fork copies them, and before there were turns a copy tells whose it is."""
        s = self.s
        self.family = s.turn or s.origin or s.native

    # -- the session ---------------------------------------------------------------------------

    def _get_ready(self, p: Any, ref: Ref, out: list[Event]) -> None:
        """Before the first record of this reader: begin the session, and look up its name."""
        self.ready = True
        if not self.s.native:
            self._begin(p if isinstance(p, Meta) else Meta(), ref, out)
        for path, data in self.companions.items():
            if path.endswith(INDEX):
                self._title(_indexed(data, self.s.native), ref, out)

    def _begin(self, p: Meta, ref: Ref, out: list[Event]) -> None:
        file = self.uri.rpartition("/")[2]
        found = _name.search(file)
        named = found[1] if found else ""
        native = p.id or named or p.session_id or file.partition(".")[0] or "session"
        self.s.native, self.session = native, f"codex:{native}"
        self.s.provider = p.model_provider or "openai"
        self._families()
        self.f = f = self.fact(native)
        self._time(self.at_text or p.timestamp or "")
        f.cwd = p.cwd or ""
        f.agent_version = p.cli_version or ""
        if p.git is not None:
            f.project, f.branch = p.git.repository_url or "", p.git.branch or ""
        command = p.originator or "codex"
        self._put(out, SessionStarted, ref, f"start:{native}", command=command, cwd=f.cwd or None)
        self._lineage(p, ref, out)
        if named and p.id and named != p.id:
            out.append(self.warn("misfiled", f"session {p.id} in a file of {named}", ref))

    def _lineage(self, p: Meta, ref: Ref, out: list[Event]) -> None:
        f = self.f
        source = p.source.subagent if isinstance(p.source, Origin) else None
        spawn = source.thread_spawn if isinstance(source, Subagent) else None
        spawn = spawn or Spawn()
        parent = p.parent_thread_id or spawn.parent_thread_id
        if source is not None or parent or p.thread_source in ("subagent", "guardian_review"):
            f.relation = "subagent"
            parents = (parent, p.forked_from_id, p.session_id)
            f.parent = next((x for x in parents if x and x != f.native), "")
            path = p.agent_path or spawn.agent_path or ""
            name = path.rpartition("/")[2] or p.agent_nickname or spawn.agent_nickname or ""
            f.title = clean(name, TITLE_LENGTH)
            f.title_rank = 1 if f.title else 0
        elif p.forked_from_id:
            self._branch(p.forked_from_id, ref, out)

    def _branch(self, parent: str, ref: Ref, out: list[Event]) -> None:
        f = self.f
        f.parent, f.relation = parent, "fork"
        self._put(out, Forked, ref, f"fork:{f.native}", parent=f"codex:{parent}", relation="fork")

    def _meta(self, p: Meta, r: Any, ref: Ref, out: list[Event]) -> None:
        f = self.f
        if p.id == f.native:  # also once more on resume
            f.agent_version = p.cli_version or f.agent_version
        elif p.id:  # the head of a history that was copied into this one
            self.s.origin = p.id
            self._families()
            if not f.relation:
                self._branch(p.id, ref, out)

    def _title(self, name: str, ref: Ref, out: list[Event]) -> None:
        f, title = self.f, clean(name, TITLE_LENGTH)
        if title and (title != f.title or f.title_rank < 2):
            self._put(out, StateChanged, ref, "", what="title", old=f.title or None, new=title)
            f.title, f.title_rank = title, 2


def title_of(uri: str, companions: Mapping[str, bytes]) -> str:
    """The name that the index has for the session of a transcript; empty for none."""
    found = _name.search(uri.rpartition("/")[2])
    indexes = (data for path, data in companions.items() if path.endswith(INDEX))
    return next((_indexed(data, found[1]) for data in indexes if found), "")


def _indexed(index: bytes, native: str) -> str:
    """The last name of a session in the index that all sessions share; only lines that hold its
    id are decoded."""
    needle, end = native.encode(), len(index)
    while (at := index.rfind(needle, 0, end)) >= 0:
        start, stop = index.rfind(b"\n", 0, at) + 1, index.find(b"\n", at)
        line = index[start:] if stop < 0 else index[start:stop]
        end = start
        try:
            entry = msgspec.json.decode(line, type=IndexEntry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if entry.id == native and entry.thread_name.strip():
            return entry.thread_name
    return ""
