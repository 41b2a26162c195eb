"""What the agents will delete, and whether the archive has it."""

from __future__ import annotations

from decklog import agents, sources
from decklog.store import REWRITTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from decklog.hub import Decklog

DAY = 86_400_000
SOON = 7 * DAY
"""Transcripts that are deleted within this time are at risk."""


def retention(deck: Decklog, now: int) -> list[dict[str, Any]]:
    """See `decklog.hub.health.Health.retention`."""
    copies = {c.uri: c for c in deck.archive.files.copies()}
    known = deck.store.known()
    sessions: dict[str, str] = {}
    for uri, session, _ in deck.store.sources_of_sessions():
        sessions.setdefault(uri, session)
    rows = []
    for a in agents.every():
        own = [(uri, r) for uri, r in known.items() if r[1] == a.name and uri in sessions]
        if not own:
            continue
        found = ((path, sources.read_small(path)) for path in a.clean_up_files(deck.config.env))
        rule = a.clean_up_after({path: data for path, data in found if data is not None})
        gone = [uri for uri, r in own if r[11] and REWRITTEN not in uri]
        there = [(uri, r) for uri, r in own if not r[11]]
        risk = []
        if rule is not None:
            for uri, r in there:
                at = r[4] // 1_000_000 + int(rule.days * DAY)
                if at <= now + SOON:
                    copy = copies.get(uri)
                    risk.append(
                        {
                            "source": uri,
                            "session": sessions[uri],
                            "deleted_at": at,
                            "archived": copy is not None and copy.mtime_ns == r[4],
                        }
                    )
        rows.append(
            {
                "agent": a.name,
                "clean_up": a.clean_up,
                "days": rule.days if rule else None,
                "setting": rule.key if rule else "",
                "origin": rule.origin if rule else "",
                "at_risk": sorted(risk, key=lambda r: r["deleted_at"]),
                "sources": len(there),
                "archived": sum(1 for uri, _ in there if uri in copies),
                "gone": len(gone),
                "gone_archived": sum(1 for uri in gone if uri in copies),
            }
        )
    return rows
