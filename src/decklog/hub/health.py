"""What the store stands on: findings, agents, the canonical dump."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from decklog.config import Config
    from decklog.model import Finding
    from decklog.zones import Zone

ABILITIES = {
    "companions": "companions",
    "databases": "queries",
    "folders": "gather",
    "clean_up": "clean_up",
    "running": "process",
    "own_files": "own_files",
    "hooks": "hooks",
    "handover": "transcript",
}
"""What an agent can do beyond the required, by the answer of its contract that switches it on."""


class Health:
    """Part of `decklog.hub.Decklog`."""

    config: Config
    store: Any
    zone: Zone

    def findings(self) -> list[Finding]:
        """Everything that was not read as it stood, with its place and the reason."""
        from decklog.decoding import convert
        from decklog.model import Finding

        return convert(list(self.store.findings()), list[Finding])

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

        from decklog import mounts
        from decklog.connection import wal_safe

        version = apsw.sqlite_lib_version()
        kind = mounts.file_system(self.config.data_dir)
        return {
            "data_dir": self.config.data_dir,
            "file_system": kind,
            "network": mounts.is_network(kind),
            "sqlite": version,
            "wal_safe": wal_safe(version),
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

    def retention(self, now: int) -> list[dict[str, Any]]:
        """By agent that has sessions here: what deletes its transcripts and when.

        ``days`` since the last change (None: nothing is deleted by age), the ``setting`` and its
        ``origin`` (the file, or ``default``); ``at_risk``: transcripts that are deleted within a
        week of ``now`` (milliseconds UTC), each with ``deleted_at`` and whether it is
        ``archived``; how many ``sources`` are on disk and how many of these are ``archived``; how
        many are ``gone``, and how many of these the archive has.
        """
        from decklog.hub.risk import retention

        return retention(self, now)  # type: ignore[arg-type]

    def dump(self, text: bool = False) -> Iterator[str]:
        """The canonical text of the store, one row a line; with ``text`` of the text index too."""
        lines: Iterator[str] = self.store.dump(text)
        return lines
