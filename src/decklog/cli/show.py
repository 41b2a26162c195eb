"""``decklog show``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables
from decklog.cli.story import Telling, price, summary, tokens
from decklog.errors import SourceError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from decklog.hub import Decklog
    from decklog.model import Event, Session, Turn

_PLACES = {"archive": " (from the archive)", "nowhere": " (on disk no more, nor in the archive)"}
AROUND = 5
"""Events shown before and after one that was asked for."""
PARTIAL = ("too_long", "too_big", "unreadable", "bomb")
"""Reasons for which a part of a transcript is not shown."""


def show(*, sample: bool, session: str, **values: Any) -> int:
    """Show one session. Exit 1 when something of it could not be shown."""
    if values["raw"] and (values["events"] or values["json"]):
        raise UsageError(
            "--raw goes with neither --events nor --json", hint=f"decklog show {session} --raw"
        )
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        name, mark, place = session.rpartition("#")
        if mark and place.isdigit():
            return _place(deck, name, int(place), values)
        found = deck.session(session)
        if values["raw"]:
            for record in deck.raw(found.id):
                output.emit_bytes(record)
            missing = _unread(deck, found)
        elif values["events"]:
            missing = _events(deck, found, values)
        else:
            missing = _turns(deck, found, values)
    if missing:
        output.note(f"{figures.count(missing, 'part')} not shown; decklog doctor tells why")
    return int(missing > 0)


def _unread(deck: Decklog, session: Session) -> int:
    """Parts of the session's sources that could not be read."""
    if not session.counts.findings:
        return 0
    return sum(
        row["count"]
        for row in deck.finding_rows()
        if row["source"] in session.sources and row["reason"] in PARTIAL
    )


def _untold(events: list[Event]) -> int:
    return sum(1 for e in events if getattr(e, "reason", "") in PARTIAL)


def _events(deck: Decklog, session: Session, values: dict[str, Any]) -> int:
    events = list(deck.events(session.id))
    if values["json"]:
        output.struct_array(events)
    else:
        limit = None if values["full"] else tables.columns() or 200
        lines = (summary(e, deck.zone) for e in events)
        output.page(
            (line if limit is None else tables.cut(line, limit) for line in lines),
            pager=not values["no_pager"],
        )
    return _untold(events)


def _place(deck: Decklog, name: str, seq: int, values: dict[str, Any]) -> int:
    """One event, whole, and what stands around it."""
    events = deck.around(name, seq, 0 if values["json"] else AROUND)
    if values["json"]:
        output.struct_array(events)
        return 0
    telling = Telling(deck.zone, "", full=True)
    limit = tables.columns() or 200
    lines = []
    for event in events:
        line = tables.cut(summary(event, deck.zone), limit)
        if event.seq == seq:
            lines += ["", output.bold(line), *telling.event(event), ""]
        else:
            lines.append(output.dim(line))
    output.page(lines, pager=not values["no_pager"])
    return _untold(events)


def _turns(deck: Decklog, session: Session, values: dict[str, Any]) -> int:
    telling = Telling(deck.zone, session.cwd, full=bool(values["full"]))
    lines = [] if values["json"] else list(_header(deck, session))
    turns: list[Turn] = []
    missing = 0
    try:
        for turn, events in deck.story(session.id):
            missing += _untold(events)
            if values["json"]:
                turns.append(turn)
            else:
                lines += ["", *telling.turn(turn, events)]
    except SourceError:
        output.page(lines, pager=False)
        raise
    if values["json"]:
        below = [s for s in deck.children(session.id) if s.relation == "subagent"]
        output.struct_object({"session": session, "turns": turns, "subagents": below})
        return missing
    lines += _below(deck, session)
    if values["full"]:
        lines += _files(deck, session)
    output.page(lines, pager=not values["no_pager"])
    return missing


def _header(deck: Decklog, s: Session) -> Iterator[str]:
    yield output.bold(output.one_line(s.title or s.prompt or s.id))
    for name, text in _facts(deck, s):
        if text:
            yield f"  {output.dim(f'{name:<10}')} {output.one_line(text)}"


def _facts(deck: Decklog, s: Session) -> Iterator[tuple[str, str]]:
    c = s.counts
    yield "session", s.id
    if s.parent:
        yield s.relation or "parent", f"of {s.parent}"
    yield "folder", s.cwd + (f" (branch {s.branch})" if s.branch else "")
    if s.project != s.cwd:
        yield "project", s.project
    yield "model", s.model
    yield "agent", f"{s.agent} {s.agent_version}".strip()
    if s.started_at is not None and s.last_at is not None:
        lasted = figures.span(s.last_at - s.started_at)
        yield "time", f"{deck.zone.text(s.started_at)} to {deck.zone.text(s.last_at)} ({lasted})"
    errors = f" ({c.tool_errors} failed)" if c.tool_errors else ""
    more = [
        (c.prompts, "prompt"),
        (c.responses, "response"),
        (c.files, "file"),
        (c.compactions, "compaction"),
        (c.aborts, "interruption"),
        (c.limits, "usage limit"),
        (c.subagents, "subagent"),
    ]
    told = [figures.count(n, noun) for n, noun in more if n]
    told.insert(1, figures.count(c.tool_calls, "tool call") + errors)
    yield "counts", ", ".join(told)
    yield "tokens", tokens(s.usage)
    yield "cost", f"{price(s.cost)} (price list of {s.cost.prices_date})"
    if s.tree_usage != s.usage:
        yield "in all", f"{tokens(s.tree_usage)}; {price(s.tree_cost)} (with subagents)"
    places = {r["source"]: r["read_from"] for r in deck.provenance(s.id)}
    for uri in s.sources:
        yield "source", uri + _PLACES.get(places.get(uri, ""), "")
    if s.gone:
        yield "gone", "no source of this session is on disk any more"
    if c.findings:
        n = figures.count(c.findings, "place")
        yield "findings", f"{n} not read as written; decklog doctor tells more"


def _below(deck: Decklog, session: Session) -> Iterator[str]:
    children = deck.children(session.id)
    for title, found in (
        ("Subagents", [s for s in children if s.relation == "subagent"]),
        ("Went on in", [s for s in children if s.relation != "subagent"]),
    ):
        if found:
            yield ""
            yield output.bold(title)
            rows = [
                (
                    s.id,
                    s.model,
                    figures.number(s.tree_usage.output),
                    figures.money(s.tree_cost.micro_usd),
                    tables.cut(s.title, 60),
                )
                for s in found
            ]
            head = ("SESSION", "MODEL", "OUTPUT", "COST", "TITLE")
            limit = tables.columns()
            yield from tables.table(head, rows, (2, 3), drop=(1, 2), shrink=(4,), limit=limit)


def _files(deck: Decklog, session: Session) -> Iterator[str]:
    rows = [(f["path"], str(f["reads"]), str(f["writes"])) for f in deck.files(session.id)]
    if rows:
        yield ""
        head = ("FILE", "READS", "WRITES")
        yield from tables.table(head, rows, (1, 2), front=(0,), limit=tables.columns())
