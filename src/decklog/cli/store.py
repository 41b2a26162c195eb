"""``decklog store ...``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dump(*, sample: bool, **values: Any) -> int:
    """Print the canonical text of the store, for comparing two stores."""
    with decks.open_deck(sample, no_sync=values["no_sync"]) as deck:
        for line in deck.dump(bool(values["text"])):
            output.write(line)
    return 0
