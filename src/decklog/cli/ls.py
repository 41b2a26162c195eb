"""``decklog ls``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_LIMIT = 50


def ls(*, sample: bool, **values: Any) -> int:
    """List sessions, newest first."""
    limit = values["limit"]
    if limit is None and not values["all"]:
        limit = DEFAULT_LIMIT
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        where = decks.where(deck, values)
        if values["no_subagents"]:
            where["subagents"] = False
        if values["json"]:
            output.json_texts(deck.session_json(limit=limit, **where))
            return decks.code(deck)
        rows = list(deck.session_rows(limit=limit, **where))
        if not rows:
            output.write("No sessions match." if where else "No sessions.")
            return decks.code(deck)
        tables.show(
            ("SESSION", "LAST", "AGENT", "MODEL", "FOLDER", "OUTPUT", "COST", "TITLE"),
            [
                (
                    decks.short(r["id"]),
                    deck.zone.text(r["last_at"]),
                    r["agent"],
                    r["model"],
                    tables.cut(_tail(r["cwd"]), 24),
                    figures.number(r["tree_usage"]["output"]),
                    figures.money(r["tree_cost"]["micro_usd"]),
                    tables.cut(r["title"], tables.TITLE),
                )
                for r in rows
            ],
            right=(5, 6),
            drop=(5, 2, 3, 4),
            shrink=(7,),
        )
        if limit is not None and len(rows) == limit:
            output.note(f"({limit} newest; --all shows all)")
        return decks.code(deck)


def _tail(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
