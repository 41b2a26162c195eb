"""Starting agents, taking over those that run, and starting lost ones again."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from msgspec import structs

from decklog import agents, durable, processes, relay, tmux
from decklog.errors import Busy, DecklogError, NotFound, UsageError
from decklog.model.fleet import Pane
from decklog.model.panes import Supervised
from decklog.sight import Occupant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.agents import Launch
    from decklog.supervisor import Supervisor

LETTERS = "abcdefghjkmnpqrstuvwxyz"
SIGNS = f"{LETTERS}23456789"

ALIASES = {"claude-code": "claude", "gemini-cli": "gemini", "open-code": "opencode"}

CONFIG = """\
# tmux server of decklog (tmux -L decklog). Written anew when decklog starts it.
set -g remain-on-exit on
set -g exit-empty on
set -g history-limit 20000
set -g default-terminal tmux-256color
set -g escape-time 10
set -g focus-events on
set -g extended-keys on
set -g mouse on
set -g allow-rename off
set -g automatic-rename off
set -g window-size latest
set -g status-left-length 40
"""


class Request(NamedTuple):
    """A pane that is wanted."""

    agent: str
    name: str = ""
    """What people call it; by default the name of its folder."""
    cwd: str = ""
    """By default the current folder."""
    prompt: str = ""
    args: tuple[str, ...] = ()
    """Further arguments for the agent."""
    session: str = ""
    """A session to go on with, ``agent:native``."""
    force: bool = False
    """Open the session although it is open elsewhere."""
    size: tuple[int, int] = (120, 40)
    relay: bool = False
    """Start it through a relay, which hears what it tells its terminal; see `decklog.relay`."""


class Plan(NamedTuple):
    """How a lost pane would be started again."""

    pane: Supervised
    argv: tuple[str, ...] = ()
    problem: str = ""
    """Why it cannot be; then `argv` is empty."""
    restored: Supervised | None = None
    """What it was started as."""


class Starting:
    """The part of the supervisor that makes panes."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.registry = supervisor.registry
        self.own = tmux.own(supervisor.env, f"{supervisor.folder}/tmux.conf")
        supervisor.servers[self.own.socket] = self.own

    # -- new ones --------------------------------------------------------------------------------

    def create(self, request: Request) -> Supervised:
        agent = _agent(request.agent)
        launch = _launch(agent)
        cwd = _folder(request.cwd)
        program = self._program(agent, launch)
        of, _, native = request.session.partition(":")
        if native and of != agent:
            raise UsageError(f"{request.session} is no session of {agent}")
        if native:
            argv = _with(launch.resume, native)
            if not argv:
                raise UsageError(f"{agent} cannot go on with a session from its command line")
        elif launch.session and not request.args:
            native = str(uuid.uuid4())
            argv = _with(launch.session, native)
        else:
            argv = ()
        if request.session and not request.force:
            self._refuse_if_open(request.session)
        session = f"{agent}:{native}" if native else ""
        return self._make(
            Supervised(
                id="",
                name=request.name.strip(),
                agent=agent,
                cwd=cwd,
                session=session,
                argv=(*argv, *request.args),
                forced=request.force,
                relay=request.relay,
            ),
            program,
            request.size,
        )

    def _make(self, wanted: Supervised, program: str, size: tuple[int, int]) -> Supervised:
        with self.registry.changing():
            known = self.registry.panes()
            name = self._name(wanted, known.values())
            one = structs.replace(
                wanted, id=_new_id(known), name=name, generation=secrets.token_hex(8)
            )
            self._configure()
            through = self._relay(one.agent, program) if one.relay else []
            pane = self.own.create(
                [*through, program, *one.argv],
                name=f"{_slug(name)}-{one.id}",
                cwd=one.cwd,
                mark=one.id,
                variables={"DECKLOG_PANE": one.id, "DECKLOG_GENERATION": one.generation},
                size=size,
            )
            one = _in(one, pane, self.supervisor.clock())
            self.registry.add("created", one, one.created_at)
            return one

    def _relay(self, agent: str, program: str) -> list[str]:
        """The words before those of the program."""
        folder = os.path.dirname(self.supervisor.folder)
        hooks = durable.private_folder(f"{folder}/hooks")
        spool = durable.private_folder(f"{hooks}/spool")
        names = durable.private_folder(f"{self.supervisor.folder}/relay")
        return relay.command(agent, spool, f"{names}/{os.path.basename(program)}")

    def _configure(self) -> None:
        path = self.own.config
        try:
            with open(path, encoding="utf-8") as f:
                if f.read() == CONFIG:
                    return
        except OSError:
            pass
        durable.replace(path, CONFIG.encode())

    def _program(self, agent: str, launch: Launch) -> str:
        found = shutil.which(launch.program, path=self.supervisor.env.get("PATH"))
        if found is None:
            raise NotFound(f"{launch.program} is not installed", hint=f"install {agent} first")
        return found

    def _name(self, wanted: Supervised, known: Iterable[Supervised]) -> str:
        taken = {p.name for p in known if p.standing == "live"}
        if wanted.name and wanted.name in taken and wanted.origin != "restored":
            raise UsageError(
                f"there is a pane called {wanted.name!r} already", hint="choose another --name"
            )
        base = wanted.name or os.path.basename(wanted.cwd) or wanted.agent or "pane"
        number = 1
        while (name := base if number == 1 else f"{base}-{number}") in taken:
            number += 1
        return name

    def _refuse_if_open(self, session: str) -> None:
        sight = self.supervisor.sight
        for one in sight.occupants(sight.processes(), (), {}):
            if one.process.role == "service":
                continue  # a daemon serves whoever opens the session
            also = one.match.also if one.match else ()
            candidates = [c.session for c in one.match.candidates] if one.match else []
            if session in (one.session, *also, *candidates):
                pid = one.process.root.pid
                raise Busy(
                    f"{session} is open in process {pid} already; two agents would mix it up",
                    hint="end the other one (decklog pane kill), or --force",
                )

    # -- running ones ----------------------------------------------------------------------------

    def adopt(self, pane: Pane, who: Occupant | None, name: str) -> Supervised:
        with self.registry.changing():
            known = self.registry.panes()
            one = Supervised(
                id=_new_id(known),
                name=name.strip(),
                agent=who.process.agent if who else "",
                cwd=(who.process.cwd if who else "") or pane.cwd,
                session=who.session if who else "",
                origin="adopted",
            )
            one = structs.replace(
                _in(one, pane, self.supervisor.clock()), name=self._name(one, known.values())
            )
            server = self.supervisor.server(pane.socket)
            server.act(pane, ["set-option", "-p", "-t", pane.id, tmux.MARK, one.id])
            self.registry.add("adopted", one, one.created_at)
            return one

    # -- lost ones -------------------------------------------------------------------------------

    def plan(self, refs: Sequence[str], *, force: bool) -> list[Plan]:
        ended = [
            one
            for one in self.registry.panes().values()
            if one.standing in ("lost", "exited", "killed") and not one.restored_as
        ]
        if not refs:
            here = (one for one in ended if is_here(one))
            return [self._plan(one, force) for one in here if one.standing == "lost"]
        wanted = []
        for ref in refs:
            found = [p for p in ended if ref in (p.id, p.name, p.session)]
            if not found:
                raise NotFound(f"no lost pane {ref!r}", hint="decklog pane ls --all")
            wanted += found[-1:]
        return [self._plan(one, force) for one in wanted]

    def _plan(self, one: Supervised, force: bool) -> Plan:
        if not is_here(one):
            return Plan(one, problem=f"it was on another machine, {one.host}")
        try:
            launch = _launch(_agent(one.agent))
            self._program(one.agent, launch)
            _folder(one.cwd)
            native = one.session.partition(":")[2]
            if not native:
                return Plan(one, problem="its session was never known")
            argv = _with(launch.resume, native)
            if not argv:
                return Plan(one, problem=f"{one.agent} cannot go on with a session")
            if not force:
                self._refuse_if_open(one.session)
        except DecklogError as error:
            return Plan(one, problem=str(error))
        if not self.supervisor.written(one.session):
            argv = _with(launch.session, native)  # nothing was said in it yet
        return Plan(one, (launch.program, *argv))

    def restore(self, plan: Plan, *, force: bool) -> Plan:
        if plan.problem:
            return plan
        one = plan.pane
        try:
            program = self._program(one.agent, _launch(one.agent))
            new = self._make(
                structs.replace(
                    one,
                    name=one.name,
                    argv=plan.argv[1:],
                    origin="restored",
                    standing="live",
                    ended_at=None,
                    why="",
                    forced=force,
                ),
                program,
                (120, 40),
            )
        except DecklogError as error:
            return plan._replace(argv=(), problem=str(error))
        self.registry.add("restored", structs.replace(one, restored_as=new.id), new.created_at)
        return plan._replace(restored=new)


