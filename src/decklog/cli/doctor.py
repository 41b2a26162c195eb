"""``decklog doctor``"""

from __future__ import annotations

import shlex
import time
from errno import ESTALE

from decklog.cli import deck as decks
from decklog.cli import figures, output
from decklog.errors import DecklogError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from decklog.hub import Decklog

SHOWN = 5
"""Places of one kind of finding that are listed without ``--all``."""

WRONG = ("damaged", "unreadable", "unrecognized", "bomb", "too_long", "too_big")
"""Reasons that make the exit code 1: something was not read, or may not have been."""

REASONS = {
    "damaged": "bytes that are no record; whole records around them were read",
    "unreadable": "could not be read",
    "unrecognized": "files that no rule of the agent claims",
    "bomb": "unpacks to far more than it may",
    "too_long": "too long to be read",
    "too_big": "too many values in one record, left out",
    "too_deep": "nested too deeply to be followed",
    "misfiled": "records that name another session than their file",
    "bad_field": "fields of an unforeseen kind; the rest of the record was read",
    "rewritten": "files that shrank or were replaced; what was read before is kept",
    "carried": "neither on disk nor archived any more; the rows read before are kept",
    "unknown": "kinds of records that this decklog does not know",
}
"""What each reason of a finding means, gravest first."""


def doctor(*, sample: bool, **values: Any) -> int:
    """Print what was not read as it stood and what is at risk. Exit 1 when something is wrong."""
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        findings = list(deck.finding_rows())
        health = deck.health()
        agents = deck.agents()
        unpriced = [r for r in deck.usage_rows("models") if r["unpriced_responses"]]
        kept, archived, trouble = _kept(deck)
        wrong = sum(r["count"] for r in findings if r["reason"] in WRONG)
        wrong += sum(1 for r in agents if r["broken"]) + (trouble is not None)
        logs = deck.log.look_over()
        torn = len(logs["damaged"])
        if values["json"]:
            output.json_object(
                {
                    "wrong": wrong + torn,
                    "findings": findings,
                    "sources": deck.overview(),
                    "health": health,
                    "unpriced": unpriced,
                    "clean_up": {r["agent"]: r["clean_up"] for r in agents},
                    "retention": list(kept.values()),
                    "archive": archived,
                    "archive_error": str(trouble or ""),
                    "log": logs,
                    "broken": {r["agent"]: r["broken"] for r in agents if r["broken"]},
                }
            )
            return int(wrong + torn > 0)
        _findings(findings, whole=bool(values["all"]))
        _broken(agents)
        _sources(deck, agents, kept)
        _archive(deck, archived, trouble)
        _log(logs)
        _store(health)
        _prices(health, unpriced)
        output.write("")
        told = [f"{figures.count(wrong, 'place')} not read."] if wrong else []
        told += [f"{figures.count(torn, 'log')} damaged."] if torn else []
        output.emit(output.red(" ".join(told)) if told else output.green("Nothing is wrong."))
    return int(wrong + torn > 0)


def _head(text: str) -> None:
    output.emit(output.bold(text))


def _say(text: str, *commands: str) -> None:
    output.write(f"  {text}")
    for command in commands:
        output.emit(f"    try: {output.cyan(command)}")


def _findings(rows: list[dict[str, Any]], *, whole: bool) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        groups.setdefault(r["reason"], []).append(r)
    if not groups:
        output.write("Every transcript was read as written.")
    order = {reason: i for i, reason in enumerate(REASONS)}
    for reason, group in sorted(groups.items(), key=lambda g: order.get(g[0], len(order))):
        paint = output.red if reason in WRONG else output.yellow
        total = sum(r["count"] for r in group)
        meaning = REASONS.get(reason, "")
        output.emit(f"{paint(reason)}  {total:,}  {output.dim(meaning)}")
        shown = group if whole else group[:SHOWN]
        for r in shown:
            output.write("  " + output.one_line(_place(r)))
        if len(group) > len(shown):
            output.write(f"  … {len(group) - len(shown):,} more (decklog doctor --all)")
        for command in _remedy(reason, group[0]):
            output.emit(f"  try: {output.cyan(output.one_line(command))}")
        output.write("")


