"""A filter as SQL, and paths as the database holds them, written once."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SEARCHED = "(not p.superseded or instr(s.uri, '#rewritten-'))"
"""SQL for the parts ``p`` of sources ``s`` that are searched: all but twins, and also what was read
of files before they were rewritten."""


def session_query(columns: str, where: dict[str, Any]) -> tuple[str, list[Any]]:
    """The question for sessions ``s``, newest first, with its values."""
    conditions, values = narrowed(where, "s.last_at")
    conditions.insert(0, "s.listed")
    if not where.get("subagents", True):
        conditions.append("coalesce(s.relation, '') <> 'subagent'")
    if where.get("ids") is not None:
        conditions.append(f"s.name in ({marks(where['ids'])})")
        values += where["ids"]
    for column in ("parent", "root"):
        if where.get(column) is not None:
            conditions.append(f"s.{column} = ?")
            values.append(where[column])
    _with_models(where, conditions, values)
    limit = where.get("limit")
    values += [-1 if limit is None else limit, where.get("offset", 0)]
    sql = f"""select {columns} from session s where {" and ".join(conditions)}
        order by s.last_at desc, s.name limit ? offset ?"""
    return sql, values


def session_conditions(where: dict[str, Any]) -> tuple[str, list[Any]]:
    """SQL for the sessions ``s`` that may hold what happened in a time, with its values."""
    conditions: list[str] = ["1"]
    values: list[Any] = []
    among(where, conditions, values)
    _with_models(where, conditions, values)
    if where.get("since") is not None:
        conditions.append("s.last_at >= ?")
        values.append(where["since"])
    return " and ".join(conditions), values


def _with_models(where: dict[str, Any], conditions: list[str], values: list[Any]) -> None:
    if where.get("models"):
        conditions.append(
            f"""(s.model in ({marks(where["models"])}) or exists(select 1 from daily d
            where d.session = s.name and d.model in ({marks(where["models"])})))"""
        )
        values += [*where["models"], *where["models"]]


def narrowed(where: dict[str, Any], time: str) -> tuple[list[str], list[Any]]:
    """Conditions on sessions ``s`` and on a column with a time, with their values."""
    conditions: list[str] = []
    values: list[Any] = []
    among(where, conditions, values)
    for name, test in (("since", ">="), ("until", "<")):
        if where.get(name) is not None:
            conditions.append(f"{time} {test} ?")
            values.append(where[name])
    return conditions, values


def among(where: dict[str, Any], conditions: list[str], values: list[Any]) -> None:
    """Agents by name; projects by any part of their repository or folder."""
    if where.get("agents"):
        conditions.append(f"s.agent in ({marks(where['agents'])})")
        values += where["agents"]
    if where.get("projects"):
        test = "s.project like ? escape '\\' or s.cwd like ? escape '\\'"
        conditions.append(f"({' or '.join([test] * len(where['projects']))})")
        values += [f"%{escaped(p)}%" for p in where["projects"] for _ in (0, 1)]


def marks(values: Any) -> str:
    """A question mark for each of the values."""
    return ", ".join("?" * len(values))


def escaped(text: str) -> str:
    """Text for ``like``, with its wildcards as plain characters."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def uri_of(path: str) -> str | bytes:
    """A path as the database can hold it: bytes where it is not valid Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def path(uri: str) -> str:
    """A path as Python has it; one that is no text comes out of the database as hex digits."""
    return os.fsdecode(bytes.fromhex(uri[4:])) if uri.startswith("hex:") else uri
