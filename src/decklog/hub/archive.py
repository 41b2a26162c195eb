"""The archive, as the library offers it."""

from __future__ import annotations

import os

from decklog.errors import NotFound, UsageError
from decklog.sync.copying import should_have

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from decklog.archive import Archive, Copy
    from decklog.hub import Decklog

REWRITTEN = "#rewritten-"


class Archived:
    """`Decklog.archive`: the verbatim copies of what was read.

    Rows are plain dicts, as the command line prints them with ``--json``.

    >>> for row in deck.archive.ls():
    ...     print(row["state"], row["bytes"], row["source"])
    """

    def __init__(self, deck: Decklog) -> None:
        self.deck = deck
        self._files: Archive | None = None

    @property
    def files(self) -> Archive:
        if self._files is None:
            from decklog.archive import Archive

            self._files = Archive(self.deck.config.data_dir)
        return self._files

    def exists(self) -> bool:
        """True when anything was archived."""
        return self.files.exists()

    def close(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None

    # -- looking -------------------------------------------------------------------------------

    def ls(
        self, agents: Iterable[str] = (), states: Iterable[str] = (), session: str = ""
    ) -> list[dict[str, Any]]:
        """What is archived, by source. A copy is ``live`` (its source is on disk), ``gone``,
        ``rewritten`` (what a source held before it was cut or replaced) or ``superseded`` (a
        version of a document that later ones say all of); small files that are read beside
        transcripts are ``companion``."""
        sessions, gone = self._sessions()
        wanted, names = frozenset(states), frozenset(agents)
        ids = {c.id for c in self._of(session)} if session else None
        rows = []
        for copy in self.files.copies(superseded=True):
            state = self._state(copy, gone)
            if (wanted and state not in wanted) or (names and copy.agent not in names):
                continue
            if ids is not None and copy.id not in ids:
                continue
            rows.append(
                {
                    "id": copy.id,
                    "agent": copy.agent,
                    "source": copy.uri,
                    "kind": copy.kind,
                    "state": state,
                    "sessions": sessions.get(copy.uri, []),
                    "bytes": copy.stop,
                    "packed": sum(b.packed for b in self.files.index.blocks(copy.id)),
                    "begun": copy.begun,
                    "changed": copy.mtime_ns // 1_000_000,
                    "whole": copy.whole,
                }
            )
        return rows

    def _state(self, copy: Copy, gone: set[str]) -> str:
        if copy.superseded:
            return "superseded"
        if REWRITTEN in copy.uri:
            return "rewritten"
        if copy.kind == "companion":
            return "companion"
        missing = copy.uri in gone or not os.path.lexists(copy.uri.partition("#")[0])
        return "gone" if missing else "live"

    def _sessions(self) -> tuple[dict[str, list[str]], set[str]]:
        """Sessions by source, and the sources that are gone, as the store knows them."""
        rows = self.deck.store.sources_of_sessions()
        sessions: dict[str, list[str]] = {}
        gone = set()
        for uri, session, is_gone in rows:
            sessions.setdefault(uri, []).append(session)
            if is_gone:
                gone.add(uri)
        return sessions, gone

    def size(self) -> dict[str, Any]:
        """By agent and in all: copies, raw bytes, packed bytes and their ratio; bytes on disk of
        packs, dictionaries and index; bytes that the archive has yet to copy."""
        disk = {"packs": 0, "dictionaries": 0, "index": 0}
        agents: list[dict[str, Any]] = []
        raw_in_all = 0
        if self.exists():
            for entry in os.scandir(self.files.folder):
                kind = entry.name.partition("-")[0].partition(".")[0]
                kinds = {"pack": "packs", "dictionary": "dictionaries", "index": "index"}
                if kind in kinds:
                    disk[kinds[kind]] += entry.stat().st_size
            for agent, copies, superseded, raw, packed in self.files.index.sizes():
                agents.append(
                    {
                        "agent": agent,
                        "copies": copies,
                        "superseded": superseded,
                        "bytes": raw,
                        "packed": packed,
                        "ratio": round(packed / raw, 4) if raw else 0.0,
                    }
                )
                raw_in_all += raw
        total = sum(disk.values())
        return {
            "agents": agents,
            "bytes": raw_in_all,
            "disk": total,
            "ratio": round(total / raw_in_all, 4) if raw_in_all else 0.0,
            **disk,
            "pending": self.pending(),
        }

    def superseded(self) -> int:
        """Packed bytes of superseded versions, about."""
        return self.files.index.superseded() if self.exists() else 0

    def pending(self) -> int:
        """Bytes that were read and are not copied yet; -1 where the archive is switched off or
        nothing has looked."""
        if not self.deck.config.archive:
            return -1
        return int(self.deck.store.get("archive_behind") or -1)

    def verify(self, *, repair: bool = False) -> Iterator[dict[str, Any]]:
        """Look at every byte. Gives a row for each place of damage (``file``, ``offset``,
        ``length``, ``source``, ``start``, ``detail``, ``repaired``), then one of what was looked
        at (``packs``, ``blocks``, ``copies``, ``bytes``, ``raw``).

        ``repair`` cuts off a torn end, which is saved beside the pack, and makes a damaged
        dictionary anew from its other files. Raises StoreError, Busy.
        """
        from contextlib import nullcontext

        from decklog.archive.verifying import Damage, verify

        with self.files.writing() if repair and self.exists() else nullcontext():
            for row in verify(self.files, repair=repair):
                told = row._asdict()
                if isinstance(row, Damage):
                    told["source"] = told.pop("uri")
                else:
                    yield from self._without()
                yield told

    def _without(self) -> Iterator[dict[str, Any]]:
        """What is to be said of sources on disk that have no copy though they should: the next
        sync looks at all of them again."""
        copies = {c.uri for c in self.files.copies()}
        known = self.deck.store.known()
        found = [uri for uri, row in known.items() if uri not in copies and should_have(uri, row)]
        if found and self.pending() == 0:
            with self.deck.store.writing():
                self.deck.store.put("archive_behind", "1")
            yield {
                "file": self.files.folder,
                "offset": 0,
                "length": 0,
                "source": found[0],
                "start": 0,
                "detail": f"no copy of {len(found):,} sources on disk; decklog sync makes them",
                "repaired": "",
            }

    # -- restoring -----------------------------------------------------------------------------

    def restore(
        self, target: str, *, to: str = "", in_place: bool = False, force: bool = False
    ) -> list[dict[str, Any]]:
        """Write archived bytes out again: those of a session (id, prefix, ``latest``) or of a
        source (its path, as `ls` shows it).

        They go below the folder ``to``, or where they were read from with ``in_place``. Gives a
        row for each file: ``source``, ``path``, ``bytes``, ``done`` (``written``, or ``same`` when
        it held just that), ``note``. A file that holds something else stays, unless ``force``.
        Raises NotFound, UsageError, Denied, StoreError, WriteError.
        """
        from decklog.archive import restoring

        if bool(to) == in_place:
            raise UsageError(
                "say where to restore to", hint="--to DIR, or --in-place for where it was"
            )
        copies = self._of(target)
        if not copies:
            raise NotFound(
                f"nothing of {target!r} is in the archive", hint="decklog archive ls lists it"
            )
        root = os.path.abspath(to) if to else ""
        rows = []
        for copy in copies:
            if in_place and REWRITTEN in copy.uri and len(copies) > 1:
                continue  # the newest generation has its place
            place = restoring.in_place(copy) if in_place else restoring.below(root, copy)
            done = restoring.restore(self.files, copy, place, force=force, root=root)
            rows.append(
                {
                    "source": copy.uri,
                    "path": place,
                    "bytes": copy.stop,
                    "done": done,
                    "note": _NOTES.get(copy.kind, ""),
                }
            )
        return rows

    def _of(self, target: str) -> list[Copy]:
        """Copies of a source by its path, else of a session."""
        path = os.path.abspath(os.path.expanduser(target))
        exact = [self.files.copy(target), self.files.copy(path)]
        for copy in exact:
            if copy is not None:
                return [copy]
        name = self.deck.find(target)
        found = (self.files.copy(p["uri"]) for p in self.deck.store.parts(name))
        return [copy for copy in found if copy is not None]

    # -- pruning -------------------------------------------------------------------------------

    def prune(
        self,
        *,
        agents: Iterable[str] = (),
        states: Iterable[str] = (),
        session: str = "",
        before: int | None = None,
        yes: bool = False,
    ) -> dict[str, Any]:
        """Take copies out of the archive: those to which everything said applies (``states`` as
        in `ls`, last changed ``before`` a moment in milliseconds).

        Without ``yes`` it only tells what it would do. What is kept is not changed by a byte; the
        sessions and their numbers stay in the store. A source that is still on disk is copied
        again by the next sync. Gives ``copies`` (rows of `ls`), ``bytes``, ``freed`` (bytes on
        disk; about, when nothing was done) and ``done``. Raises UsageError, Busy, WriteError.
        """
        if not (agents or states or session) and before is None:
            raise UsageError(
                "say what to prune", hint="--superseded, --gone, --agent, --session or --before"
            )
        rows = self.ls(agents, states, session)
        if before is not None:
            rows = [r for r in rows if r["changed"] < before]
        freed = sum(r["packed"] for r in rows)
        if yes and rows:
            from decklog.archive.pruning import prune

            with self.files.writing():
                ids = {r["id"] for r in rows}
                copies = [c for c in self.files.copies(superseded=True) if c.id in ids]
                freed = prune(self.files, copies)
        return {
            "copies": rows,
            "bytes": sum(r["bytes"] for r in rows),
            "freed": freed,
            "done": bool(yes),
        }


_NOTES = {
    "sqlite": "what was read of a database, as JSON; the agent cannot read it back",
    "dir": "what was read of a folder of small files, as one JSON document",
}
