"""Following what happens."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self

    from decklog.config import Config
    from decklog.live.daemon import Daemon
    from decklog.live.following import Live
    from decklog.model import Change, Event, Lagged
    from decklog.recorder import Recorder
    from decklog.running.limits import Limits
    from decklog.running.runner import Ran, Runner
    from decklog.zones import Zone


class Changes:
    """What happens, as it happens: an iterator, for ``for`` and for ``async for``.

    ``seq`` is the number of the last change that was given (or passed over): `Following.changes`
    goes on after it, in this process or another, however this one ended.
    """

    def __init__(
        self,
        live: Live,
        open_store: Callable[[], Any],
        since: int | None,
        sessions: frozenset[str],
        types: frozenset[str],
        timeout: float | None,
    ) -> None:
        self._live, self._open_store = live, open_store
        self.seq = live.ring.reached if since is None else since
        self._reached = self.seq
        self._sessions, self._types, self._timeout = sessions, types, timeout
        self._replay: Any = None
        self._waiting: list[Change] = []
        self._news: asyncio.Event | None = None
        self._waker: Callable[[], None] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        while not self._waiting:
            if not self._more(self._timeout) and not self._waiting and self._over():
                raise StopIteration
        return self._give()

    def poll(self, timeout: float) -> Change | None:
        """The next change, or None when none came in so many seconds."""
        if not self._waiting:
            self._more(timeout)
        return self._give() if self._waiting else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        import asyncio

        if self._news is None:
            loop, news = asyncio.get_running_loop(), asyncio.Event()
            self._waker = lambda: _tell(loop, news)
            self._live.ring.listen(self._waker)
            self._news = news
        while not self._waiting:
            self._news.clear()
            if self._behind():
                await asyncio.to_thread(self._more, 0)
            elif not self._more(0) and not self._waiting:
                if self._live.ring.closed:
                    raise StopAsyncIteration
                try:
                    await asyncio.wait_for(self._news.wait(), self._timeout)
                except TimeoutError:
                    raise StopAsyncIteration from None
        return self._give()

    def close(self) -> None:
        """Listen no more."""
        if self._waker is not None:
            self._live.ring.leave(self._waker)
            self._waker = None
        if self._replay is not None:
            self._replay.store.close()
            self._replay = None

    def _over(self) -> bool:
        return self._timeout is not None or self._live.ring.closed

    def _give(self) -> Change:
        change = self._waiting.pop()
        self.seq = change.seq if self._waiting else self._reached
        return change

    def _behind(self) -> bool:
        return self._live.ring.after(self._reached, 0) is None

    def _more(self, timeout: float | None) -> bool:
        """Take what comes next; False when nothing came in time."""
        before = self._reached
        found = self._live.ring.after(before, timeout)
        if found is None:  # fallen behind: the journal has it
            if self._replay is None:
                from decklog.live.replay import Replay

                self._replay = Replay(self._open_store())
            found = self._replay.read(before)
        changes, self._reached = found
        self._waiting = [c for c in reversed(changes) if self._wanted(c)]
        if not self._waiting:
            self.seq = self._reached
        return self._reached > before

    def _wanted(self, change: Change) -> bool:
        from decklog.model import Happened, Lagged

        if isinstance(change, Lagged):
            return True
        of = change.event if isinstance(change, Happened) else change
        if self._sessions and of.session not in self._sessions:
            return False
        return not self._types or str(type(of).__struct_config__.tag) in self._types


def _tell(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(news.set)


class Following:
    """The part of `decklog.hub.Decklog` that follows what happens."""

    config: Config
    zone: Zone
    store: Any
    _live: Live | None = None

    def changes(
        self,
        since: int | None = None,
        *,
        sessions: Iterable[str] = (),
        types: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Changes:
        """What happens from now on, or after the change with number ``since``, wherever it was
        told; 0 for all that is kept.

        Events come as `decklog.model.Happened`, what happens to sessions under names of its own;
        `decklog.model.Lagged` says that something cannot be told any more. ``sessions`` (ids) and
        ``types`` (wire names of events and changes) narrow it. Without ``timeout`` the iterator
        waits for ever; with it, it ends when nothing came for so many seconds.

        Any number of iterators may be open; a slow one holds up nobody and misses nothing. The
        first starts a thread that watches the transcripts, which `close` ends.

        >>> import decklog
        >>> with decklog.open() as deck:
        ...     for change in deck.changes():
        ...         print(change.seq, change)
        """
        return Changes(
            self.live, self._open_store, since, frozenset(sessions), frozenset(types), timeout
        )

    def tail(
        self: Any,
        sessions: Iterable[str] = (),
        *,
        agents: Iterable[str] = (),
        types: Iterable[str] = (),
        since: int | None = None,
        last: int | None = 10,
        follow: bool = False,
    ) -> Iterator[Event | Lagged]:
        """The last events of some sessions (none named: of all), oldest first, and with
        ``follow`` those to come, without a gap and none twice.

        ``last``: how many there are at most of the past (None: all), ``since``: none before that
        time (milliseconds, UTC). Raises NotFound, SourceError.
        """
        from decklog.hub.tailing import Tail

        self.refresh()
        here = self.position()
        named = [self.find(text) for text in sessions]
        tail = Tail(self, named, frozenset(agents), frozenset(types), since, last)
        changes = self.changes(here, sessions=named) if follow else None
        yield from tail.past()
        if changes is not None:
            yield from tail.come(changes)

    def position(self) -> int:
        """Number of the last change that was noted: what comes after it is new."""
        return int(self.store.journal_ends()[1]) - 1

    @property
    def live(self) -> Live:
        """What watches for `changes`; begins when it is first asked for."""
        if self._live is None:
            from decklog import sync
            from decklog.archive import Archive
            from decklog.live.following import Live

            made = Live(
                self.config.data_dir,
                sync.lookout(self.config.env),
                self._open_store,
                self._catch_up,
                self.zone.day,
                archive=Archive(self.config.data_dir, later=True) if self.config.archive else None,
            )
            made.start()
            self._live = made
        return self._live

    def record(
        self: Any,
        agent: str,
        *,
        native: str = "",
        cwd: str = "",
        session: str = "",
        named: Callable[[], str] = lambda: "",
    ) -> Recorder:
        """Record a run of an agent into our own log, from its transcript as it grows.

        ``native`` is the native id of the session, where it is known; else it is told by ``cwd``,
        the folder the run is in. ``session`` is the id of the log (empty: a new one). The recorder
        has to be started and finished (`decklog.recorder.Recorder`).

        >>> with deck.record("claude", cwd="/src") as recorder:
        ...     recorder.start(command="claude -p hello", prompt="hello")
        ...     ...
        """
        from time import time_ns

        from decklog import agents
        from decklog.recorder import Recorder

        known = agents.get(agent)
        self.refresh()

        def catch_up() -> int:
            self.sync()
            self.live.nudge()
            return int(self.position())

        return Recorder(
            self.log.open(session, agent=known.name, provider_session_id=native),
            agent=known.name,
            started_at=time_ns() // 1_000_000,
            cwd=cwd,
            native=native,
            changes=self.changes(self.position()),
            catch_up=catch_up,
            named=named,
        )

    def run(
        self: Any,
        agent: str,
        *,
        prompt: str | None = None,
        args: Iterable[str] = (),
        session: str = "",
        stream: bool = False,
        told: Callable[[Any], object] | None = None,
        note: Callable[[str], object] = lambda text: None,
        resume_after_limit: bool = False,
    ) -> Ran:
        """Run an agent in the current folder, on our own streams, and record it.

        With ``prompt`` it does that alone; without, it has its own screen. ``session`` names one to
        go on with. ``told`` gets every entry of the log as it is written; with ``stream`` the
        agent's own output is not passed on. ``note`` gets remarks on waiting for usage limits,
        which ``resume_after_limit`` asks for. Raises UsageError, NotFound.
        """
        from decklog import agents
        from decklog.running.runner import Start

        start = Start(
            agent=agents.get(agent),
            prompt=prompt,
            args=tuple(args),
            native=self.find(session).partition(":")[2] if session else "",
            stream=stream,
        )
        start.command()
        ran: Ran = self._runner(told, note).run(start, resume_after_limit=resume_after_limit)
        return ran

    def take_up(self: Any, text: str, note: Callable[[str], object] = lambda text: None) -> Ran:
        """Wait for a resumption after a usage limit that nobody waits for any more, and go on."""
        from decklog import agents

        pending = self.limits.get(text)
        runner = self._runner(None, note, pending.cwd)
        ran: Ran = runner.take_up(pending, agents.get(pending.agent))
        return ran

    def _runner(self, told: Any, note: Any, cwd: str = "") -> Runner:
        import os

        from decklog.running.runner import Runner

        return Runner(
            self.record,
            self.limits,
            env=dict(os.environ),
            cwd=cwd or os.getcwd(),
            told=told,
            note=note,
        )

    @property
    def limits(self) -> Limits:
        """Resumptions after usage limits: scheduled, and what became of them."""
        from decklog.running.limits import Limits

        return Limits(self.config.data_dir)

    @property
    def daemon(self) -> Daemon:
        """What watches in the background, where it was started."""
        from decklog.live.daemon import Daemon

        return Daemon(self.config.data_dir)

    def _open_store(self) -> Any:
        from decklog import store

        return store.open(self.config.data_dir)

    def _catch_up(self, store: Any, seen: Any) -> None:
        from contextlib import closing

        from decklog import sync
        from decklog.archive import Archive
        from decklog.hub.lookout import remember

        look = sync.lookout(self.config.env)
        with closing(Archive(self.config.data_dir)) as archive:
            sync.run(
                store,
                look,
                seen,
                tz=self.zone.name,
                day=self.zone.day,
                jobs=self.config.jobs,
                archive=archive if self.config.archive or archive.exists() else None,
                keep=self.config.archive,
            )
        remember(store, self.config, look)

    def _stop_following(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
