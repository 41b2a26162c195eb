"""Running agents as plain rows: what ``decklog ps`` shows."""

from __future__ import annotations

from typing import Any

import msgspec

from decklog import thoughts
from decklog.model.fleet import Evidence, Running, Thought


def row(r: Running) -> dict[str, Any]:
    """A running agent as a plain row."""
    m, s, session, pane = r.match, r.state, r.session, r.pane
    evidence = [*m.evidence, *s.evidence]
    found: dict[str, Any] = {
        "agent": m.agent,
        "pid": m.pid,
        "pids": list(m.pids),
        "role": r.process.role,
        "pane": pane.id if pane is not None else None,
        "pane_name": pane.name if pane is not None else None,
        "socket": pane.socket if pane is not None else None,
        "tty": r.process.root.tty or None,
        "cwd": r.process.cwd,
        "session": m.session or None,
        "also": list(m.also),
        "history": list(m.history),
        "confidence": m.confidence,
        "ambiguous": m.ambiguous,
        "candidates": [{"session": c.session, "confidence": c.confidence} for c in m.candidates],
        "state": s.state,
        "since": s.since,
        "state_source": s.source or None,
        "state_confidence": s.confidence,
        "evidence": [_told(e) for e in evidence],
        "title": session.title if session is not None else "",
        "model": session.model if session is not None else "",
        "tokens": session.tree_usage.total if session is not None else None,
        "usage": msgspec.to_builtins(session.tree_usage) if session is not None else None,
        "cost_micro_usd": session.tree_cost.micro_usd if session is not None else None,
        "started_at": r.process.root.started_at,
        "thought": "",
    }
    return thoughts.merge(found, r.thought or Thought())


def _told(e: Evidence) -> dict[str, Any]:
    return {
        "about": e.about,
        "kind": e.kind,
        "says": e.session if e.about == "session" else e.says,
        "at": e.at,
        "confidence": e.confidence,
        "detail": e.detail,
    }
