"""What the everyday commands import when nothing is new: their speed is what they leave out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from homes import Claude
from shell import decklog, environment, furnish

OURS = """decklog decklog.cli decklog.cli.deck decklog.cli.fast decklog.cli.output decklog.cli.spec
decklog.config decklog.errors decklog.hub decklog.hub.health decklog.hub.lookout
decklog.hub.following decklog.hub.numbers decklog.hub.search decklog.hub.sessions
decklog.sources decklog.store decklog.store.indexed decklog.store.journal decklog.store.queries
decklog.store.schema decklog.connection decklog.store.cost decklog.store.sql
decklog.store.keeping decklog.store.sqlite decklog.boots decklog.store.statements
decklog.swift decklog.zones""".split()
FOREIGN = """__future__ apsw collections collections.abc errno fcntl itertools keyword operator
reprlib zlib _collections _operator""".split()
"""What apsw brings along, and modules written in C."""
TABLE = ["decklog.cli.tables", "decklog.cli.figures"]

LIST = """
import sys
before = set(sys.modules)
from decklog.cli import run
code = run(sys.argv[1:])
new = sorted(set(sys.modules) - before)
import json
print(json.dumps([code, new]), file=sys.stderr)
"""


def imported(env: dict[str, str], *words: str) -> set[str]:
    """Modules that a command adds to those the interpreter starts with."""
    done = subprocess.run(
        [sys.executable, "-c", LIST, *words],
        env=environment(env), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    code, new = json.loads(done.stderr.splitlines()[-1])
    assert code == 0
    return set(new)


@pytest.fixture
def warm(home: Path, env: dict[str, str]) -> dict[str, str]:
    """An environment in which everything has been read already."""
    furnish(home)
    assert decklog(env, "sync").code == 0
    return env


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (("ls", "--limit", "500"), ["decklog.cli.ls", *TABLE]),
        (("ls", "--json"), ["decklog.cli.ls", *TABLE]),
        (("usage", "daily"), ["decklog.cli.usage", "decklog.analytics", *TABLE]),
        (("usage", "daily", "--json"), ["decklog.cli.usage", "decklog.analytics", *TABLE]),
        (("sync",), ["decklog.cli.sync"]),
    ],
    ids=" ".join,
)
def test_warm_commands_import_little(
    warm: dict[str, str], words: tuple[str, ...], own: list[str]
) -> None:
    found = imported(warm, *words)
    assert found - {*OURS, *FOREIGN, *own} == set()


def test_status_needs_no_more_than_tables(warm: dict[str, str]) -> None:
    assert imported(warm) - {*OURS, *FOREIGN, *TABLE} == {
        "decklog.analytics",
        "decklog.cli.status",
    }


def test_a_look_at_the_fleet_needs_nothing_of_what_takes_long(warm: dict[str, str]) -> None:
    found = imported({**warm, "TMUX_TMPDIR": warm["HOME"]}, "ps", "--json")
    slow = {
        "click", "importlib.metadata", "inspect", "pathlib", "psutil", "rich", "socket",
        "typing_extensions", "zstandard", "decklog.archive", "decklog.live", "decklog.reading",
        "decklog.supervisor", "decklog.sync",
    }  # fmt: skip
    assert "decklog.hub.fleet" in found
    assert found & slow == set()


def test_reading_one_new_line_needs_nothing_that_it_does_not_use(
    home: Path, env: dict[str, str]
) -> None:
    talk = Claude("4f3e2d1c-0000-4000-8000-000000000001")
    talk.prompt("Good morning")
    talk.write(home)
    assert decklog(env, "sync").code == 0
    talk.prompt("One more thing")
    talk.write(home)
    found = imported(env, "sync")
    assert "decklog.reading" in found
    slow = {"click", "inspect", "decklog.transcripts", "decklog.live", "decklog.hub.fleet"}
    assert found & {*slow, "typing_extensions"} == set()


def test_the_version_needs_next_to_nothing(env: dict[str, str]) -> None:
    ours = {"decklog", "decklog.cli", "decklog.cli.fast", "decklog.cli.output", "decklog.cli.spec"}
    assert imported(env, "--version") <= {"__future__", *ours}


def test_the_gate_can_fail(warm: dict[str, str]) -> None:
    assert {"msgspec", "decklog.model"} <= imported(warm, "show", "latest")
    assert "click" in imported(warm, "ls", "--limit=1")
