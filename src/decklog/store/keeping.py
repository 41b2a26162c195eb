"""Keeping what was read of sources when they are moved, rewritten, or gone."""

from __future__ import annotations

import os

from decklog.store import REWRITTEN, statements
from decklog.store.sql import uri_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from decklog.connection import Transaction
    from decklog.store.rows import Batch


class Keeping:
    """The part of the store that says what becomes of sources."""

    db: Any

    def _transaction(self) -> Transaction:
        raise NotImplementedError

    def _reserve(self, agent: str, uri: str, kind: str) -> int:
        raise NotImplementedError

    def _soil(self, source: int) -> None: ...
    def _begun(self) -> None: ...

    def forget(self, source: int) -> None:
        with self._transaction():
            self._soil(source)
            for sql in statements.AROUND:
                self.db.execute(f"insert or ignore into dirty {sql}", (source,))
            for table in ("part", "event", "usage", "tool", "touched", "prompt", "finding"):
                self.db.execute(f"delete from {table} where source = ?", (source,))
            self.db.execute(
                "update source set size = -1, offset = 0, line = 0, chk = x'', "
                "state = case kind when 'jsonl' then x'' else state end, version = '' "
                "where id = ?",
                (source,),
            )

    def retire(self, source: int, uri: str, copy: int = 0) -> None:
        with self._transaction():
            self._soil(source)
            kept = self.rewritten(uri)
            self.db.execute(
                "update source set gone = 1, uri = ? where id = ?", (uri_of(kept), source)
            )
            self._rename(copy, kept)
            self.db.execute(statements.TROUBLE_OVER, (source,))
            self.db.execute(statements.FINDING, _rewritten(source))

    def rewritten(self, uri: str) -> str:
        """The uri that `retire` gives next to what was read of a source."""
        taken = "select 1 from source where uri = ?"
        n = 1
        while self.db.execute(taken, (uri_of(f"{uri}{REWRITTEN}{n}"),)).fetchone():
            n += 1
        return f"{uri}{REWRITTEN}{n}"

    def replace(self, batch: Batch, uri: str, older: Callable[[str], int] = lambda uri: 0) -> bool:
        """Make room for a document that was read anew.

        Rows read of it before go, unless they hold something that is not in the new ones: then
        they are kept under another uri, and so is the copy that ``older`` gives; whether they were.
        """
        from decklog.store import generations

        source = batch.source
        if generations.covered(self.db, batch):
            self.forget(source)
            return False
        kept = self.rewritten(uri)
        with self._transaction():
            self._soil(source)
            other = generations.set_apart(self.db, source, uri_of(kept))
            self.db.execute(statements.FINDING, _rewritten(other))
            self._rename(older(uri), kept)
        return True

    def keep_apart(self, agent: str, uri: str, kind: str, copy: int) -> None:
        """Make room for what only the archive has, under a uri that it has yet to give it."""
        with self._transaction():
            self._reserve(agent, uri, kind)
            self._rename(copy, uri)

    def _rename(self, copy: int, uri: str) -> None:
        if copy:
            self.db.execute("insert or replace into renamed values(?, ?)", (copy, uri_of(uri)))

    def rename(self, copies: Iterable[tuple[int, str]]) -> None:
        """Take over what the archive has yet to be told from another store."""
        with self._transaction():
            for copy, uri in copies:
                self._rename(copy, uri)

    def renamed(self) -> list[tuple[int, str]]:
        return [(c, os.fsdecode(u)) for c, u in self.db.execute("select copy, uri from renamed")]

    def told(self) -> None:
        with self._transaction():
            self.db.execute("delete from renamed")

    def carry(self, source: int) -> None:
        """Take over a source from the store that is attached as ``old``."""
        from decklog.store import generations

        with self._transaction():
            made = generations.carry(self.db, source)
            self._soil(made)
            if self.db.execute("select 1 from part where source = ?", (made,)).fetchone():
                detail = "neither the disk nor the archive has it; what was read of it is kept"
                row = (made, "carried", detail, 0, 0, 0, 0)
                self.db.execute("delete from finding where source = ? and reason = ?", row[:2])
                self.db.execute(statements.FINDING, row)

    def restored(self, sources: Iterable[tuple[int, bool]]) -> None:
        """Sources that were read from the archive are not on disk; some (True) were rewritten."""
        with self._transaction():
            for source, rewritten in sources:
                self._soil(source)
                self.db.execute("update source set gone = 1 where id = ?", (source,))
                if rewritten:
                    self.db.execute(
                        "delete from finding where source = ? and reason = 'rewritten'", (source,)
                    )
                    self.db.execute(statements.FINDING, _rewritten(source))

    def mark_gone(self, sources: Iterable[int], gone: bool) -> None:
        with self._transaction():
            self._begun()
            for source in sources:
                self._soil(source)
                self.db.execute("update source set gone = ? where id = ?", (int(gone), source))
                if gone:
                    self.db.execute(statements.TROUBLE_OVER, (source,))
                    self.db.execute(statements.NOTHING_LEFT, (source,))

    def move(self, source: int, uri: str, copy: int = 0) -> None:
        with self._transaction():
            self._soil(source)
            self.db.execute(
                "update source set uri = ?, gone = 0 where id = ?", (uri_of(uri), source)
            )
            # what took its name first made it look rewritten
            self.db.execute(
                "delete from finding where source = ? and reason = 'rewritten'", (source,)
            )
            self._rename(copy, uri)


def _rewritten(source: int) -> tuple[int, str, str, int, int, int, int]:
    detail = "the file was rewritten; what was read of it before is kept"
    return source, "rewritten", detail, 0, 0, 0, 0
