"""`Decklog`: the library API. Every face calls only this.

Plain rows (dicts with the field names of `decklog.model`) come from methods that end in ``_rows``;
warm commands print them as they are. The others give typed Structs and import what they need.
"""

from __future__ import annotations

import os

from decklog import sources, store, zones
from decklog.errors import NotFound, StoreBusy, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType
    from typing import Any, Self

    from decklog.config import Config
    from decklog.model import (
        Event,
        Filter,
        Finding,
        LedgerEntry,
        Session,
        ToolCall,
        Turn,
        UsageRow,
    )
    from decklog.sync import Report

REPORTS = ("daily", "weekly", "monthly", "sessions", "blocks", "models", "projects", "tools")


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


class Decklog:
    """All questions about the sessions of one machine, and the sync that keeps them answered."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.zone = zones.Zone(config.tz, config.env)
        self.store: Any = store.open(config.data_dir)

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
        self.store.close()

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
        from decklog import sync

        if rebuild:
            self.store.close()
            report = rebuild_store(self.config, progress)
            self.store = store.open(self.config.data_dir)
            return report
        report = sync.run(
            self.store,
            self.config.env,
            tz=self.zone.name,
            day=self.zone.day,
            jobs=self.config.jobs,
            progress=progress,
            wait=wait,
        )
        if self.store.get("code") != _code():
            self.store.put("code", _code())
        return report

    def unchanged(self) -> bool:
        """True when nothing on disk changed since the last sync. Opens no transcript."""
        get = self.store.get
        if get("fingerprint") is None or get("tz") != self.zone.name or get("problems") != "0":
            return False
        names = ["HOME", *(n for n in (get("variables") or "").split(",") if n)]
        seen = "\n".join(f"{n}={self.config.env.get(n, '')}" for n in sorted(set(names)))
        if seen != get("environment") or get("code") != _code():
            return False
        rows = (line.split("\t") for line in (get("roots") or "").split("\n") if line)
        roots = [
            (path, tuple(filter(None, only.split(","))), tuple(filter(None, skip.split(","))))
            for path, only, skip in rows
        ]
        return bool(sources.fingerprint(roots) == get("fingerprint"))

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Sync if anything changed and no other process is at it; a note when it could not."""
        if not self.config.sync or self.unchanged():
            return ""
        try:
            self.sync(progress=progress, wait=2.0)
        except StoreBusy:
            return "another decklog is reading transcripts; the newest may be missing"
        return ""

    # -- sessions --------------------------------------------------------------------------------

    def session_rows(self, **where: Any) -> Iterator[dict[str, Any]]:
        """Sessions, newest first, as plain rows. Keywords as the fields of `Filter`."""
        rows: Iterator[dict[str, Any]] = self.store.sessions(where)
        return rows

    def sessions(self, filter: Filter | None = None, **where: Any) -> Iterator[Session]:
        """Sessions, newest first, by a `Filter` or its fields as keywords."""
        import msgspec

        from decklog.model import Session

        if filter is not None:
            where = {**msgspec.structs.asdict(filter), **where}
        for row in self.store.sessions(where):
            yield msgspec.convert(row, Session)

    def find(self, text: str) -> str:
        """The full id of a session: an id, a native id, any unambiguous prefix, or ``latest``.

        Raises NotFound, or UsageError when the text may mean several sessions.
        """
        found: list[str] = self.store.resolve(text)
        if not found:
            raise NotFound(f"no session {text!r}", hint="decklog ls lists them")
        if len(found) > 1:
            some = ", ".join(found[:4]) + (" ..." if len(found) > 4 else "")
            raise UsageError(f"{text!r} may mean {len(found)} sessions: {some}")
        return found[0]

    def session(self, text: str) -> Session:
        """One session by id, prefix or ``latest``. Raises NotFound, UsageError."""
        name = self.find(text)
        return next(self.sessions(ids=[name]))

    def events(self, text: str) -> Iterator[Event]:
        """The events of a session in order, read from its sources. Raises NotFound, SourceError."""
        from decklog import transcripts

        return transcripts.events(self.store, self.find(text))

    def raw(self, text: str) -> Iterator[bytes]:
        """The records of a session's sources as the agent wrote them."""
        from decklog import transcripts

        return transcripts.raw(self.store, self.find(text))

    def turns(self, text: str) -> list[Turn]:
        """The session as turns: each prompt with the tool calls, reply and usage that followed."""
        from decklog import transcripts

        return transcripts.turns(self.events(text))

    def tool_calls(self, text: str) -> list[ToolCall]:
        """Tool calls of a session, joined to their results."""
        from decklog import transcripts

        return transcripts.tool_calls(self.events(text))

    def children(self, text: str) -> list[Session]:
        """Subagents and forks of a session."""
        names: list[str] = self.store.children(self.find(text))
        return list(self.sessions(ids=names)) if names else []

    def files(self, text: str) -> list[dict[str, Any]]:
        """Paths a session's tools touched: path, reads, writes, first_at, last_at."""
        rows: list[dict[str, Any]] = self.store.touched(self.find(text))
        return rows

    # -- numbers ---------------------------------------------------------------------------------

    def usage_rows(self, by: str = "daily", **where: Any) -> list[dict[str, Any]]:
        """A usage report as plain rows; see `usage`."""
        from decklog import analytics

        if by not in REPORTS:
            raise UsageError(f"no report {by!r}", hint=f"one of: {', '.join(REPORTS)}")
        return analytics.report(self.store, self.zone, by, where)

    def usage(self, by: str = "daily", **where: Any) -> list[UsageRow]:
        """Usage ``daily``, ``weekly`` or ``monthly``: one row for each date, agent and model.

        Keywords: agents, projects, models, since and until (milliseconds, UTC).
        """
        import msgspec

        from decklog.model import UsageRow

        if by not in ("daily", "weekly", "monthly", "models"):
            raise UsageError(f"{by!r} has rows of its own", hint="use usage_rows")
        return msgspec.convert(self.usage_rows(by, **where), list[UsageRow])

    def why_rows(self, what: str, **where: Any) -> list[dict[str, Any]]:
        """The ledger behind a number, as plain rows; see `why`."""
        if len(what) == 10 and what[4] == what[7] == "-" and what.replace("-", "").isdigit():
            return list(self.store.ledger({**where, "day": what}))
        name = self.find(what)
        ids = [name, *(r["id"] for r in self.store.sessions({"root": name}) if r["id"] != name)]
        return list(self.store.ledger({**where, "ids": ids}))

    def why(self, what: str, **where: Any) -> list[LedgerEntry]:
        """The recorded facts behind a session (with its subagents) or a date, and the verdict
        on each: whether it counted, where else it counts, and why."""
        import msgspec

        from decklog.model import LedgerEntry

        return msgspec.convert(self.why_rows(what, **where), list[LedgerEntry])

    # -- health ----------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """Everything that was not read as it stood, with its place and the reason."""
        import msgspec

        from decklog.model import Finding

        return msgspec.convert(list(self.store.findings()), list[Finding])

    def finding_rows(self) -> Iterator[dict[str, Any]]:
        rows: Iterator[dict[str, Any]] = self.store.findings()
        return rows

    def overview(self) -> list[dict[str, Any]]:
        """By agent: sources, bytes, gone, pending_bytes, sessions, findings."""
        rows: list[dict[str, Any]] = self.store.overview()
        return rows

    def agents(self) -> list[dict[str, Any]]:
        """Every known agent, where its transcripts are looked for, and what it can do."""
        from decklog import agents

        counted = {r["agent"]: r for r in self.overview()}
        rows = []
        for a in agents.every():
            seen = counted.get(a.name, {})
            places = [r.path for r in a.roots(self.config.env)]
            rows.append(
                {
                    "agent": a.name,
                    "title": a.title,
                    "provider": a.provider,
                    "roots": places,
                    "present": [p for p in places if os.path.exists(p)],
                    "variables": list(a.variables),
                    "sessions": seen.get("sessions", 0),
                    "sources": seen.get("sources", 0),
                    "bytes": seen.get("bytes", 0),
                    "clean_up": a.clean_up,
                }
            )
        return rows

    def dump(self) -> Iterator[str]:
        """The canonical text of the store, one row a line."""
        lines: Iterator[str] = self.store.dump()
        return lines


def rebuild_store(config: Config, progress: Callable[[int, int], None] | None = None) -> Report:
    """Make the store anew from the sources; works also where the old one cannot be opened."""
    from decklog import sync

    zone = zones.Zone(config.tz, config.env)
    with store.rebuild(config.data_dir) as fresh:
        return sync.run(
            fresh,  # type: ignore[arg-type]
            config.env,
            tz=zone.name,
            day=zone.day,
            jobs=config.jobs,
            progress=progress,
        )


def _code() -> str:
    """Changes when decklog or any other distribution is installed: readers may differ then."""
    from decklog import __version__

    marks = [__version__]
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for place in (folder, os.path.join(os.path.dirname(os.__file__), "site-packages")):
        try:
            marks.append(str(os.stat(place).st_mtime_ns))
        except OSError:
            continue
    return " ".join(marks)
