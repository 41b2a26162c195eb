"""Lineage and sums: which recorded facts count, and in which session.

A pure function of the rows: it does not matter in what order or in how many steps they came. A
provider response counts once, in the session it was made in; copies that a fork or resume took
along are marked ``inherited``, twins and embedded copies ``duplicate``.
"""

from __future__ import annotations

from decklog.store import journal
from decklog.store.schema import MONEY, TOKENS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

COUNTED, INHERITED, DUPLICATE, EMPTY = 0, 1, 2, 3

MANY = 200
"""So many changed sessions, and one pass over all keys is cheaper than looking each one up."""


class Linker:
    """Renews everything derived for a set of sessions. Runs inside the caller's transaction."""

    def __init__(self, db: Any) -> None:
        self.db = db

    def run(self, dirty: list[str]) -> int:
        self._closure(dirty)
        self._supersede()
        self._resolve()
        self._resolve_replays()
        self._mark_copies()
        self._daily()
        parents = self._subagent_parents()
        self._sessions()
        self._trees(parents)
        return self._count("temp.todo")

    # -- what is to be renewed -------------------------------------------------------------

    def _closure(self, dirty: list[str]) -> None:
        """Fill ``todo`` with the changed sessions and all that share a response or a prompt with
        one of them, or state one as what they were forked from; ``mine`` with their parts."""
        for table in ("todo", "shared_usage", "shared_prompt"):
            column = "session" if table == "todo" else "key"
            self.db.execute(f"create temp table if not exists {table}({column} text primary key)")
            self.db.execute(f"delete from temp.{table}")
        self.db.executemany("insert or ignore into temp.todo values(?)", ((n,) for n in dirty))
        todo = self._count("temp.todo")
        if todo > MANY:
            self._share_all()
        before = 0
        while todo > before:
            before = todo
            if todo <= MANY:
                self._share_near()
            for table, key in (("usage", "key"), ("prompt", "uid")):
                self.db.execute(
                    f"""insert or ignore into temp.todo select p.session from temp.shared_{table} k
                    cross join {table} x on x.{key} = k.key
                    cross join part p on p.source = x.source and p.part = x.part"""
                )
            for sql in (_PARENTS, _CHILDREN, _SIBLINGS):
                self.db.execute(f"insert or ignore into temp.todo {sql}")
            todo = self._count("temp.todo")
        self.db.execute(
            """create temp table if not exists mine(source integer, part integer, session text,
            primary key(source, part)) without rowid"""
        )
        self.db.execute("create index if not exists temp.mine_session on mine(session)")
        self.db.execute("delete from temp.mine")
        self.db.execute(
            """insert into temp.mine select p.source, p.part, p.session
            from temp.todo t cross join part p on p.session = t.session"""
        )

    def _count(self, table: str) -> int:
        return int(self.db.execute(f"select count(*) from {table}").fetchone()[0])

    def _share_all(self) -> None:
        """Keys that stand in more than one source, from one pass over the indexes."""
        self.db.execute(
            """insert into temp.shared_usage
            select key from usage group by key having count(*) > 1"""
        )
        self.db.execute(
            """insert into temp.shared_prompt select uid from prompt where uid <> ''
            group by uid having min(source) < max(source)"""
        )

    def _share_near(self) -> None:
        """The same for the sessions at hand only."""
        for table, key in (("usage", "key"), ("prompt", "uid")):
            self.db.execute(
                f"""insert or ignore into temp.shared_{table} select x.{key} from temp.todo t
                cross join part p on p.session = t.session
                cross join {table} x on x.source = p.source and x.part = p.part
                where x.{key} <> '' and exists(select 1 from {table} y
                    where y.{key} = x.{key} and y.source <> x.source)"""
            )

    # -- twins -----------------------------------------------------------------------------

    def _supersede(self) -> None:
        """Of several sources with one transcript (plain and packed, moved, copied) one counts."""
        rows = self.db.execute(
            """select p.session, p.source, p.part, p.first_uid, p.messages, p.last_at, s.gone,
                s.kind, s.uri, p.superseded
            from temp.mine cross join part p using(source, part)
            cross join source s on s.id = p.source
            where p.session in (
                select p2.session from temp.mine cross join part p2 using(source, part)
                group by p2.session having count(*) > 1 or max(p2.superseded))"""
        ).fetchall()
        groups: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for r in rows:
            groups.setdefault((r[0], r[3]), []).append(r)
        for (_, uid), group in groups.items():
            group.sort(
                key=lambda r: (-r[4], -(r[5] or 0), r[6], str(r[8]).endswith(".zst"),
                               r[7] != "jsonl", str(r[8]))
            )  # fmt: skip
            for i, r in enumerate(group):
                value = int(i > 0 and bool(uid))
                if value != r[9]:
                    self.db.execute(
                        "update part set superseded = ? where source = ? and part = ?",
                        (value, r[1], r[2]),
                    )

    # -- shared responses --------------------------------------------------------------------

    def _resolve(self) -> None:
        self.db.execute(
            f"""update usage set counted_in = null, verdict = case
                when {" + ".join(TOKENS)} + coalesce(reported, 0) = 0 then {EMPTY}
                else {COUNTED} end
            where {_mine("usage")} and (verdict <> 0 or {" + ".join(TOKENS)} = 0)"""
        )
        rows = self.db.execute(
            """select u.key, u.source, u.part, p.session, u.rank, p.superseded, u.output,
                u.input + u.cache_read + u.cache_write, u.at
            from temp.shared_usage k cross join usage u on u.key = k.key
            cross join part p on p.source = u.source and p.part = u.part
            cross join source s on s.id = u.source
            order by u.key, s.uri"""
        ).fetchall()
        groups: dict[str, list[tuple[Any, ...]]] = {}
        for r in rows:
            groups.setdefault(r[0], []).append(r)
        self.parent: dict[str, tuple[int, str]] = {}
        self.origins = _Origins(self.db)
        updates = []
        for key, group in groups.items():
            top = max(r[4] for r in group)
            own = [r for r in group if r[4] == top]
            origin = self.origins.of({r[3] for r in own})
            # The fullest record counts, be it that of a copy; of equals the first by uri.
            winner = max(own, key=lambda r: (r[6], r[7], r[3] == origin, -r[5]))
            for r in group:
                if r is not winner:
                    copied = r[3] != winner[3] and r[4] == top
                    updates.append((INHERITED if copied else DUPLICATE, winner[3], r[1], key))
                if r[3] != origin and r[4] == top:
                    self._descends(r[3], r[8], origin)
        self.db.executemany(
            "update usage set verdict = ?, counted_in = ? where source = ? and key = ?", updates
        )

    def _descends(self, session: str, at: int | None, origin: str) -> None:
        """Note where a copy came from; the youngest copied record says it best."""
        found = (at or 0, origin)
        self.parent[session] = max(found, self.parent.get(session, found))

    def _resolve_replays(self) -> None:
        """Leading facts of a fork that repeat its parent's, for records that carry no ids.

        Where the parent's own are missing, the first of its forks stands in.
        """
        rows = self.db.execute(
            """select m.session, u.source, u.key, u.inherits,
                (select q.session from usage v cross join part q on q.source = v.source
                    and q.part = v.part where v.key = u.inherits limit 1)
            from temp.mine m cross join usage u on u.source = m.source and u.part = m.part
            where u.inherits <> '' order by u.source, u.offset, u.key"""
        ).fetchall()
        first: dict[str, tuple[str, str]] = {}
        for session, _, key, inherits, _ in rows:
            first[inherits] = min((session, key), first.get(inherits, (session, key)))
        replays: dict[str, str] = {}
        owners: dict[str, str] = {}
        ended: set[tuple[str, int]] = set()
        for session, source, key, inherits, parent in rows:
            owner, original = first[inherits] if parent is None else (parent, inherits)
            if owner == session:
                ended.add((session, source))
            elif (session, source) not in ended:
                replays[key], owners[original] = original, owner
        updates = []
        for key in replays:
            *_, original = _chain(key, replays)
            updates.append((INHERITED, owners[original], key))
        self.db.executemany("update usage set verdict = ?, counted_in = ? where key = ?", updates)

    def _mark_copies(self) -> None:
        """Prompts and tool calls that a fork took along from where it came."""
        shared = self.db.execute(
            """select k.key, p.session, u.at from temp.shared_prompt k
            cross join prompt u on u.uid = k.key
            cross join part p on p.source = u.source and p.part = u.part"""
        ).fetchall()
        groups: dict[str, list[tuple[str, int | None]]] = {}
        for uid, session, at in shared:
            groups.setdefault(uid, []).append((session, at))
        for group in groups.values():
            origin = self.origins.of({session for session, _ in group})
            for session, at in group:
                if session != origin:
                    self._descends(session, at, origin)
        stated: dict[str, str] = {}
        for session, parent in self.db.execute(
            f"""select p.session, {_PARENT} from temp.mine cross join part p using(source, part)
            cross join source s on s.id = p.source where {_FORKED}
            and exists(select 1 from part q where q.session = {_PARENT}) order by {_BEST}"""
        ):
            stated.setdefault(session, parent)
        self.families = {**{s: p for s, (_, p) in self.parent.items()}, **stated}
        for table, key in (("prompt", "uid"), ("tool", "id")):
            self.db.execute(
                f"update {table} set inherited = 0 where inherited <> 0 and {_mine(table)}"
            )
            self.db.executemany(
                f"""update {table} set inherited = 1
                where {_mine(table, "session = ?1")} and {key} <> '' and {key} in (
                    select x.{key} from temp.mine m cross join {table} x
                    on x.source = m.source and x.part = m.part where m.session = ?2)""",
                [(s, a) for s in self.families for a in _chain(s, self.families)],
            )

    # -- sums ------------------------------------------------------------------------------

    def _daily(self) -> None:
        self.db.execute("delete from daily where session in (select session from temp.todo)")
        sums = ", ".join(f"sum(u.{c})" for c in TOKENS)
        self.db.execute(
            f"""insert into daily select p.session, u.day, u.provider, u.model, {sums},
                sum(coalesce(u.cost, u.reported)), sum(u.reported), sum(u.cost is not null),
                sum(u.cost is null and u.reported is not null),
                sum(u.cost is null and u.reported is null), count(*)
            from temp.mine p cross join usage u on u.source = p.source and u.part = p.part
            where u.verdict = {COUNTED} group by 1, 2, 3, 4"""
        )

    def _subagent_parents(self) -> list[str]:
        """Of the sessions to be renewed, those above them as they stand so far."""
        rows = self.db.execute(
            """select s.parent from temp.todo t cross join session s on s.name = t.session
            where s.relation = 'subagent' and s.parent is not null"""
        )
        return [r[0] for r in rows]

    def _sessions(self) -> None:
        """One row for each session, merged from its parts, best part first."""
        rows = self.db.execute(
            f"""select p.session, p.native, p.parent, p.relation, p.copies, p.cwd, p.project,
                p.branch, p.title, p.title_rank, p.prompt, p.model, p.agent_version, p.started_at,
                p.ended_at, p.last_at, p.messages, p.compactions, p.aborts, p.limits,
                p.completeness, p.superseded, s.gone, s.agent
            from temp.mine cross join part p using(source, part)
            cross join source s on s.id = p.source order by p.session, {_BEST}"""
        ).fetchall()
        merged: dict[str, list[tuple[Any, ...]]] = {}
        for r in rows:
            merged.setdefault(r[0], []).append(r)
        counts = {r[0]: r[1:] for r in self.db.execute(_COUNTS)}
        sums = {
            r[0]: r[1:]
            for r in self.db.execute(
                f"""select session, sum(responses), {", ".join(f"sum({c})" for c in TOKENS)},
                    {", ".join(f"sum({c})" for c in MONEY)}
                from temp.todo cross join daily using(session) group by 1"""
            )
        }
        journal.remember(self.db)
        self.db.execute("delete from session where name in (select session from temp.todo)")
        made = []
        for name, parts in merged.items():
            made.append(self._session(name, parts, counts.get(name), sums.get(name)))
        self.db.executemany(
            f"""insert into session({_SESSION_COLUMNS}) values({", ".join("?" * 41)})""", made
        )

    def _session(
        self,
        name: str,
        parts: list[tuple[Any, ...]],
        counts: tuple[Any, ...] | None,
        sums: tuple[Any, ...] | None,
    ) -> tuple[Any, ...]:
        agent = parts[0][23]

        def first(i: int) -> Any:
            return next((p[i] for p in parts if p[i] not in (None, "")), None)

        def least(i: int) -> Any:
            return min((p[i] for p in parts if p[i] is not None), default=None)

        def most(i: int) -> Any:
            return max((p[i] for p in parts if p[i] is not None), default=None)

        live = [p for p in parts if not p[21]] or parts
        parent, relation = first(2), first(3)
        if parent:
            parent = f"{agent}:{parent}"
        elif name in self.families:
            parent, relation = self.families[name], first(4) or "fork"
        titled = max(parts, key=lambda p: p[9] or 0)
        prompts, calls, errors, files, findings = counts or (0, 0, 0, 0, 0)
        responses, *totals = sums or (0, *[0] * len(TOKENS), None, None, 0, 0, 0)
        messages = sum(p[16] for p in live)
        listed = bool(prompts or calls or responses or messages or first(10) or first(11))
        return (
            name, agent, parts[0][1], parent, relation, name, first(6) or first(5), first(5),
            first(7), titled[8] or first(10), first(10), first(11), first(12), least(13), most(14),
            most(15), prompts, messages, calls, errors, files, responses, 0,
            sum(p[17] for p in live), sum(p[18] for p in live), sum(p[19] for p in live),
            findings, *totals, min(p[20] for p in live), int(all(p[22] for p in parts)),
            int(listed),
        )  # fmt: skip

    def _trees(self, parents: list[str]) -> None:
        """Roots and rolled-up usage of every family of subagents that changed, or lost a member."""
        self.db.execute("create temp table if not exists family(name text primary key)")
        self.db.execute("delete from temp.family")
        self.db.execute("insert into temp.family select session from temp.todo")
        self.db.executemany("insert or ignore into temp.family values(?)", ((n,) for n in parents))
        # A family is a component of the subagent relation: walk up to the tops, then down.
        self.db.execute(
            """insert or ignore into temp.family
            with recursive up(name) as (
                select name from temp.family union
                select s.parent from session s join up on s.name = up.name
                where s.relation = 'subagent' and s.parent is not null)
            select name from up"""
        )
        self.db.execute(
            """insert or ignore into temp.family
            with recursive down(name) as (
                select name from temp.family union
                select s.name from session s join down on s.parent = down.name
                where s.relation = 'subagent')
            select name from down"""
        )
        links = dict(
            self.db.execute(
                """select s.name, s.parent
                from temp.family f cross join session s on s.name = f.name
                where s.relation = 'subagent' and s.parent in (select name from session)"""
            ).fetchall()
        )
        fields = [*TOKENS, *MONEY]
        rows = self.db.execute(
            f"""select s.name, {", ".join(f"s.{c}" for c in fields)}
            from temp.family f cross join session s on f.name = s.name"""
        ).fetchall()
        trees: dict[str, list[int | None]] = {r[0]: list(r[1:]) for r in rows}
        children: dict[str, int] = {}
        roots: dict[str, str] = {}
        for name, *own in rows:
            chain = list(_chain(name, links))
            roots[name] = chain[-1] if chain else name
            if chain:
                children[chain[0]] = children.get(chain[0], 0) + 1
            for ancestor in chain:
                tree = trees[ancestor]
                for i, value in enumerate(own):
                    if value is not None:
                        tree[i] = (tree[i] or 0) + value
        self.db.executemany(
            f"""update session set root = ?, subagents = ?,
                {", ".join(f"tree_{c} = ?" for c in fields)} where name = ?""",
            [(roots[n], children.get(n, 0), *tree, n) for n, tree in trees.items()],
        )