def _place(row: dict[str, Any]) -> str:
    times = f" ({row['count']:,} times)" if row["count"] > 1 else ""
    where = row["source"]
    if row["line"]:
        where += f", line {row['line']:,}"
    if row["length"]:
        where += f", bytes {row['offset']:,} to {row['offset'] + row['length']:,}"
    return f"{where}: {row['detail']}{times}"


def _remedy(reason: str, row: dict[str, Any]) -> Iterator[str]:
    """The next command, exactly as it can be typed."""
    path = row["source"].partition("#")[0]
    file = shlex.quote(path)
    bytes_there = f"tail -c +{row['offset'] + 1} {file} | head -c {min(row['length'], 2000)}"
    if reason == "unreadable" and "not a regular file" in row["detail"]:
        yield f"ls -l {file}"
        yield f"rm -i {file} && decklog sync  # it holds no transcript"
    elif reason == "unreadable" and row["detail"].startswith(f"[Errno {ESTALE}]"):
        yield "decklog sync"
    elif reason == "unreadable":
        yield f"ls -l {file}"
        yield f"chmod u+r {file} && decklog sync"
    elif reason == "bomb":
        yield f"zstd -l {file}"
    elif reason == "unrecognized":
        yield f"head -c 300 {file}"
        yield "pip install --upgrade decklog && decklog sync --rebuild"
    elif reason in ("unknown", "bad_field"):
        if row["length"]:
            yield bytes_there
        yield "pip install --upgrade decklog && decklog sync --rebuild"
    elif reason == "rewritten":
        yield f"ls -l {file}"
    else:
        yield bytes_there if row["length"] else f"ls -l {file}"


def _broken(agents: list[dict[str, Any]]) -> None:
    for r in agents:
        if r["broken"]:
            _head(f"Agent {r['agent']}")
            _say(f"could not be loaded: {r['broken']}", "decklog agents", "pip list")
            output.write("")


def _sources(deck: Decklog, agents: list[dict[str, Any]], kept: dict[str, dict[str, Any]]) -> None:
    deletes = {r["agent"]: r["clean_up"] for r in agents}
    for r in deck.overview():
        _head(
            f"{r['agent']}: {figures.count(r['sessions'], 'session')} in "
            f"{figures.count(r['sources'], 'source')}, {figures.size(r['bytes'])}"
        )
        if r["pending_bytes"]:
            pending = figures.count(r["pending_bytes"], "byte")
            _say(f"{pending} wait for the end of their line; they are read once it is there")
        found = kept.get(r["agent"])
        if found and found["gone"]:
            _gone(r["agent"], found)
        if deletes.get(r["agent"]):
            _say(f"clean-up: {deletes[r['agent']]}")
        if found and found["days"] is not None:
            _risk(deck, found)


def _gone(agent: str, found: dict[str, Any]) -> None:
    lost = found["gone"] - found["gone_archived"]
    gone = f"{figures.count(found['gone'], 'source')} gone from disk; "
    if not lost:
        text = "all of them are in the archive"
    elif not found["gone_archived"]:
        text = "their numbers are kept, their texts are not"
    else:
        text = f"{lost:,} of them are not in the archive, and have only their numbers left"
    _say(gone + text, f"decklog ls --all --agent {agent} --json")


