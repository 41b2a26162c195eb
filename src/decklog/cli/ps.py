"""``decklog ps``"""

from __future__ import annotations

import os
import time

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from decklog import hub

HEAD = ("PANE", "AGENT", "PID", "SESSION", "STATE", "SINCE", "TOKENS", "COST", "THOUGHT")


def ps(*, sample: bool, **values: Any) -> int:
    """Agents that run here now."""
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        deck.fleet.ourselves = os.getpid()
        chosen = decks.where(deck, values).get("agents", ())
        if values["watch"]:
            return _watch(deck, chosen, values)
        rows = _of(deck.fleet.rows(), chosen)
        output.note(deck.fleet.stale)
        if values["json"]:
            output.json_array(rows)
        else:
            _show(rows, values["evidence"])
        return decks.code(deck)


def _of(rows: Sequence[dict[str, Any]], agents: Sequence[str]) -> list[dict[str, Any]]:
    return [r for r in rows if not agents or r["agent"] in agents]


def _watch(deck: hub.Decklog, agents: Sequence[str], values: dict[str, Any]) -> int:
    for rows in deck.fleet.watch():
        if values["json"]:
            output.json_line(output.struct_json(_of(rows, agents)))
        else:
            output.clear()
            _show(_of(rows, agents), values["evidence"])
        output.flush()
    return 0


def _show(rows: Sequence[dict[str, Any]], evidence: bool) -> None:
    if not rows:
        output.write("No agent runs here.")
        return
    now = time.time_ns() // 1_000_000
    tables.show(HEAD, [_cells(r, now) for r in rows], (2, 6, 7), shrink=(0, 8), drop=(2, 6, 0))
    if evidence:
        for r in rows:
            output.write(f"\n{r['agent']} {r['pid']}")
            for e in r["evidence"]:
                sure = f"{100 * e['confidence']:.0f} %"
                output.write(
                    f"  {e['about']}: {e['says']} ({e['kind']}, {sure}) {e['detail']}".rstrip()
                )
            for c in r["candidates"]:
                output.write(f"  may be on {c['session']} ({100 * c['confidence']:.0f} %)")


def _cells(r: dict[str, Any], now: int) -> tuple[str, ...]:
    return (
        r["pane_name"] or r["pane"] or "",
        r["agent"],
        str(r["pid"]),
        _session(r),
        r["state"].replace("_", " "),
        "" if r["since"] is None else figures.span(max(0, now - r["since"])),
        figures.number(r["tokens"]),
        "" if r["tokens"] is None else figures.money(r["cost_micro_usd"]),
        r["thought"],
    )


def _session(r: dict[str, Any]) -> str:
    if r["session"]:
        return decks.short(r["session"])
    return f"one of {len(r['candidates'])}" if r["ambiguous"] else ""
