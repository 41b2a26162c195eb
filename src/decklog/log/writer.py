"""Writing one session's log: events in, with everything around them kept up."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from decklog.durable import failed
from decklog.errors import DecklogError
from decklog.log import reading, wire
from decklog.log.appending import Log, Unsynced
from decklog.log.index import WORST, Index, Logged, folded, read_back
from decklog.log.subscribing import Subscription
from decklog.log.wire import Entry
from decklog.model import Completeness, Event, Heartbeat, Origin, SessionEnded

REMEMBERED = 4096
"""Events by whose keys repetitions are told."""
ALIVE = "alive"
"""File that holds the last heartbeat."""
_BEAT = 160
"""Its length."""


class Receipt(Struct, frozen=True):
    """What became of an event."""

    seq: int
    """Its number; 0 for a heartbeat, which has none."""
    new: bool = True
    """False when the same event (by `wire.key_of`) was there already, under this number."""


class Writer:
    """One session's log, open for writing. Made by `decklog.log.Logs.open`.

    Threads may share it. Methods raise WriteError when the disk refuses; the event is not in the
    log then. Trouble with the index is made good with the next change.
    """

    def __init__(
        self,
        log: Log,
        index: Index,
        logged: Logged,
        clock: Callable[[], int],
        kept: Logged | None = None,
    ) -> None:
        self.log = log
        self.logged = logged
        """What the index says, or will say, of this session."""
        self._index = index
        self._clock = clock
        self._one = threading.RLock()
        self._seen: dict[str, int] = {}
        self._memory = REMEMBERED
        self._subscriptions: list[Subscription] = []
        self._alive = -1
        self._beats = 0
        self._kept = kept

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The wrapper session id: name of the log."""
        return self.logged.wrapper_session_id

    # -- events ------------------------------------------------------------------------------------

    def emit(
        self, event: Event, *, durable: bool = False, extra: dict[str, Any] | None = None
    ) -> Receipt:
        """Write one event; see `emit_all`. ``extra`` are further keys of its line."""
        return self.emit_all([event], durable=durable, extra=extra)[0]

    def emit_all(
        self,
        events: Iterable[Event],
        *,
        durable: bool = False,
        extra: dict[str, Any] | None = None,
    ) -> list[Receipt]:
        """Write events next to each other, all or none; one that was written before only once.

        An event of the wrapper without a time is of now. An event that names no session is of the
        current native one. None is told to be more complete than the log is (`set_completeness`).
        With ``durable`` they are on disk when this returns, otherwise a quarter of a second later.
        Where only that failed they are in the log, and may be given again without coming twice.
        """
        with self._one:
            fresh: dict[str, Event] = {}
            told: list[tuple[str, bool]] = []
            for n, event in enumerate(events):
                if isinstance(event, Heartbeat):
                    self.heartbeat(event.interval_secs)
                    told.append(("", False))
                    continue
                key = wire.key_of(event) or f"#{n}"  # without a key it is like no other
                new = key not in fresh and key not in self._seen
                told.append((key, new))
                if new:
                    fresh[key] = event
            written, late = self._append(fresh.values(), durable, extra)
            numbers = dict(zip(fresh, written, strict=True))
            self._remember(numbers)
            if late:
                raise late
            if durable and len(fresh) < len(told):
                self.log.sync()  # what was there already may not have been safe
            return [Receipt(numbers.get(k) or self._seen.get(k, 0), new) for k, new in told]

    def _append(
        self, events: Collection[Event], durable: bool, extra: dict[str, Any] | None
    ) -> tuple[list[int], Unsynced | None]:
        if not events:
            return [], None
        now = self._clock()
        wanted = [self._complete(e, now) for e in events]
        native = self.logged.provider_session_id or ""
        bodies = [wire.encode(e, log=self.id, now=now, session=native, extra=extra) for e in wanted]
        late = None
        try:
            numbers = self.log.append_all(bodies, durable=durable)
        except Unsynced as error:
            numbers, late = error.numbers, error
        code = (extra or {}).get("exit_code")
        for seq, e in zip(numbers, wanted, strict=True):
            ts = wire.rfc3339(now if e.at is None else e.at)
            self.logged = folded(self.logged, e, seq=seq, ts=ts, exit_code=code)
        self.keep()
        for subscription in self._subscriptions:
            subscription.wake()
        return numbers, late

    def _complete(self, event: Event, now: int) -> Event:
        """The event with what it leaves to the log."""
        changes: dict[str, Any] = {}
        if event.at is None and event.origin == "wrapper":
            changes["at"] = now
        if not event.agent:
            changes["agent"] = self.logged.provider
        if WORST.index(event.completeness) < WORST.index(self.logged.completeness):
            changes["completeness"] = self.logged.completeness
        return msgspec.structs.replace(event, **changes) if changes else event

    def _remember(self, numbers: dict[str, int]) -> None:
        self._seen.update((key, seq) for key, seq in numbers.items() if key[0] != "#")
        while len(self._seen) > self._memory:
            del self._seen[next(iter(self._seen))]

    def recall(self) -> int:
        """Read all of the log, so that no event of it is written twice; gives how many there are.

        Without this, repetitions are told among the last 4,096 events written here.
        """
        with self._one:
            self._memory = sys.maxsize
            known = self.logged
            self.logged = Logged(
                wrapper_session_id=self.id,
                provider=known.provider,
                provider_session_id=known.provider_session_id,
                started_at=known.started_at,
                source_paths=known.source_paths,
            )
            for entry in self.read():
                self.logged = read_back(self.logged, entry)
                if key := wire.key_of(entry.event):
                    self._seen[key] = entry.seq
            self.keep()
            return len(self._seen)

    def read(self, after: int = 0) -> Iterator[Entry]:
        """The events that are in the log now. Raises SourceError."""
        return entries(self.log.folder, after)

    # -- what is known of the session --------------------------------------------------------------

    def set_provider_session_id(self, native: str) -> None:
        """The agent has told its own id of the session: events that name none are of it now."""
        self._change(provider_session_id=native or None)

    def set_completeness(self, completeness: Completeness) -> None:
        """Lower what the log is said to be; it never rises again."""
        if WORST.index(completeness) > WORST.index(self.logged.completeness):
            self._change(completeness=completeness)

    def add_source_path(self, path: str) -> None:
        """A source that the events come from."""
        if path not in self.logged.source_paths:
            self._change(source_paths=(*self.logged.source_paths, path))

    def _change(self, **changes: Any) -> None:
        with self._one:
            self.logged = msgspec.structs.replace(self.logged, **changes)
            self.keep()

    def keep(self, *, closing: bool = False) -> None:
        """Bring the index up to date, if anything changed but the number of events (unless
        ``closing``)."""
        wanted = msgspec.structs.replace(self.logged, log_path=self.log.path)
        if self._kept is not None:
            seen = wanted.events if closing else self._kept.events
            if msgspec.structs.replace(wanted, events=seen) == self._kept:
                return
        self.logged = wanted
        try:
            self._index.put(wanted)
            self._kept = wanted
        except DecklogError:  # derived: the log has it all, and the next change tries again
            self._kept = None

    # -- signs of life -----------------------------------------------------------------------------

    def heartbeat(self, interval: int | None = None) -> None:
        """Say that the session is being watched over, every ``interval`` seconds.

        Not an event: it stands in a small file beside the log, which is also locked from the first
        heartbeat until `finish` or `close`, or the end of the process, however that comes.
        """
        with self._one:
            self._beats += 1
            sign = {"ts": wire.rfc3339(self._clock()), "pid": os.getpid(), "beats": self._beats}
            text = msgspec.json.encode({**sign, "interval_secs": interval})
            try:
                if self._alive < 0:
                    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                    self._alive = os.open(f"{self.log.folder}/{ALIVE}", flags, 0o600)
                    fcntl.flock(self._alive, fcntl.LOCK_SH)
                os.pwrite(self._alive, text.ljust(_BEAT) + b"\n", 0)
            except OSError as error:
                raise failed(f"{self.log.folder}/{ALIVE}", error) from None

    def finish(
        self,
        success: bool = True,
        error: str | None = None,
        *,
        exit_code: int | None = None,
        at: int | None = None,
    ) -> bool:
        """Write `session_ended`, durable, unless the session has ended already; False then.
        Sealed segments are compressed: nobody may come to append any more.

        ``at`` is for a session that ended in the past: if it went on since its last end, it ends
        once more. Raises WriteError; it may be called again.
        """
        with self._one:
            known = self._index.get(self.id)
            ended_at = self.logged.ended_at or (known and known.ended_at)
            if ended_at and (at is None or wire.rfc3339(at) <= ended_at):
                self._release()
                return False
            origin: Origin = "wrapper" if at is None else "backfill"
            ended = SessionEnded(at=at, success=success, error=error, origin=origin)
            self.emit(ended, durable=True, extra={"exit_code": exit_code})
            self._release()
        self.log.tidy()
        return True

    def _release(self) -> None:
        if self._alive >= 0:
            with suppress(OSError):
                os.unlink(f"{self.log.folder}/{ALIVE}")
            os.close(self._alive)
            self._alive = -1

    # -- callbacks ---------------------------------------------------------------------------------

    def subscribe(
        self, callback: Callable[[Entry], object], after: int | None = None
    ) -> Subscription:
        """Have each further event given to a callback, in order, on a thread of its own.

        It gets what is in the log, whoever wrote it, from behind ``after`` (now) on. It may call
        this writer; one that is slow or fails holds up neither the writer nor other callbacks.
        """
        with self._one:
            tail = reading.Tail(self.log.folder, self.log.open() if after is None else after)
            subscription = Subscription(tail, callback)
            self._subscriptions = [s for s in self._subscriptions if s.running] + [subscription]
        return subscription

    def close(self) -> None:
        """Make all durable, give callbacks what they have not had, and let go.

        The session has not ended by that: see `finish`.
        """
        try:
            self.log.close()
        finally:
            for subscription in self._subscriptions:
                subscription.close()
            with self._one:
                self.keep(closing=True)
                if self._alive >= 0:
                    os.close(self._alive)
                    self._alive = -1


def entries(folder: str, after: int = 0) -> Iterator[Entry]:
    """The events of a log; what is damaged is left out (`reading.read` tells of it)."""
    for item in reading.read(folder, after):
        if isinstance(item, reading.Record):
            with suppress(msgspec.MsgspecError):
                yield wire.decode(item.line)
