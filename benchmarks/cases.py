"""What is measured, against whom, and how good it has to be. A new feature adds a row here."""

from __future__ import annotations

from dataclasses import dataclass


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
        "sync, first ever",
        _ours("sync", fresh=True),
        AGENTSVIEW_FIRST_SYNC,
        memory=300,
        linear=True,
        remark="agentsview makes its text index as well, and was run once",
    ),
    Case("usage, warm", _ours("usage daily --json"), AGENTSVIEW_USAGE, goal=0.25, stretch=0.15),
    Case("usage, warm", _ours("usage daily --json"), CCUSAGE_USAGE, goal=0.1),
    Case("sync, nothing new", _ours("sync"), AGENTSVIEW_SYNC, goal=0.15),
    Case("sync, one new line", _ours("sync"), AGENTSVIEW_SYNC, goal=0.25, append=True),
    Case("list 500", _ours("ls --limit 500 --json"), AGENTSVIEW_LIST, goal=0.5, stretch=0.25),
)
"""In this order: calls that begin afresh come before those that need what they leave."""
