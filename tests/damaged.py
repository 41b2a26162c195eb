"""A transcript with something between its records, and what a sync makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import decklog
from decklog import hub
from decklog.model import Event, Finding, Session, UserMessage
from decklog.sync import Report
from homes import Claude, Line, Tokens, truth

NAME = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
ID = f"claude:{NAME}"


class Seen(NamedTuple):
    """What a sync made of a HOME."""

    report: Report
    sessions: dict[str, Session]
    findings: list[Finding]
    used: Tokens

    @property
    def reasons(self) -> list[str]:
        return [f.reason for f in self.findings]


def look(deck: hub.Decklog) -> Seen:
    report = deck.sync()
    rows = deck.usage("models")
    given, read, written, output = (
        sum(getattr(r, k) for r in rows) for k in ("input", "cache_read", "cache_write", "output")
    )
    return Seen(
        report,
        {s.id: s for s in deck.sessions()},
        deck.findings(),
        (given, read, written, output),
    )


def read(env: dict[str, str]) -> Seen:
    with decklog.open(env=env) as deck:
        return look(deck)


def events(env: dict[str, str], session: str = ID) -> list[Event]:
    with decklog.open(env=env) as deck:
        deck.sync()
        return list(deck.events(session))


def said(env: dict[str, str]) -> list[str]:
    return [e.content for e in events(env) if isinstance(e, UserMessage)]


WHOLE = Claude(NAME)
WHOLE.prompt("before")
WHOLE.answer("before", (1, 20, 300, 4000))
WHOLE.answer("one", (7, 0, 0, 70))
WHOLE.answer("two", (9, 0, 0, 90))
WHOLE.prompt("HERE")
WHOLE.answer("edit", (0, 0, 0, 0), tool="Edit", path="/home/me/HERE.py")
WHOLE.prompt("after")
WHOLE.answer("after", (5, 60, 700, 8000))
BEFORE, (ONE, TWO, PROMPT, *EDIT), AFTER = WHOLE.lines[:2], WHOLE.lines[2:-2], WHOLE.lines[-2:]


def joined(lines: Iterable[bytes | Line]) -> bytes:
    return b"".join(x.data if isinstance(x, Line) else x for x in lines)


def put(home: Path, middle: Iterable[bytes | Line]) -> Path:
    """A transcript with something between records that are whole."""
    path = WHOLE.write(home)
    path.write_bytes(joined([*BEFORE, *middle, *AFTER]))
    return path


def assert_neighbours(seen: Seen, *counted: Line) -> None:
    """What stands around the damage counts, and so do these records."""
    assert seen.used == truth([*BEFORE, *AFTER, *counted])
    assert seen.sessions[ID].counts.prompts >= 2
    assert seen.sessions[ID].last_at == WHOLE.now


def assert_place(finding: Finding, path: Path, data: bytes) -> None:
    """The finding leads back to just these bytes."""
    whole = path.read_bytes()
    assert whole[finding.offset : finding.offset + finding.length] == data
    assert finding.source == str(path)
    assert finding.line == whole.count(b"\n", 0, finding.offset) + 1


def bare(x: Line) -> bytes:
    return x.data.removesuffix(b"\n")
