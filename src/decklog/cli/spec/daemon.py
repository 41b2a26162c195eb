"""``decklog daemon ...``"""

from __future__ import annotations

from decklog.cli.spec import JSON, Command

COMMANDS = (
    Command(
        "start",
        "daemon:start",
        "Begin watching in the background; comes back when all there was is read.",
        (JSON,),
        group="daemon",
    ),
    Command("status", "daemon:status", "Whether it runs, and since when.", (JSON,), group="daemon"),
    Command("stop", "daemon:stop", "End it.", (JSON,), group="daemon"),
    Command("run", "daemon:run", "Watch in the foreground, as the daemon.", group="daemon"),
)
