"""The fleet: agents that run here now, each with its session, state, thought and cost.

>>> import decklog
>>> with decklog.open() as deck:
...     for one in deck.fleet.running():
...         print(one.match.session, one.state.state, one.thought and one.thought.text)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from decklog import agents, collect, processes, spool, thoughts
from decklog import match as matching
from decklog.decoding import convert
from decklog.errors import SourceError
from decklog.hub.memory import Memory, Seen
from decklog.hub.rows import row
from decklog.model import Session
from decklog.model.fleet import (
    AgentProcess,
    AgentState,
    Evidence,
    Identity,
    Match,
    Pane,
    Running,
    StateEvent,
    Thought,
    Transition,
)
from decklog.sight import Place, capture, place, said
from decklog.state import Step, observed, steps

if TYPE_CHECKING:
    from decklog import hooks
    from decklog.hub import Decklog

RECENT = 200
"""Latest sessions that are looked through for one that an agent was asked to go on with."""
NOTES = 10_000
"""Notes of hooks that are kept in memory, at most."""


class Fleet:
    """Part of `decklog.hub.Decklog`: ``deck.fleet``. Keeps what it saw, so that the next look only
    reads what is new."""

    def __init__(
        self,
        deck: Decklog,
        *,
        table: processes.Table | None = None,
        summariser: thoughts.Summariser | None = None,
    ) -> None:
        self.deck = deck
        self.table = table
        self.summariser = summariser
        """Replaces the line of each thought; see `decklog.thoughts.Summariser`."""
        self.ourselves: int | None = None
        """Pid whose own children are no part of the fleet: what the command line itself starts."""
        self.env = deck.config.env
        known = deck.store.get("plugins")
        if known is not None:  # looking for installed agents takes longer than all the rest
            agents.installed = tuple(filter(None, str(known).split(",")))
        self.agents = {a.name: a for a in agents.every()}
        self.trees: list[AgentProcess] = []
        self.memory = Memory(deck.config.data_dir, (table or processes.table()).boot)
        self.found = matching.Matches(bindings=self.memory.bindings())
        self.stale = ""
        """Why the last look at the processes failed; what is told is then of the look before."""
        self.book = thoughts.Book()
        self._steps: list[tuple[Identity, Step]] = []
        self._unwritten: list[tuple[Identity, Step]] = []
        """Changes of state that are still to be written down."""
        self._seen = self.memory.seen
        self._states = {who: one.state for who, one in self._seen.items()}
        self._stated = collect.Stated([], {})
        self._own_files: list[str] = []
        self._candidates: dict[str, Session] = {}
        """Sessions that the last match could choose from."""
        self._transcripts: dict[str, collect.Transcript] = {}
        self._running: list[Running] = []
        self._spool = spool.Spool(deck.config.data_dir)
        self._notes: list[spool.Note] = []
        """What hooks noted of processes that still run."""

    # -- who is there ----------------------------------------------------------------------------

    def processes(self) -> list[AgentProcess]:
        """Running agents, oldest first: each a tree of processes, whatever started it.

        Where a look fails, what the last one saw is given again, and `stale` says why. Raises
        SourceError when there was none before.
        """
        try:
            self.trees = processes.snapshot(
                self.agents.values(), of=self.table, ourselves=self.ourselves
            )
            self.stale = ""
        except SourceError as error:
            if not self.trees:
                raise
            self.stale = str(error)
        return self.trees

    def matches(self, trees: Sequence[AgentProcess] | None = None) -> matching.Matches:
        """Which agent is on which session; see `decklog.match`."""
        found = self.processes() if trees is None else list(trees)
        self._stated = collect.own_files(found, self.agents, self.env)
        self._own_files = collect.own_paths(found, self.agents, self.env)
        self._notes += self._spool.read()
        self._notes = _of_running(self._notes, found)
        told = (spool.claim(n, self.agents[n.agent]) for n in self._notes if n.agent in self.agents)
        claims = [*self._stated.claims, *filter(None, told)]
        before = self.found.bindings
        self._candidates = {s.id: s for s in self._likely(found, claims)}
        self.found = matching.match(
            found,
            self._candidates.values(),
            now=_now(),
            claims=claims,
            held=lambda agent, path: self.agents[agent].held(path),
            bindings=self.found.bindings,
            canonical=_canonical,
        )
        self.memory.bind(before, self.found.bindings)
        return self.found

    def session_for_pid(self, pid: int) -> Match | None:
        """The match of the agent that this process is, or works for; None for any other."""
        return self.matches().session_for_pid(pid)

    def _likely(
        self, trees: Iterable[AgentProcess], claims: Iterable[matching.Claim]
    ) -> list[Session]:
        """Sessions that one of these may be on, as the store has them."""
        rows: dict[str, dict[str, Any]] = {}
        by_agent: dict[str, list[AgentProcess]] = {}
        for t in trees:
            by_agent.setdefault(t.agent, []).append(t)
        for agent, some in by_agent.items():
            since = min((t.root.started_at or 0) for t in some) - matching.SKEW
            found = list(self.deck.session_rows(agents=[agent], since=since))
            if any(t.resumes and not t.native for t in some):
                found += self.deck.session_rows(agents=[agent], limit=RECENT)
            rows.update((r["id"], r) for r in found)
        named = {f"{t.agent}:{t.native}" for t in trees if t.native} - rows.keys()
        named |= {f"{a}:{c.native}" for c in claims for a in by_agent} - rows.keys()
        if named:
            rows.update((r["id"], r) for r in self.deck.session_rows(ids=sorted(named)))
        return convert(list(rows.values()), list[Session])

    # -- what they do ----------------------------------------------------------------------------

    def running(
        self, trees: Sequence[AgentProcess] | None = None, *, panes: Sequence[Pane] = ()
    ) -> list[Running]:
        """Every running agent with its session, state, thought, and the one of ``panes`` it is in.

        Nobody's screen is looked at: see `tell`, and `rows` which does it.
        """
        now = _now()
        found = self.matches(trees)
        here = {t.root.identity: t for t in self.trees}
        sessions = self._sessions(found)
        self._steps = []
        for who in sorted(self._states.keys() - here.keys()):
            self._step(who, [collect.ended(who, now)], self._states.pop(who))
        self._forget(found)
        self._running = []
        for m in found.matches:
            tree = here[m.root]
            if tree.role == "service" and not m.session and not m.also:
                continue
            session = sessions.get(m.session)
            evidence, thought = self._heard(m, session)
            state = self._reduced(tree, m, evidence, now)
            one = Running(
                process=tree, match=m, state=state, pane=_pane(tree, panes), session=session
            )
            self._running.append(_with_thought(one, thought, now))
        return self._running

    @property
    def transitions(self) -> list[tuple[Identity, Transition]]:
        """Changes of state that the last look found, by root process."""
        return [(who, step.transition) for who, step in self._steps]

    def tell(self, said: Mapping[int, Sequence[Evidence]]) -> list[Running]:
        """The agents of the last look, with what else is known of their states (what screens
        show), by the pid of the root process."""
        now = _now()
        for n, one in enumerate(self._running):
            who = one.match.root
            if who.pid not in said:
                continue
            state = self._step(who, said[who.pid], self._states[who])
            self._states[who] = state
            one = msgspec.structs.replace(one, state=state)
            self._running[n] = _with_thought(one, one.thought, now)
        return self._running

    def remember(self) -> None:
        """Keep what the last look saw for the next, and write down what changed since the one
        before."""
        now = _now()
        before, self._seen = self._seen, {r.match.root: self._as_seen(r) for r in self._running}
        known = before | self._seen
        noticed = [
            StateEvent(
                at=now,
                agent=known[who].agent,
                root=who,
                session=step.after.session or known[who].session,
                pane=known[who].pane,
                transition=step.transition,
                before=step.before,
                by=step.by,
            )
            for who, step in self._unwritten
            if who in known
        ]
        self._unwritten = []
        self.memory.keep(list(self._seen.values()), noticed)

    def _as_seen(self, r: Running) -> Seen:
        transcript = self._transcripts.get(r.match.session)
        return Seen(
            root=r.match.root,
            agent=r.match.agent,
            session=r.match.session,
            pane=r.pane.name if r.pane is not None else "",
            stamp=transcript.known if transcript is not None else None,
            state=r.state,
            thought=self.book.of(r.match.session),
        )

    def _step(
        self, who: Identity, evidence: Iterable[Evidence], state: AgentState | None
    ) -> AgentState:
        after, found = steps(evidence, state)
        self._steps += [(who, step) for step in found]
        self._unwritten += [(who, step) for step in found]
        return after

    def _sessions(self, found: matching.Matches) -> dict[str, Session]:
        """Of those that are matched: read a moment ago as candidates, nearly all of them."""
        ids = {m.session for m in found.matches if m.session}
        others = sorted(ids - self._candidates.keys())
        more = {s.id: s for s in self.deck.sessions(ids=others)} if others else {}
        return self._candidates | more

    def _heard(self, m: Match, session: Session | None) -> tuple[list[Evidence], Thought | None]:
        """What the transcript says since the last look, and the thought it leads to."""
        if not m.session:
            return [], None
        transcript = self._transcripts.get(m.session)
        if transcript is None and (transcript := self._open(m, session)) is not None:
            self._transcripts[m.session] = transcript
            transcript.known = self._recall(m)
        heard = transcript.read() if transcript is not None else collect.Heard([], [])
        old = self.book.of(m.session)
        if old is None or heard.anew:
            old = _first_thought(m, session, old)
        new = thoughts.think(old, heard.events)
        if self.summariser is not None and heard.events:
            new = thoughts.summarised(new, heard.events, self.summariser)
        self.book.offer(new)
        return heard.evidence, self.book.of(m.session)

    def _recall(self, m: Match) -> collect.Stamps | None:
        """How much of its transcript an earlier look has read, whose thought is taken over."""
        seen = self.memory.seen.get(m.root)
        if seen is None or seen.session != m.session or seen.thought is None:
            return None
        self.book.offer(seen.thought)
        return seen.stamp

    def _open(self, m: Match, session: Session | None) -> collect.Transcript | None:
        agent = self.agents[m.agent]
        for path in session.sources if session is not None else ():
            if path.endswith((".jsonl", ".jsonl.zst")) and os.path.exists(path):
                return collect.Transcript(agent, m.session, path)
        for part in self.deck.store.parts(m.session) if session is not None else ():
            if not part["superseded"] and not part["gone"] and part["kind"] != "dir":
                return collect.Transcript(agent, m.session, part["uri"], part["kind"])
        return None

    def _reduced(
        self, tree: AgentProcess, m: Match, evidence: Sequence[Evidence], now: int
    ) -> AgentState:
        who = tree.root.identity
        state = self._states.get(who)
        if state is not None and state.session != m.session:
            state = None  # it moved on to another session: nothing of the old one holds
        first = msgspec.structs.replace(collect.started(tree), session=m.session)
        agent = self.agents[tree.agent]
        noted = (e for n in self._notes_of(tree) for e in spool.evidence(n, agent))
        told = [*evidence, *self._stated.states.get(who, ()), *noted]
        began = tree.root.started_at or 0
        near = [_not_before(e, began) for e in told]
        ordered = sorted(near, key=lambda e: now if e.at is None else e.at)
        silence = observed("silence", "", now, id="silence")
        self._states[who] = self._step(who, [first, *ordered, silence], state)
        return self._states[who]

    def _notes_of(self, tree: AgentProcess) -> list[spool.Note]:
        known = {(p.pid, p.start_ticks) for p in tree.members}
        return [n for n in self._notes if n.agent == tree.agent and (n.pid, n.start_ticks) in known]

    def _forget(self, found: matching.Matches) -> None:
        live = {m.session for m in found.matches}
        self._transcripts = {n: t for n, t in self._transcripts.items() if n in live}
        self.book.keep(live)

    # -- hooks -----------------------------------------------------------------------------------

    def _hooks(self) -> hooks.Hooks:
        from decklog import hooks

        return hooks.Hooks(self.deck.config.data_dir, self.env)

    def install_hooks(self, names: Sequence[str] = ()) -> list[hooks.Installed]:
        """Have these agents tell what happens; see `decklog.hooks`. Without names, all that can
        and whose settings folder is here."""
        there = self._hooks()
        chosen = [agents.get(n) for n in names] or [
            a for a in self._with_hooks() if os.path.isdir(os.path.dirname(a.hook_file(self.env)))
        ]
        return [there.install(a) for a in chosen]

    def remove_hooks(self, names: Sequence[str] = ()) -> list[hooks.Installed]:
        """Put the settings of these agents back; without names, of all that can have hooks."""
        there = self._hooks()
        return [there.remove(a) for a in [agents.get(n) for n in names] or self._with_hooks()]

    def hook_status(self, names: Sequence[str] = ()) -> list[hooks.Installed]:
        """Which agents have our hooks."""
        there = self._hooks()
        return [there.status(a) for a in [agents.get(n) for n in names] or self._with_hooks()]

    def _with_hooks(self) -> list[agents.Agent]:
        return [a for a in self.agents.values() if a.hooks()]

    # -- for people ------------------------------------------------------------------------------

    def watch(self, *, interval: float | None = None) -> Iterator[list[dict[str, Any]]]:
        """The rows of `rows`, now and whenever one of them changed. Ends never.

        When an agent wrote something, and every ``interval`` seconds besides, it is looked whether
        anything changed that a row is made of; only then the rows are made.
        """
        from decklog.hub.vigil import Vigil
        from decklog.hub.written import LOOK

        with Vigil(self) as vigil:
            last = None
            while True:
                rows = vigil.look()
                if rows is not None and rows != last:
                    last = rows
                    yield rows
                vigil.rest(LOOK if interval is None else interval)

    def rows(self, panes: Sequence[Pane] | None = None) -> list[dict[str, Any]]:
        """`running` as plain rows: what ``decklog ps`` shows.

        Each has agent, pid, pids, pane, session, state, since, evidence, confidence, thought and
        more; ``confidence`` is that of the session, ``state_confidence`` that of the state.
        """
        trees = self.processes()
        if panes is None:
            panes = self._panes() if trees else ()
        found = self.running(trees, panes=panes)
        shown = self._screens(found) if panes else {}
        if shown:
            found = self.tell(shown)
        self.remember()
        return [row(r) for r in found]

    def changes(self, after: int = 0) -> list[StateEvent]:
        """Changes of state that were noticed after that number, by whomever, oldest first; see
        `decklog.transitions`."""
        return self.memory.transitions.events(after)

    def stamps(self) -> dict[str, object]:
        """Of each file that the agents of the last look write, equal while it did not change:
        transcripts, what they keep of themselves, notes of hooks."""
        return {
            **{t.uri: t.stamp() for t in self._transcripts.values()},
            **{f: collect.stamp(f) for f in self._own_files},
            self._spool.folder: self._spool.stamp(),
        }

    def folders(self) -> set[str]:
        """Those that hold the files of `stamps`."""
        files = [*self._own_files, *(t.uri.partition("#")[0] for t in self._transcripts.values())]
        return {os.path.dirname(f) for f in files} | {self._spool.folder}

    def numbers(self) -> frozenset[int]:
        """Pids of all processes there are, of agents or not; none where they cannot be seen."""
        with suppress(SourceError):
            return (self.table or processes.table()).numbers()
        return frozenset()

    def agents_among(self, pids: Iterable[int]) -> bool:
        """Whether one of these processes is an agent, by its command line."""
        return processes.any_of(self.agents.values(), pids, of=self.table)

    def _screens(self, found: Iterable[Running]) -> dict[int, Sequence[Evidence]]:
        """What the screens of those agents say that do not state their state themselves."""
        from decklog import tmux

        unsure = [r for r in found if r.pane and r.state.source not in ("status_file", "protocol")]
        panes = {place(r.pane): r.pane for r in unsure if r.pane}
        who = {place(r.pane): r.match.agent for r in unsure if r.pane}
        shown = capture(panes.values(), lambda socket: tmux.Server(socket, self.env))
        return self.by_root(said(panes.values(), who, shown, _now()))

    def by_root(self, told: Mapping[Place, Sequence[Evidence]]) -> dict[int, Sequence[Evidence]]:
        """What was told of panes, by the pid of the root process of the agent in each."""
        return {
            r.match.pid: told[place(r.pane)]
            for r in self._running
            if r.pane is not None and place(r.pane) in told
        }

    def _panes(self) -> Sequence[Pane]:
        from decklog import tmux

        return tmux.panes(self.env)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _of_running(notes: Iterable[spool.Note], trees: Iterable[AgentProcess]) -> list[spool.Note]:
    known = {(p.pid, p.start_ticks) for t in trees for p in t.members}
    return [n for n in notes if (n.pid, n.start_ticks) in known][-NOTES:]


@cache
def _canonical(path: str) -> str:
    """`os.path.realpath`, which looks at every folder anew for each path."""
    folder, slash, name = path.rpartition("/")
    if not (path.startswith("/") and name.strip(".")):
        return os.path.realpath(path)
    plain = f"{_canonical(folder) if folder else ''}{slash}{name}"
    return os.path.realpath(plain) if os.path.islink(plain) else plain


def _not_before(e: Evidence, began: int) -> Evidence:
    """Start times are reckoned from the boot: what is a little older is of this process too."""
    if e.at is not None and began - matching.DRIFT <= e.at < began:
        return msgspec.structs.replace(e, at=began)
    return e


def _with_thought(one: Running, thought: Thought | None, now: int) -> Running:
    if thought is None:
        return one
    settled = thoughts.settle(thought, one.state, now=now, agent=one.match.agent)
    return msgspec.structs.replace(one, thought=settled)


def _pane(tree: AgentProcess, panes: Iterable[Pane]) -> Pane | None:
    """The pane whose terminal the agent has, or whose first process it is below."""
    known = set(tree.pids) | {tree.root.ppid}
    ttys = {p.tty for p in tree.members[:1] if p.tty}
    found = [p for p in panes if not p.dead]
    by_tty = [p for p in found if p.tty and p.tty in ttys]
    return next(iter(by_tty or [p for p in found if p.pid in known]), None)


def _first_thought(m: Match, session: Session | None, old: Thought | None) -> Thought:
    stream = f"{m.root.boot}:{m.root.pid}:{m.root.start_ticks}"
    asked = thoughts.line(session.prompt) if session is not None else ""
    return Thought(
        session=m.session,
        stream=stream,
        stream_at=old.stream_at + 1 if old is not None else 0,
        text=asked,
        kind="prompt" if asked else "",
        objective=asked,
        objective_changed_at=session.started_at if session is not None and asked else None,
    )
