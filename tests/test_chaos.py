"""Random things happen to a fleet on real tmux servers; what decklog says has to be true.

    DECKLOG_ACTIONS=2000 DECKLOG_SEED=7 python -m pytest tests/test_chaos.py

does so many things, in the order of that seed. A failure names its seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from crew import Crew, crews
from decklog import processes, tmux
from decklog.errors import NotFound, PaneGone
from decklog.model.fleet import Identity, Pane
from decklog.model.panes import Supervised
from decklog.supervisor import Request, Supervisor
from decklog.supervisor.reconcile import is_same
from tmux_server import needs_tmux
from waiting import until

ACTIONS = int(os.environ.get("DECKLOG_ACTIONS", "100"))
SEED = int(os.environ.get("DECKLOG_SEED", "0")) or random.randrange(1, 1 << 30)
FLEET = 5
NAMES = [
    "a.b",
    "c:d",
    "$m",
    "tab\there",
    "-N5",
    "#{pid}",
    "7",
    "é 日本 🙂",
    "'\" \\;",
    "%end 1 2 1",
]

pytestmark = needs_tmux


@pytest.fixture
def crew() -> Iterator[Crew]:
    yield from crews()


class Chaos:
    def __init__(self, crew: Crew, seed: int) -> None:
        self.crew = crew
        self.boss: Supervisor = crew.boss
        self.dice = random.Random(seed)
        self.sent: list[tuple[str, str, str]] = []
        """(pane, text, outcome)"""
        self.known: dict[str, Supervised] = {}
        """Everything that was ever registered."""
        self.ended: dict[str, set[str]] = {}
        """What we did to them ourselves, or had done to them."""
        self.stopped = 0
        self.count = 0
        self.seen: Counter[str] = Counter()

    # -- what happens ----------------------------------------------------------------------------

    def step(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (6, self.send),
            (3, self.create),
            (1, self.adopt),
            (2, self.rename),
            (1, self.move),
            (1, self.kill_pane),
            (1, self.respawn),
            (1, self.kill_agent),
            (1, self.end),
            (1, self.copy_mode),
            (1, self.stop_server),
            (1, self.restart_us),
            (1, self.look),
        ]
        if self.dice.random() < 0.02:
            acts = [(1, self.kill_server)]
        weights = [w for w, _ in acts]
        (act,) = self.dice.choices([a for _, a in acts], weights)
        self.count += 1
        self.seen[act.__name__] += 1
        act()

    def live(self) -> list[Supervised]:
        return [p for p in self.boss.registry.panes().values() if p.standing == "live"]

    def one(self) -> Supervised | None:
        """One whose server is still there: in a later one of that name its pane is another's."""
        live = [p for p in self.live() if tmux.socket_state(p.socket)[1] == p.server_pid]
        return self.dice.choice(live) if live else None

    def shown(self) -> Supervised | None:
        """One that somebody at its server sees: another pane there may have its id by now."""
        one = self.one()
        if one and any(is_same(one, p) for p in self.boss.server(one.socket).panes()):
            return one
        return None

    def shell(self, socket: str, *words: str) -> None:
        """The tmux program, as somebody else would use it."""
        with suppress(subprocess.CalledProcessError):
            self.crew.room.tmux(os.path.basename(socket), *words)

    def create(self) -> None:
        if len(self.live()) >= FLEET:
            return
        self.crew.fake(busy=self.dice.choice([0.05, 0.3]), silent=1)
        name = f"{self.dice.choice(NAMES)} {self.count}"
        one, _ = self.boss.create(Request("claude", name=name, cwd=str(self.crew.project)))
        self.known[one.id] = one

    def adopt(self) -> None:
        if len(self.live()) >= FLEET:
            return
        name = f"mine-{self.count}"
        self.crew.fake(busy=0.05, silent=1)
        self.shell("other", "new-session", "-d", "-s", name, "--", "env", "claude")
        with suppress(NotFound):
            one = self.boss.adopt(f"{name}:0.0")
            self.known[one.id] = one

    def send(self) -> None:
        one = self.one()
        if one is None:
            return
        text = f"text {self.count} " + "x" * self.dice.choice([0, 50, 3000])
        told = self.boss.send(one.id, text, ready=1.5)
        self.sent.append((one.id, text, told.outcome))

    def rename(self) -> None:
        if one := self.shown():
            word = self.dice.choice(NAMES)
            verb = self.dice.choice(["rename-session", "rename-window"])
            self.shell(one.socket, verb, "-t", one.pane, "--", word)

    def move(self) -> None:
        one, other = self.shown(), self.shown()
        if one and other and one.socket == other.socket and one.id != other.id:
            self.shell(one.socket, "join-pane", "-d", "-s", one.pane, "-t", other.pane)

    def copy_mode(self) -> None:
        if one := self.shown():
            self.shell(one.socket, "copy-mode", "-t", one.pane)

    def kill_pane(self) -> None:
        if one := self.shown():
            self.ended.setdefault(one.id, set()).add("lost")
            self.shell(one.socket, "kill-pane", "-t", one.pane)

    def respawn(self) -> None:
        if one := self.shown():
            self.ended.setdefault(one.id, set()).add("exited")
            self.shell(one.socket, "respawn-pane", "-k", "-t", one.pane, "--", "env", "claude")

    def kill_agent(self) -> None:
        if one := self.one():
            self.ended.setdefault(one.id, set()).add(
                "exited" if one.socket.endswith("decklog") else "lost"
            )
            with suppress(NotFound):
                processes.send_signal(_identity(one), signal.SIGKILL)

    def end(self) -> None:
        if one := self.one():
            self.ended.setdefault(one.id, set()).add("killed")
            assert self.boss.end(one.id, grace=0.5).gone

    def kill_server(self) -> None:
        one = self.one()
        if one is None:
            return
        for p in self.live():
            if p.server_pid == one.server_pid:
                self.ended.setdefault(p.id, set()).add("lost")
        os.kill(one.server_pid, signal.SIGKILL)
        until(lambda: tmux.socket_state(one.socket)[0] == "none")

    def stop_server(self) -> None:
        one = self.one()
        if one is None:
            return
        before = dict(self.boss.registry.panes())
        os.kill(one.server_pid, signal.SIGSTOP)
        try:
            for server in self.boss.servers.values():
                server.deadline = 0.3
            self.boss.settle(self.boss.sighting())
            after = self.boss.registry.panes()
            same = [p.id for p in before.values() if p.socket == one.socket]
            assert {i: before[i].standing for i in same} == {i: after[i].standing for i in same}
        finally:
            os.kill(one.server_pid, signal.SIGCONT)
            self.boss._asleep.clear()
            for server in self.boss.servers.values():
                server.deadline = 2.0

    def restart_us(self) -> None:
        self.boss = self.crew.supervisor()

    def look(self) -> None:
        self.boss.rows(everything=True)

    # -- what has to be true ---------------------------------------------------------------------

    def all_seen_to_end(self) -> bool:
        """A killed process takes a moment, and so does the server that is told of it."""
        self.boss.look()
        return self.ended.keys().isdisjoint(p.id for p in self.live())

    def check(self) -> None:
        """What the registry says, and what is there."""
        until(self.all_seen_to_end, what="something was ended and is said to live")
        registry = self.boss.registry.panes()
        assert set(self.known) <= set(registry)  # nothing is forgotten
        there: dict[str, Pane] = {
            p.ours: p for s in tmux.servers(self.crew.room.env) for p in s.panes() if p.ours
        }
        for name, one in registry.items():
            first = self.known.get(name, one)
            assert (one.pid, one.start_ticks) == (first.pid, first.start_ticks)  # no wrong binding
            assert one.session == first.session or not first.session
            if one.standing == "live":
                assert there[name].pid == one.pid
                assert not there[name].dead
                assert name not in self.ended
            else:
                assert one.why  # every end is explained
                assert name in self.ended, one
                assert one.standing in self.ended[name] | {"lost"}, one
                pane = there.get(name)
                assert pane is None or pane.dead or pane.pid != one.pid

    def check_texts(self) -> None:
        given = Counter((e["pane"], e["text"]) for e in self.crew.entries())
        adopted = {p.id for p in self.boss.registry.panes().values() if p.origin == "adopted"}
        assert max(given.values(), default=1) == 1  # nothing twice
        sent = {("" if pane in adopted else pane, text): told for pane, text, told in self.sent}
        assert set(given) <= set(sent)  # nothing from nowhere, nothing in another pane
        for key, told in sent.items():
            if told in ("submitted", "queued"):
                assert key in given or (told == "queued"), (key, told)
            if told in ("not_sent", "typed"):
                assert key not in given, (key, told)


