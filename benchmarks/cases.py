"""What is measured, against whom, and how good it has to be. A new feature adds a row here."""

from __future__ import annotations

from dataclasses import dataclass

from synthetic.text import PHRASE, RARE


@dataclass(frozen=True)
class Call:
    """A command of a tool, as words."""

    tool: str
    args: tuple[str, ...]
    fresh: bool = False
    """Begins with an empty data folder, which it leaves for the calls that follow."""
    daemon: bool = False
    """Asks the tool's daemon, which runs meanwhile."""
    once: bool = False
    """Too slow to repeat."""
    env: tuple[tuple[str, str], ...] = ()
    """Variables that are set for it."""


@dataclass(frozen=True)
class Case:
    """A question, and two ways to have it answered."""

    name: str
    ours: Call
    rival: Call | None = None
    goal: float | None = None
    """Wall time over the rival's, at most."""
    stretch: float | None = None
    """What we would be proud of."""
    memory: int | None = None
    """MiB that all our processes together may hold, at most."""
    append: bool = False
    """One line is appended to one transcript before each pair of runs."""
    linear: bool = False
    """Measured at every size: the time per byte must not grow."""
    remark: str = ""
    """What a reader has to know to be fair."""


LINEAR_SLACK = 1.2
"""Time per byte at a larger size over that at the smallest, at most."""


def _ours(line: str, *, fresh: bool = False) -> Call:
    return Call("decklog", tuple(line.split()), fresh=fresh)


CCUSAGE_USAGE = Call("ccusage", ("daily", "--offline", "--json"))
AGENTSVIEW_USAGE = Call("agentsview", ("usage", "daily", "--all", "--offline", "--json"))
AGENTSVIEW_SYNC = Call("agentsview", ("sync",))
AGENTSVIEW_FIRST_SYNC = Call("agentsview", ("sync",), fresh=True, once=True)
PHRASED = f'"{PHRASE}"'
COMMON = "function"
NOWHERE = "zzzquorumical"


def _searched(query: str) -> Call:
    return Call("decklog", ("search", "--json", "--limit", "50", query))


def _agentsview_search(query: str, *flags: str) -> Call:
    words = ("session", "search", query, *flags, "--limit", "50", "--json")
    return Call("agentsview", words, daemon=True)


AGENTSVIEW_LIST = Call("agentsview", ("session", "list", "--limit", "500", "--json"), daemon=True)

CASES = (
    Case(
        "usage, first ever",
        _ours("usage daily --json", fresh=True),
        CCUSAGE_USAGE,
        goal=2.5,
        linear=True,
    ),
    Case(
        "sync, first ever, no archive",
        Call("decklog", ("sync",), fresh=True, env=(("DECKLOG_ARCHIVE", "false"),)),
        AGENTSVIEW_FIRST_SYNC,
        goal=0.15,
        memory=300,
    ),
    Case(
        "sync, first ever",
        _ours("sync", fresh=True),
        AGENTSVIEW_FIRST_SYNC,
        goal=0.25,
        memory=300,
        linear=True,
        remark="both make a text index, ours of tool results too, and ours archives what it reads; "
        "agentsview was run once",
    ),
    Case("usage, warm", _ours("usage daily --json"), AGENTSVIEW_USAGE, goal=0.25, stretch=0.15),
    Case("usage, warm", _ours("usage daily --json"), CCUSAGE_USAGE, goal=0.1),
    Case("sync, nothing new", _ours("sync"), AGENTSVIEW_SYNC, goal=0.15),
    Case("sync, one new line", _ours("sync"), AGENTSVIEW_SYNC, goal=0.25, append=True),
    Case("list 500", _ours("ls --limit 500 --json"), AGENTSVIEW_LIST, goal=0.5, stretch=0.25),
    *(
        Case(
            f"search, {what}",
            _searched(query),
            _agentsview_search(query, "--fts"),
            goal=0.7,
            stretch=0.35,
            remark="agentsview's daemon is warm, and its index leaves tool results out"
            if what == "a rare word"
            else "",
        )
        for what, query in (
            ("a rare word", RARE),
            ("a common word", COMMON),
            ("a phrase", PHRASED),
            ("no hit", NOWHERE),
        )
    ),
    Case(
        "search --regex",
        Call("decklog", ("search", "--regex", "--json", "--limit", "50", RARE)),
        _agentsview_search(RARE),
        goal=1.0,
        remark="agentsview searches its copies of the texts, ours the transcripts",
    ),
)
"""In this order: calls that begin afresh come before those that need what they leave."""
