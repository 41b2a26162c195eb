"""Agents' own SQLite databases, read-only, write-ahead log included."""

from __future__ import annotations

from urllib.parse import quote

import apsw

from decklog.agents import Agent, Queries
from decklog.errors import SourceError

MAX_STEPS_MS = 2_000


class Unreadable(SourceError):
    """The database cannot be read now; the message says why."""


class UnknownSchema(SourceError):
    """The database has tables that its agent is not known to write."""


def readable_beside(path: str) -> bool:
    """True when a reader holds up no writer: the database keeps a write-ahead log. While it is
    being made it does not yet, and its maker ends with an error when somebody reads it then."""
    try:
        with open(path, "rb") as file:
            return file.read(20)[18:] == b"\x02\x02"
    except OSError:
        return True  # reading will say what is wrong


def _open(path: str) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        db = apsw.Connection(f"file:{quote(path)}?mode=ro", flags=flags)
        db.set_busy_timeout(MAX_STEPS_MS)
        db.execute("begin")
        db.execute("select count(*) from sqlite_master").fetchone()
    except apsw.Error as error:
        raise Unreadable(f"{path}: {error}") from None
    return db


def _queries(db: apsw.Connection, path: str, a: Agent) -> Queries:
    names = db.execute("select name from sqlite_master where type = 'table'").fetchall()
    tables = {
        str(name): frozenset(
            str(r[1]) for r in db.execute(f"pragma table_info({_quoted(str(name))})")
        )
        for (name,) in names
    }
    queries = a.queries(tables)
    if queries is None:
        raise UnknownSchema(f"{path}: schema not known ({len(tables)} tables)")
    return queries


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def versions(path: str, a: Agent) -> dict[str, str]:
    """Version of each document in a database, by id."""
    db = _open(path)
    try:
        rows = db.execute(_queries(db, path, a).documents).fetchall()
    except apsw.Error as error:
        raise Unreadable(f"{path}: {error}") from None
    finally:
        db.close()
    return {str(document): str(version) for document, version in rows}


def document(path: str, a: Agent, document: str) -> bytes:
    """One document as JSON; empty when it is not there any more."""
    db = _open(path)
    try:
        row = db.execute(_queries(db, path, a).document, {"id": document}).fetchone()
    except apsw.Error as error:
        raise Unreadable(f"{path}: {error}") from None
    finally:
        db.close()
    if row is None or row[0] is None:
        return b""
    return row[0].encode() if isinstance(row[0], str) else bytes(row[0])
