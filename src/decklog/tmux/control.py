"""One control-mode connection: many questions over one pipe instead of one process each.

It attaches to a session that exists (a bare ``tmux -C`` would make one), takes no part in sizes,
leaves the session's environment alone and receives no output of panes. A thread reads whatever
comes, so that the server never waits for us. Closing the pipe ends the client, also when this
process is killed.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from decklog.errors import TmuxError, TmuxMissing, TmuxTimeout
from decklog.tmux.call import DEADLINE, environment, line

FLAGS = "ignore-size,no-output"


class Reply(NamedTuple):
    ok: bool
    text: str
    """What the command printed, or the error."""


class Control:
    """``with Control(socket, env, "$0") as control: control.ask([["list-panes", "-a"]])``."""

    def __init__(self, socket: str, env: Mapping[str, str], session: str) -> None:
        command = ["tmux", "-u", "-S", socket, "-C", "attach-session", "-E"]
        try:
            self._process = subprocess.Popen(
                [*command, "-f", FLAGS, "-t", session],
                env=environment(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise TmuxMissing from None
        self._data = bytearray()
        self._arrived = threading.Condition()
        self._ended = False
        threading.Thread(target=self._drain, name="tmux-control", daemon=True).start()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the tmux client."""
        return self._process.pid

    def close(self) -> None:
        """End the client; the server and its sessions stay as they are."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:  # its server hangs
            self._process.kill()
            self._process.wait()

    def ask(self, commands: Sequence[Sequence[str]], deadline: float = DEADLINE) -> list[Reply]:
        """Run commands, one after the other, each whether or not the others fail.

        Raises TmuxTimeout, and TmuxError when the connection ended. Close it then.
        """
        # Before all and after each answer comes a mark that nobody can guess: a pane that shows
        # ``%end`` lines cannot cut an answer short.
        mark = os.urandom(8).hex()
        lines = [f"display-message -p {mark}:start\n"]
        for i, command in enumerate(commands):
            lines += f"{line(command)}\n", f"display-message -p {mark}:{i}\n"
        assert self._process.stdin
        with self._arrived:
            self._data.clear()
        try:
            self._process.stdin.write("".join(lines).encode())
            self._process.stdin.flush()
        except (OSError, ValueError):  # broken, or closed
            raise TmuxError("the connection to tmux ended") from None
        last = f"\n{mark}:{len(commands) - 1}\n".encode()
        return _replies(self._wait(last, deadline).decode(errors="replace"), mark, len(commands))

    def _wait(self, last: bytes, deadline: float) -> bytes:
        end = time.monotonic() + deadline
        seen = 0
        with self._arrived:
            while True:
                if self._data.find(last, max(0, seen - len(last))) >= 0:
                    return bytes(self._data)
                seen = len(self._data)
                if self._ended:
                    raise TmuxError("the connection to tmux ended")
                left = end - time.monotonic()
                if left <= 0:
                    raise TmuxTimeout(f"tmux gave no answer within {deadline:g} s")
                self._arrived.wait(left)

    def _drain(self) -> None:
        assert self._process.stdout
        with self._process.stdout as pipe:
            while True:
                data = os.read(pipe.fileno(), 1 << 16)
                with self._arrived:
                    if data:
                        self._data += data
                    else:
                        self._ended = True
                    self._arrived.notify_all()
                if not data:
                    return


def _replies(text: str, mark: str, count: int) -> list[Reply]:
    """Answers, told apart by the marks after them.

    An answer stands between its first ``%begin`` and the last ``%end`` or ``%error`` before the
    mark; notifications stand around it.
    """
    replies = []
    lines = text.split("\n")
    at = lines.index(f"{mark}:start") + 2  # each mark is followed by its ``%end``
    for i in range(count):
        stop = lines.index(f"{mark}:{i}", at)
        block = lines[at : stop - 1]  # without the mark's own ``%begin``
        first = next(k for k, row in enumerate(block) if row.startswith("%begin "))
        last = next(
            k for k in range(len(block) - 1, -1, -1) if block[k].startswith(("%end ", "%error "))
        )
        body = "\n".join(block[first + 1 : last])
        replies.append(Reply(block[last].startswith("%end "), body))
        at = stop + 2
    return replies
