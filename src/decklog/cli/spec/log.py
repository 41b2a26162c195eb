"""``decklog log ...``"""

from __future__ import annotations

from decklog.cli.spec import JSON, Command, Option

COMMANDS = (
    Command(
        "limits",
        "limits:limits",
        "Runs that go on after a usage limit: what is scheduled, and what became of it.",
        (
            Option("cancel", "give this one up"),
            Option("resume", "take this one up again, where nobody waits for it any more"),
            JSON,
        ),
        group="log",
    ),
)
