"""Appending to a log: one sequence without gaps, in a folder of segments.

Several processes and threads may append to one log. Each record is one write under the lock of the
segment, which also gives it its number. *Written* survives the end of the process, *durable* the
end of the machine; one fsync makes durable whatever was written before it (group commit).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from decklog import durable
from decklog.durable import Appender
from decklog.errors import DecklogError, NotFound, SourceError, StoreTooNew, WriteError
from decklog.log import lines, segments
from decklog.log.committing import Committer
from decklog.log.ends import End, last_sound, last_walked

SEGMENT_BYTES = 8 << 20
"""Size at which a segment is sealed and the next one begun."""
UNSYNCED = 256
"""Records that may be written and not yet durable; who writes one more waits for the disk."""
FRAMING = 48
"""Bytes that number, checksum and newline add to a body, at most."""

Notice = Callable[[int, str], bytes]
"""(bytes cut off a torn end, file that keeps them) to the body of a record that says so."""


def plain_notice(size: int, kept: str) -> bytes:
    return msgspec.json.encode({"type": "log_recovered", "bytes": size, "saved": kept})


class Unsynced(WriteError):
    """Records were written and have their ``numbers``, but the disk did not confirm them.

    They are in the log, and the next sync tries to make them durable.
    """

    def __init__(self, error: WriteError, numbers: list[int]) -> None:
        super().__init__(f"written, but not safe yet: {error}", hint=error.hint)
        self.retryable, self.errno, self.numbers = error.retryable, error.errno, numbers


class Log:
    """One log, open for appending.

    >>> with Log(folder) as log:
    ...     log.append(b'{"type":"user_event","level":"info","message":"hello"}')
    1

    A body is a JSON object that is not empty and has no key ``seq`` or ``crc``. Methods raise
    WriteError for what the disk refuses: nothing of that append is in the log then, and the next
    one tries anew. `Unsynced` is the one exception: its records are there. A log that a newer
    decklog has written to is not touched (StoreTooNew).
    """

    def __init__(
        self,
        folder: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        committer: Committer | None = None,
        notice: Notice = plain_notice,
    ) -> None:
        self.folder = folder
        self.trouble = ""
        """Why the last write or fsync failed; empty when the one after it went well."""
        self.failures = 0
        """Failed fsyncs. Each has cost a segment, and no record."""
        self._segment_bytes = segment_bytes
        self._committer = committer
        self._notice = notice
        self._state = threading.Condition(threading.Lock())
        self._flushing = False
        self._dead = False
        self._file: Appender | None = None
        self._retired: list[Appender] = []
        self._first = 1
        self._end = End(0, 0)
        self._durable = 0
        self._pending: list[tuple[int, bytes]] = []
        self._notices: list[bytes] = []

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last(self) -> int:
        """Number of the last record that is known here; others may have written more."""
        return self._end.last

    @property
    def durable(self) -> int:
        """Number up to which all records are known to be on disk."""
        return self._durable

    @property
    def path(self) -> str:
        """The segment that is written to."""
        return segments.path(self.folder, self._first)

    def open(self) -> int:
        """Open or make the log now, and cut a torn end; gives the number of the last record.

        Reads a few KiB at the end of the last segment, however long the log is.
        """
        with self._state, self._locked() as file:
            self._put(file, [])
        return self._end.last

    def append(self, body: bytes, *, durable: bool = True) -> int:
        """Append one record; gives its number. See `append_all`."""
        return self.append_all([body], durable=durable)[0]

    def append_all(self, bodies: Iterable[bytes], *, durable: bool = True) -> list[int]:
        """Append records next to each other, all or none; gives their numbers.

        With ``durable`` they are on disk when this returns. Otherwise they are written, and become
        durable within a quarter of a second where the log has a `Committer`, else with the next
        `sync`, or when 256 of them have gathered.
        """
        wanted = list(bodies)
        with self._state:
            try:
                with self._locked(sum(map(len, wanted)) + FRAMING * len(wanted)) as file:
                    numbers = self._put(file, wanted)
            except WriteError as error:
                self.trouble = str(error)
                raise
            try:
                if durable or len(self._pending) >= UNSYNCED:
                    self._sync(self._end.last)
            except WriteError as error:
                self.trouble = str(error)
                if durable:
                    raise Unsynced(error, numbers) from None
        if not durable and self._committer:
            self._committer.due(self)
        return numbers

    def sync(self) -> int:
        """Wait until all that was appended here is on disk; gives the last number."""
        with self._state:
            self._sync(self._end.last if self._pending or self._dead else self._durable)
        return self._end.last

    def settle(self) -> None:
        """`sync`, compress what is sealed, and hold no descriptor until the next append."""
        try:
            self.sync()
            self.tidy()
        except DecklogError as error:
            self.trouble = str(error)
            return
        with self._state:
            if not self._pending:
                self._retire()
            self._close_retired()

    def tidy(self) -> None:
        """Compress sealed segments that are not. What fails now is done another time."""
        for segment in segments.listed(self.folder)[:-1]:
            if not segment.packed:
                with suppress(WriteError, SourceError):
                    segments.pack(segment)

    def close(self) -> None:
        """`sync`, and close. It opens by itself for a further append."""
        try:
            self.sync()
        finally:
            with self._state:
                self._retire()
                self._close_retired()

    # -- the end of the last segment, under its lock -----------------------------------------------

    @contextmanager
    def _locked(self, room: int = 0) -> Iterator[Appender]:
        """Hold the lock of the last segment, knowing its last record; ``room`` bytes fit in it."""
        if self._dead:
            self._begin_anew()
        while True:
            self._close_retired()
            file = self._file or self._reopen()
            with file.locked() as size:
                if self._is_last(file, size):
                    full = self._end.offset and self._end.offset + room > self._segment_bytes
                    if not full or self._flushing:  # it grows a little longer
                        yield file
                        return
                    self._rotate(file)
            while self._flushing:
                self._state.wait()

    def _reopen(self) -> Appender:
        """The last segment; makes the first one where there is none."""
        found = segments.listed(self.folder)
        if not found:
            _make_folder(self.folder)
            self._durable, self._pending = 0, []  # what there was is removed
            return self._enter(Appender(segments.path(self.folder, 1)), End(0, 0))
        last = found[-1]
        if last.packed:
            return self._make(last_walked(last))
        known = self._end if last.first == self._first else End(0, last.first - 1)
        try:
            return self._enter(Appender(last.path, create=False), known, last.first)
        except NotFound:  # compressed since
            return self._reopen()

    def _make(self, last: int) -> Appender:
        """The segment that follows the record ``last``."""
        path = segments.path(self.folder, last + 1)
        try:
            made = Appender(path, create=False)
        except NotFound:
            if os.path.exists(f"{path}.zst"):  # a listing missed it while it was compressed
                return self._reopen()
            made = Appender(path)
        return self._enter(made, End(0, last), last + 1)

    def _enter(self, file: Appender, end: End, first: int = 1) -> Appender:
        self._retire()
        self._file, self._first, self._end = file, first, end
        self._durable = max(self._durable, first - 1)
        return file

    def _retire(self) -> None:
        if self._file:
            self._retired.append(self._file)
            self._file = None

    def _close_retired(self) -> None:
        if not self._flushing:
            while self._retired:
                self._retired.pop().close()

    def _is_last(self, file: Appender, size: int) -> bool:
        """Look at what others did to the segment; False when another one is the last now."""
        try:
            if not os.fstat(file.fd).st_nlink:  # removed, compressed or written anew
                self._forget()
                self._retire()
                return False
            if size < self._end.offset:
                self._forget()
            if size != self._end.offset:
                end = last_sound(file.fd, size, self._end)
                if end.version > lines.FORMAT:
                    raise StoreTooNew(f"{file.path} was written by a newer decklog")
                self._end = self._mend(file, end, size)
        except OSError as error:
            raise durable.failed(file.path, error) from None
        if not self._end.sealed:
            return True
        if self._pending:  # the footer is another's: what is ours may not be on disk yet
            if self._flushing:
                return False
            self._flush(file)
        if segments.listed(self.folder)[-1].first > self._first:
            self._retire()
        else:
            self._make(self._end.last)
        return False

    def _forget(self) -> None:
        """Nothing is known of the segment any more."""
        self._end = End(0, self._first - 1)
        self._durable = min(self._durable, self._first - 1)

    def _mend(self, file: Appender, end: End, size: int) -> End:
        """Cut what stands behind the last whole record, and keep it."""
        if end.offset < size:
            try:
                kept = durable.cut(file.fd, file.path, end.offset)
            except WriteError:
                self._dead = self._dead or bool(self._pending)  # it may have been the fsync
                self._retire()
                raise
            self._notices.append(self._notice(size - end.offset, os.path.basename(kept)))
        if end.unended:
            file.append(b"\n")
            end = End(end.offset + 1, end.last, end.sealed)
        return end

    def _put(self, file: Appender, bodies: list[bytes]) -> list[int]:
        """Write records, all or none."""
        wanted = self._notices + bodies
        first = self._end.last + 1
        made = [lines.framed("seq", n, body) for n, body in enumerate(wanted, first)]
        start = self._end.offset
        try:
            for line in made:
                file.append(line)
        except WriteError:
            file.cut_back(start)
            if file.dead:
                self._retire()
            raise
        self._pending += enumerate(made, first)
        self._end = End(start + sum(map(len, made)), first + len(made) - 1)
        first += len(self._notices)
        self._notices = []
        return list(range(first, first + len(bodies)))

    # -- rotation and fsync ------------------------------------------------------------------------

    def _rotate(self, file: Appender) -> None:
        """Seal the segment and begin the next one."""
        self._flush(file)
        file.append(seal(self._end.last, _whole(file)))
        self._flush(file)
        self._make(self._end.last)

    def _flush(self, file: Appender) -> None:
        """fsync, while nobody else does."""
        try:
            file.sync()
        except WriteError:
            self._dead = True
            self.failures += 1
            raise
        self._settled(self._end.last)

    def _settled(self, last: int) -> None:
        self._durable = max(self._durable, last)
        self._pending = [p for p in self._pending if p[0] > last]
        self.trouble = ""

    def _sync(self, goal: int) -> None:
        """Wait for the disk: one of all who wait calls fsync, and others may write meanwhile."""
        while self._durable < goal:
            if self._flushing:
                self._state.wait()
            elif self._dead or self._file is None:
                with self._locked() as file:
                    if self._durable < goal:
                        self._flush(file)
                return
            else:
                self._sync_unlocked(self._file, self._end.last)

    def _sync_unlocked(self, file: Appender, last: int) -> None:
        self._flushing = True
        self._state.release()
        failed = None
        try:
            file.sync()
        except WriteError as error:
            failed = error
        finally:
            self._state.acquire()
            self._flushing = False
            self._state.notify_all()
        if failed is None:
            self._settled(last)
            return
        self._dead = True
        self.failures += 1
        self.trouble = str(failed)

    def _begin_anew(self) -> None:
        """After a failed fsync: all that may not be on disk goes into a segment of its own.

        The kernel may have dropped the pages and called them clean; a second fsync of the same file
        would succeed without them. In the old segment the records stay readable until the new one,
        which is named after the first of them, takes their place at once.
        """
        self._retire()
        try:
            old = Appender(self.path, create=False)
        except NotFound:  # another process did this for all of us
            self._dead = False
            return
        with old, old.locked() as size:
            end = last_sound(old.fd, size, End(0, self._first - 1))
            if not end.sealed:
                self._write_again(old, end)
        self._dead = False

    def _write_again(self, old: Appender, end: End) -> None:
        data = _whole(old)[: end.offset]
        again = {
            number: line + b"\n"
            for line in lines.whole(data)
            for head, number in [lines.number(line)]
            if head == "seq" and number > self._durable
        }
        again |= self._pending  # what is ours need not be read back
        last = max(again, default=end.last)
        first = self._durable + 1
        new = segments.path(self.folder, first)
        if new != old.path:
            old.append(seal(end.last, data))
        data = b"".join(again[number] for number in sorted(again))
        durable.replace(new, data)
        self._enter(Appender(new, create=False), End(len(data), last), first)
        self._settled(last)


def seal(last: int, data: bytes) -> bytes:
    """The footer of a segment that holds ``data``, up to the record ``last``."""
    records = data.count(b'\n{"seq":') + data.startswith(b'{"seq":')
    return lines.footer(last, records, data)


def _whole(file: Appender) -> bytes:
    data = b""
    while more := os.pread(file.fd, 1 << 20, len(data)):
        data += more
    return data


def _make_folder(folder: str) -> None:
    """Make the folder of a log, so that it is durable itself."""
    missing = []
    parent = folder
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for made in reversed(missing):
        durable.private_folder(made)
    for made in missing or [folder]:
        durable.sync_folder(os.path.dirname(made))
