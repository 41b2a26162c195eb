"""What people type to search, taken apart. Pure, and imports nothing heavy.

    words             all of them have to be there, in any order
    "a phrase"        these words in this order, side by side
    begin*            words that begin so
    -word -"phrase"   what must not be there
    this OR that      either
    role:user         who speaks: user, assistant, tool, system, title, reasoning
    tool:bash         calls of a tool, and their results, by its name or kind
    file:src/main.py  what names such a path, or a part of one
    agent: project: model: since: until:      the session, and the time

Everything else is text: ``foo-bar``, ``don't``, ``a:b`` and ``--flag`` are the words they hold,
side by side. What cannot be meant is an error that tells the place, never an empty answer.
"""

from __future__ import annotations

from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

ROLES = ("user", "assistant", "tool", "system", "title", "reasoning")
INDEXED = ("role", "tool", "file")
"""Fields that the text index answers."""
FILTERS = {"agent": "agents", "project": "projects", "model": "models"}
"""Fields that say something of the session, and the names of their filters."""
TIMES = ("since", "until")
MAX_LENGTH = 4_096
MAX_TERMS = 64


class Term:
    """One thing that is, or is not, to be there."""

    __slots__ = ("at", "field", "negative", "prefix", "text")

    def __init__(self, text: str, at: int, field: str, negative: bool, prefix: bool) -> None:
        self.text = text
        self.at = at
        """Where it stands in the query, from 1."""
        self.field = field
        """One of INDEXED, or empty for text."""
        self.negative = negative
        self.prefix = prefix

    def __repr__(self) -> str:
        field = f"{self.field}:" if self.field else ""
        return f"{'-' * self.negative}{field}{self.text!r}{'*' * self.prefix}"


class Query:
    """A query taken apart."""

    __slots__ = ("filters", "groups", "without")

    def __init__(self) -> None:
        self.groups: list[list[Term]] = []
        """Of each group at least one has to be there."""
        self.without: list[Term] = []
        self.filters: dict[str, Any] = {}
        """agents, projects, models: lists of words; since, until: as they were written."""

    def words(self) -> list[Term]:
        """The terms of text that are to be there."""
        return [t for group in self.groups for t in group if not t.field]


def parse(text: str) -> Query:
    """Take a query apart. Raises UsageError, for what cannot be meant with its place."""
    if len(text) > MAX_LENGTH:
        raise UsageError(
            f"the query is {len(text):,} characters long", hint=f"at most {MAX_LENGTH:,}"
        )
    query = Query()
    either = 0  # where the OR stands that waits for what comes after it, from 1
    last: Term | None = None
    terms = 0
    at, end = 0, len(text)
    while True:
        while at < end and text[at].isspace():
            at += 1
        if at == end:
            break
        if text.startswith("OR", at) and text[at + 2 : at + 3].strip() == "":
            if either or last is None or last.negative:
                raise _wrong(at, "OR has nothing before it that could be there instead")
            either = at + 1
            at += 2
            continue
        start = at
        at, field, value, negative, prefix = _piece(text, at)
        terms += 1
        if terms > MAX_TERMS:
            raise _wrong(start, f"more than {MAX_TERMS} words", "use a phrase, or --regex")
        if field in FILTERS or field in TIMES:
            if negative or either:
                what = "-" if negative else "OR "
                raise _wrong(start, f"{what}{field}: is not possible", "it can only narrow")
            if field in TIMES:
                query.filters[field] = value
            else:
                query.filters.setdefault(FILTERS[field], []).append(value)
            last = None
            continue
        if field == "role" and value not in ROLES:
            raise _wrong(start, f"no role {value!r}", f"one of: {', '.join(ROLES)}")
        last = Term(value, start + 1, field, negative, prefix)
        if negative:
            if either:
                raise _wrong(start, "OR cannot stand before what must not be there")
            query.without.append(last)
        elif either:
            query.groups[-1].append(last)
        else:
            query.groups.append([last])
        either = 0
    if either:
        raise _wrong(either - 1, "OR has nothing after it")
    return query


def add(query: Query, field: str, values: Sequence[str]) -> None:
    """Narrow a query to documents in which a field has one of some values."""
    if field == "role":
        for value in values:
            if value not in ROLES:
                raise UsageError(f"no role {value!r}", hint=f"one of: {', '.join(ROLES)}")
    terms = [Term(v, 1, field, False, len(v) > 1 and v.endswith("*")) for v in values if v]
    if terms:
        query.groups.append(terms)


def _piece(text: str, at: int) -> tuple[int, str, str, bool, bool]:
    """(where it ends, field, text, negative, prefix) of what begins at ``at``."""
    start, end = at, len(text)
    following = text[at + 1 : at + 2]
    negative = text[at] == "-" and (following.isalnum() or following == '"')
    at += negative
    field = ""
    for name in (*INDEXED, *FILTERS, *TIMES):
        after = at + len(name) + 1
        if text.startswith(f"{name}:", at) and text[after : after + 1].strip():
            field, at = name, after
            break
    if text[at] == '"':
        close = at + 1
        while close < end and text[close] != '"':
            close += 2 if text[close] == "\\" else 1
        if close >= end:
            raise _wrong(at, "this quotation mark has no other end", 'write "..."')
        value = text[at + 1 : close].replace('\\"', '"')
        at = close + 1
        prefix = text.startswith("*", at)
        at += prefix
    else:
        stop = at
        while stop < end and not text[stop].isspace():
            stop += 1
        value = text[at:stop]
        at = stop
        prefix = len(value) > 1 and value.endswith("*") and value[-2].isalnum()
    if field and not value.strip("* "):
        raise _wrong(start, f"{field}: says nothing")
    return at, field, value, negative, prefix


def _wrong(at: int, what: str, hint: str = "") -> UsageError:
    return UsageError(
        f"in the query, character {at + 1}: {what}", hint=hint or "decklog search --help"
    )


def check(query: Query, words_of: Callable[[str], list[str]]) -> None:
    """Raise UsageError where a term holds no word, or nothing is said that has to be there.

    ``words_of`` gives the words of a text, as the index has them.
    """
    for term in (*(t for group in query.groups for t in group), *query.without):
        if term.field in ("", "file") and not words_of(term.text):
            raise _wrong(
                term.at - 1,
                f"{term.text!r} holds no letter or digit",
                "the index knows words: leave it out, or find any text with --regex",
            )
    if not query.groups:
        if query.without:
            raise UsageError(
                "the query only says what must not be there",
                hint='add a word that is to be there; to find a word with its dash write "-p"',
            )
        raise UsageError("the query is empty", hint="decklog search --help")
