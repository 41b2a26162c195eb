"""What a search finds."""

from __future__ import annotations

from msgspec import Struct


class Hit(Struct, frozen=True, kw_only=True):
    """One place that answers a query: an event of a session, or a session's title."""

    id: str
    """``<session>#<seq>``: what `decklog show` opens."""
    session: str
    seq: int
    """Number of the event in its session, as `Decklog.events` gives it; 1 for a title."""
    turn: int = 0
    """How many prompts there were up to here; 0 before the first, and for a title."""
    at: int | None = None
    """Milliseconds, UTC."""
    agent: str = ""
    kind: str = ""
    """Wire name of the event (``user_message``, ``tool_result``), or ``title``."""
    role: str = ""
    """user, assistant, tool, system or title."""
    tool: str = ""
    """Name of the tool, of a call or its result."""
    snippet: str = ""
    """A part of the text around the match, white space collapsed; empty when ``stale``."""
    marks: tuple[tuple[int, int], ...] = ()
    """(begin, end) of each match within ``snippet``, in characters."""
    score: float | None = None
    """How well it matches (BM25, higher is better), where that was the order."""
    stale: str = ""
    """Why the text cannot be shown: its source is gone, or says something else now."""


class Covered(Struct, frozen=True, kw_only=True):
    """How far the text index is."""

    complete: bool = True
    percent: float = 100.0
    """Of the bytes of all sources."""
    behind: int = 0
    """Sources of which texts are lacking."""


class Page(Struct, frozen=True, kw_only=True):
    """One page of hits."""

    hits: tuple[Hit, ...] = ()
    next: str | None = None
    """The ``after`` of the page that follows; None: this was the last."""
    covered: Covered = Covered()
