"""``decklog store ...``"""

from __future__ import annotations

from decklog.cli.spec import NO_SYNC, Command, Option

COMMANDS = (
    Command(
        "dump",
        "store:dump",
        "The canonical text of the store, one row a line.",
        (Option("text", "the text index too, which takes its time", bool), NO_SYNC),
        group="store",
    ),
)