def _risk(deck: Decklog, found: dict[str, Any]) -> None:
    where = "by default" if found["origin"] == "default" else f"by {found['origin']}"
    days = figures.count(round(found["days"]), "day")
    _say(output.one_line(f"here: {days} after their last change ({found['setting']}, {where})"))
    risk = found["at_risk"]
    if not risk:
        return
    first = deck.zone.text(risk[0]["deleted_at"])
    missing = [r for r in risk if not r["archived"]]
    n = figures.count(len(risk), "transcript")
    if not missing:
        _say(f"{n} may be deleted within a week, the first from {first} on; all are archived")
        return
    text = f"{n} may be deleted within a week, the first from {first} on; not archived:"
    _say(text)
    for r in missing[:SHOWN]:
        _say(output.one_line(f"  {deck.zone.text(r['deleted_at'])}  {r['session']}"))
    if len(missing) > SHOWN:
        _say(f"  … {len(missing) - SHOWN:,} more (decklog doctor --json)")
    output.emit(f"    try: {output.cyan('decklog sync')}")


def _kept(deck: Decklog) -> tuple[dict[str, Any], dict[str, Any], DecklogError | None]:
    """By agent what deletes its transcripts; what is archived; what kept the archive from saying
    so, as a full disk does: all else is told nevertheless."""
    try:
        kept = {r["agent"]: r for r in deck.retention(time.time_ns() // 1_000_000)}
        return kept, deck.archive.size(), None
    except DecklogError as error:
        return {}, {}, error


def _archive(deck: Decklog, size: dict[str, Any], trouble: DecklogError | None) -> None:
    output.write("")
    _head("Archive")
    if trouble is not None:
        _say(output.one_line(f"cannot be asked: {trouble}"))
        _say(output.one_line(trouble.hint or "decklog archive verify"))
        return
    if not deck.config.archive:
        _say("switched off: what an agent deletes is lost but for its numbers",
             "decklog config")  # fmt: skip
    if size["agents"]:
        _say(
            f"{figures.size(size['bytes'])} of transcripts in {figures.size(size['disk'])} on disk"
        )
        old = deck.archive.superseded()
        if old > 1 << 20:
            _say(f"{figures.size(old)} are versions that later ones say all of",
                 "decklog archive prune --superseded")  # fmt: skip
    elif deck.config.archive:
        _say("nothing is archived yet")
    if size["pending"] > 0:
        _say(f"{figures.size(size['pending'])} have yet to be copied", "decklog sync")


def _log(found: dict[str, Any]) -> None:
    output.write("")
    _head("Log")
    if not found["logs"]:
        _say("nothing is recorded yet")
        return
    _say(f"{found['looked_at']:,} of {figures.count(found['logs'], 'log')} looked at, newest first")
    for name in found["damaged"]:
        _say(f"{name} is damaged", f"decklog log verify {name}", f"decklog log repair {name}")
    if found["looked_at"] < found["logs"]:
        _say("all of them are looked at by", "decklog log verify")


def _store(health: dict[str, Any]) -> None:
    output.write("")
    _head(f"Store in {health['data_dir']}")
    kind = health["file_system"] or "not known"
    _say(f"file system {kind}, SQLite {health['sqlite']}, days in {health['tz']}")
    if health["network"]:
        _say(
            f"{kind} is a network file system: locks on it are not to be relied on",
            'export DECKLOG_HOME="$HOME/.decklog"  # a folder on a local disk',
        )
    if not health["wal_safe"]:
        _say(
            "this SQLite can lose committed pages when a write meets a checkpoint "
            "(cured in 3.51.3, 3.50.7 and 3.44.6)",
            "pip install --upgrade 'apsw>=3.51.3'",
        )


def _prices(health: dict[str, Any], unpriced: list[dict[str, Any]]) -> None:
    output.write("")
    _head(f"Price list of {health['prices_date'] or 'no date'}")
    for r in unpriced:
        responses = figures.count(r["unpriced_responses"], "response")
        _say(f"no price for {r['model']} of {r['provider']} ({r['agent']}): {responses}")
    if unpriced:
        output.emit(f"    try: {output.cyan('pip install --upgrade decklog')}")
    else:
        _say("every model used has a price, or its agent reported the cost")
