"""The process table: running agents, each with its tree, folder, terminal and open files.

On Linux ``/proc`` is read directly, which is what makes a look at hundreds of processes cheap;
elsewhere psutil is asked. A look either succeeds or raises: half a table is never taken for the
whole. What cannot be seen of one process (another user's folder or files) is left empty.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from decklog.boots import numbering
from decklog.errors import Denied, NotFound, SourceError
from decklog.model.fleet import AgentProcess, Identity, Process

if TYPE_CHECKING:
    from decklog.agents import Agent, Invocation

DEADLINE = 2.0
"""Seconds after which a look at the process table is given up."""
SHELLS = frozenset(("sh", "bash", "dash", "zsh", "fish", "ash", "ksh"))
TOOLS = 512
"""Members of one tree that are listed; more come from a build that an agent started."""


KERNEL_THREAD = 0x00200000
"""The flag of a process that is a thread of the kernel."""
PAGE = 4096
LONGEST = 1 << 20
"""Bytes of a command line that are looked at."""


class Table(Protocol):
    """Where processes are seen. The fake one of tests answers the same."""

    boot: str
    """Two processes with one number are told by it: see `decklog.boots.numbering`."""

    def numbers(self) -> frozenset[int]:
        """The pids of all processes, at next to no cost; zombies too."""

    def argv(self, pid: int) -> tuple[str, ...]:
        """The command line of one process; empty where there is none, or it has gone."""

    def list(self, deadline: float) -> list[Process]:
        """All processes with pid, start ticks, parent, terminal and argv; no zombies."""

    def look(self, process: Process, *, files: bool) -> Process | None:
        """The same with program, folder and (where wanted) open files; None when it has gone."""

    def start_ticks(self, pid: int) -> int | None:
        """Start time of the process that has this pid now; None for none."""


class Linux:
    """``/proc``."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root
        self.hertz = os.sysconf("SC_CLK_TCK")
        self._argv: dict[str, tuple[int, bytes, tuple[str, ...]]] = {}
        """By pid: start, name and argv at the last look; another program has another name."""
        self.boot = numbering(root)

    def numbers(self) -> frozenset[int]:
        return frozenset(int(name) for name in self._names())

    def argv(self, pid: int) -> tuple[str, ...]:
        return _words(self._read(str(pid), "cmdline"))

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.root) if name.isdigit()]
        except OSError as error:
            raise SourceError(f"{self.root}: {error.strerror}") from None

    def list(self, deadline: float) -> list[Process]:
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        found = []
        argvs = {}
        for name in self._names():
            if time.monotonic() > deadline:
                raise SourceError(
                    "reading the process table takes too long", hint="try again in a moment"
                )
            stat = self._stat(name)
            if stat is None or stat.gone or stat.kernel:
                continue
            known = self._argv.get(name)
            if known is None or known[:2] != (stat.start, stat.name):
                known = (stat.start, stat.name, _words(self._read(name, "cmdline")))
            argvs[name] = known
            found.append(
                Process(
                    pid=int(name),
                    start_ticks=stat.start,
                    boot=self.boot,
                    ppid=stat.parent,
                    argv=known[2],
                    tty=_terminal(stat.terminal),
                    started_at=round((booted + stat.start / self.hertz) * 1000),
                )
            )
        self._argv = argvs
        return found

    def look(self, process: Process, *, files: bool) -> Process | None:
        folder = f"{self.root}/{process.pid}"
        found = msgspec.structs.replace(
            process,
            exe=_link(f"{folder}/exe"),
            cwd=_undeleted(_link(f"{folder}/cwd")),
            files=self._files(f"{folder}/fd") if files else (),
        )
        # Seen of the same process only if it is still there now: pids are used again.
        return found if self.start_ticks(process.pid) == process.start_ticks else None

    def start_ticks(self, pid: int) -> int | None:
        stat = self._stat(str(pid))
        return None if stat is None or stat.gone else stat.start

    def _read(self, pid: str, name: str) -> bytes:
        try:
            fd = os.open(f"{self.root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            data = os.read(fd, PAGE)
            return data if len(data) < PAGE else data + os.read(fd, LONGEST)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _stat(self, pid: str) -> _Stat | None:
        data = self._read(pid, "stat")
        name = data[data.find(b"(") : data.rfind(b")")]
        # The name stands in parentheses and may hold anything, parentheses and spaces included.
        fields = data[data.rfind(b")") + 2 :].split()
        if len(fields) < 20:
            return None
        return _Stat(
            name=name,
            parent=int(fields[1]),
            terminal=int(fields[4]),
            start=int(fields[19]),
            gone=fields[0] in (b"Z", b"X"),
            kernel=bool(int(fields[6]) & KERNEL_THREAD),
        )

    @staticmethod
    def _files(folder: str) -> tuple[str, ...]:
        try:
            names = os.listdir(folder)
        except OSError:
            return ()
        paths = {_undeleted(_link(f"{folder}/{n}")) for n in names}
        return tuple(sorted(p for p in paths if p.startswith("/") and not p.startswith("/dev/")))


class _Stat(NamedTuple):
    name: bytes
    parent: int
    terminal: int
    start: int
    gone: bool
    kernel: bool


class Elsewhere:
    """psutil, for systems without ``/proc``."""

    def __init__(self) -> None:
        import psutil  # type: ignore[import-untyped]

        self.psutil: Any = psutil
        self.boot = str(round(psutil.boot_time()))

    def numbers(self) -> frozenset[int]:
        return frozenset(self.psutil.pids())

    def argv(self, pid: int) -> tuple[str, ...]:
        try:
            return tuple(self.psutil.Process(pid).cmdline())
        except self.psutil.Error:
            return ()

    def list(self, deadline: float) -> list[Process]:
        found = []
        wanted = ["pid", "ppid", "cmdline", "terminal", "create_time", "status"]
        for p in self.psutil.process_iter(wanted):
            if time.monotonic() > deadline:
                raise SourceError(
                    "reading the process table takes too long", hint="try again in a moment"
                )
            i = p.info
            if i["status"] == self.psutil.STATUS_ZOMBIE or i["create_time"] is None:
                continue
            found.append(
                Process(
                    pid=i["pid"],
                    start_ticks=int(i["create_time"] * 1_000_000 + 0.5),
                    boot=self.boot,
                    ppid=i["ppid"] or 0,
                    argv=tuple(i["cmdline"] or ()),
                    tty=i["terminal"] or "",
                    started_at=round(i["create_time"] * 1000),
                )
            )
        return found

    def look(self, process: Process, *, files: bool) -> Process | None:
        try:
            p = self.psutil.Process(process.pid)
        except self.psutil.Error:
            return None

        def ask(question: Callable[[], object]) -> object:
            try:
                return question()
            except self.psutil.Error:
                return None

        opened = ask(p.open_files) if files else ()
        found = msgspec.structs.replace(
            process,
            exe=str(ask(p.exe) or ""),
            cwd=str(ask(p.cwd) or ""),
            files=tuple(sorted(f.path for f in opened or ())),  # type: ignore[attr-defined]
        )
        return found if self.start_ticks(process.pid) == process.start_ticks else None

    def start_ticks(self, pid: int) -> int | None:
        try:
            return int(self.psutil.Process(pid).create_time() * 1_000_000 + 0.5)
        except self.psutil.Error:
            return None


def _words(data: bytes) -> tuple[str, ...]:
    text = os.fsdecode(data.rstrip(b"\0"))
    return tuple(text.split("\0")) if text else ()


def _terminal(number: int) -> str:
    if not number:
        return ""
    major = number >> 8 & 0xFFF
    minor = number & 0xFF | number >> 12 & 0xFFF00
    if 136 <= major <= 143:
        return f"/dev/pts/{(major - 136) * 256 + minor}"
    return f"/dev/tty{minor}" if major == 4 else ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _undeleted(path: str) -> str:
    """The path without the marks that the kernel adds when it has been deleted."""
    path = path.strip()
    while path.endswith(_DELETED):
        path = path.removesuffix(_DELETED)
    return path


_DELETED = " (deleted)"
_table: Table | None = None


def table() -> Table:
    """The process table of this machine."""
    global _table  # noqa: PLW0603 - opened once, on first use
    if _table is None:
        _table = Linux() if sys.platform == "linux" else Elsewhere()
    return _table


def snapshot(
    agents: Iterable[Agent],
    *,
    of: Table | None = None,
    timeout: float = DEADLINE,
    ourselves: int | None = None,
) -> list[AgentProcess]:
    """Every running agent, oldest first.

    An agent is known by its argv, whatever its processes are called. ``ourselves`` is the pid of a
    decklog whose own children are left out. Raises SourceError when the table cannot be read, or
    not within ``timeout`` seconds; the caller then keeps what it knew.
    """
    seen = of or table()
    listed = seen.list(time.monotonic() + timeout)
    known = tuple(agents)
    found: dict[int, _Known] = {}
    for p in listed:
        if p.argv and (one := _recognise(p, known, seen)) is not None:
            found[p.pid] = one
    forest = _Forest(listed, {pid: one.agent.name for pid, one in found.items()})
    own = set() if ourselves is None else set(forest.below(ourselves))
    trees = []
    for pid in found:
        if pid in own or forest.wraps(pid) is not None:
            continue
        trees.append(_tree(pid, forest, found))
    return sorted(trees, key=lambda t: (t.root.start_ticks, t.root.pid))


def any_of(agents: Iterable[Agent], pids: Iterable[int], *, of: Table | None = None) -> bool:
    """Whether one of these processes is an agent by its argv."""
    seen = of or table()
    known = tuple(agents)
    return any(argv and any(_claiming(argv, known)) for argv in map(seen.argv, pids))


class _Known(NamedTuple):
    agent: Agent
    said: Invocation
    process: Process


def _recognise(p: Process, known: Sequence[Agent], seen: Table) -> _Known | None:
    for agent in _claiming(p.argv, known):
        looked = seen.look(p, files=agent.holds_files)
        if looked is None:
            return None
        said = _said(agent, p.argv, looked.exe)  # its program may tell that it is another
        if said is not None:
            return _Known(agent, said, msgspec.structs.replace(looked, agent=agent.name))
    return None


def _claiming(argv: tuple[str, ...], known: Iterable[Agent]) -> Iterator[Agent]:
    """Agents that a process may be, by its argv alone."""
    from decklog.agents import set_aside

    for agent in known:
        try:
            if _said(agent, argv, "") is not None:
                yield agent
        except Exception as error:  # of an installed agent: the others are seen all the same
            set_aside(agent.name, error)


@lru_cache(maxsize=4096)
def _said(agent: Agent, argv: tuple[str, ...], exe: str) -> Invocation | None:
    """The same processes are looked at again and again."""
    return agent.process(argv, exe)


class _Forest:
    """Who started whom, and which processes are one agent."""

    def __init__(self, listed: Iterable[Process], agents: Mapping[int, str]) -> None:
        self.by_pid = {p.pid: p for p in listed}
        self.agents = agents
        self.children: dict[int, list[int]] = {}
        for p in self.by_pid.values():
            self.children.setdefault(p.ppid, []).append(p.pid)

    def below(self, pid: int) -> list[int]:
        """All descendants."""
        found = [*self.children.get(pid, ())]
        for child in found:
            found += self.children.get(child, ())
        return found

    def wraps(self, pid: int) -> int | None:
        """The process that only started this one in its own place: a shim with the same
        arguments, or a package runner (with the shell it needs)."""
        p = self.by_pid[pid]
        parent = self.by_pid.get(p.ppid)
        if parent is not None and parent.argv and _base(parent.argv[0]) in SHELLS:
            above = self.by_pid.get(parent.ppid)
            if above is not None and _runs_packages(above) and self._same(above, p):
                return above.pid
            return None
        if parent is None or not self._same(parent, p):
            return None
        alike = _runs_packages(parent) or _tail(parent.argv) == _tail(p.argv)
        return parent.pid if alike else None

    def _same(self, parent: Process, child: Process) -> bool:
        name = self.agents.get(child.pid)
        return name is not None and self.agents.get(parent.pid) == name

    def members(self, root: int) -> list[int]:
        """The tree of one agent: up to where another agent begins."""
        found = [root]
        for pid in found:
            children = sorted(self.children.get(pid, ()))
            found += [c for c in children if c not in self.agents or self.wraps(c) is not None]
        return found[:TOOLS]


def _base(word: str) -> str:
    return word.rpartition("/")[2].lstrip("-")


def _runs_packages(p: Process) -> bool:
    from decklog.agents._argv import program

    run = program(p.argv)
    return run is not None and run.runner


def _tail(argv: Sequence[str]) -> tuple[str, ...]:
    from decklog.agents._argv import program

    run = program(argv)
    return run.args if run is not None else tuple(argv)


def _tree(pid: int, forest: _Forest, found: Mapping[int, _Known]) -> AgentProcess:
    agent = found[pid].agent
    pids = forest.members(pid)
    inner = [m for m in pids if m in found][-1]  # of all wrappers the last is the agent proper
    members = [found[m].process if m in found else forest.by_pid[m] for m in pids]
    proper = next(p for p in members if p.pid == inner)
    said = found[inner].said
    own = proper.cwd or members[0].cwd
    cwd = os.path.realpath(os.path.join(own, said.cwd)) if said.cwd and own else own
    return AgentProcess(
        agent=agent.name,
        root=members[0],
        members=tuple(members),
        role=said.role,
        cwd=cwd,
        native=said.native,
        resumes=said.resumes,
        prompt=said.prompt,
    )


def alive(who: Identity, *, of: Table | None = None) -> bool:
    """Whether exactly this process still runs."""
    seen = of or table()
    same_boot = not who.boot or not seen.boot or who.boot == seen.boot
    return same_boot and seen.start_ticks(who.pid) == who.start_ticks


def send_signal(who: Identity, number: int = signal.SIGTERM, *, of: Table | None = None) -> None:
    """Send a signal to exactly this process, or refuse.

    On Linux the process is held by a pidfd before it is checked, so that no other process can get
    its pid in between. Raises NotFound when it has gone or its pid is another's by now, Denied
    when it belongs to someone else.
    """
    try:
        if not hasattr(os, "pidfd_open"):
            _refuse_unless(alive(who, of=of), who)
            os.kill(who.pid, number)
            return
        handle = os.pidfd_open(who.pid)
        try:
            _refuse_unless(alive(who, of=of), who)
            signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
    except ProcessLookupError:
        raise NotFound(f"process {who.pid} has ended") from None
    except PermissionError:
        raise Denied(f"process {who.pid} belongs to another user") from None


def _refuse_unless(same: bool, who: Identity) -> None:
    if not same:
        raise NotFound(f"process {who.pid} has ended; its number may be another's by now")
