"""Parses plain, correct command lines without click. Anything else is left to `door`."""

from __future__ import annotations

import sys

from decklog.cli.spec import BY_NAME, NOUNS, SAMPLE, noun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from decklog.cli.spec import Argument, Command, Option


def parse(argv: Sequence[str]) -> Callable[[], int] | None:
    """A call that runs the command, or None when click has to look at the words."""
    words = list(argv)
    if words == ["--version"]:
        return _version
    sample = bool(words) and words[0] == f"--{SAMPLE.name}"
    if sample:
        words = words[1:]
    if not words:
        return bind(BY_NAME["status"], {}, sample)
    command = BY_NAME.get(words[0])
    rest = words[1:]
    if words[0] in NOUNS and len(words) > 1:
        command = next((c for c in noun(words[0]) if c.name == words[1]), None)
        rest = words[2:]
    if command is None:
        return None
    values = _values(command, rest)
    return None if values is None else bind(command, values, sample)


def _version() -> int:
    from decklog import __version__
    from decklog.cli import output

    output.emit(f"decklog {__version__}")
    return 0


def _values(command: Command, words: list[str]) -> dict[str, Any] | None:
    options = {f"--{o.name}": o for o in command.options}
    options.update({f"-{o.short}": o for o in command.options if o.short})
    values: dict[str, Any] = {}
    free = list(command.arguments)
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        if word == "--" and command.rest:
            values["rest"] = words[i:]
            break
        if word == "--" and free and free[0].many:
            values.setdefault(free[0].name, []).extend(words[i:])
            break
        if not word.startswith("-") or (word not in options and _is_text(word, free, options)):
            if not free or (free[0].choices and word not in free[0].choices):
                return None
            if free[0].many:
                values.setdefault(free[0].name, []).append(word)
            else:
                values[free.pop(0).name] = word
            continue
        option = options.get(word)
        if option is None:
            return None
        key = option.name.replace("-", "_")
        if option.kind is bool:
            values[key] = True
            continue
        if i == len(words) or words[i].startswith("-"):
            return None
        value: Any = words[i]
        i += 1
        if option.kind is int:
            if not value.isdigit():
                return None
            value = int(value)
        if option.choices and value not in option.choices:
            return None
        if option.many:
            values.setdefault(key, []).append(value)
        else:
            values[key] = value
    if any(a.required and a.name not in values for a in command.arguments):
        return None
    return values


def _is_text(word: str, free: list[Argument], options: dict[str, Option]) -> bool:
    """True for a word that begins with a dash and yet is part of an argument that may."""
    if not free or not free[0].dashes or word.startswith("--"):
        return False
    return not (word[:2] in options and word[2:].isdigit())


def bind(command: Command, values: dict[str, Any], sample: bool) -> Callable[[], int]:
    """The command's function with its values, ready to be called."""
    module, _, name = command.function.partition(":")

    def call() -> int:
        full = f"decklog.cli.{module}"
        __import__(full)
        function = getattr(sys.modules[full], name)
        for option in command.options:
            values.setdefault(option.name.replace("-", "_"), () if option.many else None)
        for argument in command.arguments:
            values.setdefault(argument.name, () if argument.many else None)
        if command.rest:
            values.setdefault("rest", ())
        code: int | None = function(sample=sample, **values)
        return code or 0

    return call
