"""What an agent shows on its terminal, and how it is started and driven there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from decklog.model.fleet import Says


class Rule(NamedTuple):
    """What it means when the bottom of the screen looks so.

    The pattern is searched (MULTILINE) in the text that `decklog.screen.live` makes of a screen. It
    asks for structure (a menu with its selector and the line below it, up to the end of the
    screen), so that words quoted in an answer do not match.
    """

    says: Says
    pattern: str
    example: str = ""
    """Recorded screen that shows it: ``tests/screens/<agent>/<example>.txt``."""


class Composer(NamedTuple):
    """Where the text that is being typed stands on the screen."""

    pattern: str
    """Has a group ``text``."""
    empty: str = r"(?!)"
    """Text that stands there while nothing was typed."""
    folded: str = r"(?!)"
    """What a long paste is shown as."""


class Screen(NamedTuple):
    """Everything that is read off the screen of one agent."""

    rules: tuple[Rule, ...]
    """The first that matches counts."""
    composer: Composer
    titles: tuple[Rule, ...] = ()
    """The same for the title of the terminal: hints only. ``example`` is a recorded title."""


class Headless(NamedTuple):
    """How it does one prompt without a terminal. In arguments ``{prompt}`` and ``{id}`` stand for
    those, and ``{args}``, where it is a whole one, for further arguments of the caller."""

    new: tuple[str, ...]
    resume: tuple[str, ...] = ()
    """The same in a session that is there; empty where that is not to be had."""
    stream: tuple[str, ...] = ()
    """Further arguments to have it write JSON, one record a line, while it works."""
    named: tuple[str, ...] = ()
    """Where a record of these names the native id of the session: keys, joined by dots."""

    def arguments(
        self, prompt: str, args: Sequence[str], native: str = "", *, stream: bool = False
    ) -> tuple[str, ...]:
        """Arguments for a prompt, in the session with this native id if one is given."""
        further = (*(self.stream if stream else ()), *args)
        made: list[str] = []
        for word in self.resume if native else self.new:
            if word == "{args}":
                made += further
            else:
                made.append(prompt if word == "{prompt}" else word.replace("{id}", native))
        return tuple(made)


class Launch(NamedTuple):
    """How it is started and driven."""

    program: str
    resume: tuple[str, ...] = ()
    """Arguments to go on with a session; ``{id}`` stands for its native id."""
    session: tuple[str, ...] = ()
    """Arguments that give a new session this id; empty where it chooses for itself."""
    interrupt: tuple[str, ...] = ("Escape",)
    """Keys that end its turn."""
    leave: tuple[str, ...] = ("C-c", "C-c")
    """Keys that ask it to end."""
    headless: Headless | None = None
    """None: it needs its terminal."""

    def resuming(self, native: str) -> tuple[str, ...]:
        """The command that goes on with a session; empty where there is none."""
        if not self.resume:
            return ()
        return (self.program, *(a.replace("{id}", native) for a in self.resume))
