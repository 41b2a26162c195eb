"""What the last look at the fleet saw, kept for the next, which may be another command's.

Small files of ours beside the store, for each boot of each machine or container its own, since
several may share the folder. They are a memory and no source of truth: without them the next look
has less to go by, and reads more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from zlib import crc32

import msgspec

from decklog.collect import Stamps
from decklog.decoding import decoder
from decklog.errors import DecklogError
from decklog.hub.lookout import code
from decklog.match import Binding
from decklog.model.fleet import AgentState, Identity, StateEvent, Thought

BINDINGS, SEEN = "bindings", "seen"
FORGOTTEN_S = 30 * 86_400
"""Seconds after which what nobody wrote any more is removed: its boot is over."""
TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.transitions import Transitions

EVERY = 5.0
"""Seconds between two writings of what was seen, while it is looked again and again."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One agent as it was seen."""

    root: Identity
    agent: str
    session: str = ""
    pane: str = ""
    """Its place, for people."""
    stamp: Stamps | None = None
    """Of its transcript, when that was read last."""
    state: AgentState
    thought: Thought | None = None


class _Written(msgspec.Struct, frozen=True):
    mark: str
    """What is kept by one version of decklog is nothing to another."""
    seen: tuple[Seen, ...]


class Memory:
    """The memory of one data folder, as far as it is of processes numbered as in ``boot`` (see
    `decklog.boots.numbering`)."""

    def __init__(self, data_dir: str, boot: str) -> None:
        self.folder = f"{data_dir}/fleet"
        self._here = f"{crc32(boot.encode()):08x}"
        self.seen: dict[Identity, Seen] = {}
        """By root process, as it was read or last kept."""
        self._written = float("-inf")
        with suppress(OSError, msgspec.MsgspecError):
            written = decoder(_Written).decode(_read(self._path(SEEN)))
            if written.mark == code():
                self.seen = {one.root: one for one in written.seen}

    @cached_property
    def transitions(self) -> Transitions:
        """All changes of state that were written down; see `decklog.transitions`."""
        from decklog.transitions import Transitions

        return Transitions(self.folder)

    def bindings(self) -> tuple[Binding, ...]:
        """The bindings of the last look; none where there is no file, or one that is damaged."""
        try:
            known: tuple[Binding, ...] = decoder(tuple[Binding, ...]).decode(
                _read(self._path(BINDINGS))
            )
            return known
        except (OSError, msgspec.MsgspecError):
            return ()

    def bind(self, before: Sequence[Binding], now: Sequence[Binding]) -> None:
        """Write the bindings down where they are others than before."""
        if {_gist(b) for b in before} != {_gist(b) for b in now}:
            self._replace(BINDINGS, msgspec.json.encode(tuple(now)))

    def keep(self, seen: Sequence[Seen], noticed: Sequence[StateEvent]) -> None:
        """Write down what was seen, where it is news and not too often, and all changes of state.

        Not being able to is no error.
        """
        if noticed:
            with suppress(DecklogError, OSError):
                self.transitions.add(noticed)
        now = {one.root: one for one in seen}
        late = time.monotonic() - self._written > EVERY
        if late and now != self.seen:
            self._written = time.monotonic()
            self.seen = now
            self._replace(SEEN, msgspec.json.encode(_Written(code(), tuple(seen))))

    def _replace(self, name: str, data: bytes) -> None:
        from decklog import durable

        with suppress(DecklogError):
            durable.private_folder(self.folder)
            if not os.path.exists(self._path(name)):
                self._forget()
            durable.replace(self._path(name), data, wait=False)

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}-{self._here}.json"

    def _forget(self) -> None:
        """Remove what was kept of boots that are over."""
        old = time.time() - FORGOTTEN_S
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                ours = entry.name.startswith((BINDINGS, SEEN)) and entry.name.endswith(".json")
                if ours and entry.stat().st_mtime < old:
                    os.unlink(entry.path)


def _read(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read()


def _gist(b: Binding) -> tuple[object, ...]:
    return b.root, b.session, b.kind, b.history
