"""``decklog daemon ...``"""

from __future__ import annotations

import os
import time

from decklog import hub
from decklog.cli import deck as decks
from decklog.cli import output
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from decklog.hub import Decklog


def _deck(sample: bool) -> Decklog:
    if sample:
        raise UsageError("the sample does not change: there is nothing to watch")
    return hub.Decklog(decks.settings(sample))


def start(*, sample: bool, json: bool | None) -> int:
    """Start the daemon. Exit 1 when one runs already."""
    with _deck(sample) as deck:
        _say(deck, deck.daemon.start(os.environ), json, "watching")
    return 0


def status(*, sample: bool, json: bool | None) -> int:
    """Say whether a daemon runs. Exit 3 when none does."""
    with _deck(sample) as deck:
        found = deck.daemon.running()
        if found is None:
            if json:
                output.json_object({"running": False})
            else:
                output.write("no daemon runs; everything works without it")
            return 3
        _say(deck, found, json, "watching" if found.ready else "reading what is there")
    return 0


def stop(*, sample: bool, json: bool | None) -> int:
    """Stop the daemon. Exit 3 when none runs."""
    with _deck(sample) as deck:
        found = deck.daemon.stop()
    if json:
        output.json_object({"running": False, "stopped": found.pid if found else None})
    else:
        output.write(f"stopped (pid {found.pid})" if found else "no daemon runs")
    return 0 if found else 3


def run(*, sample: bool) -> int:
    """Be the daemon, until SIGTERM or Ctrl-C."""
    with _deck(sample) as deck:
        deck.daemon.run(lambda: deck.live, time.time_ns() // 1_000_000)
    return 0


def _say(deck: Decklog, found: Any, json: bool | None, what: str) -> None:
    if json:
        import msgspec

        output.struct_object({"running": True, **msgspec.to_builtins(found)})
        return
    since = deck.zone.text(found.started_at)
    output.write(f"{what} since {since} (pid {found.pid}, version {found.version})")
