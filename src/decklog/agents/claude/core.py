"""What all records have in common: the session they belong to, and how events are made."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec

from decklog.agents._shared import TITLE_LENGTH, BaseReader, ReaderState, clean
from decklog.agents.claude.records import FullLine, Line
from decklog.agents.claude.totals import Totals
from decklog.model import Event, Facts, Forked, Ref, SessionStarted

_aside = re.compile(r"a([a-z_]{1,64})-[0-9a-f]{1,64}")
_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class State(ReaderState, kw_only=True):
    current: str = ""
    started: list[str] = []
    requests: dict[str, str] = {}
    """Recent short message ids to request ids: a record of a known message may lack it."""
    totals: Totals = msgspec.field(default_factory=Totals)
    leaf: str = ""
    """The last record's uuid."""
    summaries: dict[str, str] = {}
    """Titles of conversations that end in a record not met yet, by its uuid."""
    branch: set[str] = set()
    """Copied records of a branch: ``/branch`` has written each of them twice."""


class Core(BaseReader):
    """Keeps the session and the record in hand, for the methods that make events of them."""

    agent = "claude"
    State: ClassVar[type[ReaderState]] = State
    Record = FullLine
    Lean = Line

    def placed(self) -> None:
        self.path = self.uri.removesuffix(".zst").removesuffix(".jsonl")
        """Without the ends of its name."""
        self.stem = self.path.rpartition("/")[2]
        self.file_agent = self.stem[6:] if self.stem.startswith("agent-") else None
        self.folder_session = ""
        if self.file_agent:
            self.folder_session = self.uri.rpartition("/subagents/")[0].rpartition("/")[2]
        aside = _aside.fullmatch(self.file_agent or "")
        self.aside = aside[1].replace("_", " ") if aside else ""
        """What the agent asked on the side (compact, prompt suggestion): nobody typed that, and it
        begins with copies of what was said before."""
        self.rank = 1 if aside else 2
        # the session in hand
        self.f: Any = None
        self.sid: str | None = None
        self.side: str | None = None
        self.native = self.session = ""
        self.begun = False
        # the record in hand
        self.ref = Ref()
        self.at: int | None = None
        self.at_text = self.uid = ""

    def session_id(self) -> str:
        return self.session or f"claude:{self.s.current or self.stem}"

    # -- the session in hand -------------------------------------------------------------------

    def _enter(self, sid: str | None, side: str | None) -> Facts:
        """Turn to the session that a record names; without a name it stays the current one."""
        s = self.s
        parent = ""
        if not sid and s.current:
            native = s.current
        elif side:
            parent = sid or self.folder_session
            native = f"{parent}.agent-{side}" if parent else f"agent-{side}"
        else:
            native = sid or self.stem or "session"
        self.sid, self.side, self.native = sid, side, native
        self.session = f"claude:{native}"
        self.begun = native in s.started
        s.current = native
        f = self.facts.get(native)
        if f is None:
            f = self.fact(native)
            if parent:
                f.parent, f.relation = parent, "subagent"
                f.title, f.title_rank = self.aside, int(bool(self.aside))
                self._companion(f)
        self.f = f
        return f

    def _companion(self, f: Facts) -> None:
        data = self.companions.get(f"{self.path}.meta.json")
        try:
            meta = msgspec.json.decode(data or b"{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(meta.get("description"), str):
            f.title, f.title_rank = clean(meta["description"], TITLE_LENGTH), 2

    def _begin(self, r: Line, out: list[Event]) -> None:
        """The first thing that happens in a session, as far as this source tells."""
        self.begun = True
        self._start(self.native, out)
        parent = r.forkedFrom.sessionId if r.forkedFrom is not None else None
        f = self.f
        if parent and parent != self.native and not f.parent:
            f.parent, f.relation = parent, "fork"
            self._put(out, Forked, parent=f"claude:{parent}", uid=f"fork:{self.native}")
        named = self.native.partition(".agent-")[0]
        if named != self.stem and not self.file_agent and _uuid.fullmatch(self.stem):
            out.append(self.warn("misfiled", f"records of session {named}", self.ref))

    def _start(self, native: str, out: list[Event]) -> None:
        self.s.started.append(native)
        self.begun = self.begun or native == self.native
        self._put(
            out,
            SessionStarted,
            session=f"claude:{native}",
            uid=f"start:{native}",
            command="claude",
            cwd=self.f.cwd or None,
        )

    def _repeated(self, r: Line, uid: str) -> bool:
        """True for the second of two copies of a record in a branch."""
        branch, short = self.s.branch, uid[:18]
        if short in branch or (uid == self.s.leaf and branch):
            return True
        if r.forkedFrom is not None:
            branch.add(short)
        return False

    def _inline(self, r: Line) -> bool:
        """True for a subagent's record among its parent's, without an id of its own."""
        return bool((r.isSidechain and self.f.relation != "subagent") or r.parent_tool_use_id)

    # -- events of the record in hand ----------------------------------------------------------

    def _put(self, out: list[Event], kind: Any, **own: Any) -> None:
        """Events that are rare enough to be made the short way."""
        self.s.seq += 1
        own = {"session": self.session, "uid": self.uid, **own}
        out.append(
            kind(seq=self.s.seq, at=self.at, at_text=self.at_text, agent="claude", ref=self.ref,
                 **own)
        )  # fmt: skip

    def _nth(self, n: object) -> str:
        """uid of a further event of the record in hand."""
        return f"{self.uid}:{n}" if n and self.uid else self.uid
