"""What the screen of an agent says. Nothing else in decklog looks at pixels.

What an agent shows where is knowledge of that agent (`Agent.screen`); here it is applied. A screen
is the text of ``capture-pane``: rendered, without escapes. Only its live part counts, the last
lines; what stands above is history and may hold anything.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import category

from decklog.model.fleet import Evidence, EvidenceKind, Says

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.agents import Screen

LIVE_LINES = 15
"""Lines with something in them, from the bottom."""
FRAME_FROM = 40
"""Column from which on a vertical line is a frame on the right."""
CUT_OFF = 8
"""Signs that a line has to share with a text to be taken for the beginning of it, cut off."""
SCROLLED = 4
"""Line breaks in a composer that may show only the end of what was typed."""
TAIL = 500
"""Characters of a screen that are shown along with a pane."""

SCREEN_CONFIDENCE = 0.8
TITLE_CONFIDENCE = 0.5
EMPTY_CONFIDENCE = 0.6

_rule = r"([─━═▄▀╌])\1{9,}"
_blanks = r"\n{3,}"


def live(text: str, most: int = LIVE_LINES) -> str:
    """The last lines of a screen, in the form that rules are written for: ``most`` with something
    in them.

    Borders on the right are taken off, long rules are three signs long, and several empty lines
    are one.
    """
    lines = [_bare(line) for line in text.replace("\xa0", " ").rstrip().split("\n")]
    taken = 0
    for at in range(len(lines) - 1, -1, -1):
        taken += bool(lines[at])
        if taken == most:
            break
    else:
        at = 0
    short = _compiled(_rule).sub(r"\1\1\1", "\n".join(lines[at:]))
    return _compiled(_blanks).sub("\n\n", short).strip("\n")


def _bare(line: str) -> str:
    """A line without what frames it on the right: a border or a scroll bar."""
    line = line.rstrip()
    return line[:-1].rstrip() if len(line) > FRAME_FROM and line[-1] in "│┃║" else line


def look(screen: Screen, text: str, title: str, at: int, place: str = "") -> tuple[Evidence, ...]:
    """What a screen and its title say at a moment; empty when nothing is recognised.

    At most one piece of evidence of kind ``screen``: the rule that matches first or, with no rule
    and no title that says busy, an empty composer. At most one of kind ``title``, which is a hint.
    """
    shown = live(text)
    hint = next((r for r in screen.titles if _search(r.pattern, title)), None)
    found: list[Evidence] = []
    for rule in screen.rules:
        match = _search(rule.pattern, shown)
        if match:
            words = " ".join(match[0].split())[:200]
            found.append(_evidence("screen", rule.says, at, place, SCREEN_CONFIDENCE, words))
            break
    else:
        busy = hint is not None and hint.says != "idle"
        if not busy and typed(screen, text) == "":
            found.append(_evidence("screen", "composer_empty", at, place, EMPTY_CONFIDENCE, ""))
    if hint is not None:
        found.append(_evidence("title", hint.says, at, place, TITLE_CONFIDENCE, title[:100]))
    return tuple(found)


def _evidence(
    kind: EvidenceKind, says: Says, at: int, place: str, confidence: float, detail: str
) -> Evidence:
    return Evidence(
        kind=kind,
        says=says,
        at=at,
        id=f"{kind}:{place}:{at}",
        confidence=confidence,
        detail=detail,
    )


def typed(screen: Screen, text: str) -> str | None:
    """What stands in the composer, without line breaks and frames; None where none is shown."""
    # The last one on the whole screen: with much typed it is taller than the live part.
    match = _search(r"\A(?:.*\n)*" + screen.composer.pattern, live(text, len(text)))
    if match is None:
        return None
    content = re.sub(r"^ *[│┃] ?", "", match["text"], flags=re.MULTILINE).strip()
    if _whole(screen.composer.empty, content):
        return ""
    return content


def holds(screen: Screen, text: str, given: str) -> bool | None:
    """Whether the composer holds just the text that was given to it; None where none is shown.

    Line breaks and spaces are not compared: the composer wraps lines as it likes. Neither is what
    terminals draw as they like (emoji, combining characters). A long text is shown folded, or only
    its end.
    """
    content = typed(screen, text)
    if content is None:
        return None
    bare, wanted = _skeleton(content), _skeleton(given)
    if bare == wanted or _whole(screen.composer.folded, content):
        return bool(content)
    drawn = len(_squeezed(given)) > len(wanted)  # some of it is not comparable
    much = len(bare) >= 20 or (content.count("\n") >= SCROLLED and wanted.endswith(bare))
    return (drawn or much) and bool(content) and bare in wanted


def tail(text: str, size: int = TAIL) -> str:
    """The end of a screen, without the empty lines below it."""
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))[-size:]


def repeats(text: str, given: str) -> bool:
    """Whether a line of the screen begins as the given text does: as agents repeat a prompt, whole
    or cut off."""
    line = next(line for line in given.split("\n") if line.strip())
    first, whole = _skeleton(line)[:30], _drawn(line)
    for shown in (line.strip(" ❯›>┃│") for line in text.split("\n")):
        if len(first) > 1 and _skeleton(shown).startswith(first):
            return True
        cut = _drawn(shown).removesuffix("…")
        if len(cut) >= CUT_OFF and whole.startswith(cut):
            return True
    return False


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _drawn(text: str) -> str:
    """Without what takes no room by itself."""
    return "".join(c for c in text if not c.isspace() and category(c) not in ("Cf", "Mn", "Me"))


def _skeleton(text: str) -> str:
    return "".join(c for c in text if c.isalnum() or "!" <= c <= "~")


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return _compiled(pattern).search(text)


def _whole(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None
