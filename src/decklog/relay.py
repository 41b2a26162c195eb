"""Between tmux and an agent: passes everything on, and notes what the agent tells its terminal.

tmux hands OSC sequences to nobody and answers no question about them. So an agent can be started
on a terminal of the relay's own: bytes, sizes, signals and the exit code pass both ways as they
are; reports (`decklog.osc`) are taken out of what it writes, the question whether they are
understood is answered with fixed bytes, and what follows is noted in the spool of the hooks.

Run by its path, isolated, without installed packages, as ``relay.py AGENT SPOOL PROGRAM...``. Two
processes: the one that tmux knows starts the agent and waits; the other passes on. Where that one
fails another takes its place; where the terminal cannot be made, the agent is run without it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
import time
import tty
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, NoReturn

    from decklog.osc import Told

PASSED_ON = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
SET_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by Python, and by what it starts, unless they are put back."""
BLOCK = 1 << 16
ANSWERS = 64
"""Questions that are answered to one agent."""
NOTES, NOTES_EVERY = 20, 0.5
"""Notes that may be written at once, and seconds after which one more may be."""
LARGE = 8 << 20
"""Bytes of a spool file that nobody reads, to which nothing is added any more."""
RELAYS = 3
"""So many fail before one only passes on."""
HUNG_UP = 3
"""Exit code of the process that passes on: the terminal is gone."""


def command(agent: str, spool: str, name: str) -> list[str]:
    """The words that run a program, which is to follow, through the relay.

    The relay is what tmux and others see in the pane, so it goes by the name of the program: that
    of a link to Python, which is made. `decklog.agents` knows it by the words that follow.
    """
    python = os.path.realpath(sys.executable)
    if not (os.path.islink(name) and os.readlink(name) == python):
        with suppress(FileNotFoundError):
            os.unlink(name)
        os.symlink(python, name)
    return [name, "-I", "-S", os.path.abspath(__file__), agent, spool]


def main(words: Sequence[str]) -> NoReturn:
    agent, spool, *program = words
    env = _environment()
    try:
        sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        from decklog import osc  # noqa: F401 - both processes have it, or none is needed

        relay = Relay(program, env)
    except Exception:
        _become(program, env)
    _end_like_it(relay.wait(Notes(agent, spool, relay.pid, env)))


def _environment() -> Mapping[bytes, bytes]:
    """As we were given it: Python itself sets LC_CTYPE in the C locale."""
    try:
        with open("/proc/self/environ", "rb") as f:
            pairs = (entry.partition(b"=") for entry in f.read().split(b"\0") if entry)
            return {name: value for name, _, value in pairs}
    except OSError:
        return os.environb


def _become(program: Sequence[str], env: Mapping[bytes, bytes]) -> NoReturn:
    for number in SET_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(program[0], list(program), env)
    except OSError as error:
        os.write(2, f"{program[0]}: {error.strerror}\r\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _end_like_it(status: int) -> NoReturn:
    """End as the program did, by the same signal too."""
    if os.WIFSIGNALED(status):
        from resource import RLIMIT_CORE, setrlimit

        setrlimit(RLIMIT_CORE, (0, 0))  # if it left one it is its own
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


class Relay:
    """A program on a terminal of its own. Raises OSError and termios.error where there is none."""

    def __init__(self, program: Sequence[str], env: Mapping[bytes, bytes]) -> None:
        self.before = termios.tcgetattr(0)
        self.master, theirs = os.openpty()
        termios.tcsetattr(theirs, termios.TCSANOW, self.before)
        _resize(self.master)
        self.pid = os.fork()
        if self.pid == 0:
            os.login_tty(theirs)
            _become(program, env)
        os.close(theirs)

    def wait(self, notes: Notes) -> int:
        """The status of the program, once it has ended and all it wrote is passed on."""
        for number in PASSED_ON:
            signal.signal(number, self._forward)
        tty.setraw(0, termios.TCSANOW)
        left, passing, status = RELAYS, self._pass_on(notes), None
        while passing or status is None:
            ended, how = os.waitpid(-1, os.WUNTRACED)
            if ended == self.pid and os.WIFSTOPPED(how):
                os.killpg(self.pid, signal.SIGCONT)  # as tmux does: nobody else could
            elif ended == self.pid:
                status = how
            elif ended == passing and not os.WIFSTOPPED(how):
                passing = 0
                if how and os.waitstatus_to_exitcode(how) != HUNG_UP:
                    left -= 1
                    passing = self._pass_on(notes if left > 0 else None)
                else:
                    os.close(self.master)  # hangs up on what still runs there
        os.set_blocking(0, True)
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, self.before)
        return status

    def _forward(self, number: int, frame: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _pass_on(self, notes: Notes | None) -> int:
        """Start a process that passes on; its pid."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            for number in PASSED_ON:
                signal.signal(number, signal.SIG_IGN)  # the other one passes them on
            signal.signal(signal.SIGWINCH, lambda number, frame: _resize(self.master))
            _resize(self.master)
            code = Passing(self.master, notes).run()
        finally:
            os._exit(code)


def _resize(master: int) -> None:
    """Give the program's terminal the size of ours; the kernel tells the program."""
    with suppress(OSError):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)


