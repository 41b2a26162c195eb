"""Supervising agents in tmux: seeing them, starting them, talking to them, ending them.

What is supervised stands in the `registry`, which only grows; tmux says what is
there now; what follows from both is decided by `reconcile`. Who is in a pane, on which session and
in which state is told by the ``sight`` that is handed in. Panes of ours live on a tmux server of
our own; panes of any other server can be adopted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from msgspec import structs

from decklog import agents, durable, processes, tmux
from decklog import screen as screens
from decklog.errors import NotFound, PaneGone, TmuxError, TmuxMissing, UsageError, WriteError
from decklog.model.fleet import Identity, Pane
from decklog.model.panes import Delivery, Happened, PaneEvent, Supervised
from decklog.sight import Occupant, Place, Sight, capture, join, place, said
from decklog.supervisor.delivery import READY, Sending, Witness, checked
from decklog.supervisor.ending import GRACE, Ended, end
from decklog.supervisor.reconcile import TWICE_MS, Answer, Sighting, is_same, reconcile
from decklog.supervisor.registry import Registry
from decklog.supervisor.starting import Plan, Request, Starting, host, is_here

__all__ = ["Delivery", "Ended", "Occupant", "Plan", "Row", "Sight", "Supervisor"]

SENDER = 10.0
"""Seconds that a sender waits for another one at the same pane."""
START_READY = 30.0
"""Seconds that a program which was just started gets to show its composer."""

WitnessOf = Callable[[Occupant | None, str], Witness]
"""What will tell that an agent took a text: see `decklog.supervisor.delivery`."""


class Row(NamedTuple):
    """One pane: as tmux shows it, as the registry knows it, who is in it. One of both is there."""

    pane: Pane | None
    supervised: Supervised | None
    occupant: Occupant | None = None
    screen: str = ""
    """The tail of its screen, where it was asked for."""

    @property
    def id(self) -> str:
        return self.supervised.id if self.supervised else self.pane.id if self.pane else ""

    @property
    def state(self) -> str:
        """That of the agent; of one that is supervised no more how it ended."""
        if self.supervised is not None and self.supervised.standing != "live":
            return self.supervised.standing
        if self.pane is not None and self.pane.dead:
            return "exited"  # with what code tmux may still have to learn
        return self.occupant.state.state if self.occupant else "unknown"


class Supervisor:
    """All panes of one user. ``clock`` gives milliseconds since the epoch."""

    def __init__(
        self,
        folder: str,
        env: Mapping[str, str],
        sight: Sight,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        witness: WitnessOf = lambda occupant, text: lambda: (),
        written: Callable[[str], bool] = lambda session: True,
    ) -> None:
        self.env = env
        self.sight = sight
        self.clock = clock
        self.witness = witness
        self.written = written
        """Whether a session has a transcript: one in which nothing was said cannot be resumed."""
        self.folder = folder
        self.registry = Registry(folder)
        self.servers: dict[str, tmux.Server] = {}
        self.troubles: dict[str, str] = {}
        """Servers that did not answer last time, by socket, and what they said instead."""
        self._missed: dict[str, int] = {}
        self._sockets: dict[str, None] = {}
        self._asleep: dict[str, int] = {}
        """Servers that hang, and until when they are left alone."""
        self.starting = Starting(self)

    # -- seeing ----------------------------------------------------------------------------------

    def server(self, socket: str) -> tmux.Server:
        """The server at that socket; one value for each, so that its connection lasts."""
        if socket not in self.servers:
            self.servers[socket] = tmux.Server(socket, self.env)
        return self.servers[socket]

    def sighting(self, *, known: bool = False) -> Sighting:
        """Ask all servers there are, and those that supervised panes are on, side by side.

        With ``known`` only those that were asked before.
        """
        if not known or not self._sockets:
            self._sockets = dict.fromkeys(s.socket for s in tmux.servers(self.env))
            for one in self.registry.panes().values():
                if one.standing in ("live", "lost") and is_here(one):
                    self._sockets[one.socket] = None
        sockets = self._sockets
        at = self.clock()
        awake = [s for s in sockets if self._asleep.get(s, 0) <= at]
        answers: dict[str, tuple[Answer, tuple[Pane, ...]]] = {}
        if len(awake) == 1:
            answers[awake[0]] = self._ask(awake[0])
        elif awake:
            with ThreadPoolExecutor(len(awake)) as pool:
                answers = dict(zip(awake, pool.map(self._ask, awake), strict=True))
        panes = [p for _, found in answers.values() for p in found]
        told: dict[str, Answer] = {s: a for s, (a, _) in answers.items()}
        return Sighting(self.clock(), panes, told)

    def _ask(self, socket: str) -> tuple[Answer, tuple[Pane, ...]]:
        try:
            panes = self.server(socket).panes()
        except TmuxMissing:
            raise
        except TmuxError as error:
            self.troubles[socket] = str(error)
            self._asleep[socket] = self.clock() + 5000 if error.retryable else 0
            return "silent", ()
        self.troubles.pop(socket, None)
        if panes:
            return "answered", panes
        state = tmux.socket_state(socket)[0]
        return ("none" if state == "none" else "answered" if state == "open" else "silent"), ()

    def look(self) -> Sighting:
        """See what is there and write down what became of the supervised panes.

        Where one is missing, a second look a second later decides, as it takes two. Raises
        TmuxMissing.
        """
        if shutil.which("tmux", path=self.env.get("PATH")) is None:
            raise TmuxMissing
        seen = self.sighting()
        self.settle(seen)
        if self.missing:
            time.sleep(TWICE_MS / 1000)
            seen = self.sighting()
            self.settle(seen)
        return seen

    def settle(self, seen: Sighting) -> list[PaneEvent]:
        """Write down what follows from a sighting; see `decklog.supervisor.reconcile`."""
        known = self.registry.panes()
        events = [
            self.registry.add(change.happened, change.pane, seen.at)
            for change in reconcile(filter(is_here, known.values()), seen, self._missed)
        ]
        # a pane of ours that nobody wrote down: its maker ended in between
        unknown = [p for p in seen.panes if p.ours and p.ours not in known]
        return events + [self._write("found", _found(p, seen.at)) for p in unknown]

    @property
    def missing(self) -> bool:
        """Whether some pane was not seen and has to be looked for a second time."""
        return bool(self._missed)

    def _write(self, happened: Happened, one: Supervised, **more: object) -> PaneEvent:
        return self.registry.add(happened, one, self.clock(), **more)  # type: ignore[arg-type]

    def rows(self, *, screen: bool = False, everything: bool = False) -> list[Row]:
        """Panes with agents in them, ours and others', then those of ours that are lost.

        ``everything`` adds panes without an agent and those that ended.
        """
        seen = self.look()
        shown = self.capture(seen.panes) if screen else {}
        occupants = self.occupants(seen.panes, shown)
        known = self.registry.panes()
        rows = []
        for pane in seen.panes:
            one = known.get(pane.ours)
            who = occupants.get(place(pane))
            if one is not None and (one.standing == "released" or not is_same(one, pane)):
                one = None
            if one is not None or who is not None or everything:
                if one is not None and who is not None and one.standing == "live":
                    one = self.bind(one, who)
                text = screens.tail(shown.get(place(pane), ""))
                rows.append(Row(pane, one, who, text))
        live = {r.supervised.id for r in rows if r.supervised}
        for one in known.values():
            there = self.registry.get(one.id) or one
            wanted = there.standing in ("live", "lost") and not there.restored_as and is_here(one)
            if there.id not in live and (wanted or everything):
                rows.append(Row(None, there))
        return rows

    def capture(self, panes: Sequence[Pane]) -> dict[Place, str]:
        """The screens of these panes, in one call for each server; what fails is left out."""
        return capture(panes, self.server)

    def occupants(
        self, panes: Sequence[Pane], shown: Mapping[Place, str] | None = None
    ) -> dict[Place, Occupant]:
        """Who is in these panes; what their screens say is asked first, where there is an agent."""
        trees = self.sight.processes()
        who = {w: o.process.agent for w, o in join(panes, map(Occupant, trees)).items()}
        texts = shown or self.capture([p for p in panes if place(p) in who])
        told = said(panes, who, texts, self.clock())
        return join(panes, self.sight.occupants(trees, panes, told))

    def bind(self, one: Supervised, who: Occupant) -> Supervised:
        """Write down that it is on another session than before (``/clear``, resume, a fork)."""
        session, agent = who.session, who.process.agent
        if (session and session != one.session) or (agent and agent != one.agent):
            one = structs.replace(one, session=session or one.session, agent=agent or one.agent)
            self._write("bound", one)
        return one

    def find(self, ref: str) -> Row:
        """The pane that is meant: our id or name, tmux's id, its place, its session, a pid.

        Raises NotFound, and UsageError where several are meant.
        """
        rows = self.rows(everything=True)
        for names in zip(*(_named(row) for row in rows), strict=True):
            found = [row for row, known in zip(rows, names, strict=True) if ref and ref in known]
            there = [row for row in found if row.pane is not None] or found[-1:]
            if len(there) > 1:
                which = ", ".join(
                    f"{os.path.basename(r.pane.socket)}/{r.pane.id}" for r in there if r.pane
                )
                raise UsageError(f"several panes are {ref!r}: {which}")
            if there:
                return there[0]
        raise NotFound(f"no pane {ref!r}", hint="decklog pane ls --all")

    def show(self, ref: str) -> Row:
        """That pane with its whole screen, and what that says taken into account."""
        row = self.find(ref)
        if row.pane is None:
            return row
        shown = self.capture([row.pane])
        who = self.occupants([row.pane], shown).get(place(row.pane))
        text = shown.get(place(row.pane), "")
        return row._replace(occupant=who, screen=screens.tail(text, len(text)))

    def attach_command(self, ref: str) -> list[str]:
        """The command that shows that pane in a terminal, also from within its own server."""
        pane = self.find(ref).pane
        if pane is None:
            raise PaneGone(f"pane {ref!r} is gone")
        within = self.env.get("TMUX", "").split(",")[0] == pane.socket
        verb = ["switch-client"] if within else ["attach-session"]
        select = ["select-window", "-t", pane.id, ";", "select-pane", "-t", pane.id]
        return ["tmux", "-u", "-S", pane.socket, *select, ";", *verb, "-t", pane.group]

    def events(self, after: int = 0) -> list[PaneEvent]:
        """What happened since that sequence number, again and again the same."""
        return self.registry.events(after)

    # -- acting ----------------------------------------------------------------------------------

    def create(self, request: Request) -> tuple[Supervised, Delivery | None]:
        """Start an agent in a pane of its own, and send it its first prompt.

        Raises UsageError, NotFound, Busy (its session is open elsewhere), TmuxError.
        """
        one = self.starting.create(request)
        if not request.prompt:
            return one, None
        return one, self.send(one.id, request.prompt, ready=START_READY)

    def adopt(self, ref: str, name: str = "") -> Supervised:
        """Supervise a pane that is there already, on whatever server."""
        row = self.find(ref)
        if row.supervised is not None and row.pane is not None:
            return row.supervised
        if row.pane is None or row.pane.dead:
            raise NotFound(f"nothing runs in pane {ref!r}")
        return self.starting.adopt(row.pane, row.occupant, name)

    def send(self, ref: str, text: str, *, key: str = "", ready: float = READY) -> Delivery:
        """Send a text to an agent, once; what became of it is in the answer, never an exception.

        ``key`` names the sending: done twice, it happens once. Raises UsageError for a text that
        cannot be sent, NotFound, and Busy when another sender keeps the pane.
        """
        text = checked(text)
        if key and (before := self.registry.sent(key)) is not None:
            return before
        row = self.find(ref)
        end = time.monotonic() + ready
        while _begins(row) and time.monotonic() < end:
            time.sleep(0.05)
            row = self.find(ref)
        if row.pane is None:
            return Delivery(outcome="not_sent", why="the pane is gone", key=key)
        with durable.Lock(self._lock(row.pane)).held(SENDER):
            if key and (before := self.registry.sent(key)) is not None:
                return before
            agent = row.occupant.process.agent if row.occupant else ""
            agent = agent or (row.supervised.agent if row.supervised else "")
            known = agents.get(agent).screen if agent in agents.names() else None
            sending = Sending(
                self.server(row.pane.socket),
                row.pane,
                known,
                self.witness(row.occupant, text),
                tty=row.occupant.process.root.tty if row.occupant else "",
                clock=self.clock,
                ready=ready,
            )
            told = structs.replace(sending.send(text), key=key)
            if row.supervised is not None:
                with suppress(WriteError):  # it happened, whether or not it can be written down
                    self._write("sent", row.supervised, delivery=told)
            return told

    def _lock(self, pane: Pane) -> str:
        folder = durable.private_folder(f"{self.folder}/senders")
        return f"{folder}/{pane.server_pid}-{pane.server_started}-{pane.id[1:]}.lock"

    def interrupt(self, ref: str) -> Row:
        """Press the keys that end the turn of the agent. Raises NotFound, PaneGone, TmuxError."""
        row = self.find(ref)
        if row.pane is None or row.pane.dead:
            raise PaneGone(f"nothing runs in pane {ref!r}")
        agent = row.occupant.process.agent if row.occupant else ""
        launch = agents.get(agent).launch if agent else None
        keys = launch.interrupt if launch else ("C-c",)
        server = self.server(row.pane.socket)
        leave = [["copy-mode", "-q", "-t", row.pane.id]] if row.pane.in_mode else []
        for n, key in enumerate(keys):
            time.sleep(0.3 if n else 0)
            server.act(row.pane, *(leave if not n else []), ["send-keys", "-t", row.pane.id, key])
        if row.supervised:
            self._write("interrupted", row.supervised)
        return row

    def end(self, ref: str, *, grace: float = GRACE) -> Ended:
        """End the agent in a pane, and the pane. What is gone already counts as done."""
        row = self.find(ref)
        if row.pane is None:
            return Ended(True, ("it was gone already",))
        who: list[Identity] = []
        agent = ""
        if row.occupant is not None:
            agent = row.occupant.process.agent
            who = [p.identity for p in row.occupant.process.members]
        elif (ticks := processes.table().start_ticks(row.pane.pid)) is not None:
            who = [Identity(processes.table().boot, row.pane.pid, ticks)]
        launch = agents.get(agent).launch if agent else None
        ended = end(self.server(row.pane.socket), row.pane, who, launch, grace=grace)
        if row.supervised is not None and row.supervised.standing == "live":
            why = ", ".join(ended.steps)
            one = structs.replace(row.supervised, standing="killed", ended_at=self.clock(), why=why)
            self._write("killed", one)
        return ended

    def release(self, ref: str) -> Supervised:
        """Supervise it no longer; the agent goes on."""
        row = self.find(ref)
        if row.supervised is None:
            raise NotFound(f"pane {ref!r} is not supervised")
        if row.pane is not None:
            with suppress(TmuxError):
                self.server(row.pane.socket).act(
                    row.pane, ["set-option", "-p", "-u", "-t", row.pane.id, tmux.MARK]
                )
        one = structs.replace(row.supervised, standing="released", ended_at=self.clock())
        self._write("released", one)
        return one

    def plan(self, refs: Sequence[str] = (), *, force: bool = False) -> list[Plan]:
        """What `restore` would do: each lost pane, how it would go on, or why it cannot."""
        self.look()
        return self.starting.plan(refs, force=force)

    def restore(self, refs: Sequence[str] = (), *, force: bool = False) -> list[Plan]:
        """Start lost panes again, each in its own conversation; what was done with each."""
        return [self.starting.restore(plan, force=force) for plan in self.plan(refs, force=force)]

    def reap(self) -> list[Supervised]:
        """Close the panes of our own server whose program ended; they stay known.

        One whose exit code tmux does not tell yet is left for the next call.
        """
        done = []
        own = self.starting.own.socket
        for row in self.rows(everything=True):
            settled = row.supervised is None or row.supervised.standing != "live"
            if row.pane and row.pane.dead and row.pane.socket == own and settled:
                with suppress(TmuxError):
                    self.server(row.pane.socket).act(row.pane, ["kill-pane", "-t", row.pane.id])
                    one = self.registry.get(row.pane.ours)
                    done += [one] if one else []
        return done


def _begins(row: Row) -> bool:
    """Whether a relay still has to start the agent, on a terminal that is not known before."""
    one, pane = row.supervised, row.pane
    return bool(one and one.relay and pane and not pane.dead and row.occupant is None)


def _found(pane: Pane, at: int) -> Supervised:
    ticks = processes.table().start_ticks(pane.pid)
    return Supervised(
        id=pane.ours,
        name=pane.name.rpartition(":")[0],
        cwd=pane.cwd,
        socket=pane.socket,
        server_pid=pane.server_pid,
        server_started=pane.server_started,
        pane=pane.id,
        place=pane.name,
        pid=pane.pid,
        start_ticks=ticks or 0,
        boot=processes.table().boot,
        host=host(),
        created_at=pane.created_at or at,
    )


def _named(row: Row) -> Iterator[tuple[str, ...]]:
    """What a pane may be called, surest first."""
    pane, one = row.pane, row.supervised
    yield (one.id,) if one else ()
    yield (one.name,) if one and one.name else ()
    yield (pane.id, f"{os.path.basename(pane.socket)}/{pane.id}") if pane else ()
    yield (pane.name, pane.name.rpartition(":")[0]) if pane else ()
    session = (row.occupant.session if row.occupant else "") or (one.session if one else "")
    yield (session, session.partition(":")[2])
    pids = row.occupant.process.pids if row.occupant else ()
    yield tuple(str(pid) for pid in (pane.pid, *pids)) if pane else ()
