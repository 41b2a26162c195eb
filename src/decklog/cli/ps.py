"""``decklog ps``"""

from __future__ import annotations

import os
import time

from decklog import swift
from decklog.cli import deck as decks
from decklog.cli import figures, output, tables
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from decklog import hub
    from decklog.model.fleet import StateEvent

HEAD = ("PANE", "AGENT", "PID", "SESSION", "STATE", "SINCE", "TOKENS", "COST", "THOUGHT")
CHANGES = ("NO", "TIME", "AGENT", "PID", "SESSION", "STATE", "WHY")


def ps(*, sample: bool, **values: Any) -> int:
    """Agents that run here now."""
    if values["after"] is not None and not values["changes"]:
        raise UsageError("--after goes with --changes", hint="decklog ps --changes --after N")
    swift.import_msgspec()
    tz, no_sync = values["tz"], values["no_sync"]
    with decks.open_deck(sample, tz=tz, no_sync=no_sync, texts=False) as deck:
        deck.fleet.ourselves = os.getpid()
        chosen = decks.where(deck, values).get("agents", ())
        if values["changes"]:
            _changes(deck, chosen, values)
            return decks.code(deck)
        if values["watch"]:
            return _watch(deck, chosen, values)
        rows = _of(deck.fleet.rows(), chosen)
        output.note(deck.fleet.stale)
        if values["json"]:
            output.struct_array(rows)
        else:
            _show(rows, values["evidence"])
        return decks.code(deck)


def _of(rows: Sequence[dict[str, Any]], agents: Sequence[str]) -> list[dict[str, Any]]:
    return [r for r in rows if _chosen(r["agent"], agents)]


def _changes(deck: hub.Decklog, agents: Sequence[str], values: dict[str, Any]) -> None:
    deck.fleet.rows()  # what happened since the last look is part of it
    events = [e for e in deck.fleet.changes(values["after"] or 0) if _chosen(e.agent, agents)]
    if values["json"]:
        for event in events:
            output.json_line(output.struct_json(event))
    elif not events:
        output.write("Nothing has changed yet.")
    else:
        tables.show(CHANGES, [_change(e, deck) for e in events], (0, 3), shrink=(6,), drop=(6,))


def _change(e: StateEvent, deck: hub.Decklog) -> tuple[str, ...]:
    new = e.transition
    why = next((x for x in reversed(new.evidence)), e.by)
    return (
        str(e.seq),
        deck.zone.text(e.at if new.at is None else new.at),
        e.agent,
        str(e.root.pid),
        decks.short(e.session) if e.session else "",
        f"{new.old} → {new.new}".replace("_", " "),
        f"{why.kind} {why.detail}".rstrip(),
    )


def _chosen(agent: str, agents: Sequence[str]) -> bool:
    return not agents or agent in agents


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
