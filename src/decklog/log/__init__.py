"""Our own log of events: for each session one sequence that is only ever appended to.

    logs = Logs(data_dir)
    with logs.open(agent="claude") as writer:           # a new session; or one by its id
        writer.emit(SessionStarted(command="claude", cwd="/src"))
        receipt = writer.emit(event, durable=True)      # on disk when this returns
        writer.finish(exit_code=0)
    for entry in logs.read(writer.id, after=receipt.seq):
        print(entry.seq, entry.ts, entry.event)

What is where, below ``<data_dir>/log``:

    sessions/<id>/0000000000000001.jsonl   the log of one session (`decklog.log.segments`)
    sessions/<id>/alive                    last heartbeat, locked while the session is recorded
    index.json                             all sessions, derived (`decklog.log.index`)

A folder for each session, and not one log for all: sessions are written, read, damaged, compressed
and removed each for itself, and writers of different sessions never wait for each other. The order
that holds across sessions is that of time.

`docs/formats/log.md` describes the files for other programs.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from decklog import durable
from decklog.errors import NotFound, SourceError, UsageError
from decklog.log import mending
from decklog.log.appending import SEGMENT_BYTES, Log, Unsynced
from decklog.log.committing import Committer
from decklog.log.ends import last_number
from decklog.log.index import Index, Logged, latest
from decklog.log.reading import Hole, Record, Tail
from decklog.log.reading import read as read_log
from decklog.log.subscribing import Subscription
from decklog.log.wire import Entry, decode, encode, key_of, kind_of, rfc3339
from decklog.log.writer import ALIVE, Receipt, Writer, entries
from decklog.model import Event, ParseWarning

__all__ = [
    "Entry", "Hole", "Log", "Logged", "Logs", "Receipt", "Record", "Subscription", "Tail",
    "Unsynced", "Writer", "decode", "encode", "key_of", "kind_of", "read_log",
]  # fmt: skip

LOOK_OVER = 16 << 20
"""Bytes of logs that a quick look reads, about."""


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Logs:
    """The logs of all sessions below a data folder. Threads may share it."""

    def __init__(
        self,
        data_dir: str,
        *,
        clock: Callable[[], int] = now,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = f"{data_dir}/log"
        self.index = Index(self.folder, f"{data_dir}/sessions_index.json", clock=clock)
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._committer = Committer()

    def close(self) -> None:
        """Make durable what was written. Writers are closed by those who opened them."""
        self._committer.close()

    # -- writing -----------------------------------------------------------------------------------

    def open(self, session: str = "", *, agent: str = "", provider_session_id: str = "") -> Writer:
        """Open the log of a session for writing; makes it where there is none.

        ``session`` is the wrapper session id (empty: a new one), ``provider_session_id`` the native
        id if it is known already. A torn end is cut; what was cut is kept, and an event says so.
        Raises UsageError for what is no id, WriteError.
        """
        name = durable.safe_id(session) if session else durable.new_id()
        log = self._log(name, agent)
        log.open()
        known = self.index.get(name)
        logged = known or self.index.derived(name)
        changes: dict[str, Any] = {}
        if agent and not logged.provider:
            changes["provider"] = agent
        if provider_session_id:
            changes["provider_session_id"] = provider_session_id
        if not logged.started_at:
            changes["started_at"] = rfc3339(self._clock())  # until the first event says it better
        logged = msgspec.structs.replace(logged, **changes)
        writer = Writer(log, self.index, logged, self._clock, known)
        writer.keep()
        return writer

    def append(self, session: str, event: Event, *, agent: str = "") -> Receipt:
        """Write one event into the log of a session that others may be writing, durable.

        Makes the log where there is none; the index is left alone.
        """
        name = durable.safe_id(session)
        with self._log(name, agent) as log:
            now = self._clock()
            at = now if event.at is None else event.at
            known = self.index.get(name) or Logged(wrapper_session_id=name)
            event = msgspec.structs.replace(
                event,
                at=at,
                agent=event.agent or agent or known.provider,
                origin="wrapper",
                completeness="full",
            )
            native = known.provider_session_id or ""
            return Receipt(log.append(encode(event, log=name, now=now, session=native)))

    def _log(self, name: str, agent: str) -> Log:
        def notice(size: int, kept: str) -> bytes:
            said = f"log recovered: {size} bytes of an unfinished record were cut off"
            event = ParseWarning(
                agent=agent, at=self._clock(), origin="wrapper", message=said, reason="damaged"
            )
            extra = {"kind": "log_recovered", "bytes": size, "saved": kept}
            return encode(event, log=name, now=self._clock(), extra=extra)

        return Log(
            self._folder(name),
            segment_bytes=self._segment_bytes,
            committer=self._committer,
            notice=notice,
        )

    def _folder(self, name: str) -> str:
        return f"{self.folder}/sessions/{name}"

    # -- reading -----------------------------------------------------------------------------------

    def sessions(self) -> list[Logged]:
        """All logged sessions, the one that began last first. Raises SourceError, WriteError."""
        known = self.index.all()
        for name, logged in known.items():
            if not logged.ended_at and not self.running(name):
                with suppress(SourceError):
                    if last_number(self._folder(name)) != logged.events:
                        known[name] = self.index.renew(logged)  # its writer died in between
        return sorted(known.values(), key=lambda s: s.started_at, reverse=True)

    def find(self, text: str) -> Logged:
        """One logged session by its wrapper or native id, the beginning of one, or ``latest``.

        Raises NotFound, or UsageError when the text may mean several.
        """
        known = self.sessions()
        if text == "latest":
            found = known[:1]
        else:
            found = [s for s in known if text in (s.wrapper_session_id, s.session)]
            found = found or [
                s for s in known
                if text and any(name.startswith(text) for name in
                       (s.wrapper_session_id, s.session, s.provider_session_id or ""))
            ]  # fmt: skip
        if not found:
            raise NotFound(f"no logged session {text!r}", hint="decklog log ls lists them")
        if len(found) > 1:
            some = ", ".join(s.wrapper_session_id for s in found[:8])
            raise UsageError(f"{text!r} may mean several sessions: {some}", hint="write more of it")
        return found[0]

    def read(self, session: str, after: int = 0) -> Iterator[Entry]:
        """The events of a log with numbers above ``after``. What is damaged is left out; `holes`
        tells of it. Raises NotFound, SourceError."""
        return entries(self._existing(session), after)

    def holes(self, session: str) -> Iterator[Hole]:
        """Everything in a log that is not there as it was written. Raises NotFound, SourceError."""
        logged = self.index.get(session)
        return mending.verify(self._existing(session), logged.events if logged else 0)

    def look_over(self, most: int = LOOK_OVER) -> dict[str, Any]:
        """A quick look for damage: the logs that were made or rotated last, up to ``most`` bytes.

        ``logs`` there are, ``looked_at``, names of those that are ``damaged``. Raises SourceError.
        """
        found = []
        for name in self.index.names():
            with suppress(FileNotFoundError):
                found.append((os.stat(self._folder(name)).st_mtime_ns, name))
        looked_at = 0
        damaged = []
        for _, name in sorted(found, reverse=True):
            most -= mending.size(self._folder(name))
            if most < 0 and looked_at:
                break
            looked_at += 1
            if any(hole.reason != "lost" for hole in self.holes(name)):
                damaged.append(name)
        return {"logs": len(found), "looked_at": looked_at, "damaged": damaged}

    def tail(self, session: str, after: int = 0) -> Tail:
        """A place in a log that moves on as it grows; the log need not be there yet."""
        return Tail(self._folder(durable.safe_id(session)), after)

    def follow(
        self,
        session: str,
        after: int = 0,
        *,
        pause: float = 0.05,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Entry]:
        """The events of a log, those that are there and those to come, until ``stop`` says so."""
        tail = self.tail(session, after)
        while True:
            stopping = stop()
            for item in tail.poll():
                if isinstance(item, Record):
                    with suppress(msgspec.MsgspecError):
                        yield decode(item.line)
            if stopping:
                return
            time.sleep(pause)

    def running(self, session: str) -> bool:
        """Whether a process is recording the session: it holds the lock of the last heartbeat."""
        try:
            fd = os.open(f"{self._folder(durable.safe_id(session))}/{ALIVE}", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def last_beat(self, session: str) -> dict[str, Any] | None:
        """The last heartbeat: ts, pid, beats, interval_secs; None where there is none."""
        try:
            with open(f"{self._folder(durable.safe_id(session))}/{ALIVE}", "rb") as file:
                beat: dict[str, Any] = msgspec.json.decode(file.read(), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError):
            return None
        return beat

    # -- looking after them ------------------------------------------------------------------------

    def repair(self, session: str) -> list[str]:
        """Mend a log: a torn end is cut, what is damaged gets a mark in its place. No sound record
        is lost; gives the files that keep the bytes as they were. Raises NotFound, WriteError."""
        folder = self._existing(session)
        before = set(os.listdir(folder))
        with self._log(session, "") as log:
            log.open()
            log.tidy()
        kept = mending.repair(folder)
        durable.sweep(folder, self._clock() / 1000)
        torn = (f"{folder}/{n}" for n in set(os.listdir(folder)) - before if ".torn-" in n)
        self.index.put(self.index.derived(session))
        return sorted((*torn, *kept))

    def end_abandoned(self) -> list[str]:
        """Give an end to sessions whose recorder died; gives their names. Raises WriteError."""
        ended = []
        for logged in self.sessions():
            name = logged.wrapper_session_id
            if not logged.ended_at and self.last_beat(name) and not self.running(name):
                with self.open(name) as writer:
                    writer.recall()  # it may have died between the log's end and the index
                    if writer.finish(False, "it was recorded no longer"):
                        ended.append(name)
        return ended

    def old(self, before: int) -> list[tuple[Logged, int]]:
        """Sessions that ended before a time (milliseconds) and nobody records; with their bytes."""
        until = rfc3339(before)
        return [
            (s, mending.size(self._folder(s.wrapper_session_id)))
            for s in self.sessions()
            if s.ended_at and s.ended_at < until and not self.running(s.wrapper_session_id)
        ]

    def remove(self, *sessions: str) -> None:
        """Remove logs for good. Raises NotFound, WriteError."""
        folders = [self._existing(s) for s in sessions]
        for folder in folders:
            mending.remove(folder, f"{self.folder}/trash")
        self.index.remove(*sessions)

    def _existing(self, session: str) -> str:
        folder = self._folder(durable.safe_id(session))
        if not latest(folder):
            raise NotFound(f"no log {session!r}", hint="decklog log ls lists them")
        return folder
