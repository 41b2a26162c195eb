"""Ending an agent: ask, insist, make sure."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from decklog import processes
from decklog.errors import Denied, NotFound, PaneGone, TmuxError
from decklog.model.fleet import Identity, Pane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.agents import Launch
    from decklog.tmux import Server

GRACE = 5.0
"""Seconds that an agent gets to end by itself."""
INSIST = 1.0
"""Seconds for each step after that."""


class Ended(NamedTuple):
    """How it went."""

    gone: bool
    """True when the pane and all processes of the agent are gone."""
    steps: tuple[str, ...]
    """What was done, in order."""
    left: tuple[int, ...] = ()
    """Processes that would not go."""


def end(
    server: Server,
    pane: Pane,
    who: Sequence[Identity],
    launch: Launch | None,
    *,
    grace: float = GRACE,
) -> Ended:
    """End the agent in a pane and the pane.

    ``who`` are the processes of the agent, its root first, as they were just seen: a process is
    only ever signalled as that very one. The turn is interrupted, the root asked to end (SIGTERM),
    the pane closed by its id, and what is left is asked and then killed. The server goes on.
    """
    steps: list[str] = []
    root = who[:1]
    if root and grace > 0:
        if launch is not None and not pane.dead:
            with suppress(TmuxError):
                server.act(pane, *(["send-keys", "-t", pane.id, k] for k in launch.interrupt))
                steps.append("interrupted its turn")
        if _signal(root, signal.SIGTERM):
            steps.append("asked it to end")
        _wait(lambda: not _alive(root), grace)
    try:
        server.act(pane, ["kill-pane", "-t", pane.id])
        steps.append("closed the pane")
    except PaneGone:
        steps.append("the pane was closed already")
    _wait(lambda: not _alive(who), INSIST)
    for number, step in ((signal.SIGTERM, "asked the rest to end"), (signal.SIGKILL, "killed it")):
        if _alive(who) and _signal(_alive(who), number):
            steps.append(step)
            _wait(lambda: not _alive(who), INSIST)
    left = tuple(one.pid for one in _alive(who))
    return Ended(not left, tuple(steps), left)


def _alive(who: Iterable[Identity]) -> list[Identity]:
    return [one for one in who if processes.alive(one)]


def _signal(who: Iterable[Identity], number: signal.Signals) -> bool:
    sent = False
    for one in who:
        with suppress(NotFound, Denied):
            processes.send_signal(one, number)
            sent = True
    return sent


def _wait(done: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
