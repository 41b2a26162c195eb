"""``decklog log limits``"""

from __future__ import annotations

from decklog import hub
from decklog.cli import deck as decks
from decklog.cli import output, tables
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IN_HAND = {"scheduled": ("left alone", "waiting"), "started": ("broken off", "running")}
"""Words for a state without, and with, a process that sees to it."""


def limits(*, sample: bool, cancel: str | None, resume: str | None, json: bool | None) -> int:
    """List resumptions after usage limits, cancel one, or take one up."""
    if cancel and resume:
        raise UsageError("either --cancel or --resume")
    with hub.Decklog(decks.settings(sample)) as deck:
        if resume:
            return deck.take_up(resume, output.note).code
        found = [deck.limits.cancel(cancel)] if cancel else deck.limits.all()
        if json:
            output.struct_array(found)
        elif found:
            head = ("ID", "AGENT", "SESSION", "STATE", "GOES ON", "ATTEMPT")
            rows = [_row(deck, p) for p in found]
            for line in tables.table(head, rows, (5,), limit=tables.columns()):
                output.emit(line)
        else:
            output.write("no run has met a usage limit that it was to go on after")
    return 0


def _row(deck: hub.Decklog, p: Any) -> tuple[str, ...]:
    state = _IN_HAND[p.state][p.waiting] if p.state in _IN_HAND else p.state
    when = deck.zone.text(p.resume_at) + (" (assumed)" if p.fallback else "")
    return p.id, p.agent, p.native, state, when, str(p.attempt)
