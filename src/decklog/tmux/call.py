"""One call of the tmux program, with a deadline; and what a socket says without calling it."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from decklog.errors import TmuxError, TmuxMissing, TmuxTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

DEADLINE = 2.0
"""Seconds that a call may take. A server that works answers within milliseconds."""

CONNECT = 0.25
"""Seconds to connect to a socket."""

ServerState: TypeAlias = Literal["running", "none", "dying", "hung"]


class Status(NamedTuple):
    """What is known of a server."""

    state: ServerState
    """``none``: no socket, or nobody behind it. ``dying``: it takes connections and ends them.
    ``hung``: it does not answer within the deadline."""
    pid: int = 0
    started: int = 0
    """Seconds since the epoch; 0 where it did not answer."""
    detail: str = ""


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a tmux call: without what would lead it to another server."""
    return {k: v for k, v in env.items() if not k.startswith("TMUX")}


def run(
    arguments: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: bytes = b"",
    deadline: float = DEADLINE,
) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of ``tmux -u ARGUMENTS``.

    Raises TmuxMissing, and TmuxTimeout when it does not end in time (then it is killed).
    """
    try:
        process = subprocess.Popen(
            ["tmux", "-u", *arguments],
            env=environment(env),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise TmuxMissing from None
    except OSError as error:
        raise TmuxError(f"tmux could not be started: {error.strerror}") from None
    with process:
        try:
            out, err = process.communicate(stdin or None, timeout=deadline)
        except subprocess.TimeoutExpired:
            process.kill()
            raise TmuxTimeout(f"tmux gave no answer within {deadline:g} s") from None
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def socket_state(path: str) -> tuple[Literal["none", "open", "hung"], int]:
    """(whether somebody takes connections at the socket, its pid as the kernel knows it).

    Asks the kernel only, so that it works for a server that is stopped.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return "none", 0
    except OSError:
        return "none", 0
    import socket  # a look that all servers answer goes without

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(CONNECT)
        try:
            s.connect(path)
        except (TimeoutError, BlockingIOError):  # its queue of connections is full
            return "hung", 0
        except OSError:
            return "none", 0
        return "open", _peer(s)


def _peer(s: socket.socket) -> int:
    import socket

    try:
        if hasattr(socket, "SO_PEERCRED"):
            size = struct.calcsize("3i")
            credentials = s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return int(struct.unpack("3i", credentials)[0])
        return int(struct.unpack("i", s.getsockopt(0, 2, 4))[0])  # macOS: LOCAL_PEERPID
    except OSError:
        return 0


def quote(word: str) -> str:
    """A word as tmux's own command language takes it, whatever is in it."""
    return "'" + word.replace("'", "'\\''") + "'"


def line(command: Sequence[str]) -> str:
    """A command in tmux's own command language."""
    return " ".join(quote(word) for word in command)
