"""``decklog store ...``"""

from __future__ import annotations

from decklog.cli.spec import NO_SYNC, Command

COMMANDS = (
    Command(
        "dump",
        "store:dump",
        "The canonical text of the store, one row a line.",
        (NO_SYNC,),
        group="store",
    ),
)
