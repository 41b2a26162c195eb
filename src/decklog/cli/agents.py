"""``decklog agents``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import figures, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ABILITIES = {
    "companions": "read files beside a transcript",
    "databases": "read databases",
    "folders": "read transcripts that are many files",
    "clean_up": "tell what the agent deletes",
    "running": "know its processes",
    "own_files": "read what it says of its processes",
    "hooks": "be told by its hooks",
    "handover": "take over conversations (chat export, resume --in)",
}
"""What each ability of an agent means (`decklog.hub.ABILITIES`)."""


def agents(*, sample: bool, **values: Any) -> int:
    """Print what is known of each agent. Exit 1 when an installed one could not be loaded."""
    with decks.open_deck(sample, no_sync=values["no_sync"]) as deck:
        rows = deck.agents()
    if values["json"]:
        output.json_array(rows)
    else:
        for i, row in enumerate(rows):
            output.emit(("\n" if i else "") + output.bold(_title(row)))
            for name, text in _facts(row):
                output.emit(f"  {output.dim(f'{name:<10}')} {output.one_line(text)}")
    return int(any(r["broken"] for r in rows))


def _title(row: dict[str, Any]) -> str:
    words = ", ".join(w for w in (row["agent"], row["provider"]) if w)
    return f"{row['title']} ({words})" if row["title"] else words


def _facts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if row["broken"]:
        yield "broken", f"could not be loaded, and is left out: {row['broken']}"
        return
    for i, place in enumerate(row["roots"]):
        there = "found" if place in row["present"] else "not there"
        yield "" if i else "looked in", f"{place}  ({there})"
    for variable, value in row["variables"].items():
        yield "moved by", f"{variable} ({'not set' if not value else f'set to {value}'})"
    sessions, sources = (figures.count(row[n], n[:-1]) for n in ("sessions", "sources"))
    yield "found", f"{sessions} in {sources}, {figures.size(row['bytes'])}"
    for name, can in (("can", True), ("off", False)):
        told = [ABILITIES.get(a, a) for a, able in row["abilities"].items() if able is can]
        if told:
            yield name, "; ".join(told)
    if row["clean_up"]:
        yield "clean-up", row["clean_up"]
