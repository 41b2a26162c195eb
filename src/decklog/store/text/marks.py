"""Words that stand for what is not text, and what of a text counts as a word of its own.

Used where documents are made and where questions are put, so that both agree. Imports nothing
heavy.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

MARKS = "\ue000\ue001"
"""Begin the marks of roles and of tools. Private to us: they are taken out of every text."""

_GLUE = "\ue002"
"""Stands in a mark for characters that would part it into words."""


def role(name: str) -> str:
    """The mark of who speaks: user, assistant, reasoning, tool, system, title."""
    return MARKS[0] + name


def tool(name: str) -> str:
    """The mark of a tool's name or kind. Case does not matter."""
    return MARKS[1] + "".join(c if c.isalnum() else _GLUE for c in name.lower())


def plain(text: str) -> str:
    """The text without the escape sequences of terminals, which stick to words: ``\\x1b[31merror``
    says error."""
    if "\x1b" not in text:
        return text
    import re

    return re.sub(_ESCAPES, "", text)


_ESCAPES = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])"


def spaced(text: str) -> str:
    """The text as it is indexed: scripts whose words do not stand alone get a space around each
    character, so that any run of them is found as a phrase, and marks are taken out."""
    if text.isascii():
        return text
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _LEADING)) == len(data):
        return text  # as most do; to build the expression takes longer than a search has
    import re

    return re.sub(f"[{_UNSPACED}{MARKS}{_GLUE}]", _apart, text)


_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana, Chinese characters; Hangul, whose particles stick to words."""

_LEADING = bytes((0xE0, 0xE1, *range(0xE3, 0xF5)))
"""Bytes that these characters and the marks begin with in UTF-8: of all that have three bytes or
more, dashes, quotes, arrows and other signs are left out."""


def _apart(found: re.Match[str]) -> str:
    c = found[0]
    return " " if c in MARKS or c == _GLUE else f" {c} "
