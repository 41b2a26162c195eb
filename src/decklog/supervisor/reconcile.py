"""What became of the panes that are supervised, by what was just seen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from msgspec import structs

from decklog.model.fleet import Pane
from decklog.model.panes import Happened, Supervised

TWICE_MS = 1000
"""Milliseconds between the two looks that make something gone."""
CODELESS_MS = 1000
"""Milliseconds that a dead pane waits for its exit code: tmux learns it a moment after the pane's
end, and on a busy machine now and then (tmux 3.3a) not at all."""

Answer: TypeAlias = Literal["answered", "none", "silent"]
"""Of a server: it listed its panes; it certainly does not run; anything else."""


class Sighting(NamedTuple):
    """What was seen at one moment."""

    at: int
    panes: Sequence[Pane]
    servers: Mapping[str, Answer]
    """By socket; a server that was not asked is not in it."""


class Change(NamedTuple):
    happened: Happened
    pane: Supervised


def reconcile(
    known: Iterable[Supervised], seen: Sighting, missed: MutableMapping[str, int]
) -> Iterator[Change]:
    """What happened to those that are live or lost.

    ``missed`` holds, by id, when one was first not seen; it is kept up here and is to be handed in
    again. Nothing follows from a server that was silent.
    """
    marked = {p.ours: p for p in seen.panes if p.ours}
    placed = {(p.socket, p.server_pid, p.server_started, p.id): p for p in seen.panes}
    for one in known:
        if one.standing not in ("live", "lost"):
            continue
        pane = marked.get(one.id)
        if pane is None or not is_same(one, pane):
            pane = placed.get((one.socket, one.server_pid, one.server_started, one.pane))
        if pane is not None and is_same(one, pane):
            codeless = pane.dead and pane.exit_code is None
            if codeless and seen.at - missed.setdefault(one.id, seen.at) < CODELESS_MS:
                continue
            missed.pop(one.id, None)
            yield from _seen(one, pane, seen.at)
        elif one.standing == "live":
            if pane is not None:
                missed.pop(one.id, None)
                why = "another program was started in its pane"
                yield Change("exited", _ended(one, "exited", seen.at, why))
            else:
                yield from _missed(one, seen, missed)


def is_same(one: Supervised, pane: Pane) -> bool:
    """Whether the pane holds the very process that is supervised."""
    server = (pane.socket, pane.server_pid, pane.server_started)
    return pane.pid == one.pid and server == (one.socket, one.server_pid, one.server_started)


def _seen(one: Supervised, pane: Pane, at: int) -> Iterator[Change]:
    if one.standing == "lost":
        one = structs.replace(one, standing="live", ended_at=None, why="")
        yield Change("found", one)
    if pane.dead:
        ended = _ended(one, "exited", at, "its program ended")
        yield Change("exited", structs.replace(ended, code=pane.exit_code))
    elif (one.place, one.pane) != (pane.name, pane.id):
        yield Change("moved", structs.replace(one, place=pane.name, pane=pane.id))


def _missed(one: Supervised, seen: Sighting, missed: MutableMapping[str, int]) -> Iterator[Change]:
    answer = seen.servers.get(one.socket, "silent")
    if answer == "silent":
        return
    first = missed.setdefault(one.id, seen.at)
    if seen.at - first < TWICE_MS:
        return
    del missed[one.id]
    there = {(p.server_pid, p.server_started) for p in seen.panes if p.socket == one.socket}
    if answer == "none":
        why = "its tmux server ended"
    elif there and (one.server_pid, one.server_started) not in there:
        why = "its tmux server ended, and another one runs now"
    else:
        why = "its pane was closed"
    yield Change("lost", _ended(one, "lost", seen.at, why))


def _ended(one: Supervised, standing: Literal["lost", "exited"], at: int, why: str) -> Supervised:
    return structs.replace(one, standing=standing, ended_at=at, why=why)
