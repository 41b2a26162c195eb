"""Who is in which pane, and what the screens there say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeAlias

from decklog import agents
from decklog import screen as screens
from decklog.errors import TmuxError
from decklog.model.fleet import AgentProcess, AgentState, Evidence, Match, Pane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.tmux import Server

Place: TypeAlias = tuple[str, int, str]
"""Socket, server pid, pane id."""


def place(pane: Pane) -> Place:
    """What a pane is told by among all panes of all servers."""
    return pane.socket, pane.server_pid, pane.id


class Occupant(NamedTuple):
    """The agent in a pane, as far as it is known."""

    process: AgentProcess
    match: Match | None = None
    state: AgentState = AgentState()

    @property
    def session(self) -> str:
        """``agent:native``; empty where it is not known for sure enough to act on."""
        if self.match is not None:
            return "" if self.match.ambiguous else self.match.session
        return f"{self.process.agent}:{self.process.native}" if self.process.native else ""


class Sight(Protocol):
    """All agents that run, in panes or not."""

    def processes(self) -> Sequence[AgentProcess]:
        """Their processes."""

    def occupants(
        self,
        trees: Sequence[AgentProcess],
        panes: Sequence[Pane],
        said: Mapping[Place, Sequence[Evidence]],
    ) -> Sequence[Occupant]:
        """The same with session and state; what the screens of panes say is handed in."""


def join(panes: Iterable[Pane], seen: Iterable[Occupant]) -> dict[Place, Occupant]:
    """Panes with the agent in each: that whose tree holds the process of the pane, or that runs on
    its terminal. Of several the one that a person talks to, the oldest."""
    ranked = sorted(
        seen, key=lambda o: (o.process.role != "interactive", o.process.root.start_ticks)
    )
    by_pid: dict[int, Occupant] = {}
    by_tty: dict[str, Occupant] = {}
    for one in ranked:
        for p in one.process.members:
            by_pid.setdefault(p.pid, one)
            if p.tty:
                by_tty.setdefault(p.tty, one)
        by_pid.setdefault(one.process.root.ppid, one)
    found = {}
    for pane in panes:
        who = by_pid.get(pane.pid) or by_tty.get(pane.tty)
        if who is not None and not pane.dead:
            found[place(pane)] = who
    return found


def capture(panes: Iterable[Pane], server: Callable[[str], Server]) -> dict[Place, str]:
    """The screens of these panes, in one call for each server; what fails is left out."""
    by_socket: dict[str, list[Pane]] = {}
    for pane in panes:
        by_socket.setdefault(pane.socket, []).append(pane)
    found: dict[Place, str] = {}
    for socket, some in by_socket.items():
        with suppress(TmuxError):
            texts = server(socket).capture([p.id for p in some])
            found |= {place(p): texts[p.id] for p in some if p.id in texts}
    return found


def said(
    panes: Iterable[Pane], who: Mapping[Place, str], shown: Mapping[Place, str], at: int
) -> dict[Place, tuple[Evidence, ...]]:
    """What the screens and titles of panes say, by the agent that is in each."""
    found = {}
    for pane in panes:
        where = place(pane)
        known = agents.get(who[where]).screen if where in who else None
        if known is not None and where in shown:
            told = screens.look(known, shown[where], pane.title, at, pane.id)
            if told:
                found[where] = told
    return found