def _identity(one: Supervised) -> Identity:
    return Identity(one.boot, one.pid, one.start_ticks)


@pytest.mark.spec("R78", "R81", "R82", "R83", "DW3", "DW5", "DW6", "DW13")
@pytest.mark.timeout(60 + 4 * ACTIONS)
def test_chaos(crew: Crew) -> None:
    print(f"DECKLOG_SEED={SEED} DECKLOG_ACTIONS={ACTIONS}")
    chaos = Chaos(crew, SEED)
    crew.room.tmux("other", "new-session", "-d", "-s", "stays", "--", "sleep", "9999")
    chaos.create()
    while chaos.count < ACTIONS:
        with suppress(PaneGone):
            chaos.step()
        if chaos.count % 10 == 0:
            chaos.check()
    chaos.check()
    chaos.check_texts()
    seqs = [e.seq for e in crew.supervisor().events()]
    assert seqs == list(range(1, len(seqs) + 1))  # every event, once, in order
    outcomes = Counter(told for _, _, told in chaos.sent)
    print(dict(chaos.seen), dict(outcomes))


@pytest.mark.spec("D2", "DW2", "DW4")
def test_a_look_at_200_panes_is_one_call(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    new = ["new-session", "-d", "-x", "80", "-y", "24", "--", "sleep", "9999"]
    for _ in range(4):
        crew.room.tmux("many", *[w for _ in range(50) for w in (*new, ";")][:-1])
    calls: list[str] = []
    real = subprocess.Popen

    def counted(command: list[str], *rest: object, **more: object) -> object:
        calls.append(" ".join(command)[:40])
        return real(command, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", counted)
    seen = crew.boss.sighting()
    assert len(seen.panes) == 200
    assert len(calls) == 1
    shown = crew.boss.capture(seen.panes)
    assert (len(shown), len(calls)) == (200, 2)
