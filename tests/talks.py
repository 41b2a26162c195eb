"""Sessions that the tests of a sync have in common, small and of known numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from homes import Claude, Codex, Synced, Transcript, truth

ANSWER = (10, 20, 3, 40)
CODEX = "019b7000-0000-7000-8000-{:012}"


def talk(name: str = "talk", answers: int = 2, **own: Any) -> Claude:
    made = Claude(name, **own)
    made.prompt("do it")
    for n in range(answers):
        made.answer(f"{name}{n}", ANSWER, tool="Edit")
    return made


def rollout(number: int = 1, answers: int = 2, **own: Any) -> Codex:
    made = Codex(CODEX.format(number), **own)
    made.prompt("do it")
    for n in range(answers):
        made.answer(f"{number}-{n}", (100 + number, 7 * n, 0, 50 + n))
    return made


def in_any_order(home: Path, tmp_path: Path, *members: Transcript) -> Iterator[Synced]:
    """The files appear in every order, each looked at as it comes; then all at once."""
    used = truth(x for m in members for x in m.lines)
    for i, order in enumerate([*itertools.permutations(members), None]):
        with Synced(home, tmp_path / f"own{i}") as made:
            for m in order or members:
                m.write(home)
                if order:
                    made.sync()
            made.sync()
            assert made.total() == used
            yield made
        for m in members:
            (home / m.path).unlink()


def few(home: Path) -> None:
    """A handful of sessions, a subagent and both formats among them, written to a HOME."""
    made = Claude("talk")
    made.prompt("do it")
    for n in range(30):
        made.answer(f"r{n}", (1, 2, 3, 4), tool="Edit")
    made.write(home)
    child = Claude("talk", agent="x")
    child.answer("sub", (1, 1, 1, 1))
    child.write(home)
    for i in range(8):
        other = Codex(f"019b7000-0000-7000-8000-{i:012}")
        other.prompt("do it")
        other.answer(f"c{i}", (5, 0, 0, 7))
        other.write(home)
