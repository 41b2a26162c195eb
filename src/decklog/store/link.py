"""Lineage and sums: which recorded facts count, and in which session.

A pure function of the rows: it does not matter in what order or in how many steps they came. A
provider response counts once, in the session it was made in; copies that a fork or resume took
along are marked ``inherited``, twins and embedded copies ``duplicate``.
"""

from __future__ import annotations

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
        self.db.execute("create temp table if not exists todo(session text primary key)")
        self.db.execute("delete from temp.todo")
        self._add(dirty)
        self._supersede()
        self._closure()
        self._resolve()
        self._resolve_replays()
        self._mark_copies()
        names = [r[0] for r in self.db.execute("select session from temp.todo")]
        self._daily()
        self._sessions()
        self._trees(names)
        return len(names)

    def _add(self, names: Iterable[str]) -> None:
        self.db.executemany("insert or ignore into temp.todo values(?)", [(n,) for n in names])

    # -- twins -----------------------------------------------------------------------------

    def _supersede(self) -> None:
        """Of several sources with one transcript (plain and packed, moved, copied) one counts."""
        rows = self.db.execute(
            """select p.session, p.source, p.part, p.first_uid, p.messages, p.last_at, s.gone,
                s.kind, s.uri, p.superseded
            from part p join source s on s.id = p.source
            where p.session in (select p2.session from part p2 join temp.todo using(session)
                group by p2.session having count(*) > 1)"""
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

    def _closure(self) -> None:
        """Take in every session that shares a response, a prompt or a source with a changed one."""
        for table in ("shared_usage", "shared_prompt"):
            self.db.execute(f"create temp table if not exists {table}(key text primary key)")
            self.db.execute(f"delete from temp.{table}")
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
                    join {table} x on x.{key} = k.key
                    join part p on p.source = x.source and p.part = x.part"""
                )
            self.db.execute(
                """insert or ignore into temp.todo
                select q.session from usage v
                cross join usage u on u.key = v.inherits
                join part p on p.source = u.source and p.part = u.part
                join temp.todo t on t.session = p.session
                join part q on q.source = v.source and q.part = v.part
                where v.inherits <> ''"""
            )
            self.db.execute(
                """insert or ignore into temp.todo select q.session from temp.todo t
                join part p on p.session = t.session join part q on q.source = p.source"""
            )
            todo = self._count("temp.todo")

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
                join part p on p.session = t.session
                join {table} x on x.source = p.source and x.part = p.part
                where x.{key} <> '' and exists(select 1 from {table} y
                    where y.{key} = x.{key} and y.source <> x.source)"""
            )

    def _resolve(self) -> None:
        self.db.execute(
            f"""update usage set counted_in = null, verdict = case
                when {" + ".join(TOKENS)} + coalesce(reported, 0) = 0 then {EMPTY}
                else {COUNTED} end
            where source in (select p.source from part p join temp.todo using(session))
            and (verdict <> 0 or {" + ".join(TOKENS)} = 0)"""
        )
        rows = self.db.execute(
            """select u.key, u.source, u.part, p.session, u.rank, p.superseded, u.output,
                u.input + u.cache_read + u.cache_write, u.at, s.uri
            from temp.shared_usage k join usage u on u.key = k.key
            join part p on p.source = u.source and p.part = u.part
            join source s on s.id = u.source
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
            here = [r for r in own if r[3] == origin]
            winner = max(here, key=lambda r: (-r[5], r[6], r[7], r[9]))
            for r in group:
                if r is winner:
                    continue
                verdict = INHERITED if r[3] != origin and r[4] == top else DUPLICATE
                updates.append((verdict, origin, r[1], key))
                if verdict == INHERITED:
                    found = self.parent.get(r[3])
                    if found is None or (r[8] or 0, origin) >= found:
                        self.parent[r[3]] = (r[8] or 0, origin)
        self.db.executemany(
            "update usage set verdict = ?, counted_in = ? where source = ? and key = ?", updates
        )

    def _resolve_replays(self) -> None:
        """Leading facts of a fork that repeat its parent's, for records that carry no ids."""
        rows = self.db.execute(
            """select p.session, u.source, u.key, u.inherits,
                (select q.session from usage v join part q on q.source = v.source
                    and q.part = v.part where v.key = u.inherits limit 1)
            from temp.todo t join part p on p.session = t.session
            join usage u on u.source = p.source and u.part = p.part
            where u.inherits <> '' order by p.session, u.source, u.offset"""
        ).fetchall()
        ended: set[str] = set()
        for session, source, key, _, owner in rows:
            if session in ended:
                continue
            if owner is None or owner == session:
                ended.add(session)
                continue
            self.db.execute(
                "update usage set verdict = ?, counted_in = ? where source = ? and key = ?",
                (INHERITED, owner, source, key),
            )

    def _mark_copies(self) -> None:
        """Prompts and tool calls that a fork took along from where it came."""
        shared = self.db.execute(
            """select k.key, p.session, u.at from temp.shared_prompt k
            join prompt u on u.uid = k.key join part p on p.source = u.source and p.part = u.part"""
        ).fetchall()
        groups: dict[str, set[str]] = {}
        times: dict[str, int] = {}
        for uid, session, at in shared:
            groups.setdefault(uid, set()).add(session)
            times[uid] = at or 0
        for uid, sessions in groups.items():
            if len(sessions) < 2:
                continue
            origin = self.origins.of(sessions)
            for s in sessions - {origin}:
                found = self.parent.get(s)
                if found is None or (times[uid], origin) >= found:
                    self.parent[s] = (times[uid], origin)
        stated = {
            s: f"{s.partition(':')[0]}:{parent}"
            for s, parent in self.db.execute(
                """select p.session, p.parent from part p join temp.todo using(session)
                where p.parent <> '' and p.relation <> 'subagent'"""
            )
        }
        families = {**{s: p for s, (_, p) in self.parent.items()}, **stated}
        self.families = families
        self.db.execute(
            """update prompt set inherited = 0 where inherited <> 0 and source in
            (select p.source from part p join temp.todo using(session))"""
        )
        self.db.execute(
            """update tool set inherited = 0 where inherited <> 0 and source in
            (select p.source from part p join temp.todo using(session))"""
        )
        for session in families:
            for ancestor in _chain(session, families):
                for table, key in (("prompt", "uid"), ("tool", "id")):
                    self.db.execute(
                        f"""update {table} set inherited = 1
                        where source in (select source from part where session = ?1)
                        and {key} <> '' and {key} in (
                            select x.{key} from part p join {table} x
                            on x.source = p.source and x.part = p.part where p.session = ?2)""",
                        (session, ancestor),
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
            from temp.todo t join part p on p.session = t.session
            join usage u on u.source = p.source and u.part = p.part
            where u.verdict = {COUNTED} group by 1, 2, 3, 4"""
        )

    def _sessions(self) -> None:
        """One row for each session, merged from its parts, best part first."""
        rows = self.db.execute(
            """select p.session, p.native, p.parent, p.relation, p.copies, p.cwd, p.project,
                p.branch, p.title, p.title_rank, p.prompt, p.model, p.agent_version, p.started_at,
                p.ended_at, p.last_at, p.messages, p.compactions, p.aborts, p.limits,
                p.completeness, p.superseded, s.gone, s.agent
            from temp.todo t join part p on p.session = t.session
            join source s on s.id = p.source
            order by p.session, p.superseded, p.completeness, s.gone, p.started_at, s.uri"""
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
                from daily join temp.todo using(session) group by 1"""
            )
        }
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

    def _trees(self, names: list[str]) -> None:
        """Roots and rolled-up usage of every family of subagents that changed."""
        self.db.execute("create temp table if not exists family(name text primary key)")
        self.db.execute("delete from temp.family")
        self.db.executemany("insert or ignore into temp.family values(?)", [(n,) for n in names])
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
                """select s.name, s.parent from session s join temp.family f on f.name = s.name
                where s.relation = 'subagent' and s.parent in (select name from session)"""
            ).fetchall()
        )
        fields = [*TOKENS, *MONEY]
        rows = self.db.execute(
            f"""select s.name, {", ".join(f"s.{c}" for c in fields)}
            from session s join temp.family f on f.name = s.name"""
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
        stated = {
            n: f"{n.partition(':')[0]}:{self.rank[n][3]}" for n in sessions if self.rank[n][3]
        }
        free = sessions - {n for n, p in stated.items() if p in sessions}
        return min(free or sessions, key=lambda n: (self.rank[n][0], -self.rank[n][1], n))

    def _rank(self, name: str) -> tuple[Any, ...]:
        opened, started, parent = self.db.execute(
            """select min(opened_at), min(started_at), max(case relation when 'subagent' then ''
            else coalesce(parent, '') end) from part where session = ?""",
            (name,),
        ).fetchone()
        looks_copied = int(opened is not None and started is not None and opened > started)
        tail = self.db.execute(
            """select min(u.at) from part p
            join usage u on u.source = p.source and u.part = p.part
            where p.session = ?1 and not exists(select 1 from usage v
                join part q on q.source = v.source and q.part = v.part
                where v.key = u.key and q.session <> ?1)""",
            (name,),
        ).fetchone()[0]
        return (looks_copied, tail if tail is not None else 1 << 62, name, parent)


def _chain(name: str, links: dict[str, str]) -> Iterable[str]:
    """Ancestors, nearest first; ends where a loop would begin."""
    met = {name}
    while (name := links.get(name, "")) and name not in met:
        met.add(name)
        yield name


_COUNTS = """
select t.session,
    (select count(*) from (select distinct case uid when '' then p.source || ':' || x.seq
        else uid end from part p join prompt x on x.source = p.source and x.part = p.part
        where p.session = t.session and not p.superseded and not x.inherited
        and coalesce(p.relation, '') <> 'subagent')),
    (select count(distinct x.id) from part p join tool x on x.source = p.source
        and x.part = p.part
        where p.session = t.session and not p.superseded and not x.inherited),
    (select count(distinct x.id) from part p join tool x on x.source = p.source
        and x.part = p.part
        where p.session = t.session and not p.superseded and not x.inherited and x.ok = 0),
    (select count(distinct x.path) from part p join touched x on x.source = p.source
        and x.part = p.part where p.session = t.session),
    (select coalesce(sum(x.count), 0) from part p join finding x on x.source = p.source
        where p.session = t.session and p.part = 0)
from temp.todo t"""

_SESSION_COLUMNS = (
    "name, agent, native, parent, relation, root, project, cwd, branch, title, prompt, model, "
    "agent_version, started_at, ended_at, last_at, prompts, messages, tool_calls, tool_errors, "
    "files, responses, subagents, compactions, aborts, limits, findings, "
    f"{', '.join((*TOKENS, *MONEY))}, completeness, gone, listed"
)
