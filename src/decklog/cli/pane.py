"""``decklog pane ...``"""

from __future__ import annotations

import os
import sys
import time

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from decklog import hub
    from decklog.model.panes import Delivery

HEAD = ("ID", "NAME", "AGENT", "PANE", "SESSION", "STATE", "SINCE", "FOLDER")


def ls(*, sample: bool, **values: Any) -> int:
    """Panes with agents in them."""
    with decks.open_deck(sample) as deck:
        if values["watch"]:
            return _watch(deck, values)
        _list(deck.panes.json_rows(everything=values["all"]), values["json"])
        _troubles(deck)
    return 0


def _watch(deck: hub.Decklog, values: dict[str, Any]) -> int:
    from json import dumps

    for rows in deck.panes.watch(everything=values["all"]):
        if values["json"]:
            output.json_line(dumps(rows, ensure_ascii=False))
        else:
            output.clear()
            _list(rows, False)
        output.flush()
    return 0


def _list(rows: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.json_array(rows)
    elif not rows:
        output.write("No agent is in a tmux pane. Start one: decklog pane new claude")
    else:
        now = time.time_ns() // 1_000_000
        tables.show(HEAD, [_cells(r, now) for r in rows], shrink=(1,), front=(7,), drop=(3, 6))


def _cells(r: dict[str, Any], now: int) -> tuple[str, ...]:
    since = "" if r["since"] is None else figures.span(max(0, now - r["since"]))
    code = "" if r["code"] is None else f" ({r['code']})"
    where = r["pane"] or ""
    return (
        r["id"],
        r["name"] or r["place"],
        r["agent"],
        f"{os.path.basename(r['socket'])}/{where}" if where else "",
        decks.short(r["session"]) if r["session"] else "",
        r["state"].replace("_", " ") + code,
        since,
        r["cwd"],
    )


def _troubles(deck: hub.Decklog) -> None:
    for socket, what in deck.panes.troubles.items():
        output.note(f"{socket}: {what}; its panes are not shown")


def new(*, sample: bool, rest: Sequence[str], **values: Any) -> int:
    """Start an agent in a pane of its own."""
    from decklog.hub.panes import Request

    with decks.open_deck(sample) as deck:
        session = values["session"] or ""
        if session:
            session = deck.session(session).id
        request = Request(
            values["agent"],
            name=values["name"] or "",
            cwd=values["cwd"] or "",
            prompt=values["prompt"] or "",
            args=tuple(rest),
            session=session,
            force=bool(values["force"]),
            relay=bool(values["relay"]) or deck.config.relay,
        )
        one, delivery = deck.panes.create(request)
        if values["json"]:
            output.struct_object({"pane": one, "delivery": delivery})
        else:
            output.write(f"{one.id}  {one.name}  {one.agent} in {one.cwd}")
            output.write(f"look at it: decklog pane attach {one.id}")
            if delivery is not None:
                _tell(delivery)
        return 0 if delivery is None else _code(delivery)


def adopt(*, sample: bool, **values: Any) -> int:
    """Supervise a pane that is there already."""
    with decks.open_deck(sample) as deck:
        one = deck.panes.adopt(values["pane"], values["name"] or "")
    if values["json"]:
        output.struct_object(one)
    else:
        output.write(f"{one.id}  {one.name}  {one.agent or 'no known agent'} in {one.cwd}")
    return 0


def send(*, sample: bool, **values: Any) -> int:
    """Send a text to an agent."""
    text = values["text"]
    if text is None:
        if output.is_terminal(sys.stdin):
            raise UsageError("there is nothing to send", hint='decklog pane send PANE "text"')
        text = sys.stdin.buffer.read((1 << 20) + 1).decode("utf-8", "surrogateescape")
    with decks.open_deck(sample) as deck:
        delivery = deck.panes.send(values["pane"], text, key=values["key"] or "")
    if values["json"]:
        output.struct_object(delivery)
    else:
        _tell(delivery)
    return _code(delivery)


def _tell(delivery: Delivery) -> None:
    output.write(f"{delivery.outcome.replace('_', ' ')}: {delivery.why}")


def _code(delivery: Delivery) -> int:
    return int(delivery.outcome not in ("submitted", "queued"))


def show(*, sample: bool, **values: Any) -> int:
    """One pane with its screen."""
    from decklog.hub.panes import row_json

    with decks.open_deck(sample) as deck:
        row = deck.panes.show(values["pane"])
    found = row_json(row)
    if values["json"]:
        output.json_object(found)
        return 0
    for name in ("id", "name", "agent", "session", "state", "why", "place", "socket", "cwd"):
        if found[name]:
            output.write(f"{name:8} {found[name]}")
    for e in found["evidence"]:
        output.write(f"because  {e['kind']} says {e['says']} {e.get('detail', '')}".rstrip())
    if found["screen"]:
        output.write("")
        output.write(found["screen"])
    return 0


def attach(*, sample: bool, **values: Any) -> int:
    """Look at a pane in this terminal."""
    with decks.open_deck(sample, no_sync=True) as deck:
        command = deck.panes.attach_command(values["pane"])
    if not output.is_terminal(sys.stdin):
        from shlex import join

        raise UsageError("there is no terminal to attach", hint=join(command))
    output.flush()
    os.execvp(command[0], command)


def interrupt(*, sample: bool, **values: Any) -> int:
    """Stop the turn of an agent."""
    from decklog.hub.panes import row_json

    with decks.open_deck(sample) as deck:
        deck.panes.interrupt(values["pane"])
        time.sleep(1)  # what its transcript and screen say of it
        row = row_json(deck.panes.show(values["pane"]))
    if values["json"]:
        output.json_object(row)
    else:
        output.write(f"{values['pane']}: {row['state'].replace('_', ' ')}")
    return 0


def kill(*, sample: bool, **values: Any) -> int:
    """End agents and their panes."""
    left = 0
    done: list[dict[str, Any]] = []
    with decks.open_deck(sample) as deck:
        for pane in values["panes"]:
            if values["release"]:
                done.append({"pane": deck.panes.release(pane).id, "released": True})
                continue
            grace = {} if values["grace"] is None else {"grace": values["grace"]}
            ended = deck.panes.end(pane, **grace)
            left += not ended.gone
            done.append({"pane": pane, **ended._asdict()})
    if values["json"]:
        output.json_array(done)
        return int(left > 0)
    for one in done:
        steps = "released" if "released" in one else ", ".join(one["steps"])
        output.write(f"{one['pane']}: {steps}")
        if one.get("left"):
            output.note(f"still there: {', '.join(map(str, one['left']))}")
    return int(left > 0)


def reap(*, sample: bool, **values: Any) -> int:
    """Close the panes of ours whose program ended."""
    with decks.open_deck(sample) as deck:
        done = deck.panes.reap()
    if values["json"]:
        output.struct_array(done)
    for one in done if not values["json"] else ():
        output.write(f"{one.id}  {one.name}  {one.why} ({one.code})")
    return 0


def restore(*, sample: bool, **values: Any) -> int:
    """Start lost panes again."""
    with decks.open_deck(sample) as deck:
        panes = deck.panes
        act = panes.plan if values["dry_run"] else panes.restore
        plans = act(values["panes"], force=bool(values["force"]))
    if values["json"]:
        output.struct_array([p._asdict() for p in plans])
    elif not plans:
        output.write("Nothing is lost.")
    for plan in plans if not values["json"] else ():
        head = f"{plan.pane.id}  {plan.pane.name}"
        if plan.problem:
            output.write(f"{head}  cannot: {plan.problem}")
        elif plan.restored is None:
            output.write(f"{head}  would run: {' '.join(plan.argv)}  in {plan.pane.cwd}")
        else:
            output.write(f"{head}  goes on as {plan.restored.id}")
    return int(any(p.problem for p in plans))


def events(*, sample: bool, **values: Any) -> int:
    """What happened to supervised panes."""
    with decks.open_deck(sample, no_sync=True) as deck:
        for event in deck.panes.events(values["after"] or 0):
            output.json_line(output.struct_json(event))
    return 0
