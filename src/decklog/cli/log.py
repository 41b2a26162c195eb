"""``decklog log ...``"""

from __future__ import annotations

from collections import deque

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from decklog.hub import Decklog
    from decklog.log import Entry, Logged

MONTH = "30d"


def _deck(sample: bool, values: dict[str, Any]) -> Decklog:
    """The deck as it is: the log needs no look at transcripts."""
    return decks.open_deck(sample, tz=values.get("tz"), no_sync=True)


# --- reading ----------------------------------------------------------------------------------


def ls(*, sample: bool, **values: Any) -> int:
    """List logged sessions."""
    with _deck(sample, values) as deck:
        found = list(_chosen(deck, values))
        if values["limit"] is not None:
            found = found[: values["limit"]]
        if values["json"]:
            output.struct_array([_row(deck, s) for s in found])
        elif not found:
            output.write("No sessions are logged. decklog log backfill writes past ones.")
        else:
            tables.show(
                ("LOG", "BEGAN", "AGENT", "SESSION", "STATE", "EVENTS", "FOLDER"),
                [
                    (
                        s.wrapper_session_id,
                        deck.zone.text(s.began_at),
                        s.provider,
                        decks.short(s.session) if s.session else "",
                        _state(deck, s),
                        figures.number(s.events),
                        (s.workspace_path or "").rstrip("/").rpartition("/")[2],
                    )
                    for s in found
                ],
                right=(5,),
                drop=(6, 5, 3),
                shrink=(0,),
            )
    return 0


def _chosen(deck: Decklog, values: dict[str, Any]) -> Iterator[Logged]:
    where = decks.where(deck, {k: values.get(k) for k in ("since", "until")})
    for s in deck.log.sessions():
        at = s.began_at
        if values["agent"] and s.provider not in values["agent"]:
            continue
        if values["running"] and not deck.log.running(s.wrapper_session_id):
            continue
        if where.get("since", at) <= at < where.get("until", at + 1):
            yield s


def _row(deck: Decklog, logged: Logged) -> dict[str, Any]:
    import msgspec

    running = deck.log.running(logged.wrapper_session_id)
    return {**msgspec.structs.asdict(logged), "session": logged.session, "running": running}


def _state(deck: Decklog, s: Logged) -> str:
    if deck.log.running(s.wrapper_session_id):
        return "running"
    if not s.ended_at:
        return "open"
    if s.exit_code:
        return f"exit {s.exit_code}"
    return "failed" if s.success is False else "ended"


def show(*, sample: bool, log: str, **values: Any) -> int:
    """Show events of a log. Exit 1 when something of it is damaged."""
    with _deck(sample, values) as deck:
        name = deck.log.find(log).wrapper_session_id
        entries: Iterable[Entry] = _wanted(deck, name, values)
        if values["last"] is not None:
            entries = deque(entries, max(0, values["last"]))
        if values["json"]:
            for entry in entries:
                output.json_line(entry.line.decode("utf-8", "replace"))
        else:
            output.page(_told(deck, entries, bool(values["full"])), pager=not values["no_pager"])
        damaged = sum(h.reason != "lost" for h in deck.log.holes(name))
    if damaged:
        places = figures.count(damaged, "place")
        output.note(f"{places} damaged; decklog log verify {name} tells where")
    return int(damaged > 0)


def _wanted(deck: Decklog, name: str, values: dict[str, Any]) -> Iterator[Entry]:
    where = decks.where(deck, {k: values.get(k) for k in ("since", "until")})
    for entry in deck.log.read(name, values["after_seq"] or 0):
        if values["type"] and entry.kind not in values["type"]:
            continue
        if where.get("since", entry.at) <= entry.at < where.get("until", entry.at + 1):
            yield entry


def _told(deck: Decklog, entries: Iterable[Entry], full: bool) -> Iterator[str]:
    import msgspec

    from decklog.cli.story import summary

    limit = None if full else tables.columns() or 200
    for entry in entries:
        event = entry.event
        if event.at is None:
            event = msgspec.structs.replace(event, at=entry.at)
        line = summary(event, deck.zone)
        yield line if limit is None else tables.cut(line, limit)


# --- writing ----------------------------------------------------------------------------------


def emit(*, sample: bool, log: str, **values: Any) -> int:
    """Write one event, durable, beside whoever else writes the log."""
    with _deck(sample, values) as deck:
        names = {s.wrapper_session_id for s in deck.log.sessions()}
        name = log if log in names else _named(deck, log)
        receipt = deck.log.append(name, _event(values), agent=values["agent"] or "")
    if values["json"]:
        output.json_object({"log": name, "seq": receipt.seq})
    else:
        output.write(f"{name} {receipt.seq}")
    return 0


def _named(deck: Decklog, text: str) -> str:
    """A log that is there, by a part of its name; else the text as the name of a new one."""
    from decklog.errors import NotFound

    try:
        return deck.log.find(text).wrapper_session_id
    except NotFound:
        if text == "latest":
            raise
        return text


