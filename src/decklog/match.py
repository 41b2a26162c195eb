"""Running agents and sessions: which is on which, on what evidence, how sure.

`match` is a pure function of what was seen. It works in three steps:

1. **What is stated.** A process names its session in its argv, its agent keeps a file of it, a hook
   told of it, a file of it is open. Of several statements about one process the newest holds: that
   is how ``/clear``, resume and fork move a process on.
2. **What was so before.** A process about which nothing is stated keeps the session it was bound
   to (the same process: boot, pid and start time).
3. **What fits.** Same agent and folder, and times such that the session can only be of this
   process: it began after the process did, and no other process in the folder could have begun it.

What remains open stays open: the match is ``ambiguous`` and lists its candidates. The result does
not depend on the order of anything handed in. A session is bound by inference at most once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from posixpath import normpath
from typing import NamedTuple

from msgspec import Struct

from decklog.model.fleet import (
    AgentProcess,
    Candidate,
    Evidence,
    EvidenceKind,
    Identity,
    Match,
    Process,
)
from decklog.model.sessions import Session

CONFIDENCE: dict[str, float] = {
    "hook": 0.99,
    "argv": 0.98,
    "pid_file": 0.97,
    "ebpf_file": 0.95,
    "lock_file": 0.93,
    "proc_fd": 0.90,
    "sticky": 0.70,
    "cwd_start": 0.65,
    "cwd_recent": 0.55,
}
"""How far evidence is believed; anything else `LEAST`."""
LEAST = 0.50
SKEW = 30_000
"""A session may have ended so long (ms) before the process that goes on with it started."""
DRIFT = 5_000
"""Start times of processes are reckoned from the boot of the machine: so far (ms) they may be off
the clock that transcripts are written by."""
AT_ONCE = 60_000
"""A headless agent opens its session within this time (ms)."""
NEAR = 20_000
"""A session that began so soon (ms) after a process is its own, if every other process that might
have begun it is further away by as much again."""


class Claim(NamedTuple):
    """A statement that a process is on a session."""

    process: Identity
    native: str
    kind: EvidenceKind
    at: int | None = None
    """When it was true; None for now."""
    detail: str = ""


class Binding(Struct, frozen=True, kw_only=True):
    """What a process was last bound to."""

    root: Identity
    session: str
    kind: EvidenceKind
    """The evidence it was bound on."""
    confidence: float
    at: int = 0
    history: tuple[str, ...] = ()


class Matches(Struct, frozen=True, kw_only=True):
    """The matches of one look, and what to hand in with the next."""

    matches: tuple[Match, ...] = ()
    """One for each running agent, oldest process first."""
    bindings: tuple[Binding, ...] = ()

    def session_for_pid(self, pid: int) -> Match | None:
        """The match of the agent that this process belongs to; None for an unknown pid."""
        return next((m for m in self.matches if pid in m.pids), None)

    def on(self, session: str) -> list[Match]:
        """Agents that are on this session (``agent:native``), or hold it besides."""
        return [m for m in self.matches if m.session == session or session in m.also]


def confidence(kind: str) -> float:
    return CONFIDENCE.get(kind, LEAST)


def match(
    processes: Iterable[AgentProcess],
    sessions: Iterable[Session],
    *,
    now: int,
    claims: Iterable[Claim] = (),
    observed: Mapping[tuple[int, int], str] | None = None,
    held: Callable[[str, str], str] = lambda agent, path: "",
    bindings: Iterable[Binding] = (),
    canonical: Callable[[str], str] = normpath,
) -> Matches:
    """Match running agents to sessions.

    ``claims`` are statements from files and hooks; ``observed`` maps (pid, start ticks) to a path
    that the process was seen to write; ``held(agent, path)`` gives the native id that an open file
    of the agent names; ``bindings`` is what the last look gave. Paths are compared after
    ``canonical``. ``now`` is in milliseconds.
    """
    trees = sorted(processes, key=lambda t: (t.root.started_at or 0, t.root.identity, t.agent))
    pool = _Pool(trees, sessions, canonical, now)
    pool.state(list(claims), observed or {}, held)
    pool.remember(bindings)
    pool.infer()
    return pool.result()


class _Bound(NamedTuple):
    session: str
    evidence: tuple[Evidence, ...]
    also: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    """Sessions of older statements, oldest first."""


class _Pool:
    """Trees and sessions that are not bound yet, and the bindings made so far."""

    def __init__(
        self,
        trees: Sequence[AgentProcess],
        sessions: Iterable[Session],
        canonical: Callable[[str], str],
        now: int,
    ) -> None:
        self.trees = trees
        self.canonical = canonical
        self.now = now
        self.sessions = {s.id: s for s in sorted(sessions, key=lambda s: s.id)}
        self._by_path: dict[str, dict[str, str]] = {}
        """By agent: sessions by the paths of their transcripts."""
        self.bound: dict[Identity, _Bound] = {}
        self.open: dict[Identity, list[Candidate]] = {}
        self.before: dict[Identity, Binding] = {}
        self.served: set[str] = set()
        """Sessions that a service holds for a process we have not told yet."""

    # -- what is stated --------------------------------------------------------------------------

    def state(
        self,
        claims: Sequence[Claim],
        observed: Mapping[tuple[int, int], str],
        held: Callable[[str, str], str],
    ) -> None:
        by_process: dict[tuple[int, int], list[Claim]] = defaultdict(list)
        loose: dict[int, list[Claim]] = defaultdict(list)
        for claim in claims:
            if claim.process.start_ticks:
                by_process[claim.process[1:]].append(claim)
            else:
                loose[claim.process.pid].append(claim)
        for tree in self.trees:
            found: dict[tuple[str, str], Evidence] = {}
            for p in tree.members:
                given = [c for c in by_process[p.identity[1:]] if _same_boot(c.process, p)]
                given += [c for c in loose[p.pid] if self._fits(c, p)]
                for evidence in (
                    *(_evidence(c.kind, f"{tree.agent}:{c.native}", c.at, c.detail) for c in given),
                    *self._files(tree, p, observed, held),
                ):
                    self._keep(found, evidence)
            if tree.native:
                session = f"{tree.agent}:{tree.native}"
                began = tree.root.started_at
                self._keep(found, _evidence("argv", session, began, "named on its command line"))
            if found:
                self._settle(tree, list(found.values()))

    @staticmethod
    def _keep(found: dict[tuple[str, str], Evidence], new: Evidence) -> None:
        old = found.get((new.session, new.kind))
        if old is None or (new.at or 0, new.detail) > (old.at or 0, old.detail):
            found[new.session, new.kind] = new

    @staticmethod
    def _fits(claim: Claim, p: Process) -> bool:
        """A file that names only a pid: it has to be younger than the process."""
        return claim.at is None or p.started_at is None or claim.at >= p.started_at - DRIFT

    def _files(
        self,
        tree: AgentProcess,
        p: Process,
        observed: Mapping[tuple[int, int], str],
        held: Callable[[str, str], str],
    ) -> Iterable[Evidence]:
        seen = observed.get((p.pid, p.start_ticks))
        if seen is not None and (session := self._session_of(tree.agent, seen, held)):
            yield _evidence("ebpf_file", session, self.now, seen)
        for path in p.files:
            if path != seen and (session := self._session_of(tree.agent, path, held)):
                yield _evidence("proc_fd", session, self.now, path)

    def _session_of(self, agent: str, path: str, held: Callable[[str, str], str]) -> str:
        if agent not in self._by_path:
            own = (s for s in self.sessions.values() if s.agent == agent)
            self._by_path[agent] = {self.canonical(p): s.id for s in own for p in s.sources}
        known = self._by_path[agent].get(self.canonical(path))
        if known is not None:
            return known
        native = held(agent, path)
        return f"{agent}:{native}" if native else ""

    def _settle(self, tree: AgentProcess, found: list[Evidence]) -> None:
        """The newest statement holds; a subagent's file is open beside that of its parent."""
        by_session: dict[str, list[Evidence]] = defaultdict(list)
        for e in found:
            by_session[e.session].append(e)
        if tree.role == "service":
            self.served |= by_session.keys()
            only = next(iter(by_session)) if len(by_session) == 1 else ""
            also = tuple(sorted(by_session.keys() - {only}))
            ordered = sorted(found, key=lambda e: (-e.confidence, e.session, e.kind))
            self.bound[tree.root.identity] = _Bound(only, tuple(ordered), also)
            return

        def rank(session: str) -> tuple[bool, int, float, int, str]:
            own = by_session[session]
            known = self.sessions.get(session)
            below = known is not None and known.relation == "subagent"
            newest = max(self.now if e.at is None else e.at for e in own)
            active = (known.last_at or 0) if known is not None else 0
            return not below, newest, max(e.confidence for e in own), active, session

        first, *others = sorted(by_session, key=rank, reverse=True)
        evidence = sorted(by_session[first], key=lambda e: (-e.confidence, e.kind, -(e.at or 0)))
        # Files are open all at the same time; other statements follow each other.
        files = ("proc_fd", "ebpf_file")
        also = tuple(sorted(s for s in others if any(e.kind in files for e in by_session[s])))
        earlier = tuple(s for s in reversed(others) if s not in also)
        self.bound[tree.root.identity] = _Bound(first, tuple(evidence), also, earlier)

    # -- what was so before ----------------------------------------------------------------------

    def remember(self, bindings: Iterable[Binding]) -> None:
        present = {t.root.identity: t for t in self.trees}
        kept = sorted(bindings, key=lambda b: (-b.confidence, -b.at, b.root, b.session))
        taken = self._taken()
        for b in kept:
            tree = present.get(b.root)
            if tree is None or not b.session.startswith(f"{tree.agent}:"):
                continue
            self.before.setdefault(b.root, b)
            if b.root in self.bound or b.session in taken or self._moved(tree, b):
                continue
            taken.add(b.session)
            sure = min(CONFIDENCE["sticky"], b.confidence)
            e = _evidence("sticky", b.session, b.at, f"bound before by {b.kind}", sure)
            self.bound[b.root] = _Bound(b.session, (e,))

    def _taken(self) -> set[str]:
        return {b.session for t in self.trees if (b := self.bound.get(t.root.identity))
                and t.role != "service"}  # fmt: skip

    def _moved(self, tree: AgentProcess, b: Binding) -> bool:
        """Whether what was inferred before has to be inferred anew: another session of the folder
        has begun since the last sign of this one."""
        if b.kind not in ("cwd_start", "cwd_recent"):
            return False
        old = self.sessions.get(b.session)
        ended = max((old.last_at or 0) if old is not None else 0, b.at)
        folder = self.canonical(tree.cwd)
        return any(
            (s.started_at or 0) > ended and s.agent == tree.agent and s.relation != "subagent"
            and s.cwd and self.canonical(s.cwd) == folder
            for s in self.sessions.values()
        )  # fmt: skip

    # -- what fits -------------------------------------------------------------------------------

    def infer(self) -> None:
        groups: dict[tuple[str, str], list[AgentProcess]] = defaultdict(list)
        for t in self.trees:
            if t.root.identity not in self.bound and t.role != "service" and t.cwd:
                groups[t.agent, self.canonical(t.cwd)].append(t)
        if not groups:
            return
        sessions: dict[tuple[str, str], list[Session]] = defaultdict(list)
        spent = self._taken().union(*(b.history for b in self.before.values()))
        for s in self.sessions.values():
            if s.cwd and s.relation != "subagent" and s.id not in spent:
                sessions[s.agent, self.canonical(s.cwd)].append(s)
        for where, trees in groups.items():
            folder = _Folder(trees, sessions[where], self.served)
            for tree, session, kind in folder.solve():
                self.bound[tree.root.identity] = _Bound(
                    session.id, (_evidence(kind, session.id, session.started_at, session.cwd),)
                )
            for tree, fits in folder.undecided():
                self.open[tree.root.identity] = [
                    Candidate(
                        session=s.id,
                        confidence=round(confidence(kind) / len(fits), 3),
                        evidence=(_evidence(kind, s.id, s.started_at, s.cwd),),
                    )
                    for s, kind in fits
                ]

    # -- the answer ------------------------------------------------------------------------------

    def result(self) -> Matches:
        matches, bindings = [], []
        for tree in self.trees:
            who = tree.root.identity
            bound = self.bound.get(who)
            before = self.before.get(who)
            candidates = self.open.get(who, [])
            if bound is None:
                if before is not None:
                    bindings.append(before)
                matches.append(
                    Match(
                        agent=tree.agent,
                        root=who,
                        pids=tree.pids,
                        ambiguous=bool(candidates),
                        candidates=tuple(candidates),
                    )
                )
                continue
            past = (*before.history, before.session) if before is not None else ()
            past = (*(h for h in bound.earlier if h not in past), *past)
            history = tuple(dict.fromkeys(h for h in past if h != bound.session))
            sure = bound.evidence[0].confidence
            matches.append(
                Match(
                    agent=tree.agent,
                    session=bound.session,
                    root=who,
                    pids=tree.pids,
                    evidence=bound.evidence,
                    confidence=sure,
                    also=bound.also,
                    history=history,
                )
            )
            if bound.session:
                bindings.append(self._binding(who, bound, before, history))
        return Matches(matches=tuple(matches), bindings=tuple(bindings))

    def _binding(
        self, who: Identity, bound: _Bound, before: Binding | None, history: tuple[str, ...]
    ) -> Binding:
        first = bound.evidence[0]
        if first.kind == "sticky" and before is not None:
            return before
        return Binding(
            root=who,
            session=bound.session,
            kind=first.kind,
            confidence=first.confidence,
            at=self.now,
            history=history,
        )


