"""What followers are told: events as they are read, and what happens to sessions."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from decklog.model.events import Event


class ChangeBase(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every change carries. ``seq`` only grows; go on after it with
    `decklog.hub.Decklog.changes` (``since=seq``)."""

    seq: int


class Happened(ChangeBase, frozen=True, kw_only=True, tag="event"):
    """An event was read. In agents that rewrite their records in place, a later one with the same
    ``uid`` takes the place of an earlier one."""

    event: Event


class SessionNew(ChangeBase, frozen=True, kw_only=True, tag="session_new"):
    session: str


class SessionRenamed(ChangeBase, frozen=True, kw_only=True, tag="session_renamed"):
    session: str
    title: str = ""
    """As it is when this is told."""


class SessionGone(ChangeBase, frozen=True, kw_only=True, tag="session_gone"):
    """No source of the session is on disk any more; what was read of it stays."""

    session: str


class SessionBack(ChangeBase, frozen=True, kw_only=True, tag="session_back"):
    session: str


class Lagged(ChangeBase, frozen=True, kw_only=True, tag="lagged"):
    """Something before ``seq`` cannot be told any more: the follower was away for too long, the
    store was made anew, or a transcript was rewritten before it was read again."""

    missed: int | None = None
    """How many changes; None where that is not known."""


Change: TypeAlias = Happened | SessionNew | SessionRenamed | SessionGone | SessionBack | Lagged
