"""A real tmux server of a test's own: private socket folder, ended by its recorded pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from decklog.tmux import Server

MISSING = shutil.which("tmux") is None

needs_tmux = pytest.mark.skipif(MISSING, reason="tmux is not installed (apt install tmux)")


class Room:
    """A folder for sockets, an environment that leads there, and the servers started in it."""

    def __init__(self) -> None:
        # not tmp_path: the path of a socket may hold 107 bytes
        self.folder = Path(tempfile.mkdtemp(prefix="deck-"))
        self.pids: set[int] = set()
        self.servers: list[Server] = []
        """Their lasting connections are closed, also when a test fails in between."""
        kept = ("PATH", "LANG", "TERM", "VIRTUAL_ENV")
        self.env = {
            **{k: os.environ[k] for k in kept if k in os.environ},
            "HOME": str(self.folder / "home"),
            "DECKLOG_HOME": str(self.folder / "own"),
            "TMUX_TMPDIR": str(self.folder),
            "SHELL": "/bin/sh",
            "TERM": "xterm-256color",
            "TZ": "UTC",
        }
        (self.folder / "home").mkdir()

    def socket(self, name: str) -> str:
        return f"{self.folder}/tmux-{os.getuid()}/{name}"

    def tmux(self, name: str, *arguments: str) -> str:
        """The tmux program itself, as a person would call it."""
        command = ["tmux", "-u", "-L", name, "-f", "/dev/null", *arguments]
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.rstrip("\n")

    def close(self) -> None:
        from decklog.tmux.call import socket_state

        for server in self.servers:
            server.disconnect()
        sockets = self.folder / f"tmux-{os.getuid()}"
        if sockets.is_dir():
            for path in sockets.iterdir():
                self.pids.add(socket_state(str(path))[1])
        for pid in self.pids - {0}:
            if "tmux" in _command(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return subprocess.run(
            ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout


def rooms() -> Iterator[Room]:
    room = Room()
    try:
        yield room
    finally:
        room.close()
