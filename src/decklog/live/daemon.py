"""Watching in the background: one process for each data folder, told by a lock and not by a pid.

The daemon holds ``daemon.lock`` as long as it lives; what the file says of it (pid, version, since
when) is only looked at while the lock is held. However it ends, nothing is left to be cleaned up.
Nothing needs it: where it runs, others find everything read already and follow what it writes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from decklog import __version__, durable, processes
from decklog.errors import Busy, DecklogError
from decklog.model.fleet import Identity

LOCK, LOG = "daemon.lock", "daemon.log"
SAID = 512
"""Length of what the file says, so that one write replaces all of it."""
START_SECONDS, STOP_SECONDS = 60.0, 15.0


class Running(Struct, frozen=True, kw_only=True):
    """What a daemon says of itself."""

    boot: str = ""
    pid: int
    start_ticks: int = 0
    """When its process began, in the kernel's own count: a pid may be used again."""
    version: str = ""
    started_at: int = 0
    """Milliseconds, UTC."""
    ready: bool = False
    """True once everything there was has been read."""


class Daemon:
    """The daemon of one data folder, seen from outside and from inside."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, LOCK)
        self.log = os.path.join(folder, LOG)

    # -- from outside ----------------------------------------------------------------------------

    def running(self) -> Running | None:
        """The daemon that runs now, if one does."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if _free(fd):
                return None
            try:
                return msgspec.json.decode(os.pread(fd, 4096, 0), type=Running)
            except msgspec.MsgspecError:
                return Running(pid=0)  # it is just beginning
        finally:
            os.close(fd)

    def start(self, env: Mapping[str, str]) -> Running:
        """Start it and wait until it watches. Raises Busy where one runs already."""
        before = self.running()
        if before is not None:
            raise Busy(f"a daemon runs already{_told(before)}", hint=_remedy(before))
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise durable.failed(self.log, error) from None
        try:
            durable.write_all(fd, b"\n")  # a full disk is told here, where somebody hears it
            process = subprocess.Popen(
                [sys.executable, "-m", "decklog", "daemon", "run"],
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                cwd="/",
                env=dict(env),
                start_new_session=True,
            )
        except OSError as error:
            raise durable.failed(self.log, error) from None
        finally:
            os.close(fd)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            found = self.running()
            if found is not None and found.ready:
                return found
            if process.poll() is not None:
                raise DecklogError(f"the daemon ended at once: {self._last_words()}")
            time.sleep(0.05)
        raise DecklogError(
            f"the daemon (pid {process.pid}) is still reading what is there",
            hint="decklog daemon status",
        )

    def _last_words(self) -> str:
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                lines = [line.strip() for line in f if line.strip()]
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> Running | None:
        """End it and wait for that; None when none ran. Raises DecklogError when it stays."""
        found = self.running()
        if found is None:
            return None
        if not found.pid:
            raise DecklogError("the daemon does not say who it is", hint="try again in a moment")
        processes.send_signal(Identity(found.boot, found.pid, found.start_ticks))
        until = time.monotonic() + STOP_SECONDS
        while self.running() is not None:
            if time.monotonic() > until:
                raise DecklogError(f"the daemon (pid {found.pid}) does not end")
            time.sleep(0.02)
        return found

    # -- from inside -----------------------------------------------------------------------------

    def run(self, watch: Callable[[], Any], now: int) -> None:
        """Be the daemon, until SIGTERM or SIGINT. ``watch`` begins watching and gives what ends
        with a ``stop`` and has a ``failure``. Raises Busy where one runs already."""
        fd = durable.Lock(self.path).acquire(0)
        try:
            table = processes.table()
            me = Running(
                boot=table.boot,
                pid=os.getpid(),
                start_ticks=table.start_ticks(os.getpid()) or 0,
                version=__version__,
                started_at=now,
            )
            self._say(fd, me)
            told = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: told.set())
            live = watch()
            self._say(fd, msgspec.structs.replace(me, ready=True))
            while not told.wait(1.0) and live.running:
                pass
            if not told.is_set():
                raise live.failure or DecklogError("watching ended")
        finally:
            os.close(fd)

    def _say(self, fd: int, me: Running) -> None:
        os.pwrite(fd, msgspec.json.encode(me).ljust(SAID), 0)


def _free(fd: int) -> bool:
    """True when nobody holds the lock."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _told(found: Running) -> str:
    return f" (pid {found.pid}, version {found.version or 'unknown'})" if found.pid else ""


def _remedy(found: Running) -> str:
    if found.version != __version__:
        behind = _numbers(found.version) < _numbers(__version__)
        older = "the daemon" if behind else "this decklog"
        return f"{older} is the older one of two versions; decklog daemon stop, then start"
    return "decklog daemon status"


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)]
