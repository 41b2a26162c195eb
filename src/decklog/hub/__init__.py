"""`Decklog`: the library API. Every face calls only this.

Plain rows (dicts with the field names of `decklog.model`) come from methods that end in ``_rows``;
warm commands print them as they are. The others give typed Structs and import what they need.
"""

from __future__ import annotations

import os

from decklog import sources, store, swift, zones
from decklog.errors import Busy, StoreBusy, StoreCorrupt, StoreError, StoreTooNew
from decklog.hub.following import Following
from decklog.hub.health import ABILITIES, Health
from decklog.hub.lookout import remember, remembered
from decklog.hub.numbers import REPORTS, Numbers, is_day
from decklog.hub.search import Search

__all__ = ["ABILITIES", "REPORTS", "Decklog", "event", "is_day", "open", "rebuild_store"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, Self, TypeVar

    from decklog.backfill import Report as Backfilled
    from decklog.config import Config
    from decklog.hub.archive import Archived
    from decklog.hub.conversations import Conversations
    from decklog.hub.fleet import Fleet
    from decklog.hub.panes import Panes
    from decklog.log import Logs
    from decklog.model import Event
    from decklog.sync import Report

    Answer = TypeVar("Answer")


def open(
    home: str | os.PathLike[str] | None = None, *, env: Mapping[str, str] | None = None
) -> Decklog:
    """Open decklog on this machine's agents.

    ``home`` is a folder that is used in place of HOME to find transcripts; ``env`` replaces the
    process environment (agents' own variables, ``DECKLOG_HOME``, ``TZ``).

    >>> import decklog
    >>> with decklog.open() as deck:
    ...     deck.sync()
    ...     for session in deck.sessions(limit=3):
    ...         print(session.id, session.usage.total)
    """
    from decklog import config

    found = dict(os.environ if env is None else env)
    if home is not None:
        found["HOME"] = os.fspath(home)
    return Decklog(config.load(found))


class Decklog(Numbers, Search, Health, Following):
    """All questions about the sessions of one machine, and the sync that keeps them answered."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.zone = zones.Zone(config.tz, config.env)
        self.store: Any = store.open(config.data_dir)
        self._log: Logs | None = None
        self._archive: Archived | None = None
        self._fleet: Fleet | None = None
        self._panes: Panes | None = None
        self.mended: list[str] = []
        """Files of the text index that were found damaged, and were made anew."""

    @property
    def archive(self) -> Archived:
        """The verbatim copies of what was read; see `decklog.hub.archive.Archived`."""
        if self._archive is None:
            from decklog.hub.archive import Archived

            self._archive = Archived(self)
        return self._archive

    @property
    def fleet(self) -> Fleet:
        """The agents that run here now; see `decklog.hub.fleet.Fleet`."""
        if self._fleet is None:
            from decklog.hub.fleet import Fleet

            self._fleet = Fleet(self)
        return self._fleet

    @property
    def panes(self) -> Panes:
        """Agents in tmux: see, start, adopt, talk to, end; see `decklog.hub.panes.Panes`."""
        if self._panes is None:
            from decklog.hub.panes import Panes

            self._panes = Panes(self)
        return self._panes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stop_following()
        if self._log is not None:
            self._log.close()
        self.store.close()
        if self._archive is not None:
            self._archive.close()

    @property
    def log(self) -> Logs:
        """The logs of recorded sessions (`decklog.log`), opened when first asked for.

        >>> with deck.log.open(agent="claude") as writer:
        ...     writer.emit(UserEvent(message="hello"))
        """
        if self._log is None:
            from decklog.log import Logs

            self._log = Logs(self.config.data_dir)
        return self._log

    def backfill(
        self,
        sessions: Iterable[str] = (),
        *,
        progress: Callable[[int, int], None] | None = None,
        **where: Any,
    ) -> Backfilled:
        """Write past sessions into the log (`decklog.backfill`): all, these, or those of a filter.

        As often as one likes: only what the log lacks is written. Raises NotFound, WriteError.
        """
        from decklog import backfill

        ids = [self.find(text) for text in sessions]
        rows = self.store.sessions({**where, "ids": ids} if ids else where)
        return backfill.run(self.store, self.log, rows, progress=progress)

    # -- keeping up ------------------------------------------------------------------------------

    def sync(
        self,
        *,
        rebuild: bool = False,
        progress: Callable[[int, int], None] | None = None,
        wait: float = 30.0,
    ) -> Report:
        """Read what is new in every transcript; see `decklog.sync.Report` for what it did.

        ``rebuild`` makes the store anew from the sources, beside the old one, and swaps it in.
        Raises StoreBusy when another process keeps writing for ``wait`` seconds.
        """
        if rebuild:
            self.store.close()
            report = rebuild_store(self.config, progress)
            self.store = store.open(self.config.data_dir)
            return report
        return self._run(self._look(), progress, wait)

    def _look(self) -> tuple[Any, Any, bool]:
        """(where to look, what is there, whether that is news), by one walk over the roots."""
        roots = remembered(self.store, self.config, self.zone.name)
        if roots is None:
            return None, None, True
        version = self.store.version()
        seen = (*sources.survey(r[1:] for r in roots), version)
        news = seen[1] != self.store.get("fingerprint") or self.store.get("retry") != "0"
        return roots, seen, news

    def _run(
        self,
        looked: tuple[Any, Any, bool],
        progress: Callable[[int, int], None] | None,
        wait: float,
        *,
        complete: bool = True,
        texts: bool = True,
    ) -> Report:
        def read(found: Any) -> Report:
            return self._sync(found, progress, wait, complete, texts)

        return self._mending(lambda: read(looked), lambda: read((looked[0], None, True)))

    def _mending(self, ask: Callable[[], Answer], again: Callable[[], Answer]) -> Answer:
        """An answer; ``again`` where files of the text index are damaged, once they are made anew.
        Raises StoreCorrupt where it is something else."""
        import apsw

        try:
            return ask()
        except (StoreCorrupt, apsw.CorruptError) as error:
            if not self._mend():
                raise StoreCorrupt(str(error)) from None
        return again()

    def _mend(self) -> bool:
        """Make files of the text index anew that are damaged; False when none is."""
        from decklog.store.indexed import TEXT_PENDING
        from decklog.store.text import mending

        self.store.release()
        with self.store.writing():
            names = mending.mend(self.config.data_dir, self.store.identity())
            if names:
                self.store.put(TEXT_PENDING, "1")
        self.mended += names
        return bool(names)

    def _sync(
        self,
        looked: tuple[Any, Any, bool],
        progress: Callable[[int, int], None] | None,
        wait: float,
        complete: bool,
        texts: bool,
    ) -> Report:
        swift.import_msgspec()
        from decklog import agents, sync

        roots, seen, _ = looked
        if roots is None:
            look = sync.lookout(self.config.env)
        else:
            plugins = self.store.get("plugins") or ""
            look = sync.Lookout(roots, self.store.get("variables") or "", plugins)
            agents.installed = tuple(filter(None, plugins.split(",")))
        report = sync.run(
            self.store,
            look,
            seen,
            tz=self.zone.name,
            day=self.zone.day,
            jobs=self.config.jobs,
            progress=progress,
            wait=wait,
            complete=complete,
            archive=self.archive.files if self.config.archive or self.archive.exists() else None,
            keep=self.config.archive,
            texts=texts,
        )
        if roots is None:
            remember(self.store, self.config, look)
        return report

    def unchanged(self) -> bool:
        """True when nothing on disk changed since the last sync. Opens no transcript."""
        return not self._look()[2]

    def refresh(
        self,
        progress: Callable[[int, int], None] | None = None,
        *,
        complete: bool = False,
        texts: bool = True,
    ) -> str:
        """Sync if anything changed and no other process is at it; a note when it could not. With
        ``complete`` also what the text index lacks, however much that is; without ``texts`` that
        is left to whoever searches."""
        if not self.config.sync:
            return ""
        looked = self._look()
        if not looked[2] and not (complete and not self.store.texts_complete(asked=True)):
            return ""
        try:
            self._run(looked, progress, 2.0, complete=complete, texts=texts)
        except (Busy, StoreBusy):
            return "another decklog is reading transcripts; the newest may be missing"
        except StoreError as error:
            if isinstance(error, StoreCorrupt | StoreTooNew) or not self.store.get("fingerprint"):
                raise
            return f"{error}: what is shown may be old"
        return ""

    def sync_if_news(self, progress: Callable[[int, int], None] | None = None) -> Report | None:
        """`sync`, or None when nothing on disk changed, all texts are indexed and the archive has
        all that was read."""
        looked = self._look()
        news = looked[2] or not self.store.texts_complete()
        late = self.config.archive and self.store.get("archive_behind") != "0"
        return self._run(looked, progress, 30.0) if news or late else None

    @property
    def conversations(self) -> Conversations:
        """Our own conversations: append, fork, compact, to and from the sessions of agents."""
        from decklog.hub.conversations import Conversations

        return Conversations(self.config, self)

    def partial(self) -> int:
        """Sources that the last sync could not read, or only in part."""
        return int(self.store.get("problems") or 0)


def event(kind: str, fields: dict[str, Any]) -> Event:
    """An event of our own, for `decklog.log.Logs.append`: by the wire name of its kind and its
    fields (docs/formats/log.md). Raises UsageError."""
    from decklog.log import wire

    return wire.made(kind, fields)


def rebuild_store(config: Config, progress: Callable[[int, int], None] | None = None) -> Report:
    """Make the store anew from the sources and the archive; works also where the old one cannot
    be opened. Rows that neither can give any more are taken over from the old one."""
    from contextlib import closing

    from decklog import sync
    from decklog.archive import Archive

    zone = zones.Zone(config.tz, config.env)
    look = sync.lookout(config.env)
    archive = Archive(config.data_dir)
    with closing(archive), store.rebuild(config.data_dir) as fresh:
        report = sync.run(
            fresh,  # type: ignore[arg-type]
            look,
            tz=zone.name,
            day=zone.day,
            jobs=config.jobs,
            progress=progress,
            archive=archive if config.archive or archive.exists() else None,
            keep=config.archive,
        )
        remember(fresh, config, look)
    return report