def _event(values: dict[str, Any]) -> Any:
    """The event that the options describe. Raises UsageError."""
    import json

    from decklog import hub

    kind = values["type"] or "user_event"
    fields: Any = {}
    if values["data"] is not None:
        try:
            fields = json.loads(values["data"])
        except ValueError as error:
            raise UsageError(f"--data is no JSON: {error}") from None
    if kind == "user_event":
        if values["message"] is None and values["data"] is None:
            raise UsageError("nothing to say", hint="--message TEXT, or --data JSON")
        fields = {"data": fields} if values["data"] is not None else {}
        fields["level"] = values["level"] or "info"
    elif not isinstance(fields, dict):
        raise UsageError("--data has to be a JSON object with the fields of the event")
    if values["message"] is not None:
        fields["message"] = values["message"]
    return hub.event(kind, fields)


def backfill(*, sample: bool, **values: Any) -> int:
    """Write past sessions into the log. Exit 1 when some could not be read."""
    import msgspec

    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        where = decks.where(deck, {k: values.get(k) for k in ("since", "until", "agent")})
        progress = output.progress("writing past", "sessions")
        report = deck.backfill(values["session"], progress=progress, **where)
    if values["json"]:
        output.struct_object(msgspec.structs.asdict(report))
    else:
        output.write(
            f"Wrote {figures.count(report.events, 'event')} of "
            f"{figures.count(report.written, 'session')}; {report.unchanged:,} of "
            f"{report.sessions:,} were done already."
        )
        if report.busy:
            n = figures.count(len(report.busy), "session")
            output.note(f"{n} left to their recorders, which are still at it")
        for session, reason in report.failed.items():
            output.note(f"{session} was not read: {reason}")
    return int(bool(report.failed))


# --- looking after ----------------------------------------------------------------------------


def _logs(deck: Decklog, words: Iterable[str]) -> list[str]:
    found = [deck.log.find(word).wrapper_session_id for word in words]
    return found or sorted(deck.log.index.names())


def verify(*, sample: bool, logs: Iterable[str], **values: Any) -> int:
    """Find damage. Exit 1 when there is any."""
    import msgspec

    damaged = lost = 0
    with _deck(sample, values) as deck:
        names = _logs(deck, logs)
        for name in names:
            for hole in deck.log.holes(name):
                damaged += hole.reason != "lost"
                lost += hole.reason == "lost"
                if values["json"]:
                    row = {"log": name, **msgspec.structs.asdict(hole)}
                    output.json_line(output.struct_json(row))
                else:
                    size = f" ({hole.length:,} bytes)" if hole.length else ""
                    detail = f": {hole.detail}" if hole.detail else ""
                    place = f"{hole.path} at {hole.offset:,}{size}"
                    output.write(f"{hole.reason:<9} {place}, after record {hole.after}{detail}")
    if not values["json"]:
        told = f"; {figures.count(lost, 'mark')} of records lost before" if lost else ""
        verdict = figures.count(damaged, "damage") if damaged else "Nothing is damaged"
        output.write(f"{figures.count(len(names), 'log')} looked at. {verdict}{told}.")
    if damaged:
        output.note("decklog log repair mends them and keeps every byte")
    return int(damaged > 0)


def repair(*, sample: bool, logs: Iterable[str], **values: Any) -> int:
    """Mend logs; a log that is whole is left alone."""
    kept: dict[str, list[str]] = {}
    with _deck(sample, values) as deck:
        for name in _logs(deck, logs):
            if files := deck.log.repair(name):
                kept[name] = files
        ended = [] if logs else deck.log.end_abandoned()
        if not logs:
            deck.log.index.rebuild()
    if values["json"]:
        output.json_object({"repaired": kept, "ended": ended})
        return 0
    for name, files in kept.items():
        output.write(f"{name} was mended. What was there before is kept:")
        for file in files:
            output.write(f"  {file}")
    for name in ended:
        output.write(f"{name} was recorded no longer and has its end now.")
    if not kept and not ended:
        output.write("Nothing to mend.")
    return 0


def gc(*, sample: bool, **values: Any) -> int:
    """Remove old logs, or say which would be."""
    import time

    from decklog import zones

    with _deck(sample, values) as deck:
        now = time.time_ns() // 1_000_000
        old = deck.log.old(zones.moment(values["older_than"] or MONTH, now, deck.zone))
        names = [s.wrapper_session_id for s, _ in old]
        size = sum(n for _, n in old)
        if values["yes"]:
            deck.log.remove(*names)
        if values["json"]:
            rows = [{**_row(deck, s), "bytes": n} for s, n in old]
            output.struct_object({"removed": bool(values["yes"]), "bytes": size, "logs": rows})
            return 0
        for s, n in old:
            ended = (s.ended_at or "")[:16].replace("T", " ")
            output.write(f"{s.wrapper_session_id}  ended {ended}  {n / 1e6:,.1f} MB")
    did = "removed" if values["yes"] else "could be removed"
    output.write(f"{figures.count(len(old), 'log')}, {size / 1e6:,.1f} MB {did}.")
    if old and not values["yes"]:
        output.note("decklog log gc --yes removes them")
    return 0
