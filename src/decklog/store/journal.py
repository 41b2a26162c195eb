"""What happened, in the order in which it became known: what followers of the store go on from.

A row stands for a run of events of one source, or for one thing that happened to a session. Rows
are written in the transaction that writes what they tell of, so that a number (`Entry.seq`) means
the same before and after any crash: all that was told up to it, and nothing else, is in the store.
Numbers begin at the moment (in microseconds) at which the store was made: those of a store made
anew are higher than all before, and a number of an older one is known to be old.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from decklog.store.rows import Batch

KEPT = 100_000
"""Rows that are kept at least; older ones are forgotten when there are twice as many."""
PRINT = 8
"""Bytes of a fingerprint."""

SCHEMA = """
create table journal(
    seq integer primary key, events integer not null, what text not null,
    source integer not null default 0, first integer not null default 0,
    prints blob not null default x'', session text not null default '');
"""


class Entry:
    """One row. ``what`` is ``events`` or one of the kinds of `decklog.model.changes`."""

    __slots__ = ("events", "first", "prints", "seq", "session", "source", "what")

    def __init__(
        self, seq: int, events: int, what: str, source: int, first: int, prints: bytes, session: str
    ) -> None:
        self.seq = seq
        """Number of the first thing that the row tells."""
        self.events = events
        """How many things it tells, numbered one after the other."""
        self.what = what
        self.source = source
        self.first = first
        """Number of the first event within its source; 0 for a document, read whole each time."""
        self.prints = prints
        """Of a document: fingerprints of the events that are new."""
        self.session = session


def begin(db: Any) -> None:
    """The table of a new store."""
    db.execute(SCHEMA)
    _base(db)


def _base(db: Any) -> None:
    db.execute("insert into meta values('journal', ?)", (str(time.time_ns() // 1_000),))


def upgrade(db: Any) -> None:
    """Give a store of format 1 its journal. What it holds already is not told again."""
    db.execute("alter table source add column told integer not null default 0")
    db.execute(
        """update source set told = coalesce((select max(first + events - 1) from event
        where event.source = source.id), 0)"""
    )
    begin(db)


def end(db: Any) -> int:
    """The number that comes next."""
    row = db.execute("select seq + events from journal order by seq desc limit 1").fetchone()
    if row is None:
        row = db.execute("select value from meta where key = 'journal'").fetchone()
    return int(row[0]) if row else 1


def start(db: Any) -> int:
    """The oldest number that is kept."""
    row = db.execute("select min(seq) from journal").fetchone()
    return end(db) if row[0] is None else int(row[0])


def tell(db: Any, batches: Iterable[Batch]) -> None:
    """Note the events of batches that are being written and were not told before.

    What is read a second time (a companion had something to say of a whole file, a document
    changed in one place) is not told again.
    """
    seq = end(db)
    rows: list[tuple[Any, ...]] = []
    told: dict[int, int] = {}
    for b in batches:
        if b.prints is not None:
            fresh = _fresh(db, b.source, b.prints)
            if fresh:
                n = len(fresh) // PRINT
                rows.append((seq, n, "events", b.source, 0, fresh, ""))
                seq += n
            continue
        if not b.events:
            continue
        if b.source not in told:
            row = db.execute("select told from source where id = ?", (b.source,)).fetchone()
            told[b.source] = row[0]
        _, first, n, _ = b.events[0]
        start, stop = max(first, told[b.source] + 1), first + n
        if start < stop:
            rows.append((seq, stop - start, "events", b.source, start, b"", ""))
            seq += stop - start
            told[b.source] = stop - 1
    db.executemany("insert into journal values(?, ?, ?, ?, ?, ?, ?)", rows)
    db.executemany("update source set told = ? where id = ?", ((t, s) for s, t in told.items()))


def _fresh(db: Any, source: int, prints: bytes) -> bytes:
    """Of the fingerprints of a document those that its last version did not have."""
    row = db.execute("select state from source where id = ?", (source,)).fetchone()
    before: dict[bytes, int] = {}
    for one in split(row[0] if row else b""):
        before[one] = before.get(one, 0) + 1
    fresh = []
    for one in split(prints):
        if before.get(one):
            before[one] -= 1
        else:
            fresh.append(one)
    return b"".join(fresh)


def split(prints: bytes) -> list[bytes]:
    return [prints[i : i + PRINT] for i in range(0, len(prints), PRINT)]


def remember(db: Any) -> None:
    """Before sessions are renewed: what is known of those in ``temp.todo``."""
    db.execute(
        """create temp table if not exists was(name text primary key, title text, gone integer)"""
    )
    db.execute("delete from temp.was")
    db.execute(
        """insert into temp.was select s.name, s.title, s.gone
        from temp.todo t cross join session s on s.name = t.session where s.listed"""
    )


def compare(db: Any) -> None:
    """After sessions were renewed: note those that are new, have another title, went, or came
    back."""
    rows = db.execute(
        """select s.name, case when w.name is null then 'session_new'
            when s.gone > w.gone then 'session_gone' when s.gone < w.gone then 'session_back'
            else 'session_renamed' end
        from temp.todo t cross join session s on s.name = t.session
        left join temp.was w on w.name = s.name
        where s.listed and (w.name is null or s.gone <> w.gone or s.title is not w.title)
        order by s.started_at, s.name"""
    ).fetchall()
    if rows:
        seq = end(db)
        db.executemany(
            "insert into journal(seq, events, what, session) values(?, 1, ?, ?)",
            ((seq + i, what, name) for i, (name, what) in enumerate(rows)),
        )
    trim(db)


def trim(db: Any, kept: int = KEPT) -> None:
    """Forget the oldest rows when there are twice as many as have to be kept."""
    (count,) = db.execute("select count(*) from journal").fetchone()
    if count > 2 * kept:
        db.execute(
            """delete from journal where seq < (select seq from journal order by seq desc
            limit 1 offset ?)""",
            (kept - 1,),
        )


def entries(db: Any, since: int, limit: int) -> list[Entry]:
    """Rows that tell anything with a number over ``since``, oldest first."""
    return [
        Entry(*row)
        for row in db.execute(
            """select seq, events, what, source, first, prints, session from journal
            where seq >= coalesce((select max(seq) from journal where seq <= ?1), 0)
            and seq + events > ?1 + 1 order by seq limit ?2""",
            (since, limit),
        )
    ]
