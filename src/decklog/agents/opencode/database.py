"""How OpenCode's database is read: a version and a document for each session, for every schema."""

from __future__ import annotations

from collections.abc import Mapping

from decklog.agents import Queries

_SESSION = {
    "id": "id",
    "parentID": "parent_id",
    "forkSessionID": "fork_session_id",
    "directory": "directory",
    "title": "title",
    "version": "version",
}
"""Our name of a session's fact (that of an export) to its column."""

# 1.x: rows are changed in place, so their ids and number do not tell what is new.
_V1 = """
    SELECT m.id, NULL AS type, 0 AS age, m.time_created AS nth,
           CASE WHEN json_valid(m.data) THEN m.data END AS info,
           (SELECT json_group_array(
                CASE WHEN json_valid(p.data) THEN json(p.data) END ORDER BY p.id)
            FROM part p WHERE p.message_id = m.id) AS parts
    FROM message m WHERE m.session_id = :id"""
_V2 = """
    SELECT m.id, m.type, 1 AS age, m.seq AS nth,
           CASE WHEN json_valid(m.data) THEN m.data END AS info, NULL AS parts
    FROM session_message m WHERE m.session_id = :id"""
# A database that 2.x took over holds its old sessions twice. The 1.x rows are the fuller copy
# (parts, usage of compactions), so of the others only those are taken that came later.
_V2_LATER = """
    AND m.seq > coalesce((SELECT max(n.seq) FROM session_message n
                          JOIN message o ON o.id = n.id WHERE n.session_id = :id), -1)"""
_MESSAGES = """(
    SELECT json_group_array(json_object(
        'id', id, 'type', type, 'info', json(info), 'parts', json(parts)) ORDER BY age, nth, id)
    FROM ({rows}))"""
_RECORDED = """(
    SELECT json_group_array(json_object(
        'id', e.id, 'at', {at}, 'source', e.data ->> '$.source', 'cost', e.data ->> '$.cost',
        'tokens', json(e.data -> '$.tokens')) ORDER BY e.seq)
    FROM event e
    WHERE e.aggregate_id = :id AND e.type GLOB 'session.usage.recorded*' AND json_valid(e.data))"""
# Sessions that began before a fork, with a message of the very time of one of the fork's copies.
_ORIGINS = """(
    SELECT json_group_array(json_object('id', p.id, 'title', p.title) ORDER BY p.time_created DESC)
    FROM session s JOIN session p ON p.project_id = s.project_id AND p.time_created < s.time_created
    WHERE s.id = :id AND s.title GLOB '*(fork #*)' AND EXISTS (
        SELECT 1 FROM message a
        JOIN message b ON b.session_id = p.id AND b.time_created = a.time_created
        WHERE a.session_id = s.id AND a.time_created < s.time_created))"""


def _session_row(table: str, columns: frozenset[str]) -> str:
    pairs = [f"'{key}', s.{column}" for key, column in _SESSION.items() if column in columns]
    if "model" in columns:
        pairs.append("'model', CASE WHEN json_valid(s.model) THEN json(s.model) END")
    if "time_created" in columns:
        pairs.append("'time', json_object('created', s.time_created)")
    return f"(SELECT json_object({', '.join(pairs)}) FROM {table} s WHERE s.id = :id)"


def queries(tables: Mapping[str, frozenset[str]]) -> Queries | None:
    def has(table: str, *columns: str) -> bool:
        return tables.get(table, frozenset()).issuperset(columns or ("id",))

    def changed(table: str, key: str = "session_id") -> str:
        fresh = "sum(time_updated)" if has(table, "time_updated") else "sum(length(data))"
        return f"(SELECT json_array(count(*), {fresh}) FROM {table} WHERE {key} = d.id)"

    sessions = [t for t in ("session_v2", "session") if has(t)]
    message = has("message", "id", "session_id", "time_created", "data")
    v1 = message and has("part", "id", "message_id", "session_id", "data")
    v2 = has("session_message", "id", "session_id", "type", "seq", "data")
    if not sessions or not (v1 or v2):
        return None
    rows, stamps = [], [changed(t, "id") for t in sessions if has(t, "time_updated")]
    if v1:
        rows.append(_V1)
        stamps += [changed("message"), changed("part")]
    if v2:
        rows.append(_V2 + _V2_LATER if v1 else _V2)
        stamps.append(changed("session_message"))
    if has("event_sequence", "aggregate_id", "seq"):
        stamps.append("(SELECT seq FROM event_sequence WHERE aggregate_id = d.id)")
    info = ", ".join(_session_row(t, tables[t]) for t in sessions)
    pairs = [
        "'id', :id",
        f"'info', json(coalesce({info}, NULL))",
        f"'messages', json({_MESSAGES.format(rows=' UNION ALL '.join(rows))})",
    ]
    if has("event", "id", "aggregate_id", "type", "data", "seq"):
        at = "e.created" if has("event", "created") else "NULL"
        pairs.append(f"'recorded', json({_RECORDED.format(at=at)})")
    if v1 and has("session", "project_id", "time_created", "title"):
        pairs.append(f"'origins', json({_ORIGINS})")
    ids = " UNION ".join(f"SELECT id FROM {t}" for t in sessions)
    return Queries(
        documents=f"SELECT d.id, json_array({', '.join(stamps)}) FROM ({ids}) d",
        document=f"SELECT json_object({', '.join(pairs)})",
    )