class _Origins:
    """Which of several sessions that hold the same records made them."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.known: dict[frozenset[str], str] = {}
        self.rank: dict[str, tuple[Any, ...]] = {}

    def of(self, sessions: set[str]) -> str:
        if len(sessions) == 1:
            return next(iter(sessions))
        key = frozenset(sessions)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self._decide(sessions)
        return found

    def _decide(self, sessions: set[str]) -> str:
        """A stated parent; else the one that does not look like a copy.

        A copy opens with a record of its own that is younger than the copied ones after it. Where
        that does not show, the copy is the one that went its own way first: a fork is made to be
        used at once, while the original may go on later or never.
        """
        for name in sessions:
            if name not in self.rank:
                self.rank[name] = self._rank(name)
        free = {n for n in sessions if self.rank[n][3] not in sessions}
        return min(free or sessions, key=lambda n: (self.rank[n][0], -self.rank[n][1], n))

    def _rank(self, name: str) -> tuple[Any, ...]:
        opened, started, parent = self.db.execute(
            # a stated parent counts for a subagent as well: it may take its parent's context along
            f"""select min(opened_at), min(started_at),
                max(case when p.parent <> '' then {_PARENT} end) from part p where session = ?""",
            (name,),
        ).fetchone()
        looks_copied = int(opened is not None and started is not None and opened > started)
        own = " union all ".join(
            f"""select min(u.at) from part p
            cross join {table} u on u.source = p.source and u.part = p.part
            where p.session = ?1 and u.{key} <> '' and not exists(select 1 from {table} v
                cross join part q on q.source = v.source and q.part = v.part
                where v.{key} = u.{key} and q.session <> ?1)"""
            for table, key in (("usage", "key"), ("prompt", "uid"))
        )
        times = [at for (at,) in self.db.execute(own, (name,)) if at is not None]
        return looks_copied, min(times, default=1 << 62), name, parent


def _chain(name: str, links: dict[str, str]) -> Iterable[str]:
    """Ancestors, nearest first; ends where a loop would begin."""
    met = {name}
    while (name := links.get(name, "")) and name not in met:
        met.add(name)
        yield name


def _mine(table: str, more: str = "true") -> str:
    """A condition: the row of a table belongs to one of the sessions to be renewed."""
    return f"""source in (select source from temp.mine where {more}) and exists(
        select 1 from temp.mine m where m.source = {table}.source and m.part = {table}.part
        and {more})"""


_AGENT = "substr({0}.session, 1, instr({0}.session, ':'))"
_PARENT = f"{_AGENT.format('p')} || p.parent"
_FORKED = "p.parent <> '' and coalesce(p.relation, '') <> 'subagent'"
_PARENTS = f"""select q.session from temp.todo t cross join part p on p.session = t.session
    cross join part q on q.session = {_PARENT} where {_FORKED}"""
_CHILDREN = f"""select p.session from temp.todo t cross join part q on q.session = t.session
    cross join part p on p.parent = q.native and {_AGENT.format("p")} = {_AGENT.format("q")}
    where {_FORKED}"""
_SIBLINGS = f"""select p.session from temp.todo t cross join part q on q.session = t.session
    cross join part p on p.parent = q.parent and {_AGENT.format("p")} = {_AGENT.format("q")}
    where {_FORKED}"""
_BEST = "p.superseded, p.completeness, s.gone, p.started_at, s.uri"
"""Order of a session's parts, the one that says most about it first."""

