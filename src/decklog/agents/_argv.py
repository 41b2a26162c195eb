"""Command lines of agents: which program runs, through whichever wrapper, and with what options."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

INTERPRETERS = frozenset(("node", "nodejs", "bun", "deno", "tsx", "ts-node"))
RUNNERS = frozenset(("npx", "bunx", "pnpx", "npm", "pnpm", "yarn", "bun"))
_RUN_WORDS = frozenset(("exec", "x", "dlx"))
_TAKES_VALUE = frozenset(
    ("-r", "--require", "--import", "--loader", "--experimental-loader", "-C", "--conditions",
     "--env-file", "-p", "--package", "-c", "--call")
)  # fmt: skip
"""Options of interpreters and runners that are followed by a value."""
_EVALUATES = frozenset(("-e", "--eval", "-p", "--print", "-c", "--call"))
RELAY = "/decklog/relay.py"
"""What ours is that stands between an agent and tmux."""
_SUFFIX = re.compile(r"\.(?:js|mjs|cjs|exe|cmd)$")

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class Program(NamedTuple):
    """The program that a command line runs, and the words after it."""

    path: str
    args: tuple[str, ...]
    script: bool = False
    """True when an interpreter runs it."""
    runner: bool = False
    """True when a package runner will start it."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def program(argv: Sequence[str]) -> Program | None:
    """The program behind a command line; None where it only evaluates a text."""
    return _program(tuple(argv))


@lru_cache(maxsize=2048)
def _program(argv: tuple[str, ...]) -> Program | None:
    words = list(argv)
    if words[1:3] == ["-I", "-S"] and words[3:4] and words[3].endswith(RELAY):
        return None  # it goes by the name of the agent that it started
    if len(words) == 1 and words[0].startswith(("npm exec ", "npx ", "bunx ", "pnpm dlx ")):
        words = words[0].split()  # npm puts its whole command line into one word
    if not words or not words[0]:
        return None
    first = _SUFFIX.sub("", words[0].rpartition("/")[2].lstrip("-"))
    if first in RUNNERS and (found := _package(first, words[1:])) is not None:
        return found
    if first not in INTERPRETERS:
        return Program(words[0].removeprefix("-"), tuple(words[1:]))
    i = 1
    if i < len(words) and words[i] == "run":
        i += 1
    while i < len(words) and words[i].startswith("-"):
        if words[i] in _EVALUATES and first != "bun":
            return None
        i += 2 if words[i] in _TAKES_VALUE else 1
    return Program(words[i], tuple(words[i + 1 :]), script=True) if i < len(words) else None


def _package(runner: str, words: list[str]) -> Program | None:
    if runner in ("npm", "pnpm", "yarn", "bun"):
        if not words or words[0] not in _RUN_WORDS:
            return None
        words = words[1:]
    i = 0
    while i < len(words) and words[i].startswith("-"):
        if words[i] == "--":
            i += 1
            break
        i += 2 if words[i] in _TAKES_VALUE else 1
    if i == len(words):
        return None
    return Program(_unversioned(words[i]), tuple(words[i + 1 :]), runner=True)


def _unversioned(package: str) -> str:
    head, mark, _ = package.rpartition("@")
    return head if mark and head else package


def is_program(p: Program, names: Collection[str], packages: Collection[str]) -> bool:
    """Whether a program is one of these commands, or lies in one of these npm packages.

    A script with an extension may be anybody's: it has to lie in a package.
    """
    if p.runner:
        return p.path in packages or p.path in names
    if any(f"/node_modules/{package}/" in p.path for package in packages):
        return True
    return p.name in names or (not p.script and _SUFFIX.sub("", p.name) in names)


def value(args: Sequence[str], *names: str) -> str | None:
    """Value of the last of these options that is given (``--x v``, ``--x=v``); empty where it is
    given without one, None where it is not given at all."""
    found: str | None = None
    for i, word in enumerate(args):
        if word == "--":
            break
        name, mark, rest = word.partition("=")
        if name not in names:
            continue
        after = args[i + 1] if i + 1 < len(args) else "-"
        found = rest if mark else "" if after.startswith("-") else after
    return found


def given(args: Sequence[str], *names: str) -> bool:
    return value(args, *names) is not None


def session_id(text: str | None) -> str:
    """The text where it is an id of the form that agents use, else nothing."""
    return text if text and UUID.fullmatch(text) else ""
