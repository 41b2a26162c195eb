"""Following a HOME in tests: wait for all that was written to be told, and take it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

import decklog
from decklog import sources
from decklog.hub import Decklog
from decklog.hub.following import Changes
from decklog.model import Change, Event, Happened, Ref


def deck_on(home: Path, own: Path) -> Decklog:
    return decklog.open(env={"HOME": str(home), "DECKLOG_HOME": str(own), "TZ": "UTC"})


def taken(deck: Decklog, changes: Changes, seconds: float = 30) -> list[Change]:
    """All changes, once everything on disk is read and told."""
    until = time.monotonic() + seconds
    found: list[Change] = []
    while True:
        while (change := changes.poll(0.02)) is not None:
            found.append(change)
        if deck.unchanged() and changes.seq >= deck.store.journal_ends()[1] - 1:
            return found
        assert time.monotonic() < until, _state(deck, changes)


def _state(deck: Decklog, changes: Changes) -> str:
    """Why not everything was told in time."""
    watcher = deck.live.watcher
    return repr(
        {
            "told": changes.seq,
            "noted": deck.store.journal_ends(),
            "store": deck.store.get("fingerprint"),
            "watcher": watcher and watcher.fingerprint,
            "disk": sources.survey(deck.live.roots)[1],
            "retry": deck.store.get("retry"),
            "error": deck.live.ring.error,
        }
    )


def events(changes: list[Change]) -> list[Event]:
    return [c.event for c in changes if isinstance(c, Happened)]


def bare(event: Event) -> Any:
    """An event without its place, which changes when a document is written anew."""
    return msgspec.json.encode(msgspec.structs.replace(event, seq=0, ref=Ref()))
