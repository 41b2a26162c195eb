"""Records of a transcript to events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from decklog.agents._shared import TITLE_LENGTH, clean, count, to_ms
from decklog.agents.claude.messages import Messages
from decklog.agents.claude.records import Line
from decklog.model import Compacted, Event, Facts, ProviderStatus, Ref, StateChanged

QUIET = frozenset(
    """file-history-snapshot file-history-delta last-prompt permission-mode mode queue-operation
    bridge-session worktree-state cost-state atis-latch sessions-index stream_event frame-link
    content-replacement marble-origami-commit marble-origami-snapshot speculation-accept
    tag attribution-snapshot task-summary agent-color agent-setting relocated started
    rate_limit_event control_request control_response keep_alive auth_status""".split()
)
"""Record types that hold no prompt, answer, tool or usage, or repeat one that is elsewhere."""
BEGINS = frozenset(("user", "assistant", "system", "result"))
"""Record types with which something happens in a session."""
TITLES = 64
"""Summaries kept of which it is not known yet whether they are of this conversation."""


class ClaudeReader(Messages):
    """See `decklog.agents.Reader`."""

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: Line = record
        sid = r.sessionId or r.session_id
        side = self.file_agent or (r.agentId if r.isSidechain else None)
        f = self.f
        if f is None or (sid and (sid != self.sid or side != self.side)):
            f = self._enter(sid, side)
        self.ref = ref
        self.at_text = at_text = r.timestamp or ""
        self.at = at = to_ms(at_text) if at_text else None
        if at is not None:
            if f.last_at is None:
                f.started_at = f.last_at = at
                f.opened_at = f.opened_at or at
            elif at > f.last_at:
                f.last_at = at
            elif at < f.started_at:
                f.started_at = at
        if not f.cwd and r.cwd:
            f.cwd = r.cwd
        if r.gitBranch and r.gitBranch not in (f.branch, "HEAD"):
            f.branch = r.gitBranch
        if r.version and r.version != f.agent_version:
            f.agent_version = r.version
            f.copies = "resume" if r.version[:2] in ("0.", "1.") else "fork"
        out: list[Event] = []
        self.uid = uid = r.uuid or ""
        s = self.s
        if uid:
            if (s.branch or r.forkedFrom is not None) and self._repeated(r, uid):
                return out
            s.leaf = uid
        kind = r.type
        if not self.begun and kind in BEGINS:
            self._begin(r, out)
        if kind == "assistant":
            self._assistant(r, f, out)
        elif kind == "user":
            self._user(r, f, out)
        elif (handle := OTHERS.get(kind)) is not None:
            handle(self, r, f, out)
        elif kind not in QUIET:
            out.append(self.warn("unknown", f"record type {kind!r}", ref))
        if uid in s.summaries:
            self._entitle(1, s.summaries.pop(uid), f, out)
        return out

    def _system(self, r: Line, f: Facts, out: list[Event]) -> None:
        subtype = r.subtype or "system"
        if subtype in ("compact_boundary", "microcompact_boundary"):
            meta = r.compactMetadata
            f.compactions += subtype == "compact_boundary"
            self._put(
                out,
                Compacted,
                trigger=(meta.trigger if meta else None) or subtype.removesuffix("_boundary"),
                tokens_before=count(meta.preTokens) or None if meta else None,
            )
            return
        text = clean(r.content, 1000) if isinstance(r.content, str) else ""
        self._put(out, ProviderStatus, message=f"{subtype} {text}".strip())

    def _link(self, r: Line, f: Facts, out: list[Event]) -> None:
        self._put(out, ProviderStatus, message=f"pr-link {r.prUrl or ''}".strip())

    def _summary(self, r: Line, f: Facts, out: list[Event]) -> None:
        """A title of the conversation that ends in ``leafUuid``: often of another file's."""
        s = self.s
        if not r.leafUuid or r.leafUuid == s.leaf:
            self._entitle(1, r.summary, f, out)
        elif r.summary:
            if len(s.summaries) >= TITLES:
                del s.summaries[next(iter(s.summaries))]
            s.summaries[r.leafUuid] = clean(r.summary, TITLE_LENGTH)

    def _agent_title(self, r: Line, f: Facts, out: list[Event]) -> None:
        self._entitle(2, r.aiTitle or r.agentName, f, out)

    def _user_title(self, r: Line, f: Facts, out: list[Event]) -> None:
        self._entitle(3, r.customTitle, f, out)

    def _entitle(self, rank: int, text: str | None, f: Facts, out: list[Event]) -> None:
        text = clean(text or "", TITLE_LENGTH)
        if not text or rank < f.title_rank or text == f.title:
            return
        if self.begun:
            self._put(out, StateChanged, uid="", what="title", old=f.title or None, new=text)
        f.title, f.title_rank = text, rank


OTHERS: dict[str, Callable[[ClaudeReader, Line, Facts, list[Event]], None]] = {
    "attachment": ClaudeReader._attachment,
    "progress": ClaudeReader._progress,
    "system": ClaudeReader._system,
    "result": ClaudeReader._stated,
    "pr-link": ClaudeReader._link,
    "summary": ClaudeReader._summary,
    "ai-title": ClaudeReader._agent_title,
    "agent-name": ClaudeReader._agent_title,
    "custom-title": ClaudeReader._user_title,
}
