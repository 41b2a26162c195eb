"""``decklog why``"""

from __future__ import annotations

from decklog import hub
from decklog.cli import deck as decks
from decklog.cli import figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


TOKENS = ("input", "cache_read", "cache_write", "output", "reasoning")
SHOWN = 20
"""Facts that did not count, listed one by one without ``--all``."""


def why(*, sample: bool, subject: str, **values: Any) -> int:
    """Print the ledger behind a session's or a day's numbers."""
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        where = decks.where(deck, values)
        rows = deck.why_rows(subject, **where)
        if values["json"]:
            output.json_array(rows)
            return decks.code(deck)
        day = hub.is_day(subject)
        what = subject if day else deck.find(subject)
        if not rows:
            output.write(f"No usage is recorded for {what}.")
            return decks.code(deck)
        counted = [r for r in rows if r["counted"]]
        others = [r for r in rows if not r["counted"]]
        _summary(what, counted, others)
        shown = _shown_on(deck, what, where) if day else _shown_of(deck, what)
        agrees = bool(where and not day) or shown == _totals(counted)
        if not agrees:
            output.note(f"decklog shows {shown} for it: decklog sync --rebuild makes the sums anew")
        _not_counted(others, deck, whole=bool(values["all"]))
        if values["all"]:
            _counted(counted, deck)
        elif counted:
            output.write(f"\ndecklog why {subject} --all lists every counted record.")
        return decks.code(deck) if agrees else 1


def _totals(rows: list[dict[str, Any]]) -> list[int]:
    return [sum(r["usage"][t] for r in rows) for t in TOKENS]


def _shown_of(deck: hub.Decklog, session: str) -> list[int]:
    """What other commands say of a session with its subagents."""
    return [sum(r["tree_usage"][t] for r in deck.session_rows(ids=[session])) for t in TOKENS]


def _shown_on(deck: hub.Decklog, day: str, where: dict[str, Any]) -> list[int]:
    """What other commands say of a day."""
    import datetime

    date = datetime.date.fromisoformat(day)
    start, end = (
        deck.zone.midnight(d.year, d.month, d.day) for d in (date, date + datetime.timedelta(1))
    )
    rows = deck.usage_rows("daily", since=start, until=end, **where)
    return [sum(r[t] for r in rows) for t in TOKENS]


def _summary(what: str, counted: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    sessions = len({r["session"] for r in counted})
    output.write(
        f"{what}: {figures.count(len(counted), 'response')} counted in "
        f"{figures.count(sessions, 'session')}, {figures.count(len(others), 'fact')} not counted."
    )
    repeated = sum(r["records"] - 1 for r in counted)
    if repeated:
        output.write(
            f"{figures.count(repeated, 'record')} more of counted responses (streamed or written "
            "again): the last one of each stands, the others add nothing."
        )
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for r in counted:
        groups.setdefault((r["agent"], r["model"]), []).append(r)
    lines = [(*names, *_sums(rows)) for names, rows in sorted(groups.items())]
    lines.append(("total", "", *_sums(counted)))
    output.write("")
    tables.show(
        ("AGENT", "MODEL", "RESPONSES", *(t.replace("_", " ").upper() for t in TOKENS), "COST"),
        lines,
        right=range(2, 9),
        shrink=(0, 1),
        drop=(7,),
    )


def _sums(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    known = [r["cost"]["micro_usd"] for r in rows if r["cost"]["micro_usd"] is not None]
    return (
        figures.number(len(rows)),
        *(figures.number(n) for n in _totals(rows)),
        figures.money(sum(known) if known else None),
    )


def _not_counted(rows: list[dict[str, Any]], deck: hub.Decklog, *, whole: bool) -> None:
    """Facts that did not count, by reason, each with the place where it counts."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault(r["reason"], []).append(r)
    for reason, group in sorted(groups.items()):
        output.emit(f"\n{output.bold(reason)}: {figures.count(len(group), 'fact')}")
        shown = group if whole else group[:SHOWN]
        tables.show(
            ("TIME", "MODEL", "TOKENS", "RECORD", "COUNTS IN"),
            [
                (
                    deck.zone.text(r["at"]),
                    r["model"],
                    figures.number(_total(r)),
                    _place(r),
                    r["counted_in"] or "",
                )
                for r in shown
            ],
            right=(2,),
            shrink=(1, 4),
            front=(3,),
        )
        if len(group) > len(shown):
            output.write(f"… {len(group) - len(shown):,} more (--all)")


def _counted(rows: list[dict[str, Any]], deck: hub.Decklog) -> None:
    output.emit(f"\n{output.bold('Counted')}")
    tables.show(
        ("TIME", "MODEL", "INPUT", "CACHED", "WRITTEN", "OUTPUT", "COST", "RECORDS", "RECORD"),
        [
            (
                deck.zone.text(r["at"]),
                r["model"],
                *(figures.number(r["usage"][t]) for t in TOKENS[:4]),
                figures.cents(r["cost"]["micro_usd"]),
                str(r["records"]),
                _place(r),
            )
            for r in rows
        ],
        right=range(2, 8),
        shrink=(1,),
        front=(8,),
        drop=(3, 4),
    )


def _total(row: dict[str, Any]) -> int:
    return int(sum(row["usage"][t] for t in TOKENS[:4]))


def _place(row: dict[str, Any]) -> str:
    """Where the record stands: ``file:line``, or the byte where there are no lines."""
    ref = row["ref"]
    return f"{ref['source']}:{ref['line'] or ref['offset']}"
