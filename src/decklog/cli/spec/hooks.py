"""``decklog hooks ...``"""

from __future__ import annotations

from decklog.cli.spec import JSON, Argument, Command

AGENTS = (Argument("names", many=True, metavar="AGENT"),)

COMMANDS = (
    Command(
        "install",
        "hooks:install",
        "Add hooks to the settings of agents; what is there stays.",
        (JSON,),
        arguments=AGENTS,
        group="hooks",
    ),
    Command(
        "remove",
        "hooks:remove",
        "Put the settings of agents back as they were.",
        (JSON,),
        arguments=AGENTS,
        group="hooks",
    ),
    Command(
        "status",
        "hooks:status",
        "Which agents have hooks.",
        (JSON,),
        arguments=AGENTS,
        group="hooks",
    ),
)
