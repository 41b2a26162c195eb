"""``decklog usage``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
FIELDS = [
    "date",
    "agent",
    "provider",
    "model",
    "input",
    "output",
    "cache_read",
    "cache_write",
    "reasoning",
    "cost_micro_usd",
    "reported_micro_usd",
    "basis",
    "unpriced_responses",
    "responses",
    "sessions",
]
STATED = ("reported", "mixed")


def usage(*, sample: bool, report: str | None, **values: Any) -> int:
    """Tokens and cost by day, week, month, session, window, model, project or tool."""
    by = report or "daily"
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        where = decks.where(deck, values)
        objects = deck.daily_json(**where) if values["json"] and by == "daily" else None
        if objects is not None:
            output.json_texts(objects)
            return decks.code(deck)
        rows = deck.usage_rows(by, **where)
        if values["json"]:
            if by in ("daily", "weekly", "monthly"):
                rows = [{f: r[f] for f in FIELDS} for r in rows]
            output.json_array(rows)
            return decks.code(deck)
        if not rows:
            output.write("No usage recorded.")
            return decks.code(deck)
        if by == "tools":
            _tools(rows)
        else:
            _sums(by, rows, deck)
        return decks.code(deck)


def _sums(by: str, rows: list[dict[str, Any]], deck: Any) -> None:
    labels = {
        "daily": ("date", "agent", "model"),
        "weekly": ("date", "agent", "model"),
        "monthly": ("date", "agent", "model"),
        "models": ("agent", "provider", "model"),
        "projects": ("project",),
        "sessions": ("session", "agent", "title"),
        "blocks": ("start", "models"),
    }[by]
    lines = []
    for r in rows:
        shown = []
        for name in labels:
            value = r[name]
            if name == "start":
                value = deck.zone.text(value)
            elif name == "models":
                value = ", ".join(value)
            elif name == "project":
                value = value or "(unknown)"
            elif name == "session":
                value = decks.short(value)
            shown.append(tables.cut(str(value), 48))
        lines.append((*shown, *(figures.number(r[t]) for t in TOKENS), _cost(r)))
    total = {t: sum(r[t] for r in rows) for t in TOKENS}
    known = [r["cost_micro_usd"] for r in rows if r["cost_micro_usd"] is not None]
    lines.append(
        ("total", *([""] * (len(labels) - 1)), *(figures.number(total[t]) for t in TOKENS),
         figures.money(sum(known) if known else None))
    )  # fmt: skip
    n = len(labels)
    head = (*(name.upper() for name in labels), "INPUT", "OUTPUT", "CACHE READ", "CACHE WRITE",
            "REASONING", "COST")  # fmt: skip
    tables.show(head, lines, right=range(n, n + 6), drop=(n + 4,), shrink=range(n))
    if any(r["basis"] in STATED for r in rows):
        output.note("* what the agent itself reported, where no price is known")
    unpriced = sum(r["unpriced_responses"] for r in rows)
    if unpriced:
        models = sorted({r["model"] for r in rows if r["unpriced_responses"] and "model" in r})
        of = f" of {', '.join(models)}" if models else ""
        output.note(
            f"No price is known for {unpriced} responses{of}: their cost is not in the sums."
        )


def _cost(row: dict[str, Any]) -> str:
    text = figures.money(row["cost_micro_usd"])
    return f"{text}*" if row["basis"] in STATED else text


def _tools(rows: list[dict[str, Any]]) -> None:
    lines = [
        (r["agent"], r["name"], r["kind"], figures.number(r["calls"]), figures.number(r["errors"]),
         figures.number(r["sessions"]))
        for r in rows
    ]  # fmt: skip
    head = ("AGENT", "TOOL", "KIND", "CALLS", "ERRORS", "SESSIONS")
    tables.show(head, lines, right=(3, 4, 5), drop=(2,), shrink=(1,))
