"""Backfill: past sessions written into our own log, so that it tells of them like of live ones.

The events are those of the readers, with their native times. What a log holds already decides what
is missing in it: a run may be repeated, interrupted anywhere, and come after or beside live
recording, and no event is written twice. A file remembers which sessions were done at what state of
their sources; it saves work, and may be lost.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec
from msgspec import Struct

from decklog import durable, transcripts
from decklog.errors import DecklogError, UsageError, WriteError
from decklog.log import Logged, Logs, key_of
from decklog.model import Event, SessionStarted

BATCH = 256
"""Events that are written at a time."""
SAVE_S = 2.0
"""Seconds after which what has been done is remembered, at the latest."""


class Report(Struct, kw_only=True):
    """What a run did."""

    sessions: int = 0
    """Sessions looked at."""
    written: int = 0
    """Those of which something was missing in the log."""
    events: int = 0
    """Events written."""
    unchanged: int = 0
    """Sessions whose sources are as they were when they were done."""
    busy: list[str] = []
    """Sessions that are being recorded right now: their recorder writes them."""
    failed: dict[str, str] = {}
    """Sessions that could not be read, and why."""


class Progress(Struct, kw_only=True):
    """The file ``backfill.json``."""

    version: int = 1
    imported_session_keys: list[str] = []
    states: dict[str, str] = {}
    """Session id to the state its sources had."""


def run(
    store: Any,
    logs: Logs,
    sessions: Iterable[dict[str, Any]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write what the logs lack of these sessions (rows of `Decklog.session_rows`), oldest first.

    A session that cannot be read is told of in the report and holds up no other. Raises WriteError
    when the disk refuses: what was written stays, and the next run goes on from there.
    """
    rows = sorted(sessions, key=lambda r: (r["started_at"] or 0, r["id"]))
    report = Report(sessions=len(rows))
    done = _load(logs)
    recorded = _by_source(logs.sessions())
    saved = time.monotonic()
    try:
        with logs.index.held():
            for n, row in enumerate(rows):
                if progress:
                    progress(n, len(rows))
                _one(store, logs, row, done, recorded, report)
                if time.monotonic() > saved + SAVE_S:
                    _save(logs, done)
                    saved = time.monotonic()
    finally:
        _save(logs, done)
    if progress:
        progress(len(rows), len(rows))
    return report


def _one(
    store: Any,
    logs: Logs,
    row: dict[str, Any],
    done: Progress,
    recorded: dict[str, list[Logged]],
    report: Report,
) -> None:
    session = row["id"]
    state = _state(store, session)
    if done.states.get(session) == state:
        report.unchanged += 1
        return
    live = _unique(r for uri in row["sources"] for r in recorded.get(uri, ()))
    if any(logs.running(r.wrapper_session_id) for r in live):
        report.busy.append(session)
        return
    try:
        known = {key_of(e.event) for r in live for e in logs.read(r.wrapper_session_id)}
        events = transcripts.events(store, session)
        n = _write(logs, row, (e for e in events if key_of(e) not in known), bool(live))
    except WriteError:
        raise
    except DecklogError as error:
        report.failed[session] = str(error)
        return
    report.events += n
    report.written += n > 0
    done.states[session] = state


def _write(logs: Logs, row: dict[str, Any], events: Iterator[Event], recorded: bool) -> int:
    """Write those events that the session's own log lacks; how many that were."""
    first = next(events, None)
    if first is None:
        return 0
    if not isinstance(first, SessionStarted) and not recorded:
        first_of_all = SessionStarted(
            agent=row["agent"], session=row["id"], at=row["started_at"], cwd=row["cwd"] or None,
            model=row["model"] or None, uid="start",
        )  # fmt: skip
        events = chain((first_of_all, first), events)
    else:
        events = chain((first,), events)
    written = 0
    with logs.open(
        name(row["agent"], row["native"]), agent=row["agent"], provider_session_id=row["native"]
    ) as writer:
        writer.recall()
        writer.set_completeness(row["completeness"])
        for uri in row["sources"]:
            writer.add_source_path(uri)
        while some := [_past(e) for e in islice(events, BATCH)]:
            written += sum(r.new for r in writer.emit_all(some))
        if row["last_at"] is not None:
            writer.finish(at=row["last_at"])
    return written


def _past(event: Event) -> Event:
    if isinstance(event, SessionStarted):
        return msgspec.structs.replace(event, origin="backfill", backfilled=True)
    return msgspec.structs.replace(event, origin="backfill")


def name(agent: str, native: str) -> str:
    """The log that a session is backfilled into: always the same one."""
    try:
        return durable.safe_id(f"{agent}-{native}")
    except UsageError:  # it has characters, or a length, that no file name should have
        return f"{agent}-{hashlib.sha256(native.encode('utf-8', 'replace')).hexdigest()[:32]}"


def _state(store: Any, session: str) -> str:
    """Changes when any source of the session does."""
    parts = (f"{p['uri']}\t{p['offset']}\t{p['size']}" for p in store.parts(session))
    text = "\n".join(sorted(parts)).encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()[:16]


def _by_source(sessions: Iterable[Logged]) -> dict[str, list[Logged]]:
    """Logs that were written live, by the sources they were written from."""
    found: dict[str, list[Logged]] = {}
    for logged in sessions:
        if not logged.backfilled:
            for path in logged.source_paths:
                found.setdefault(path, []).append(logged)
    return found


def _unique(sessions: Iterable[Logged]) -> list[Logged]:
    return list({s.wrapper_session_id: s for s in sessions}.values())


def _path(logs: Logs) -> str:
    return f"{logs.folder}/backfill.json"


def _load(logs: Logs) -> Progress:
    """What has been done; nothing where the file is not there or is none (it is kept then)."""
    try:
        with open(_path(logs), "rb") as file:
            return msgspec.json.decode(file.read(), type=Progress)
    except FileNotFoundError:
        return Progress()
    except OSError as error:
        raise durable.failed(_path(logs), error) from None
    except msgspec.MsgspecError:
        durable.set_aside(_path(logs), str(time.time_ns() // 1_000_000))
        return Progress()


def _save(logs: Logs, done: Progress) -> None:
    done.imported_session_keys = sorted(done.states)
    durable.private_folder(logs.folder)
    durable.replace(_path(logs), msgspec.json.format(msgspec.json.encode(done)))
