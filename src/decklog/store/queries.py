"""The questions: plain rows out of the embedded store. Imports nothing heavy."""

from __future__ import annotations

import os

from decklog.store import journal
from decklog.store.cost import basis, basis_case, cost_fields
from decklog.store.schema import MONEY, TOKENS
from decklog.store.sql import (
    SEARCHED,
    among,
    escaped,
    marks,
    narrowed,
    path,
    session_query,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

COUNT_NAMES = [
    "prompts",
    "messages",
    "tool_calls",
    "tool_errors",
    "files",
    "responses",
    "subagents",
    "compactions",
    "aborts",
    "limits",
    "findings",
]
_TEXTS = ["project", "cwd", "branch", "title", "prompt", "model", "agent_version"]
_TIMES = ["started_at", "ended_at", "last_at"]

SHIFT = 10_000_000
"""Numbers of the next source of a session begin so much higher: none changes when one grows."""

PARTIAL = ("unreadable", "bomb", "too_long", "too_big")
"""Reasons of findings that mean: not all of the source could be read."""

REASONS = {
    (0, 1): "counted: the only record of this response",
    (0, 2): "counted: the last record of this response stands",
    (1, 1): "not counted here: copied from the session it counts in",
    (2, 1): "not counted: another record of this response counts",
    (3, 1): "nothing to count: the record states no tokens",
}


class Reading:
    """The reading half of the store."""

    db: Any
    folder: str

    def get(self, key: str) -> str | None: ...

    def sessions(self, where: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Sessions, newest first, as dicts with the fields of `decklog.model.Session`.

        ``where``: agents, projects, models, since, until, limit, offset, subagents, ids, parent,
        root.
        """
        date = self._prices_date()
        sql, values = session_query(_SESSION, where)
        for r in self.db.execute(sql, values):
            yield _session(r, date)

    def session_json(self, where: dict[str, Any]) -> Iterator[str]:
        """The same as JSON objects. SQLite writes them in a fraction of the time."""
        sql, values = session_query(_session_object(), where)
        for (text,) in self.db.execute(sql, [self._prices_date()] * 2 + values):
            yield text

    def resolve(self, text: str) -> list[str]:
        """Session ids that a text may mean: ``latest``, an id, a native id, or a prefix of one."""
        db = self.db
        if text == "latest":
            sql = """select name from session where listed and coalesce(relation, '') <> 'subagent'
                order by last_at desc, name limit 1"""
            return [r[0] for r in db.execute(sql)]
        exact = "select name from session where name = ?1 or native = ?1 order by name"
        found = [r[0] for r in db.execute(exact, (text,))]
        if found or not text:
            return found
        like = f"{escaped(text)}%"
        sql = """select name from session where (name like ?1 escape '\\' or native like ?1
            escape '\\') and listed order by coalesce(relation, '') = 'subagent', name limit 50"""
        found = [r[0] for r in db.execute(sql, (like,))]
        tops = [n for n in found if not any(n != m and n.startswith(m) for m in found)]
        return tops if len(tops) == 1 else found

    def sources_of_sessions(self) -> list[tuple[str, str, bool]]:
        """(uri, session, gone) of every source and session within it."""
        rows = self.db.execute(
            """select s.uri, p.session, s.gone from part p join source s on s.id = p.source
            order by s.uri, p.part"""
        )
        return [(os.fsdecode(uri), session, bool(gone)) for uri, session, gone in rows]

    def parts(self, session: str) -> list[dict[str, Any]]:
        rows = self.db.execute(
            """select s.id, s.agent, s.uri, s.kind, s.gone, p.part, p.superseded, s.offset, s.size
            from part p join source s on s.id = p.source where p.session = ?
            order by p.superseded, s.gone, s.uri""",
            (session,),
        )
        names = ["id", "agent", "uri", "kind", "gone", "part", "superseded", "offset", "size"]
        return [dict(zip(names, (*r[:2], os.fsdecode(r[2]), *r[3:]), strict=True)) for r in rows]

    def source(self, source: int) -> dict[str, Any] | None:
        """Agent, uri and kind of a source."""
        row = self.db.execute(
            "select agent, uri, kind from source where id = ?", (source,)
        ).fetchone()
        return (
            None if row is None else {"agent": row[0], "uri": os.fsdecode(row[1]), "kind": row[2]}
        )

    def told_before(self, source: int) -> set[tuple[Any, ...]]:
        """When, where and what of the events that an older source of the same session holds:
        the same transcript elsewhere, compressed, or before it was rewritten."""
        from decklog.store.events import unpack

        rows = self.db.execute(
            """select e.first, e.events, e.body from event e where e.source in (
                select q.source from part p cross join part q on q.session = p.session
                where p.source = ?1 and q.source < ?1)""",
            (source,),
        )
        found: set[tuple[Any, ...]] = set()
        for first, n, body in rows:
            found |= {(at, offset, length, kind) for _, at, offset, length, _, kind in
                      unpack(first, n, body)}  # fmt: skip
        return found

    def noted(self, since: int, limit: int) -> list[journal.Entry]:
        """What was noted after number ``since``; see `decklog.store.journal`."""
        return journal.entries(self.db, since, limit)

    def journal_ends(self) -> tuple[int, int]:
        """The oldest number of the journal that is kept, and the one that comes next."""
        return journal.start(self.db), journal.end(self.db)

    def title(self, session: str) -> str:
        row = self.db.execute("select title from session where name = ?", (session,)).fetchone()
        return str(row[0] or "") if row else ""

    def numbering(self, session: str) -> list[int]:
        """Sources of a session in the order in which their events are numbered; last what was
        read of files before they were rewritten."""
        sql = f"""select p.source from part p join source s on s.id = p.source
            where p.session = ? and {SEARCHED}
            order by p.superseded, p.completeness <> 'full', s.uri"""
        return [r[0] for r in self.db.execute(sql, (session,))]

    def shift(self, session: str, source: int) -> int:
        """What is added to the sequence numbers of a source in a session that has several."""
        order = self.numbering(session)
        return SHIFT * order.index(source) if source in order else 0

    def usage(self, by: str, where: dict[str, Any]) -> list[dict[str, Any]]:
        """Sums of the counted facts: ``daily weekly monthly models projects sessions agents``.

        ``where``: agents, projects, models, since_day, until_day (exclusive), root.
        """
        keys = _BY[by]
        sql, values = _usage_query(by, where)
        n = len(keys)
        rows = []
        for r in self.db.execute(sql, values):
            row: dict[str, Any] = dict(zip(keys, r, strict=False))
            row.update(zip(TOKENS, r[n:], strict=False))
            *money, responses, sessions = r[n + len(TOKENS) :]
            row.update(cost_fields(*money))
            row.update(unpriced_responses=money[4], responses=responses, sessions=sessions)
            rows.append(row)
        return rows

    def daily_json(self, where: dict[str, Any]) -> Iterator[str]:
        """The rows of ``daily`` usage as JSON objects, written by SQLite."""
        sql, values = _usage_query("daily", where)
        fields = {c: c for c in ("date", "agent", "provider", "model")}
        fields |= {c: c for c in ("input", "output", "cache_read", "cache_write", "reasoning")}
        fields |= {"cost_micro_usd": "cost", "reported_micro_usd": "reported"}
        fields |= {"basis": basis_case(""), "unpriced_responses": "unpriced"}
        fields |= {"responses": "responses", "sessions": "sessions"}
        for (text,) in self.db.execute(f"select {_object(**fields)} from ({sql})", values):
            yield text

    def facts(self, where: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Counted facts in order of time: (at, agent, project, provider, model, session,
        tokens ..., cost, reported)."""
        conditions, values = narrowed(where, "u.at")
        if where.get("models"):
            conditions.append(f"u.model in ({marks(where['models'])})")
            values += where["models"]
        sql = f"""select u.at, s.agent, s.project, u.provider, u.model, s.name,
                {", ".join(f"u.{c}" for c in TOKENS)}, u.cost, u.reported
            from usage u join part p on p.source = u.source and p.part = u.part
            join session s on s.name = p.session
            where u.verdict = 0 and u.at is not null
            {"".join(f" and {c}" for c in conditions)} order by u.at"""
        yield from self.db.execute(sql, values)

    def ledger(self, where: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Every recorded fact of sessions (``ids``) or of a ``day``, counted or not."""
        conditions, values = ["1"], []
        if where.get("ids") is not None:
            conditions.append(f"p.session in ({marks(where['ids'])})")
            values += where["ids"]
        if where.get("day"):
            conditions.append("u.day = ?")
            values.append(where["day"])
        if where.get("agents"):
            conditions.append(f"src.agent in ({marks(where['agents'])})")
            values += where["agents"]
        date = self._prices_date()
        sql = f"""select p.session, u.key, u.at, u.day, src.agent, u.provider, u.model,
                {", ".join(f"u.{c}" for c in TOKENS)}, u.cost, u.reported, u.verdict, u.counted_in,
                u.records, src.uri, u.offset, u.length, u.line, u.rank
            from usage u join part p on p.source = u.source and p.part = u.part
            join source src on src.id = u.source
            where {" and ".join(conditions)} order by p.session, u.at, u.offset, u.key"""
        for r in self.db.execute(sql, values):
            n = 7 + len(TOKENS)
            cost, reported, verdict, counted_in, records, uri, offset, length, line, rank = r[n:]
            reason = REASONS[verdict, 2 if verdict == 0 and records > 1 else 1]
            if verdict == 0 and rank == 0:
                reason = "counted: the part of a stated total that no single record explains"
            elif verdict == 0 and rank == 1:
                reason = "counted: an embedded copy; the subagent's own transcript is missing"
            yield {
                **dict(
                    zip(
                        ["session", "key", "at", "date", "agent", "provider", "model"],
                        r,
                        strict=False,
                    )
                ),
                "usage": dict(zip(TOKENS, r[7:], strict=False)),
                "cost": {
                    "micro_usd": reported if cost is None else cost,
                    "basis": basis(cost is not None, cost is None and reported is not None, 0),
                    "reported_micro_usd": reported,
                    "prices_date": date,
                },
                "counted": verdict == 0,
                "reason": reason,
                "counted_in": counted_in,
                "records": records,
                "ref": {
                    "source": os.fsdecode(uri),
                    "offset": offset,
                    "length": length,
                    "line": line,
                },
            }

    def tools(self, where: dict[str, Any]) -> list[dict[str, Any]]:
        """Calls by tool: name, kind, calls, errors, sessions, milliseconds."""
        conditions, values = narrowed(where, "t.at")
        if where.get("ids") is not None:
            conditions.append(f"s.name in ({marks(where['ids'])})")
            values += where["ids"]
        sql = f"""select s.agent, t.name, t.kind, count(*), sum(t.ok = 0), count(distinct s.name),
                sum(t.duration_ms)
            from tool t join part p on p.source = t.source and p.part = t.part
            join session s on s.name = p.session
            where not t.inherited and not p.superseded
            {"".join(f" and {c}" for c in conditions)}
            group by 1, 2, 3 order by 4 desc, 1, 2"""
        names = ["agent", "name", "kind", "calls", "errors", "sessions", "duration_ms"]
        return [dict(zip(names, r, strict=True)) for r in self.db.execute(sql, values)]

    def touched(self, session: str) -> list[dict[str, Any]]:
        rows = self.db.execute(
            """select t.path, sum(t.reads), sum(t.writes), min(t.first_at), max(t.last_at)
            from part p join touched t on t.source = p.source and t.part = p.part
            where p.session = ? and not p.superseded group by 1 order by 1""",
            (session,),
        )
        names = ["path", "reads", "writes", "first_at", "last_at"]
        return [dict(zip(names, r, strict=True)) for r in rows]

    def children(self, session: str) -> list[str]:
        sql = "select name from session where parent = ? order by started_at, name"
        return [r[0] for r in self.db.execute(sql, (session,))]

    def findings(self) -> Iterator[dict[str, Any]]:
        for r in self.db.execute(
            """select s.agent, s.uri, f.offset, f.length, f.line, f.reason, f.detail, f.count
            from finding f join source s on s.id = f.source
            order by s.agent, s.uri, f.offset, f.reason, f.detail"""
        ):
            names = ["agent", "source", "offset", "length", "line", "reason", "detail", "count"]
            yield dict(zip(names, (r[0], os.fsdecode(r[1]), *r[2:]), strict=True))

    def partial(self) -> int:
        """Sources that are not, or only in part, in the store."""
        row = self.db.execute(
            f"select count(distinct source) from finding where reason in ({marks(PARTIAL)})",
            PARTIAL,
        ).fetchone()
        return int(row[0])

    def unfinished(self) -> bool:
        """True when a source has to be tried again although nothing about it changed."""
        return bool(
            self.db.execute(
                "select 1 from source where size < 0 and not gone and kind <> 'other' limit 1"
            ).fetchone()
        )

    def overview(self) -> list[dict[str, Any]]:
        """By agent: sources, bytes, those gone, pending bytes; sessions and findings."""
        rows = self.db.execute(
            """select agent, count(*), sum(max(size, 0)), sum(gone),
                sum(case when kind = 'jsonl' and not gone and uri not like '%.zst'
                    then max(size - offset, 0) else 0 end)
            from source where kind not in ('other', 'companion') group by 1 order by 1"""
        ).fetchall()
        sessions = dict(
            self.db.execute("select agent, count(*) from session where listed group by 1")
        )
        findings = dict(
            self.db.execute(
                """select s.agent, sum(f.count) from finding f join source s on s.id = f.source
                group by 1"""
            )
        )
        names = ["agent", "sources", "bytes", "gone", "pending_bytes"]
        return [
            {
                **dict(zip(names, r, strict=True)),
                "sessions": sessions.get(r[0], 0),
                "findings": findings.get(r[0], 0),
            }
            for r in rows
        ]

    def dump(self, text: bool = False) -> Iterator[str]:
        from decklog.store import dumping

        yield from dumping.dump(self.db)
        if text:
            from decklog.store.text.dumping import dump

            uris = {r[0]: os.fsdecode(r[1]) for r in self.db.execute("select id, uri from source")}
            yield from dump(self.folder, self.get("identity") or "", uris)

    def _prices_date(self) -> str:
        row = self.db.execute("select value from meta where key = 'prices_date'").fetchone()
        return row[0] if row else ""


_SOURCES = """(select {collect} from (
    select case typeof(src.uri) when 'text' then src.uri else 'hex:' || hex(src.uri) end uri
    from part p join source src on src.id = p.source where p.session = s.name
    order by p.superseded, src.gone, src.uri))"""

_SESSION = ", ".join(
    [
        *(f"s.{c}" for c in "name agent native parent relation root".split()),
        *(f"coalesce(s.{c}, '')" for c in _TEXTS),
        *(f"s.{c}" for c in (*_TIMES, *COUNT_NAMES, *TOKENS, *MONEY)),
        *(f"s.tree_{c}" for c in (*TOKENS, *MONEY)),
        "s.completeness, s.gone",
        _SOURCES.format(collect="group_concat(uri, char(0))"),
    ]
)


def _session(r: tuple[Any, ...], date: str) -> dict[str, Any]:
    i = 6
    texts = dict(zip(_TEXTS, r[i:], strict=False))
    i += len(_TEXTS)
    times = dict(zip(_TIMES, r[i:], strict=False))
    i += len(_TIMES)
    counts = dict(zip(COUNT_NAMES, r[i:], strict=False))
    i += len(COUNT_NAMES)
    n = len(TOKENS)
    m = n + len(MONEY)
    own, tree = r[i : i + m], r[i + m : i + 2 * m]
    return {
        "id": r[0],
        "agent": r[1],
        "native": r[2],
        "parent": r[3],
        "relation": r[4],
        "root": r[5],
        "host": "",
        **texts,
        **times,
        "counts": counts,
        "usage": dict(zip(TOKENS, own, strict=False)),
        "cost": {**_cost(*own[n:]), "prices_date": date},
        "tree_usage": dict(zip(TOKENS, tree, strict=False)),
        "tree_cost": {**_cost(*tree[n:]), "prices_date": date},
        "completeness": r[-3],
        "sources": tuple(path(uri) for uri in (r[-1] or "").split("\0") if uri),
        "gone": bool(r[-2]),
    }


def _object(**fields: str) -> str:
    """SQL for a JSON object of SQL expressions."""
    inside = ", ".join(f"'{name}', {value}" for name, value in fields.items())
    return f"json_object({inside})"


def _usage_query(by: str, where: dict[str, Any]) -> tuple[str, list[Any]]:
    keys = _BY[by]
    conditions = ["d.day <> ''" if "date" in keys else "1"]
    values: list[Any] = []
    among(where, conditions, values)
    if where.get("models"):
        conditions.append(f"d.model in ({marks(where['models'])})")
        values += where["models"]
    for name, test in (("since_day", "d.day >= ?"), ("until_day", "d.day < ?")):
        if where.get(name):
            conditions.append(test)
            values.append(where[name])
    columns = [f"{expression} {name}" for name, expression in keys.items()]
    columns += [f"sum(d.{c}) {c}" for c in (*TOKENS, *MONEY, "responses")]
    order = ", ".join(str(i + 1) for i in range(len(keys)))
    sql = f"""select {", ".join(columns)}, count(distinct d.session) sessions
        from daily d join session s on s.name = d.session
        where {" and ".join(conditions)} group by {order} order by {order}"""
    return sql, values


def _session_object() -> str:
    """SQL for a session as one JSON object, with the fields of `_session`."""

    def tokens(prefix: str) -> str:
        return _object(**{c: f"s.{prefix}{c}" for c in TOKENS})

    def cost(prefix: str) -> str:
        return _object(
            micro_usd=f"s.{prefix}cost",
            reported_micro_usd=f"s.{prefix}reported",
            basis=basis_case(f"s.{prefix}"),
            prices_date="?",
        )

    fields = {"id": "s.name"}
    fields |= {c: f"s.{c}" for c in "agent native parent relation root".split()}
    fields |= {"host": "''"} | {c: f"coalesce(s.{c}, '')" for c in _TEXTS}
    fields |= {c: f"s.{c}" for c in _TIMES}
    fields["counts"] = _object(**{c: f"s.{c}" for c in COUNT_NAMES})
    fields |= {"usage": tokens(""), "cost": cost("")}
    fields |= {"tree_usage": tokens("tree_"), "tree_cost": cost("tree_")}
    fields["completeness"] = "s.completeness"
    fields["sources"] = f"json({_SOURCES.format(collect='json_group_array(uri)')})"
    fields["gone"] = "json(case when s.gone then 'true' else 'false' end)"
    return _object(**fields)


def _cost(*money: int | None) -> dict[str, Any]:
    fields = cost_fields(*money)
    fields["micro_usd"] = fields.pop("cost_micro_usd")
    return fields


_SERIES = {"agent": "s.agent", "provider": "d.provider", "model": "d.model"}
_BY: dict[str, dict[str, str]] = {
    "daily": {"date": "d.day", **_SERIES},
    "weekly": {"date": "strftime('%G-W%V', d.day)", **_SERIES},  # ISO weeks
    "monthly": {"date": "substr(d.day, 1, 7)", **_SERIES},
    "models": _SERIES,
    "projects": {"project": "s.project"},
    "sessions": {"session": "s.root"},
    "agents": {"agent": "s.agent"},
}
