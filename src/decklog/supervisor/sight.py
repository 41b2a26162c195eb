"""Who is in which pane."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from decklog.model.fleet import AgentProcess, AgentState, Evidence, Match, Pane


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


Seen: TypeAlias = Sequence[Occupant]
Sight: TypeAlias = Callable[[Mapping[int, Sequence[Evidence]]], Seen]
"""All agents that run, in panes or not. It is given what screens say, by the pid of the agent's
root process."""


Place: TypeAlias = tuple[str, int, str]
"""Socket, server pid, pane id."""


def place(pane: Pane) -> Place:
    """What a pane is told by among all panes of all servers."""
    return pane.socket, pane.server_pid, pane.id


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
