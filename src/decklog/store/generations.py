"""Older generations of a document: whether a new one says all that they did, and keeping them."""

from __future__ import annotations

from collections import Counter

from decklog.connection import Connection
from decklog.store.events import KINDS, unpack
from decklog.store.rows import Batch

TABLES = ("part", "event", "usage", "tool", "touched", "prompt", "finding")
"""Tables of rows that belong to a source."""
_SAID = frozenset(KINDS[k] for k in ("user_message", "assistant_message", "reasoning"))


def covered(db: Connection, batch: Batch) -> bool:
    """True when nothing that was read of a document before is missing from a new reading.

    Looks for every session, response, tool call and prompt, and that no kind of message has
    become fewer; of a document that was read while parts of it were missing messages say nothing.
    """
    source = batch.source

    def old(sql: str) -> set[object]:
        return {r[0] for r in db.execute(sql, (source,))}

    return (
        old("select session from part where source = ?") <= {p[2] for p in batch.parts}
        and old("select key from usage where source = ?") <= {u[1] for u in batch.usage}
        and old("select id from tool where source = ?") <= {c[1] for c in batch.calls}
        and old("select text from prompt where source = ? and text <> ''")
        <= {p[5] for p in batch.prompts}
        and (
            bool(old("select 1 from finding where source = ? and reason = 'damaged'"))
            or _messages(db, source) <= _said(batch)
        )
    )


def _messages(db: Connection, source: int) -> Counter[int]:
    rows = db.execute("select first, events, body from event where source = ?", (source,))
    return Counter(e[5] for r in rows for e in unpack(*r) if e[5] in _SAID)


def _said(batch: Batch) -> Counter[int]:
    found = (e for _, first, n, body in batch.events for e in unpack(first, n, body))
    return Counter(e[5] for e in found if e[5] in _SAID)


def set_apart(db: Connection, source: int, uri: str | bytes) -> int:
    """Give the rows of a source to a new one with another uri; gives its id. The old one stays,
    as if it had not been read."""
    (other,) = db.execute(
        """insert into source(agent, uri, kind, size, mtime_ns, device, inode, offset, line, chk,
        state, version, gone) select agent, ?, kind, size, mtime_ns, 0, 0, offset, line, chk,
        state, version, 1 from source where id = ? returning id""",
        (uri, source),
    ).fetchone()
    for table in TABLES:
        db.execute(f"update {table} set source = ? where source = ?", (other, source))
    return int(other)


def carry(db: Connection, source: int) -> int:
    """Copy a source and its rows from the attached database ``old``; gives its new id.

    Columns that only one of the two has are left out.
    """
    columns = [c for c in _columns(db, "source") if c != "id"]
    names = ", ".join(columns)
    (made,) = db.execute(
        f"insert into source({names}) select {names} from old.source where id = ? returning id",
        (source,),
    ).fetchone()
    for table in TABLES:
        names = ", ".join(c for c in _columns(db, table) if c != "source")
        db.execute(
            f"insert into {table}(source, {names}) select ?, {names} from old.{table} "
            "where source = ?",
            (made, source),
        )
    db.execute("update source set gone = 1, device = 0, inode = 0 where id = ?", (made,))
    return int(made)


def _columns(db: Connection, table: str) -> list[str]:
    def of(schema: str) -> list[str]:
        return [r[1] for r in db.execute(f"pragma {schema}.table_info({table})")]

    there = set(of("old"))
    return [c for c in of("main") if c in there]
