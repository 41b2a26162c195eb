"""tmux servers: what runs in them, asked by ids and with a deadline on every call.

- Sessions, windows and panes are addressed by tmux's own ids (``$1``, ``@2``, ``%3``), which are
  never reused within a server. Which server it is, is told by its pid and start time; `Server.act`
  checks both, and the process in the pane, in the same breath as it acts.
- Names are for people. They may hold anything: fields are told apart by a random mark that no name
  can contain.
- A call that is not answered in time is given up (`TmuxTimeout`); tmux answers at once or never.
- Whether a server runs is decided by its socket, its process and the deadline, not by the words of
  an error (`Server.status`).
- Nothing here ever stops a server.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress

from decklog.model.fleet import Pane
from decklog.tmux.call import Status, environment, socket_state
from decklog.tmux.server import MARK, Server

__all__ = [
    "MARK",
    "OWN",
    "Server",
    "Status",
    "environment",
    "own",
    "panes",
    "servers",
    "socket_state",
]

OWN = "decklog"
"""Name of the socket of the server that our own panes live in (``tmux -L decklog``)."""


def folder(env: Mapping[str, str]) -> str:
    """Where tmux keeps the sockets of this user."""
    return f"{env.get('TMUX_TMPDIR') or '/tmp'}/tmux-{os.getuid()}"


def own(env: Mapping[str, str], config: str = "") -> Server:
    """The server for panes that decklog makes; it starts with the first of them."""
    return Server(f"{folder(env)}/{OWN}", env, config=config)


def servers(env: Mapping[str, str]) -> tuple[Server, ...]:
    """Every server of this user that has a socket in the usual place, or runs this terminal."""
    return tuple(Server(path, env) for path in _sockets(env) if socket_state(path)[0] != "none")


def _sockets(env: Mapping[str, str]) -> list[str]:
    """Whether or not somebody is behind them."""
    found: dict[str, None] = {}
    here = env.get("TMUX", "").split(",")[0]
    if here:
        found[here] = None
    with suppress(OSError), os.scandir(folder(env)) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            with suppress(OSError):
                if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                    found[entry.path] = None
    return list(found)


def panes(env: Mapping[str, str]) -> tuple[Pane, ...]:
    """All panes of all servers that answer. Never raises: no tmux means no panes."""
    from decklog.errors import TmuxError

    found: list[Pane] = []
    for path in _sockets(env):
        with suppress(TmuxError):
            found += Server(path, env).panes()
    return tuple(found)
