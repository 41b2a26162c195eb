"""Panes that decklog supervises, what happens to them, what became of a text sent to one."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from decklog.model.fleet import Evidence, Transition

Standing: TypeAlias = Literal["live", "lost", "exited", "killed", "released"]
"""``lost``: it vanished together with its server, or somebody else ended it; its session can be
resumed. ``exited``: its program ended. ``killed``: we ended it. ``released``: it is no longer
supervised, and was alive then."""

Happened: TypeAlias = Literal[
    "created",
    "adopted",
    "bound",
    "renamed",
    "moved",
    "state",
    "sent",
    "interrupted",
    "lost",
    "found",
    "exited",
    "killed",
    "released",
    "restored",
    "kept",
]
"""``bound``: its session is known now, or is another one. ``moved``: it stands in another tmux
session or window. ``found``: it was lost and is there after all. ``kept``: carried over from an
older file."""


class Supervised(Struct, frozen=True, kw_only=True):
    """One pane as the registry knows it."""

    id: str
    """Our id: a short word that is never used again. The pane carries it as ``@decklog_id``."""
    name: str = ""
    """What people call it; anything may stand in it."""
    agent: str = ""
    cwd: str = ""
    session: str = ""
    """``agent:native`` of the session it is on, once that is known."""
    argv: tuple[str, ...] = ()
    """Arguments that the agent was started with, without a prompt."""
    origin: Literal["created", "adopted", "restored"] = "created"
    socket: str = ""
    server_pid: int = 0
    server_started: int = 0
    pane: str = ""
    """tmux's id, ``%3``; it means that pane only on the server above."""
    place: str = ""
    """Where it stood when it was last seen, for people: ``work:1.0``."""
    pid: int = 0
    """The process in the pane, with its start, so that another one is told from it."""
    start_ticks: int = 0
    boot: str = ""
    host: str = ""
    """Name of the machine, or container, that it runs on: of those on others nothing is seen."""
    generation: str = ""
    """New with every start of its program."""
    standing: Standing = "live"
    code: int | None = None
    """Exit code, where it exited and that is known."""
    why: str = ""
    """What ended it, in words."""
    restored_as: str = ""
    """Id of the pane that goes on with its session."""
    created_at: int = 0
    ended_at: int | None = None
    forced: bool = False
    """Opened although its session was open elsewhere."""
    relay: bool = False
    """Started through a relay, which hears what the agent tells its terminal."""


Outcome: TypeAlias = Literal["submitted", "queued", "typed", "not_sent", "unknown"]
"""What became of a text. ``submitted``: the agent took it. ``queued``: it took it, to be worked on
after its turn. ``typed``: it stands in the composer, and Enter did not send it. ``not_sent``: the
program got nothing of it. ``unknown``: it was typed and nothing tells what became of it; it is not
tried again."""


class Delivery(Struct, frozen=True, kw_only=True):
    """What became of a text that was sent to a pane, and how that is known."""

    outcome: Outcome
    evidence: tuple[Evidence, ...] = ()
    why: str = ""
    """For people: what stood in the way, or what was seen."""
    enters: int = 0
    """How often Enter was pressed."""
    key: str = ""
    """Names the sending: a second one with the same key gives this answer and types nothing."""


class PaneEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something happened to a supervised pane. Replaying all of them gives the registry."""

    seq: int
    at: int
    """Milliseconds since the Unix epoch, UTC."""
    happened: Happened
    pane: Supervised
    """As it is after that."""
    transition: Transition | None = None
    """With ``state``."""
    delivery: Delivery | None = None
    """With ``sent``."""