class _Fit(NamedTuple):
    session: Session
    kind: EvidenceKind


class _Folder:
    """Processes of one agent in one folder, and the sessions there that are not bound."""

    def __init__(
        self, trees: Sequence[AgentProcess], sessions: Sequence[Session], served: Collection[str]
    ) -> None:
        self.free = list(trees)
        recent_first = sorted(sessions, key=lambda s: (-(s.last_at or 0), s.id))
        self.fits: dict[Identity, dict[str, _Fit]] = {}
        """What each process may be on, by session id, likeliest first."""
        for t in trees:
            fits = {f.session.id: f for f in _fitting(t, recent_first)}
            held = {n: f for n, f in fits.items() if n in served}
            self.fits[t.root.identity] = held or fits  # one at work is held by the service

    def solve(self) -> Iterator[tuple[AgentProcess, Session, EvidenceKind]]:
        """Bind what is beyond doubt; each binding may put another beyond doubt."""
        while True:
            count = Counter(n for t in self.free for n in self._of(t))
            clear = [(t, f) for t in self.free if (f := self._clear(t, count)) is not None]
            if not clear:
                return
            for tree, fit in clear:
                yield tree, *fit
                self.free.remove(tree)
            for t in self.free:
                for _, fit in clear:
                    self._of(t).pop(fit.session.id, None)

    def undecided(self) -> Iterator[tuple[AgentProcess, list[_Fit]]]:
        return ((t, list(self._of(t).values())) for t in self.free if self._of(t))

    def _of(self, tree: AgentProcess) -> dict[str, _Fit]:
        return self.fits[tree.root.identity]

    def _clear(self, tree: AgentProcess, count: Mapping[str, int]) -> _Fit | None:
        fits = list(self._of(tree).values())
        began = [f for f in fits if f.kind == "cwd_start"]
        found = began or fits
        own = [f for f in found if count[f.session.id] == 1]
        latest = _latest([f.session for f in own])
        if latest is not None:
            end = _end(latest)
            if all(f in own or end > (f.session.started_at or 0) for f in found):
                return self._of(tree)[latest.id]
        return self._nearest(tree, began)

    def _nearest(self, tree: AgentProcess, began: Sequence[_Fit]) -> _Fit | None:
        near = [f for f in began if _after(tree, f.session) <= NEAR]
        if len(near) != 1:
            return None
        session = near[0].session
        limit = max(0, _after(tree, session)) + NEAR
        rivals = (t for t in self.free if t is not tree and session.id in self._of(t))
        return near[0] if all(_after(t, session) >= limit for t in rivals) else None


