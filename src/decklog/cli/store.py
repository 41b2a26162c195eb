"""``decklog store ...``"""

from __future__ import annotations

import sys

from decklog.cli import deck as decks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dump(*, sample: bool, **values: Any) -> int:
    """Print the canonical text of the store, for comparing two stores."""
    with decks.open_deck(sample, no_sync=values["no_sync"]) as deck:
        for line in deck.dump():
            sys.stdout.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
    return 0
