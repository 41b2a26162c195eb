"""Panes: agents in tmux, started, adopted, talked to and ended from here.

>>> import decklog
>>> with decklog.open() as deck:
...     one, _ = deck.panes.create(Request("claude", cwd="~/work/site"))
...     print(deck.panes.send(one.id, "Run the tests.").outcome)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from decklog import agents, sources
from decklog.hub.written import LOOK, Written
from decklog.model.fleet import AgentProcess, Evidence, Pane
from decklog.sight import Place, place
from decklog.supervisor import Occupant, Row, Supervisor
from decklog.supervisor.delivery import Witness as Says
from decklog.supervisor.starting import Plan, Request
from decklog.supervisor.watching import Watch
from decklog.supervisor.witness import Witness

if TYPE_CHECKING:
    from decklog.hub import Decklog

__all__ = ["Panes", "Plan", "Request", "Row"]

MANY = 100
"""Panes from which on it is looked less often."""
ANYWAY = 5.0
"""Seconds after which everything is looked at although nothing told of a change."""
SOON = 1.1
"""The same while some agent works: it takes two looks a second apart to see it rest."""
RESTLESS = ("starting", "busy", "waiting_approval", "waiting_answer", "background", "unknown")
WEIGHED = ("evidence", "confidence", "title", "screen")
"""What changes without anything happening."""
REFRESH = 1.0
"""Seconds between looks for new sessions."""


class _Sight:
    """What the supervisor sees of agents: what the fleet does."""

    def __init__(self, deck: Decklog) -> None:
        self.deck = deck
        self.refreshed = 0.0

    def processes(self) -> Sequence[AgentProcess]:
        return self.deck.fleet.processes()

    def occupants(
        self,
        trees: Sequence[AgentProcess],
        panes: Sequence[Pane],
        said: Mapping[Place, Sequence[Evidence]],
    ) -> list[Occupant]:
        if time.monotonic() - self.refreshed > REFRESH:
            self.deck.refresh()
            self.refreshed = time.monotonic()
        fleet = self.deck.fleet
        running = fleet.running(panes=panes)
        if said:
            running = fleet.tell(fleet.by_root(said))
        fleet.remember()
        return [Occupant(r.process, r.match, r.state) for r in running]


class Panes(Supervisor):
    """``deck.panes``: a `decklog.supervisor.Supervisor` that knows agents by ``deck.fleet``."""

    def __init__(self, deck: Decklog) -> None:
        self.deck = deck
        super().__init__(
            f"{deck.config.data_dir}/fleet",
            deck.config.env,
            _Sight(deck),
            witness=self._witness,
            written=self._written,
        )

    def _witness(self, occupant: Occupant | None, text: str) -> Says:
        if occupant is None:
            return lambda: ()
        return Witness(occupant.process, self.env, text, self.clock())

    def _written(self, session: str) -> bool:
        """Asked of the disk, not of the store: another process may be busy writing that."""
        name, _, native = session.partition(":")
        agent = agents.get(name)
        return any(
            native in relative and agent.claim(relative) not in (None, "ignore")
            for root in agent.roots(self.env)
            for relative, _ in sources.walk(root.path, root.only, root.skip)
        )

    def json_rows(self, *, screen: bool = False, everything: bool = False) -> list[dict[str, Any]]:
        """`rows` as plain rows: what ``decklog pane ls --json`` prints."""
        return [row_json(row) for row in self.rows(screen=screen, everything=everything)]

    def watch(
        self, *, everything: bool = False, interval: float = LOOK
    ) -> Iterator[list[dict[str, Any]]]:
        """The rows of `json_rows`, now and whenever one of them changed. Ends never.

        A look costs one question to each tmux server; only when one of them tells of something, an
        agent wrote something, and every few seconds, everything is looked at.
        """
        last: list[dict[str, Any]] | None = None
        who: dict[Place, str] = {}
        woken = False
        due = 0.0
        with Watch(self) as watch, Written(self.deck.fleet) as written:
            while True:
                tick = watch.tick(who)
                news = (woken or not written.alarm.sure) and written.changed()
                if tick.changed or news or time.monotonic() >= due:
                    with written.reading():
                        found = self.rows(everything=everything)
                    who = {place(r.pane): r.occupant.process.agent for r in found
                           if r.pane is not None and r.occupant is not None}  # fmt: skip
                    rows = [row_json(row) for row in found]
                    restless = any(r["state"] in RESTLESS for r in rows)
                    due = time.monotonic() + (SOON if restless else ANYWAY)
                    shown = [{k: v for k, v in r.items() if k not in WEIGHED} for r in rows]
                    if shown != last:
                        last = shown
                        yield rows
                woken = written.wait(interval * max(1.0, len(tick.panes) / MANY))


def row_json(row: Row) -> dict[str, Any]:
    """One pane as a plain row. ``standing`` is that of the registry, empty for panes that are only
    seen; ``state`` that of the agent."""
    pane, one, who = row.pane, row.supervised, row.occupant
    state = who.state if who else None
    gone = one is not None and one.standing != "live"
    return {
        "id": one.id if one else "",
        "name": one.name if one else "",
        "agent": who.process.agent if who else one.agent if one else "",
        "pane": pane.id if pane else None,
        "place": pane.name if pane else one.place if one else "",
        "socket": pane.socket if pane else one.socket if one else "",
        "pid": who.process.root.pid if who else pane.pid if pane else None,
        "pids": list(who.process.pids) if who else [],
        "cwd": (who.process.cwd if who else "") or (one.cwd if one else pane.cwd if pane else ""),
        "session": (who.session if who else "") or (one.session if one else "") or None,
        "standing": one.standing if one else "",
        "state": row.state,
        "since": one.ended_at if one and gone else state.since if state else None,
        "confidence": state.confidence if state else 0.0,
        "evidence": msgspec.to_builtins(state.evidence) if state else [],
        "code": one.code if one and gone else None,
        "why": one.why if one else "",
        "title": pane.title if pane else "",
        "created_at": one.created_at if one else pane.created_at if pane else None,
        "screen": row.screen,
    }