class Passing:
    """Passes bytes both ways, never more than a block of each waiting."""

    def __init__(self, master: int, notes: Notes | None) -> None:
        self.master = master
        self.ears = Ears(master, notes) if notes is not None else None
        self.to_us = self.to_it = b""

    def run(self) -> int:
        """Until one of both ends is gone: 0 for the program's."""
        os.set_blocking(0, False)
        os.set_blocking(self.master, False)
        while True:
            ready = self._ready()
            try:
                if ready & {(self.master, "in"), (1, "out")} and not self._from_it():
                    return 0
                if ready & {(0, "in"), (self.master, "out")}:
                    self._from_us()
            except OSError:
                return HUNG_UP
            if self.ears is not None:
                self.ears.catch_up()

    def _ready(self) -> set[tuple[int, str]]:
        wait = self.ears.wait() if self.ears is not None else None
        poll = select.poll()
        reading = 0 if self.to_it else select.POLLIN
        poll.register(0, reading)
        poll.register(
            self.master,
            (0 if self.to_us else select.POLLIN) | (select.POLLOUT if self.to_it else 0),
        )
        if self.to_us:
            poll.register(1, select.POLLOUT)
        found = set()
        for fd, event in poll.poll(wait):
            if event & select.POLLOUT:
                found.add((fd, "out"))
            if event & ~select.POLLOUT:
                found.add((fd, "in"))
        return found

    def _from_it(self) -> bool:
        """False when the program's end is gone and all it wrote is passed on."""
        if not self.to_us:
            try:
                data = os.read(self.master, BLOCK)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                self._last_words()
                return False
            if self.ears is not None:
                data, answer = self.ears.hear(data)
                self.to_it += answer
                if answer:
                    self._from_us()
            self.to_us = data
        self.to_us = _write(1, self.to_us)
        return True

    def _last_words(self) -> None:
        os.set_blocking(1, True)
        _write(1, self.ears.stream.held if self.ears is not None else b"")

    def _from_us(self) -> None:
        if not self.to_it:
            data = os.read(0, BLOCK)
            if not data:
                raise OSError("the terminal hung up")
            self.to_it = data
        try:
            self.to_it = _write(self.master, self.to_it)
        except OSError:
            self.to_it = b""  # its end is gone, which reading will tell


def _write(fd: int, data: bytes) -> bytes:
    """What could not be written without waiting."""
    try:
        return data[os.write(fd, data) :] if data else b""
    except BlockingIOError:
        return data


class Ears:
    """Hears what a program tells its terminal. Whatever goes wrong, its bytes are passed on."""

    def __init__(self, master: int, notes: Notes) -> None:
        from decklog.osc import Records, Stream

        self.master, self.notes = master, notes
        self.stream, self.records = Stream(), Records()
        self.answers = 0
        self.shell = False
        self.noted: dict[str, str] = {}
        self.deaf = False

    def hear(self, data: bytes) -> tuple[bytes, bytes]:
        """What is to be passed on of it, and what is to be answered."""
        if self.deaf:
            return data, b""
        try:
            passed, told = self.stream.take(data)
        except Exception:
            self.deaf = True
            held, self.stream.held = self.stream.held, b""
            return held + data, b""
        return passed, self._heard(told) if told else b""

    def _heard(self, told: Iterable[Told]) -> bytes:
        from decklog.osc import ANSWER

        answer = b""
        ours = _foreground(self.master) == self.notes.pid
        for what, said in told:
            if what == "query" and self.answers < ANSWERS:
                self.answers += 1
                answer += ANSWER
            elif what == "reset":
                self.records.reset()
            elif what == "report" and ours:
                self.records.apply(said)
            elif what == "mark" and ours:
                self._marked(said)
        return answer

    def _marked(self, said: Mapping[str, str]) -> None:
        """Only what tells that a command ended is a shell: Pi sets the other marks around what it
        shows, at any time."""
        self.shell |= said["mark"] == "D"
        if self.shell:
            self.notes.add("osc133", said)
            if said["mark"] == "A":
                self.records.prompt()

    def catch_up(self) -> None:
        """Note what is stated now, where that is news and not too often."""
        status = self.records.status()
        if status != self.noted and (not status or self.notes.add("osc7501", status)):
            self.noted = status

    def wait(self) -> float | None:
        """Milliseconds until something is to be noted; None for never."""
        return NOTES_EVERY * 1000 if self.records.status() != self.noted else None


def _foreground(master: int) -> int:
    try:
        return os.tcgetpgrp(master)
    except OSError:
        return 0


class Notes:
    """Adds to the spool that the hooks write to, in their form; see `decklog.spool`."""

    def __init__(self, agent: str, spool: str, pid: int, env: Mapping[bytes, bytes]) -> None:
        self.path = f"{spool}/{agent}.jsonl"
        self.agent, self.pid = agent, pid
        self.start = _start_ticks(pid)
        generation = env.get(b"DECKLOG_GENERATION", b"").decode("latin-1")
        self.generation = generation if generation.isalnum() else ""
        self.left, self.counted = float(NOTES), time.monotonic()

    def add(self, event: str, said: Mapping[str, str]) -> bool:
        """False when it was too soon; it then has to be tried again. A note that cannot be written
        is gone: the agent comes first."""
        now = time.monotonic()
        self.left = min(NOTES, self.left + (now - self.counted) / NOTES_EVERY)
        self.counted = now
        if self.left < 1:
            return False
        self.left -= 1
        with suppress(OSError):
            self._append(self._line(event, said))
        return True

    def _line(self, event: str, said: Mapping[str, str]) -> bytes:
        from binascii import b2a_base64

        # values are of the alphabet that frames may hold: nothing in them needs escaping
        text = ",".join(f'"{name}":"{value}"' for name, value in said.items())
        data = b2a_base64(f"{{{text}}}".encode(), newline=False).decode()
        return (
            f'{{"at":{time.time_ns() // 1_000_000},"agent":"{self.agent}","event":"{event}",'
            f'"pid":{self.pid},"start":{self.start},"generation":"{self.generation}",'
            f'"data":"{data}"}}\n'
        ).encode()

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < LARGE:
                os.write(fd, line)
        finally:
            os.close(fd)


def _start_ticks(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return int(f.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


if __name__ == "__main__":
    main(sys.argv[1:])
