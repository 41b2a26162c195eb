"""``decklog ls``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_LIMIT = 50


def ls(*, sample: bool, **values: Any) -> int:
    """List sessions, newest first."""
    limit = None if values["all"] else values["limit"] or DEFAULT_LIMIT
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        where = decks.where(deck, values)
        if values["no_subagents"]:
            where["subagents"] = False
        rows = list(deck.session_rows(limit=limit, **where))
        if values["json"]:
            output.json_array(rows)
            return 0
        if not rows:
            output.write("No sessions." if not where else "No sessions match.")
            return 0
        lines = [
            (
                _short(r["id"]),
                deck.zone.text(r["last_at"]),
                r["agent"],
                r["model"],
                _tail(r["cwd"]),
                output.number(r["tree_usage"]["output"]),
                output.money(r["tree_cost"]["micro_usd"]),
                r["title"][:60],
            )
            for r in rows
        ]
        head = ("SESSION", "LAST", "AGENT", "MODEL", "FOLDER", "OUTPUT", "COST", "TITLE")
        output.print_table(head, lines, right=(5, 6))
        if limit is not None and len(rows) == limit:
            output.note(f"({limit} newest; --all shows all)")
    return 0


def _short(name: str) -> str:
    """Enough of an id to name the session again."""
    native = name.partition(":")[2]
    top, _, below = native.partition(".agent-")
    return f"{top[:13]}.agent-{below[:6]}" if below else native[:18]


def _tail(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2][:24]
