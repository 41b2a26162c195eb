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

ABILITIES = {
    "companions": "companions",
    "databases": "queries",
    "folders": "gather",
    "clean_up": "clean_up",
}
"""What an agent can do beyond the required, by the answer of its contract that switches it on."""

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
        if rebuild:
            self.store.close()
            report = rebuild_store(self.config, progress)
            self.store = store.open(self.config.data_dir)
            return report
        return self._run(self._look(), progress, wait)

    def _look(self) -> tuple[Any, Any, bool]:
        """(where to look, what is there, whether that is news), by one walk over the roots."""
        remembered = _remembered(self.store, self.config, self.zone.name)
        if remembered is None:
            return None, None, True
        version = self.store.version()
        seen = (*sources.survey(r[1:] for r in remembered), version)
        news = seen[1] != self.store.get("fingerprint") or self.store.get("retry") != "0"
        return remembered, seen, news

    def _run(
        self,
        looked: tuple[Any, Any, bool],
        progress: Callable[[int, int], None] | None,
        wait: float,
    ) -> Report:
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
        )
        if roots is None:
            _remember(self.store, self.config, look)
        return report

    def unchanged(self) -> bool:
        """True when nothing on disk changed since the last sync. Opens no transcript."""
        return not self._look()[2]

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> str:
        """Sync if anything changed and no other process is at it; a note when it could not."""
        if not self.config.sync:
            return ""
        looked = self._look()
        if not looked[2]:
            return ""
        try:
            self._run(looked, progress, 2.0)
        except StoreBusy:
            return "another decklog is reading transcripts; the newest may be missing"
        return ""

    def sync_if_news(self, progress: Callable[[int, int], None] | None = None) -> Report | None:
        """`sync`, or None when nothing on disk changed."""
        looked = self._look()
        return self._run(looked, progress, 30.0) if looked[2] else None

    def partial(self) -> int:
        """Sources that the last sync could not read, or only in part."""
        return int(self.store.get("problems") or 0)

    # -- sessions --------------------------------------------------------------------------------

    def session_rows(self, **where: Any) -> Iterator[dict[str, Any]]:
        """Sessions, newest first, as plain rows. Keywords as the fields of `Filter`."""
        rows: Iterator[dict[str, Any]] = self.store.sessions(where)
        return rows

    def session_json(self, **where: Any) -> Iterator[str]:
        """The rows of `session_rows`, each as one JSON object."""
        objects: Iterator[str] = self.store.session_json(where)
        return objects

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
        found: list[str] = self.store.resolve(text) or self._below(text)
        if not found:
            raise NotFound(f"no session {text!r}", hint="decklog ls lists them")
        if len(found) > 1:
            some = ", ".join(found[:8]) + (" ..." if len(found) > 8 else "")
            raise UsageError(
                f"{text!r} may mean {len(found)} sessions: {some}", hint="write more of the id"
            )
        return found[0]

    def _below(self, text: str) -> list[str]:
        """Subagents by the beginnings of both halves of their id, as lists show them."""
        top, mark, below = text.partition(".agent-")
        tops = self.store.resolve(top) if mark else ()
        rows = (r for name in tops for r in self.store.sessions({"root": name}))
        return [r["id"] for r in rows if r["id"].partition(mark)[2].startswith(below or "?")]

    def session(self, text: str) -> Session:
        """One session by id, prefix or ``latest``. Raises NotFound, UsageError."""
        name = self.find(text)
        for found in self.sessions(ids=[name]):
            return found
        raise NotFound(f"nothing happened in session {name!r}", hint="decklog ls lists sessions")

    def events(self, text: str) -> Iterator[Event]:
        """The events of a session in order, read from its sources. Raises NotFound, SourceError."""
        from decklog import transcripts

        return transcripts.events(self.store, self.find(text))

    def raw(self, text: str) -> Iterator[bytes]:
        """The records of a session's sources as the agent wrote them, line ends included."""
        from decklog import transcripts

        return transcripts.raw(self.store, self.find(text))

    def turns(self, text: str) -> list[Turn]:
        """The session as turns: each prompt with the tool calls, reply and usage that followed."""
        from decklog import transcripts

        return transcripts.turns(self.events(text))

    def story(self, text: str) -> Iterator[tuple[Turn, list[Event]]]:
        """The session as turns, each with its events."""
        from decklog import transcripts

        return transcripts.story(self.events(text))

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

    def daily_json(self, **where: Any) -> Iterator[str] | None:
        """Daily `usage_rows` as JSON objects; None where that is no quicker."""
        from decklog import analytics

        objects: Iterator[str] | None = analytics.daily_json(self.store, self.zone, where)
        return objects

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
        """The ledger behind a number, as plain rows; see `why`. Raises NotFound, UsageError."""
        if not is_day(what):
            return list(self.store.ledger({**where, "ids": self._family(self.find(what))}))
        if self.store.get("tz") in (None, self.zone.name):
            return list(self.store.ledger({**where, "day": what}))
        rows = (r for r in self.store.ledger(where) if r["at"] is not None)
        return [{**r, "date": what} for r in rows if self.zone.day(r["at"]) == what]

    def _family(self, name: str) -> list[str]:
        """A session and all subagents below it."""
        below: dict[str, list[str]] = {}
        for found in self.store.sessions({"ids": [name]}):
            for r in self.store.sessions({"root": found["root"]}):
                if r["relation"] == "subagent":
                    below.setdefault(r["parent"], []).append(r["id"])
        family = [name]
        for member in family:
            family += below.get(member, [])
        return family

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

    def health(self) -> dict[str, Any]:
        """What the store stands on: its folder and file system, SQLite, the price list.

        ``wal_safe`` is False for versions of SQLite that can lose committed pages when a write
        and a checkpoint of a database in WAL mode meet; ``network`` is True for file systems
        on which locks between machines are not to be relied on.
        """
        import apsw

        from decklog import health

        version = apsw.sqlite_lib_version()
        kind = health.file_system(self.config.data_dir)
        return {
            "data_dir": self.config.data_dir,
            "file_system": kind,
            "network": health.is_network(kind),
            "sqlite": version,
            "wal_safe": health.wal_safe(version),
            "prices_date": self.store.get("prices_date") or "",
            "tz": self.zone.name,
        }

    def known_agents(self) -> list[str]:
        """Names of the agents that the last sync knew; imports no agent."""
        seen = self.store.get("roots")
        if seen is None:
            from decklog import agents

            return list(agents.names())
        return list(dict.fromkeys(r.partition("\t")[0] for r in str(seen).split("\n") if r))

    def agents(self) -> list[dict[str, Any]]:
        """Every known agent, where its transcripts are looked for, and what it can do.

        ``abilities`` says of each answer of the `decklog.agents.Agent` contract that is not
        required whether this agent gives it; what is missing is switched off. An installed agent
        that could not be loaded has the reason in ``broken`` and nothing else.
        """
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
                    "variables": {v: self.config.env.get(v) for v in a.variables},
                    "sessions": seen.get("sessions", 0),
                    "sources": seen.get("sources", 0),
                    "bytes": seen.get("bytes", 0),
                    "clean_up": a.clean_up,
                    "abilities": {
                        name: getattr(type(a), answer) != getattr(agents.Agent, answer)
                        for name, answer in ABILITIES.items()
                    },
                    "broken": "",
                }
            )
        nothing = {k: type(v)() for k, v in rows[0].items()} if rows else {}
        return rows + [
            {**nothing, "agent": name, "broken": reason} for name, reason in agents.broken.items()
        ]

    def dump(self) -> Iterator[str]:
        """The canonical text of the store, one row a line."""
        lines: Iterator[str] = self.store.dump()
        return lines


