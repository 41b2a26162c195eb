"""Regular expressions that cannot hang: only forms whose work grows with the text alone. Pure."""

from __future__ import annotations

import re
import warnings
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from decklog.errors import UsageError

MAX_PATTERN = 1_000
MAX_REPEAT = 1_000
MAX_UNBOUNDED = 10
"""Repeats without bound in one pattern: each may multiply the work."""
_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.,:;=+*()[]{}@#$%^!?-"
)
"""Characters that every writer of JSON writes as they are."""


class Pattern:
    """A pattern that was looked at, and what every text that it matches holds."""

    def __init__(self, text: str) -> None:
        """Raises UsageError for what is no pattern, or none of the forms allowed."""
        if not text or len(text) > MAX_PATTERN:
            raise UsageError(f"a pattern has 1 to {MAX_PATTERN:,} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", FutureWarning)
                tree = parser.parse(text)
                self.compiled = re.compile(text)
        except FutureWarning as warning:
            hint = r"there is no [[:alpha:]], write [a-z]; a [ within [...] is written \["
            raise UsageError(f"the pattern may mean two things: {warning}", hint=hint) from None
        except (re.error, RecursionError, OverflowError) as error:
            at = getattr(error, "pos", None)
            place = "" if at is None else f" at character {at + 1}"
            reason = getattr(error, "msg", "nested too deeply")
            raise UsageError(f"no regular expression: {reason}{place}") from None
        self.text = text
        unbounded = _unbounded(tree, 0)
        if unbounded > MAX_UNBOUNDED:
            raise _refused(f"{unbounded} repeats without bound", f"at most {MAX_UNBOUNDED}")
        self.ignore_case = bool(self.compiled.flags & re.IGNORECASE)
        literal = max(_literals(tree), key=len, default="")
        self.literal = (literal.lower() if self.ignore_case else literal).encode()
        """Bytes that the JSON of every matching text holds; empty where that is not known."""
        words = (w for w in re.findall(rb"\w+", self.literal) if w.strip(b"0123456789eE"))
        self.word = max(words, key=len, default=b"")
        """What stays of it where readers put texts together, collapse white space or write numbers
        in their own way."""


def _refused(what: str, hint: str) -> UsageError:
    return UsageError(f"the pattern has {what}, which may take for ever", hint=hint)


def _unbounded(tree: Any, inside: int) -> int:
    """How many repeats have no bound. Raises UsageError for forms that are not allowed."""
    count = 0
    for op, value in tree:
        if op in (c.GROUPREF, c.GROUPREF_EXISTS):
            raise _refused("a reference back", "write out what is repeated")
        if op in (c.ASSERT, c.ASSERT_NOT):
            raise _refused("a look ahead or behind", "search for the text itself")
        if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            _, most, body = value
            many = most is c.MAXREPEAT or most > 1
            if many and inside:
                raise _refused("a repeat within a repeat", "repeat single characters or classes")
            if most is not c.MAXREPEAT and most > MAX_REPEAT:
                raise _refused(f"{most:,} repeats", f"at most {MAX_REPEAT:,}")
            count += most is c.MAXREPEAT
            count += _unbounded(body, inside + many)
        elif op is c.SUBPATTERN:
            count += _unbounded(value[3], inside)
        elif op is c.ATOMIC_GROUP:
            count += _unbounded(value, inside)
        elif op is c.BRANCH:
            count += sum(_unbounded(branch, inside) for branch in value[1])
    return count


def _literals(tree: Any) -> list[str]:
    """Runs of plain characters that have to be there."""
    found, run = [], ""
    for op, value in tree:
        if op is c.LITERAL and chr(value) in _PLAIN:
            run += chr(value)
            continue
        found.append(run)
        run = ""
        if op is c.SUBPATTERN and not value[1] and not value[2]:
            found += _literals(value[3])
        elif op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT) and value[0] >= 1:
            found += _literals(value[2])
    return [*found, run]
