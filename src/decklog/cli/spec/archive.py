"""``decklog archive ...``"""

from __future__ import annotations

from decklog.cli.spec import AGENT, JSON, NO_SYNC, TZ, Argument, Command, Option

STATES = ("live", "gone", "rewritten", "superseded", "companion")
SESSION = Option("session", "only copies of this session")

COMMANDS = (
    Command(
        "ls",
        "archive:ls",
        "What is archived: live, gone from disk, rewritten, superseded.",
        (
            AGENT,
            Option("state", "only copies of this state", many=True, choices=STATES),
            SESSION,
            JSON,
            NO_SYNC,
            TZ,
        ),
        group="archive",
    ),
    Command(
        "size",
        "archive:size",
        "How large it is, by agent: raw, packed, on disk.",
        (JSON, NO_SYNC),
        group="archive",
    ),
    Command(
        "verify",
        "archive:verify",
        "Look at every checksum; exit 1 and name the place when something is damaged.",
        (
            Option("repair", "cut off a torn end (saved beside), mend dictionaries", bool),
            JSON,
        ),
        group="archive",
    ),
    Command(
        "prune",
        "archive:prune",
        "Take copies out. Tells what it would do, and does it with --yes.",
        (
            Option("superseded", "versions of documents that later ones say all of", bool),
            Option("gone", "copies of sources that are not on disk any more", bool),
            Option("rewritten", "what sources held before they were cut or replaced", bool),
            AGENT,
            SESSION,
            Option("before", "only what last changed before this time: 90d, 2026-01-01"),
            Option("yes", "do it", bool, short="y"),
            JSON,
            NO_SYNC,
            TZ,
        ),
        group="archive",
    ),
    Command(
        "restore",
        "archive:restore",
        "Write archived bytes out again: of a session, or of a source by its path.",
        (
            Option("to", "folder to write below"),
            Option("in-place", "write where it was read from", bool),
            Option("force", "replace files that hold something else", bool),
            JSON,
            NO_SYNC,
        ),
        arguments=(Argument("target", required=True, metavar="SESSION|SOURCE"),),
        group="archive",
    ),
)
