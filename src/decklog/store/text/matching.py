"""Where a query matches in a text, by the same words that the index has. Imports nothing heavy."""

from __future__ import annotations

from decklog.store.text.marks import role, spaced, tool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from decklog.search.grammar import Query, Term

DOCUMENT = 4
"""FTS5_TOKENIZE_DOCUMENT"""
WINDOW = 1_500
"""Characters around a likely match that are looked at in a long text."""
LONG = 16_384
ENOUGH = 64
"""Matches in one text after which no more are looked for."""


def expression(query: Query) -> str:
    """The query in the words of FTS5. Every text is quoted."""
    groups = []
    for group in query.groups:
        terms = " OR ".join(_term(t) for t in group)
        groups.append(f"({terms})" if len(group) > 1 else terms)
    found = " AND ".join(groups)
    for t in query.without:
        found = f"({found}) NOT {_term(t)}"
    return found


def _term(term: Term) -> str:
    text = term.text
    star = "*" if term.prefix else ""
    if term.field == "role":
        return f'marks : "{role(text)}"'
    if term.field == "tool":
        return f'marks : "{tool(text.rstrip("*"))}"{star}'
    quoted = spaced(text).replace('"', '""').replace("\0", " ")
    return f'{"paths : " if term.field else ""}"{quoted}"{star}'


class Matcher:
    """Finds the terms of one query in texts."""

    def __init__(self, query: Query, tokenizer: Any) -> None:
        """``tokenizer`` is that of the index, as apsw gives it."""
        self.tokenizer = tokenizer
        self.groups = [
            [(tuple(self.words(t.text)), t.prefix) for t in group]
            for group in query.groups
            if all(t.field in ("", "file") for t in group)
        ]

    def words(self, text: str) -> list[str]:
        """The words of a text, as the index has them."""
        return [w for _, _, w in self._tokens(spaced(text).encode("utf-8", "replace"))]

    def _tokens(self, data: bytes) -> list[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = self.tokenizer(
            data, DOCUMENT, None, include_offsets=True, include_colocated=False
        )
        return found

    def marks(self, text: str) -> tuple[list[tuple[int, int]], bool]:
        """(begin, end) of each match, in order; whether every group is matched."""
        marks: set[tuple[int, int]] = set()
        met: set[int] = set()
        if text.isascii() and not self._likely(text):
            return [], False
        for start, piece in self._pieces(text):
            apart = spaced(piece)
            data = apart.encode("utf-8", "replace")
            words = self._tokens(data)
            for g, group in enumerate(self.groups):
                for term in group:
                    for a, b in _matches(words, *term):
                        if not piece.isascii():
                            a, b = _place(piece, apart, data, a), _place(piece, apart, data, b)
                        marks.add((start + a, start + b))
                        met.add(g)
            if len(marks) >= ENOUGH:
                break
        return sorted(marks), len(met) == len(self.groups)

    def _likely(self, text: str) -> bool:
        """False when no term can match a text without accents."""
        lower = text.lower()
        return any(words[0] in lower for group in self.groups for words, _ in group if words)

    def _pieces(self, text: str) -> Iterator[tuple[int, str]]:
        """The text, of a long one what is around the beginnings of terms."""
        if len(text) <= LONG:
            yield 0, text
            return
        lower = text.lower() if text.isascii() else text
        places = []
        for group in self.groups:
            for words, _ in group:
                word = max(words, key=len)
                at = -1
                for _ in range(8):
                    at = lower.find(word, at + 1)
                    if at < 0:
                        break
                    places.append(at)
        done = 0
        for at in sorted(places):
            if at + WINDOW > done:
                start = max(done, at - WINDOW)
                while 0 < start < at and text[start - 1].isalnum():
                    start += 1
                done = at + WINDOW
                yield start, text[start:done]
        if not places:
            yield 0, text[: 1 << 20]


def _matches(
    words: Sequence[tuple[int, int, str]], wanted: Sequence[str], prefix: bool
) -> Iterator[tuple[int, int]]:
    """Places of a phrase, from the begin of its first word to the end of its last."""
    n = len(wanted)
    if not n:
        return
    first, last = wanted[0], wanted[-1]
    if n == 1 and not prefix:  # most searches, and long texts have thousands of words
        yield from [(a, b) for a, b, w in words if w == first][:ENOUGH]
        return
    found = 0
    for i in range(len(words) - n + 1):
        if n > 1 and words[i][2] != first:
            continue
        end = words[i + n - 1]
        if end[2] != last and not (prefix and end[2].startswith(last)):
            continue
        if n > 2 and any(words[i + k][2] != wanted[k] for k in range(1, n - 1)):
            continue
        yield words[i][0], end[1]
        found += 1
        if found >= ENOUGH:
            return


def _place(text: str, apart: str, data: bytes, at: int) -> int:
    """The character of a text at a byte of what it became when it was spaced apart."""
    before = len(data[:at].decode("utf-8", "replace"))
    if apart == text:
        return before
    here = 0
    for c in apart[:before]:
        if here < len(text) and text[here] == c:
            here += 1
        elif c == " " and here < len(text) and spaced(text[here]) == " ":
            here += 1  # stands for a character that was taken out
    return here


def snippet(
    text: str, marks: Sequence[tuple[int, int]], width: int
) -> tuple[str, list[tuple[int, int]]]:
    """About ``width`` characters around the most matches, white space collapsed, and the matches
    in them."""
    start, end = _window(text, marks, width)
    inside = [(a, b) for a, b in marks if start <= a and b <= end]
    pieces: list[str] = []
    found: list[tuple[int, int]] = []
    length = 0

    def put(piece: str) -> None:
        nonlocal length
        piece = _collapsed(piece)
        if piece.startswith(" ") and (not pieces or pieces[-1].endswith(" ")):
            piece = piece[1:]
        if piece:
            pieces.append(piece)
            length += len(piece)

    if start > 0:
        put("…")
    at = start
    for a, b in inside:
        if a < at:
            continue
        put(text[at:a])
        before = length
        put(text[a:b])
        found.append((before, length))
        at = b
    put(text[at:end])
    if end < len(text):
        put("…")
    return "".join(pieces).rstrip(" "), found


def _window(text: str, marks: Sequence[tuple[int, int]], width: int) -> tuple[int, int]:
    if not marks:
        return 0, min(len(text), width)
    best, start, end = 0, *marks[0]
    for i, (a, _) in enumerate(marks):
        inside = [m for m in marks[i : i + 12] if m[1] - a <= width]
        if len(inside) > best:
            best, start, end = len(inside), a, inside[-1][1]
    spare = max(0, width - (end - start))
    start = max(0, start - spare // 3)
    end = min(len(text), max(end, start + width))
    start = max(0, min(start, end - width))
    while 0 < start < len(text) and text[start - 1].isalnum() and text[start].isalnum():
        start -= 1
        if start % 32 == 0:
            break
    return start, end


def _collapsed(text: str) -> str:
    words = text.split()
    if not words:
        return " " if text else ""
    before = " " if text[0].isspace() else ""
    after = " " if text[-1].isspace() else ""
    return before + " ".join(words) + after
