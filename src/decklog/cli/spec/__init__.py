"""Every command and option, as data. Imports nothing, so that it costs nothing to read."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class Option:
    """One option of a command: ``--name VALUE``, or a flag when ``kind`` is bool."""

    __slots__ = ("choices", "help", "kind", "many", "name", "short")

    def __init__(
        self,
        name: str,
        help: str,
        kind: type = str,
        *,
        many: bool = False,
        short: str = "",
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name, self.help, self.kind = name, help, kind
        self.many, self.short, self.choices = many, short, choices


class Argument:
    """One word of a command line that is no option; the function gets it under ``name``."""

    __slots__ = ("choices", "dashes", "many", "metavar", "name", "required")

    def __init__(
        self,
        name: str,
        *,
        required: bool = False,
        many: bool = False,
        choices: tuple[str, ...] = (),
        metavar: str = "",
        dashes: bool = False,
    ) -> None:
        self.dashes = dashes
        """Takes also words that begin with one dash and are no option."""
        self.name, self.required, self.choices = name, required, choices
        self.many = many
        """Takes all words that are left, as a list; only the last argument may."""
        word = metavar or (f"[{'|'.join(choices)}]" if choices else name.upper())
        optional = not (required or choices)
        self.metavar = (f"[{word}]" if optional else word) + ("..." if many else "")


class Command:
    """One command: ``function`` is ``module:name`` below `decklog.cli`.

    It is called with ``sample`` and, under their names, all options and arguments (None, or an
    empty tuple where many may stand). With ``rest`` the words after ``--`` come as a list ``rest``.
    """

    __slots__ = ("arguments", "function", "group", "help", "name", "options", "rest")

    def __init__(
        self,
        name: str,
        function: str,
        help: str,
        options: tuple[Option, ...] = (),
        *,
        arguments: tuple[Argument, ...] = (),
        rest: bool = False,
        group: str = "",
    ) -> None:
        self.name, self.function, self.help, self.options = name, function, help, options
        self.arguments, self.rest, self.group = arguments, rest, group


JSON = Option("json", "print JSON", bool)
TZ = Option("tz", "time zone for dates (IANA name)")
NO_SYNC = Option("no-sync", "answer from what is stored; do not look for new records", bool)
SINCE = Option("since", "from this time on: 7d, 2h, today, 2026-11-01")
UNTIL = Option("until", "before this time")
AGENT = Option("agent", "only this agent (may be repeated)", many=True)
PROJECT = Option("project", "only sessions whose folder or repository contains this", many=True)
MODEL = Option("model", "only this model", many=True)
LIMIT = Option("limit", "at most so many rows", int, short="n")
LAST = Option("last", "at most so many events of the past (10)", int, short="n")
FILTERS = (SINCE, UNTIL, AGENT, PROJECT, MODEL)
COMMON = (JSON, TZ, NO_SYNC)
SAMPLE = Option("sample", "use the bundled sample instead of this machine's sessions", bool)

REPORTS: Final = (
    "daily",
    "weekly",
    "monthly",
    "sessions",
    "blocks",
    "models",
    "projects",
    "tools",
)

COMMANDS: tuple[Command, ...] = (
    Command("status", "status:status", "A short summary and the next steps.", COMMON),
    Command(
        "ls",
        "ls:ls",
        "List sessions, newest first.",
        (
            LIMIT,
            *FILTERS,
            Option("all", "no limit (the default shows 50)", bool, short="a"),
            Option("no-subagents", "leave subagents out", bool),
            *COMMON,
        ),
    ),
    Command(
        "show",
        "show:show",
        "Show one session: turns, tools, diffs, subagents.",
        (
            Option("events", "every event, one a line", bool),
            Option("raw", "the records as the agent wrote them", bool),
            Option("full", "whole texts instead of beginnings", bool),
            Option("no-pager", "print straight away", bool),
            *COMMON,
        ),
        arguments=(Argument("session", required=True),),
    ),
    Command(
        "search",
        "search:search",
        "Find words, phrases, commands and paths in everything said and done.\n\n"
        'Words are all to be there; "..." is a phrase, begin* a beginning, -word must not be '
        "there, this OR that is either. role:user|assistant|tool|system|title, tool:bash, "
        "file:src/main.py, agent:, project:, model:, since: and until: narrow it. Anything else "
        "is text: foo-bar, a:b and --flag (after --) are the words in them, side by side.",
        (
            LIMIT,
            Option("best", "best matches first, instead of the newest", bool),
            Option("after", "the page after this one (`next` of the JSON, or the note below)"),
            Option("context", "so many events before and after each hit", int, short="C"),
            Option("count", "only how many places there are", bool),
            Option("regex", "the query is a regular expression, tried on the transcripts", bool),
            Option("role", "only what was said by this role (may be repeated)", many=True),
            Option("tool", "only calls and results of this tool or kind of tool", many=True),
            Option("file", "only what names a path like this", many=True),
            *FILTERS,
            *COMMON,
        ),
        arguments=(Argument("query", required=True, many=True, dashes=True),),
    ),
    Command(
        "usage",
        "usage:usage",
        "Tokens and cost.",
        (*FILTERS, *COMMON),
        arguments=(Argument("report", choices=REPORTS),),
    ),
    Command(
        "why",
        "why:why",
        "The ledger behind a number: what counted, and why.",
        (AGENT, Option("all", "counted records too, one by one", bool, short="a"), *COMMON),
        arguments=(Argument("subject", required=True, metavar="SESSION|DATE"),),
    ),
    Command(
        "ps",
        "ps:ps",
        "Agents that run here now: session, state, what they do, tokens and cost.",
        (
            AGENT,
            Option("watch", "stay, and show every change", bool, short="w"),
            Option("evidence", "why: the evidence behind each session and state", bool, short="e"),
            Option("changes", "what changed lately, in order, instead of what is now", bool),
            Option("after", "with --changes: only those with higher numbers", int),
            *COMMON,
        ),
    ),
    Command(
        "sync",
        "sync:sync",
        "Read what is new.",
        (
            Option("rebuild", "make the store anew from the transcripts", bool),
            Option("jobs", "processes that read (0: one for each core)", int),
            Option("quiet", "say nothing when all went well", bool, short="q"),
            JSON,
            TZ,
        ),
    ),
    Command(
        "tail",
        "tail:tail",
        "The last events of sessions (the latest), and with -f those to come.",
        (
            Option("follow", "go on with what comes, until interrupted", bool, short="f"),
            Option("all", "all sessions", bool, short="a"),
            LAST,
            Option("type", "only events of this type (may be repeated)", many=True),
            SINCE,
            AGENT,
            Option("reasoning", "show reasoning too", bool),
            Option("full", "whole texts instead of beginnings", bool),
            *COMMON,
        ),
        arguments=(Argument("session", many=True),),
    ),
    Command(
        "run",
        "run:run",
        "Run an agent and record what it does.",
        (
            Option("prompt", "do this alone, without its screen", short="p"),
            Option("resume", "go on with this session"),
            Option("resume-after-limit", "wait for the end of a usage limit, and go on then", bool),
            Option("json", "print events as they come instead of what the agent prints", bool),
        ),
        arguments=(Argument("agent", required=True),),
        rest=True,
    ),
    Command(
        "watch",
        "watch:watch",
        "Run a command whenever something happens.",
        (
            Option("on", "event or change that it is run for (may be repeated)", many=True),
            Option("once", "end after the first, with the exit code of the command", bool),
            AGENT,
            Option("session", "only this session (may be repeated)", many=True),
            Option("jobs", "commands that may run at the same time (4)", int),
            Option("timeout", "end when nothing came for so many seconds", int),
            JSON,
        ),
        rest=True,
    ),
    Command(
        "agents",
        "agents:agents",
        "Known agents: where they are looked for, what was found.",
        (JSON, NO_SYNC),
    ),
    Command(
        "doctor",
        "doctor:doctor",
        "What was not read as it stood, and the remedy.",
        (Option("all", "every finding, however many", bool, short="a"), *COMMON),
    ),
    Command(
        "resume",
        "resume:resume",
        "Go on with a session, in its own agent or in another.",
        (
            Option("in", "another agent: a transcript is made in its folder first"),
            Option("print", "print the command instead of running it", bool),
            JSON,
        ),
        arguments=(Argument("session", required=True),),
    ),
    Command("config", "config:config", "Settings, each with its origin.", (JSON,)),
    Command(
        "completion",
        "completion:completion",
        'Shell completion: eval "$(decklog completion bash)".',
        arguments=(Argument("shell", required=True, choices=("bash", "zsh", "fish")),),
    ),
)
"""The everyday verbs."""

NOUNS: dict[str, str] = {
    "archive": "The verbatim copies of what was read: list, verify, restore, prune.",
    "chat": "Our own conversations: append, fork, compact, move between agents.",
    "daemon": "Keep watching in the background.",
    "hooks": "Have agents tell what happens, as it happens.",
    "log": "Our own log of events: what was recorded, and what is wrong with it.",
    "pane": "Agents in tmux: start, adopt, talk to, end, restore.",
    "store": "Look at the store itself.",
}
"""Managed things, each with its own file in this package (``COMMANDS``), read when it is named."""

BY_NAME = {c.name: c for c in COMMANDS}


def noun(name: str) -> tuple[Command, ...]:
    """The commands of a noun."""
    module = f"{__name__}.{name}"
    __import__(module)
    found: tuple[Command, ...] = sys.modules[module].COMMANDS
    return found


def every() -> tuple[Command, ...]:
    """All commands there are."""
    return (*COMMANDS, *(c for name in NOUNS for c in noun(name)))