def _fitting(tree: AgentProcess, sessions: Sequence[Session]) -> list[_Fit]:
    """Sessions that the process may be on, likeliest first; ``sessions`` latest first."""
    began = tree.root.started_at
    if began is None:
        return []
    started: list[_Fit] = []
    older: list[Session] = []
    for s in sessions:
        start = s.started_at if s.started_at is not None else s.last_at or 0
        if start < began - DRIFT:
            older.append(s)
        elif tree.role != "headless" or start <= began + AT_ONCE:
            started.append(_Fit(s, "cwd_start"))
    live = [s for s in older if _end(s) >= began]
    if tree.resumes:  # it asked for an older one: failing a live one, for the latest
        live = live or ([] if started else older[:1])
    elif started:  # what began under it is likelier than what it might have taken up
        live = []
    else:
        live = live or [s for s in older if _end(s) >= began - SKEW]
    return [*started, *(_Fit(s, "cwd_recent") for s in live)]


def _after(tree: AgentProcess, session: Session) -> int:
    """How long after the process its session began, in ms."""
    return (session.started_at or 0) - (tree.root.started_at or 0)


def _end(session: Session) -> int:
    return max(session.ended_at or 0, session.last_at or 0) or session.started_at or 0


def _latest(sessions: Sequence[Session]) -> Session | None:
    """Of sessions that can only be of one process, the one it is on now: the last, where each
    ended before the next began. Where two went on at the same time, one is not of this process."""
    ordered = sorted(sessions, key=lambda s: (s.started_at or 0, s.id))
    parted = all(_end(a) <= (b.started_at or 0) for a, b in pairwise(ordered))
    return ordered[-1] if ordered and parted else None


def _same_boot(who: Identity, p: Process) -> bool:
    return not who.boot or not p.boot or who.boot == p.boot


def _evidence(
    kind: EvidenceKind, session: str, at: int | None, detail: str, sure: float | None = None
) -> Evidence:
    return Evidence(
        kind=kind,
        about="session",
        session=session,
        at=at,
        detail=detail,
        confidence=confidence(kind) if sure is None else sure,
    )
