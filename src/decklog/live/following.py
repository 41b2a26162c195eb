"""Following while it happens: watch, read what is new, tell it to everyone who listens.

One process for each data folder watches (it holds ``watch.lock``); the others follow what it
writes to the store, and one of them takes its place when it ends, however it ends. All of them
tell the same: what the journal of the store says, in its order and with its numbers.

Listeners never hold anything up: the newest changes are kept for all of them together, and one
that is slower reads what it missed from the journal.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from decklog import agents, databases, durable, sources, sync
from decklog.errors import (
    Busy,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    WriteError,
)
from decklog.live import hints
from decklog.live.flushing import Flusher
from decklog.live.replay import Replay
from decklog.live.ring import Ring
from decklog.live.watching import Changed, Watcher
from decklog.search.indexing import Shards
from decklog.store import text
from decklog.sync.plan import News

if TYPE_CHECKING:
    from decklog.archive import Archive
    from decklog.sync import Lookout

LOCK = "watch.lock"
SETTLE_AFTER, SETTLE_SHARE = 0.25, 10
"""Sessions are renewed when nothing came for so many seconds, or (so that a busy time does not
put it off for ever) when so many times what it took last has gone by."""
RETRY_FIRST, RETRY_MOST = 1.0, 60.0
"""Seconds until a source that failed is tried again: doubled each time."""
QUIET = 2.0
"""Seconds for which a database that a reader would disturb has to be left alone by its writer."""
NOT_ALL = "not all"
"""Mark of a store that lacks something that is known to be there."""
FOLLOW = 1.0
"""Seconds after which one who follows looks at the store, told or not."""


class Live:
    """The thread that watches or follows, and tells `ring`.

    ``open_store`` opens a store for the thread; ``catch_up`` brings one up to date with a survey
    just made (as `decklog.sync.run` takes it); ``archive`` leaves flushing for later.
    """

    def __init__(
        self,
        folder: str,
        look: Lookout,
        open_store: Callable[[], Any],
        catch_up: Callable[[Any, Any], Any],
        day: Callable[[int], str],
        *,
        archive: Archive | None = None,
        system: Callable[[], hints.Hints | None] = hints.best,
    ) -> None:
        self.folder, self.look, self.day = folder, look, day
        self.open_store, self.catch_up, self.system = open_store, catch_up, system
        self.archive = archive
        self.roots = [r[1:] for r in look.roots]
        self.ring = Ring()
        self.watcher: Watcher | None = None
        self.rounds = 0
        """Times something was read."""
        self.failing: dict[str, tuple[float, float]] = {}
        """Files that failed: when to try again, and how long was waited before."""
        self.put_off: set[str] = set()
        """Files that changed and are read later."""
        self._opened: Shards | None = None
        self._flusher: Flusher | None = None
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._hints: hints.Hints | None = None
        self._thread = threading.Thread(target=self._run, name="decklog-live", daemon=True)

    def start(self) -> None:
        """Begin, and come back when the store is up to date. Raises what kept it from that."""
        self._thread.start()
        self._ready.wait()
        if self.ring.error is not None:
            raise self.ring.error

    def stop(self) -> None:
        self._stop.set()
        self.nudge()
        self._thread.join()

    def nudge(self) -> None:
        """Tell what others wrote, now."""
        system = self._hints
        if system is not None:
            system.wake()

    @property
    def watches(self) -> bool:
        """True when this is the process that watches for all."""
        return self.watcher is not None

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def failure(self) -> BaseException | None:
        """What ended it before its time."""
        return self.ring.error

    def _run(self) -> None:
        try:
            self.store = self.open_store()
            try:
                self.replay = Replay(self.store)
                self._go_on()
            finally:
                self.store.close()
                if self.archive is not None:
                    self.archive.close()
        except BaseException as error:
            self.ring.close(error)
        finally:
            self.ring.close()
            self._ready.set()

    def _go_on(self) -> None:
        lock = durable.Lock(os.path.join(self.folder, LOCK))
        while not self._stop.is_set():
            try:
                held = lock.acquire(0)
            except Busy:
                self._follow(lock)
                continue
            try:
                self._watch()
            finally:
                os.close(held)

    # -- following one who watches ---------------------------------------------------------------

    def _follow(self, lock: durable.Lock) -> None:
        """Until the one who watches is gone."""
        self._hints = self.system()
        try:
            if self._hints is not None:
                self._hints.add(self.folder)
            self._begin()
            while not self._stop.is_set():
                self._tell()
                if self._hints is not None:
                    self._hints.read(FOLLOW)
                else:
                    self._stop.wait(FOLLOW / 10)
                try:
                    os.close(lock.acquire(0))
                    return
                except Busy:
                    continue
        finally:
            self._close_hints()

    # -- watching --------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._hints = self.system()
        self.watcher = watcher = Watcher(self.roots, hints=self._hints)
        try:
            version = self.store.version()
            watcher.scan()
            self._patiently(lambda: self.catch_up(self.store, (*watcher.survey(), version)))
            self._patiently(self._prepare)
            self._begin()
            self._tell()
            self._flusher = self._start_flusher()
            self._rounds(watcher)
        finally:
            self.watcher = None
            if self._flusher is not None:
                self._flusher.stop()
                self._flusher = None
            self._close_shards()
            self._close_hints()

    def _prepare(self) -> None:
        """What the first round would do before it can tell anything: a store that was just filled
        is flushed, and the text index opened."""
        try:
            with self.store.writing():
                shards = self._shards()
                for n in range(text.SHARDS):
                    shards[n]
        except StoreBusy:
            raise
        except StoreError:  # the first round will meet it too
            pass

    def _start_flusher(self) -> Flusher:
        written = [self.store.path, *(text.path(self.folder, n) for n in range(text.SHARDS))]
        flush: Callable[[], object] = bool
        if self.archive is not None:
            written.append(self.archive.index_path)
            flush = self.archive.flush
        made = Flusher(flush, written)
        made.start()
        return made

    def _rounds(self, watcher: Watcher) -> None:
        pending: Changed | None = None
        unsettled = False
        settled, took = time.monotonic(), 0.0
        while not self._stop.is_set():
            changed = watcher.wait(self._patience(unsettled, pending))
            changed = changed.after(pending) if pending else changed
            pending = None
            self._again(watcher, changed)
            if changed:
                unsettled = True
                try:
                    self._round(watcher, changed)
                except (StoreTooNew, StoreCorrupt):
                    raise
                except (StoreError, WriteError, Busy):  # another writes, or the disk is full
                    pending = changed  # nothing is lost
                now = time.monotonic()
                if now - settled < max(SETTLE_AFTER, took * SETTLE_SHARE):
                    continue
            else:
                self._tell()
            if unsettled and not pending:
                began = time.monotonic()
                try:
                    mark = NOT_ALL if self.put_off else watcher.fingerprint
                    sync.settle(self.store, mark)
                    unsettled = False
                except StoreError:
                    pass
                settled = time.monotonic()
                took = settled - began
                self._tell()

    def _patience(self, unsettled: bool, pending: Changed | None) -> float:
        if pending:
            return RETRY_FIRST / 10
        return SETTLE_AFTER if unsettled else FOLLOW

    def _round(self, watcher: Watcher, changed: Changed) -> None:
        news = self._news(watcher, changed)
        if news is None:
            return
        done = sync.some(
            self.store,
            self.look,
            news,
            day=self.day,
            archive=self.archive,
            shards=self._shards(),
        )
        self.rounds += 1
        if self._flusher is not None:
            self._flusher.due()
        self.replay.begin(done.tasks)
        self._tell()
        now = time.monotonic()
        for path in news.paths:
            if path not in done.failed:
                self.failing.pop(path, None)
        for path in done.failed:
            waited = min(RETRY_MOST, self.failing.get(path, (0.0, RETRY_FIRST / 2))[1] * 2)
            self.failing[path] = (now + waited, waited)

    def _shards(self) -> Shards:
        """Those of the text index, open as long as they are of this store."""
        identity = self.store.identity()
        if self._opened is None or self._opened.identity != identity:
            self._close_shards()
            self._opened = Shards(self.folder, identity)
        return self._opened

    def _close_shards(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _again(self, watcher: Watcher, changed: Changed) -> None:
        """Add the files that failed and whose time has come."""
        now = time.monotonic()
        for path, (due, _) in self.failing.items():
            file = watcher.files.get(path)
            if due <= now and file is not None:
                folder = watcher.folders[path.rpartition("/")[0]]
                changed.files[folder.root].setdefault(path, file)

    def _news(self, watcher: Watcher, changed: Changed) -> News | None:
        """What of this concerns sources; where one file speaks of others, everything of its
        agent."""
        whole: set[str] = set()
        files: list[list[Any]] = []
        gone: set[str] = set()
        for (name, _, _, _), new, lost in zip(
            self.look.roots, changed.files, changed.gone, strict=True
        ):
            a = agents.get(name)
            kept = []
            for file in _databases(watcher, new):
                claim = None if file[2] == sources.HIDDEN else a.claim(file[1])
                if claim in ("dir", "companion"):
                    whole.add(name)
                elif claim == "sqlite" and self._is_made(file):
                    self.failing[file[0]] = (time.monotonic() + RETRY_FIRST, RETRY_FIRST / 2)
                    self.put_off.add(file[0])
                elif claim != "ignore":
                    kept.append(file)
            for path, relative in lost.items():
                if a.claim(relative) in ("dir", "companion"):
                    whole.add(name)
                gone.add(path)
            files.append(kept)
            self.put_off.difference_update(lost, (file[0] for file in kept))
        if whole:
            every, _ = watcher.survey()
            for i, (name, _, _, _) in enumerate(self.look.roots):
                if name in whole:
                    files[i] = every[i]
        if not gone and not any(files):
            return None
        return News(files, frozenset(gone), frozenset(whole))

    def _is_made(self, file: Any) -> bool:
        """Whether a database is just being made, or written to in a way that a reader disturbs."""
        recent = time.time() - file[3] / 1e9 < QUIET
        return recent and not databases.readable_beside(file[0])

    # -- both ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """The first time: listeners hear what comes from here on."""
        if not self._ready.is_set():
            self.ring.begin(self.store.journal_ends()[1] - 1)
            self._ready.set()

    def _tell(self) -> None:
        while True:
            changes, reached = self.replay.read(self.ring.reached)
            if reached == self.ring.reached:
                return
            self.ring.put(changes, reached)

    def _patiently(self, work: Callable[[], Any]) -> None:
        while not self._stop.is_set():
            try:
                work()
                return
            except StoreBusy:
                self._stop.wait(1.0)

    def _close_hints(self) -> None:
        system, self._hints = self._hints, None
        if system is not None:
            system.close()


def _databases(watcher: Watcher, files: dict[str, Any]) -> list[Any]:
    """The files, in place of a write-ahead log the database that it belongs to."""
    found: dict[str, Any] = {}
    for path, file in files.items():
        base = watcher.files.get(path.removesuffix("-wal"), file)
        found[base[0]] = base
    return list(found.values())
