"""Going on after a usage limit: what is to be resumed, when, and what became of it.

``limits.jsonl`` in the data folder is only appended to: a resumption is scheduled, then cancelled,
or started and completed. What is scheduled stands there durably before anybody waits for it, so
that a crash loses none; that it was started, before the agent is: after a crash nobody knows
whether the agent was asked, and it is not asked again by itself. Who waits or resumes holds the
lock of it, so that two never resume the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from decklog import durable
from decklog.errors import Busy, NotFound

FILE = "limits.jsonl"
FOLDER = "limits"
FALLBACK_MS = 3_600_000
"""Waited where nothing says when the limit ends."""
CAP_MS = 24 * 3_600_000
JITTER_MS = 30_000
"""Most that is added, so that not all go on at once."""
ATTEMPTS = 12
MESSAGE = "Continue"


class Pending(Struct, frozen=True, kw_only=True):
    """One resumption: of which session, when, and how often it was tried."""

    id: str
    """Of the incident."""
    log: str
    """The log of the run."""
    agent: str
    native: str
    cwd: str = ""
    args: tuple[str, ...] = ()
    """Further arguments of the run."""
    scheduled_at: int = 0
    resume_at: int = 0
    """Milliseconds, UTC."""
    attempt: int = 1
    fallback: bool = False
    """True where nothing said when the limit ends."""
    scope: str = ""
    state: str = "scheduled"
    """``scheduled``, ``started``, ``completed``, ``cancelled`` or ``failed``."""
    error: str = ""
    waiting: bool = False
    """Whether a process waits for it, or resumes it, now; not kept in the file."""


def resume_at(reset: int | None, now: int, jitter: float | None = None) -> int:
    """When to go on: at the reset, in an hour where none is known, a little later so that not all
    go on at once, and never more than a day from now."""
    spread = int(JITTER_MS * (random.random() if jitter is None else jitter))
    wanted = max(now, now + FALLBACK_MS if reset is None else reset)
    return min(wanted + spread, now + CAP_MS)


class Limits:
    """The resumptions of one data folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = os.path.join(folder, FILE)

    def put(self, pending: Pending) -> None:
        """Write what is scheduled, or became of it: durable then. Raises WriteError."""
        record = msgspec.json.encode(msgspec.structs.replace(pending, waiting=False)) + b"\n"
        durable.private_folder(self.folder)
        with durable.Appender(self.path) as file, file.locked() as end:
            if end and os.pread(file.fd, 1, end - 1) != b"\n":
                record = b"\n" + record  # after one that a crash tore
            file.append(record)
            file.sync()

    def all(self) -> list[Pending]:
        """Every resumption as it stands now, the ones scheduled last first."""
        found: dict[str, Pending] = {}
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    try:
                        one = msgspec.json.decode(line, type=Pending)
                    except msgspec.MsgspecError:
                        continue  # torn by a crash: nobody was told that it is kept
                    found[one.id] = one
        except FileNotFoundError:
            return []
        told = [msgspec.structs.replace(p, waiting=self._is_waited_for(p)) for p in found.values()]
        return sorted(told, key=lambda p: -p.scheduled_at)

    def get(self, text: str) -> Pending:
        """One by its id or the beginning of it. Raises NotFound."""
        found = [p for p in self.all() if text and p.id.startswith(text)]
        if len(found) != 1:
            raise NotFound(f"no resumption {text!r}", hint="decklog log limits lists them")
        return found[0]

    def cancel(self, text: str) -> Pending:
        """Give one up; who waits for it sees so within a second."""
        pending = self.get(text)
        if pending.state != "scheduled":
            return pending
        pending = msgspec.structs.replace(pending, state="cancelled")
        self.put(pending)
        return pending

    @contextmanager
    def waiting(self, pending: Pending) -> Iterator[None]:
        """Be the one that waits for it. Raises Busy where another process does."""
        folder = os.path.join(self.folder, FOLDER)
        durable.private_folder(folder)
        path = os.path.join(folder, durable.safe_id(pending.id))
        fd = durable.Lock(path).acquire(0)
        try:
            yield
        finally:
            os.close(fd)

    def _is_waited_for(self, pending: Pending) -> bool:
        if pending.state not in ("scheduled", "started"):
            return False
        try:
            with self.waiting(pending):
                return False
        except Busy:
            return True
