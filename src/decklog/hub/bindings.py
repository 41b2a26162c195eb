"""What processes were last bound to, kept for the next look, which may be another command's.

A small file of ours beside the store. It is a memory and no source of truth: without it the next
look only has less to go by.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from decklog.errors import DecklogError
from decklog.match import Binding

NAME = "fleet/bindings.json"


def kept(folder: str) -> tuple[Binding, ...]:
    """The bindings of the last look; none where there is no file, or one that is damaged."""
    try:
        with open(f"{folder}/{NAME}", "rb") as f:
            return msgspec.json.decode(f.read(), type=tuple[Binding, ...])
    except (OSError, msgspec.MsgspecError):
        return ()


def keep(folder: str, before: Sequence[Binding], now: Sequence[Binding]) -> None:
    """Write the bindings down where they are others than before. Not being able to is no error."""
    if {_gist(b) for b in before} == {_gist(b) for b in now}:
        return
    from decklog import durable

    with suppress(DecklogError):
        durable.private_folder(os.path.dirname(f"{folder}/{NAME}"))
        durable.replace(f"{folder}/{NAME}", msgspec.json.encode(tuple(now)))


def _gist(b: Binding) -> tuple[object, ...]:
    return b.root, b.session, b.kind, b.history