def is_day(text: str) -> bool:
    """True for a date as `why` takes it: YYYY-MM-DD. Raises UsageError for one that no calendar
    has."""
    if len(text) != 10 or text[4] + text[7] != "--" or not text.replace("-", "").isdigit():
        return False
    import datetime

    try:
        datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"no day {text!r}: {error}", hint="write YYYY-MM-DD") from None
    return True


def rebuild_store(config: Config, progress: Callable[[int, int], None] | None = None) -> Report:
    """Make the store anew from the sources; works also where the old one cannot be opened."""
    from decklog import sync

    zone = zones.Zone(config.tz, config.env)
    look = sync.lookout(config.env)
    with store.rebuild(config.data_dir) as fresh:
        report = sync.run(
            fresh,  # type: ignore[arg-type]
            look,
            tz=zone.name,
            day=zone.day,
            jobs=config.jobs,
            progress=progress,
        )
        _remember(fresh, config, look)
    return report


def _remember(into: Any, config: Config, look: Any) -> None:
    """Keep what decides where to look, so that a warm command need not load any agent."""
    lines = ("\t".join((a, p, ",".join(o), ",".join(s))) for a, p, o, s in look.roots)
    into.put_all(
        {
            "roots": "\n".join(lines),
            "variables": look.variables,
            "environment": _environment(config, look.variables),
            "plugins": look.plugins,
            "code": _code(),
        }
    )


def _remembered(
    of: Any, config: Config, tz: str
) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] | None:
    """The roots as they were remembered; None when anything that decides them changed."""
    variables, roots = of.get("variables"), of.get("roots")
    if roots is None or of.get("tz") != tz or of.get("code") != _code():
        return None
    if of.get("environment") != _environment(config, variables or ""):
        return None
    rows = (line.split("\t") for line in roots.split("\n") if line)
    return [
        (a, path, tuple(filter(None, only.split(","))), tuple(filter(None, skip.split(","))))
        for a, path, only, skip in rows
    ]


def _environment(config: Config, variables: str) -> str:
    return "\n".join(f"{n}={config.env.get(n, '')}" for n in variables.split(","))


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