_COUNTS = """
select t.session,
    (select count(*) from (select distinct case uid when '' then p.source || ':' || x.seq
        else uid end from part p cross join prompt x on x.source = p.source and x.part = p.part
        where p.session = t.session and not p.superseded and not x.inherited
        and coalesce(p.relation, '') <> 'subagent')),
    (select count(distinct x.id) from part p cross join tool x on x.source = p.source
        and x.part = p.part
        where p.session = t.session and not p.superseded and not x.inherited),
    (select count(distinct x.id) from part p cross join tool x on x.source = p.source
        and x.part = p.part
        where p.session = t.session and not p.superseded and not x.inherited and x.ok = 0),
    (select count(distinct x.path) from part p cross join touched x on x.source = p.source
        and x.part = p.part where p.session = t.session),
    (select coalesce(sum(x.count), 0) from part p cross join finding x on x.source = p.source
        where p.session = t.session and p.part = 0)
from temp.todo t"""

_SESSION_COLUMNS = (
    "name, agent, native, parent, relation, root, project, cwd, branch, title, prompt, model, "
    "agent_version, started_at, ended_at, last_at, prompts, messages, tool_calls, tool_errors, "
    "files, responses, subagents, compactions, aborts, limits, findings, "
    f"{', '.join((*TOKENS, *MONEY))}, completeness, gone, listed"
)