def host() -> str:
    """What the registry calls this machine, or container."""
    return os.uname().nodename


def is_here(one: Supervised) -> bool:
    """Whether it is on this machine, whatever that was called then: several may share a folder."""
    return one.host in ("", host()) or one.boot == processes.table().boot


def _agent(name: str) -> str:
    """The agent that a word means: its name, a path to its program, or another name of it."""
    word = os.path.basename(name.strip()).lower()
    word = ALIASES.get(word, word)
    return agents.get(word).name


def _launch(agent: str) -> Launch:
    launch = agents.get(agent).launch
    if launch is None:
        raise UsageError(f"decklog does not know how to start {agent}")
    return launch


def _folder(cwd: str) -> str:
    path = os.path.abspath(os.path.expanduser(cwd)) if cwd else os.getcwd()
    if not os.path.isdir(path):
        raise UsageError(f"no folder {path}")
    return path


def _with(arguments: Sequence[str], native: str) -> tuple[str, ...]:
    return tuple(a.replace("{id}", native) for a in arguments)


def _in(one: Supervised, pane: Pane, at: int) -> Supervised:
    table = processes.table()
    return structs.replace(
        one,
        socket=pane.socket,
        server_pid=pane.server_pid,
        server_started=pane.server_started,
        pane=pane.id,
        place=pane.name,
        pid=pane.pid,
        start_ticks=table.start_ticks(pane.pid) or 0,
        boot=table.boot,
        host=host(),
        created_at=at,
    )


def _new_id(known: Collection[str]) -> str:
    while True:
        new = secrets.choice(LETTERS) + "".join(secrets.choice(SIGNS) for _ in range(5))
        if new not in known:
            return new


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:40] or "pane"
