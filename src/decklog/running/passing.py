"""Running a program as if we were not there: its streams, its terminal, its signals, its end."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
KEYS = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a terminal sends to everyone in the foreground when keys are pressed."""
BLOCK = 1 << 16


def ended(status: int) -> tuple[int, str]:
    """Exit code of a shell's kind (128 and the number of a signal), and what is to be said."""
    if status < 0:
        with suppress(ValueError):
            return 128 - status, f"ended by {signal.Signals(-status).name}"
        return 128 - status, f"ended by signal {-status}"
    return status, f"exit code {status}" if status else ""


def plain(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    line: Callable[[bytes], object] | None = None,
    begun: Callable[[int], object] = lambda pid: None,
) -> int:
    """Run a program on our own streams; its status as `subprocess.Popen.returncode`.

    With ``line`` its output is not passed on, but given to that, a line at a time. ``begun`` is
    told the pid. Raises OSError when it cannot be started.
    """
    out = subprocess.PIPE if line else None
    with _signals() as forward:
        process = subprocess.Popen(list(argv), cwd=cwd, env=dict(env), stdout=out)
        forward(process.pid)
        begun(process.pid)
        if process.stdout is not None and line is not None:
            with process.stdout:
                for one in process.stdout:
                    line(one)
        return process.wait()


@contextmanager
def _signals() -> Iterator[Callable[[int], None]]:
    """Signals sent to us go to the program; those of the terminal's keys it has already."""
    child = 0

    def handle(number: int, frame: Any) -> None:
        if child and not (number in KEYS and _in_foreground()):
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def of(pid: int) -> None:
        nonlocal child
        child = pid

    before = {number: signal.signal(number, handle) for number in (*FORWARDED, *KEYS)}
    try:
        yield of
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    """Whether we are among those that the terminal's keys are for."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            return os.tcgetpgrp(fd) == os.getpgrp()
    return False


def terminal(
    argv: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    seen: Callable[[bytes], object] = lambda data: None,
    begun: Callable[[int], object] = lambda pid: None,
) -> int:
    """Run a program on a terminal of its own, passed through to ours; its status.

    ``seen`` is given what it writes. Ours is as it was when this returns, however it does. Raises
    OSError when the program cannot be started.
    """
    given, told = os.pipe2(os.O_CLOEXEC)
    pid, master = pty.fork()
    if pid == 0:
        _become(argv, cwd, env, told)
    os.close(told)
    with os.fdopen(given, "rb") as trouble:
        code = trouble.read()
    if code:
        os.waitpid(pid, 0)
        os.close(master)
        number = int(code)
        raise OSError(number, os.strerror(number), argv[0])
    begun(pid)
    try:
        return _Terminal(pid, master, seen).run()
    finally:
        os.close(master)


def _become(argv: Sequence[str], cwd: str, env: Mapping[str, str], told: int) -> None:
    """In the child: be the program, or say why not and end."""
    try:
        os.chdir(cwd)
        os.execvpe(argv[0], list(argv), dict(env))
    except OSError as error:
        os.write(told, b"%d" % (error.errno or errno.ENOEXEC))
    finally:
        os._exit(127)


class _Terminal:
    """Between our terminal and that of a program."""

    def __init__(self, pid: int, master: int, seen: Callable[[bytes], object]) -> None:
        self.pid, self.master, self.seen = pid, master, seen
        self.saved: list[Any] | None = None

    def run(self) -> int:
        self._resize()
        handlers = {number: signal.signal(number, self._forward) for number in (*FORWARDED, *KEYS)}
        handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resized)
        self._raw()
        try:
            return self._pass()
        finally:
            self._restore()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _raw(self) -> None:
        with suppress(termios.error):
            self.saved = termios.tcgetattr(0)
            tty.setraw(0, termios.TCSANOW)

    def _restore(self) -> None:
        if self.saved is not None:
            with suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self.saved)
            self.saved = None

    def _forward(self, number: int, frame: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _resized(self, number: int, frame: Any) -> None:
        self._resize()

    def _resize(self) -> None:
        """Give the program's terminal the size of ours; the kernel tells the program."""
        with suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            if struct.unpack("HHHH", size)[:2] != (0, 0):
                fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def _pass(self) -> int:
        """Pass bytes both ways until the program has ended and all it wrote is passed on."""
        sources = [0, self.master]
        status: int | None = None
        while True:
            ready, _, _ = select.select(sources, [], [], 0.2 if status is None else 0)
            if self.master in ready and not self._to_us():
                sources.remove(self.master)
            if 0 in ready and not self._to_program():
                sources.remove(0)
            if status is None:
                status = self._ended()
            if status is not None and (self.master not in ready or self.master not in sources):
                return status

    def _to_us(self) -> bool:
        try:
            data = os.read(self.master, BLOCK)
        except OSError:  # nobody has the other end open any more
            return False
        if data:
            _write(1, data)
            self.seen(data)
        return bool(data)

    def _to_program(self) -> bool:
        try:
            data = os.read(0, BLOCK)
        except OSError:
            return False
        if not data:
            _write(self.master, b"\x04")
            return False
        _write(self.master, data)
        return True

    def _ended(self) -> int | None:
        """The status of the program once it has ended. When it stops itself, so do we."""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        if pid == 0:
            return None
        if os.WIFSTOPPED(status):
            self._restore()
            os.kill(os.getpid(), signal.SIGSTOP)  # until the shell lets us go on
            self._raw()
            self._resize()
            os.kill(self.pid, signal.SIGCONT)
            return None
        return os.waitstatus_to_exitcode(status)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
