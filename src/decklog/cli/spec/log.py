"""``decklog log ...``"""

from __future__ import annotations

from decklog.cli.spec import (
    AGENT,
    JSON,
    LIMIT,
    NO_SYNC,
    SINCE,
    TZ,
    UNTIL,
    Argument,
    Command,
    Option,
)

_LEVELS = ("debug", "info", "warn", "error")
_ONE = (Argument("log", required=True),)
_MANY = (Argument("logs", many=True, metavar="LOG"),)

COMMANDS = (
    Command(
        "ls",
        "log:ls",
        "List logged sessions, the one that began last first.",
        (
            LIMIT,
            AGENT,
            SINCE,
            UNTIL,
            Option("running", "only those being recorded", bool),
            JSON,
            TZ,
        ),
        group="log",
    ),
    Command(
        "show",
        "log:show",
        "Show the events of a logged session.",
        (
            Option("type", "only events of this type (may be repeated)", many=True),
            SINCE,
            UNTIL,
            Option("after-seq", "only events with higher numbers", int),
            Option("last", "only so many, the last ones", int, short="n"),
            Option("full", "whole texts instead of beginnings", bool),
            Option("no-pager", "print straight away", bool),
            JSON,
            TZ,
        ),
        arguments=_ONE,
        group="log",
    ),
    Command(
        "emit",
        "log:emit",
        "Write an event into a log, also while others write it.",
        (
            Option("type", "kind of the event (user_event)"),
            Option("level", "level of a user_event", choices=_LEVELS),
            Option("message", "what to say (the fields of other kinds: --data)", short="m"),
            Option("data", "JSON: data of a user_event, fields of any other kind"),
            Option("agent", "agent, for a log that is new"),
            JSON,
        ),
        arguments=_ONE,
        group="log",
    ),
    Command(
        "verify",
        "log:verify",
        "Find whatever is not as it was written, with its place.",
        (JSON,),
        arguments=_MANY,
        group="log",
    ),
    Command(
        "repair",
        "log:repair",
        "Mend damaged logs, losing no record and no byte; end what nobody records any more.",
        (JSON,),
        arguments=_MANY,
        group="log",
    ),
    Command(
        "gc",
        "log:gc",
        "Remove logs of sessions that ended long ago.",
        (
            Option("older-than", "that ended so long ago: 30d, 12h (30d)"),
            Option("yes", "remove them; otherwise they are only listed", bool, short="y"),
            JSON,
            TZ,
        ),
        group="log",
    ),
    Command(
        "backfill",
        "log:backfill",
        "Write past sessions into the log, with the times they had.",
        (
            AGENT,
            SINCE,
            UNTIL,
            Option("session", "only this one (may be repeated)", many=True),
            JSON,
            TZ,
            NO_SYNC,
        ),
        group="log",
    ),
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
