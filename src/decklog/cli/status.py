"""``decklog`` alone"""

from __future__ import annotations

import time

from decklog import __version__, zones
from decklog.cli import deck as decks
from decklog.cli import figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from decklog.hub import Decklog

LATEST = 5
SPANS = {"today": "today", "week": "6d"}
"""Name of a span to the word for its beginning; a week is today and the six days before."""
TOKENS = ("input", "output", "cache_read", "cache_write")


def status(*, sample: bool, **values: Any) -> int:
    """Print a short summary and the next steps."""
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        rows = _agents(deck)
        latest = list(deck.session_rows(limit=LATEST, subagents=False))
        findings = sum(r["findings"] for r in rows)
        looked = [] if latest else deck.agents()
        if values["json"]:
            output.json_object(
                {
                    "version": __version__,
                    "agents": rows,
                    "latest": latest,
                    "findings": findings,
                    "partial": deck.partial(),
                    "looked": {r["agent"]: r["roots"] for r in looked},
                }
            )
            return decks.code(deck)
        if not latest:
            _nothing(looked)
            return decks.code(deck)
        _table(rows)
        output.emit(f"\n{output.bold('Last sessions')}")
        for r in latest:
            told = f"{decks.short(r['id'])}  {deck.zone.text(r['last_at'])}  {r['agent']:<9} "
            output.emit(_fitting(f"  {told} {tables.cut(r['title'], tables.TITLE)}"))
        if findings:
            places = figures.count(findings, "place")
            output.write(f"\n{places} in the transcripts could not be read as written.")
        _next("decklog --sample" if sample else "decklog", findings)
        return decks.code(deck)


def _agents(deck: Decklog) -> list[dict[str, Any]]:
    """By agent: sessions, findings, and what was used in each span."""
    now = time.time_ns() // 1_000_000
    rows = {
        r["agent"]: {
            "agent": r["agent"],
            "sessions": r["sessions"],
            "findings": r["findings"],
            **{span: {**dict.fromkeys(TOKENS, 0), "cost_micro_usd": None} for span in SPANS},
        }
        for r in deck.overview()
    }
    for span, word in SPANS.items():
        for used in deck.usage_rows("daily", since=zones.moment(word, now, deck.zone)):
            sums = rows[used["agent"]][span]
            for name in TOKENS:
                sums[name] += used[name]
            if used["cost_micro_usd"] is not None:
                sums["cost_micro_usd"] = (sums["cost_micro_usd"] or 0) + used["cost_micro_usd"]
    return list(rows.values())


def _table(rows: list[dict[str, Any]]) -> None:
    lines = [
        (
            r["agent"],
            figures.number(r["sessions"]),
            *(cell for span in SPANS for cell in _used(r[span])),
        )
        for r in rows
        if r["sessions"]
    ]
    tables.show(
        ("AGENT", "SESSIONS", "TOKENS TODAY", "COST", "TOKENS IN 7 DAYS", "COST"),
        lines,
        right=range(1, 6),
        drop=(1, 2),
    )


def _used(sums: dict[str, Any]) -> tuple[str, str]:
    total = sum(sums[t] for t in TOKENS)
    return figures.number(total), figures.money(sums["cost_micro_usd"]) if total else ""


def _fitting(line: str) -> str:
    line, limit = output.one_line(line), tables.columns()
    return line if limit is None else tables.cut(line, limit)


def _next(call: str, findings: int) -> None:
    steps = [
        (f"{call} ls", "all sessions"),
        (f"{call} show latest", "the last session, turn by turn"),
        (f"{call} usage", "tokens and cost by day"),
        (f"{call} why latest", "the records behind its numbers"),
    ]
    if findings:
        steps.insert(0, (f"{call} doctor", "what could not be read, and why"))
    wide = max(len(step) for step, _ in steps)
    output.emit(f"\n{output.bold('Next')}")
    for step, meaning in steps:
        output.emit(f"  {step:<{wide}}  {output.dim(meaning)}")


def _nothing(looked: list[dict[str, Any]]) -> None:
    output.write("No sessions were found on this machine. Looked in:")
    for r in looked:
        for place in r["roots"]:
            there = "no session in it" if place in r["present"] else "not there"
            output.write(f"  {r['agent']:<9} {place}  ({there})")
    moved = sorted(v for r in looked for v in r["variables"])
    output.write(f"\nKept elsewhere? These variables are honoured: {', '.join(moved)}")
    output.emit(f"\nTo look around with made-up sessions: {output.bold('decklog --sample')}")
