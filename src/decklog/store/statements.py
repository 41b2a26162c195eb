"""The statements that write to the embedded store."""

from __future__ import annotations

from decklog.store import REWRITTEN


def _marks(n: int) -> str:
    return ", ".join("?" * n)


KNOWN = (
    "select uri, id, agent, kind, size, mtime_ns, device, inode, offset, line, chk, version, gone "
    "from source"
)

PART = f"""insert into part values({_marks(26)}, 0)
    on conflict(source, part) do update set {
    ", ".join(
        f"{c} = excluded.{c}"
        for c in [
            "session",
            "native",
            "parent",
            "relation",
            "copies",
            "cwd",
            "project",
            "branch",
            "title",
            "title_rank",
            "prompt",
            "model",
            "agent_version",
            "opened_at",
            "started_at",
            "ended_at",
            "last_at",
            "first_uid",
            "prompts",
            "messages",
            "compactions",
            "aborts",
            "limits",
            "completeness",
        ]
    )
}"""

USAGE_COLUMNS = [
    "part",
    "at",
    "day",
    "provider",
    "model",
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "cost",
    "reported",
    "rank",
    "inherits",
    "offset",
    "length",
    "line",
]
# The last record of a response stands, unless it says less than one before it: a remainder
# (rank 0) may shrink, an answer cannot. The statement is looked up anew for each row, by all of its
# text: the condition stands in it once.
USAGE = f"""insert into usage(source, key, {", ".join(USAGE_COLUMNS)}, records)
    values({_marks(21)})
    on conflict(source, key) do update set records = records + excluded.records,
    ({", ".join(USAGE_COLUMNS)}) = (
        select {", ".join(f"excluded.{c}" for c in USAGE_COLUMNS)}
        where excluded.rank > usage.rank or excluded.rank = 0
        or (excluded.rank = usage.rank and excluded.output >= usage.output)
        union all select {", ".join(f"usage.{c}" for c in USAGE_COLUMNS)} limit 1)"""

CALL = f"""insert into tool(source, id, part, seq, name, kind, at, child, offset, length, ok,
    ended_at, duration_ms, result_offset, result_length)
    values({_marks(15)}) on conflict(source, id) do update set ok = excluded.ok,
    ended_at = coalesce(excluded.ended_at, ended_at),
    duration_ms = coalesce(excluded.duration_ms, duration_ms),
    child = coalesce(excluded.child, child), result_offset = excluded.result_offset,
    result_length = excluded.result_length where excluded.result_offset is not null"""

RESULT = """update tool set ok = ?1, ended_at = coalesce(?2, ended_at),
    duration_ms = coalesce(?3, duration_ms), child = coalesce(?4, child),
    result_offset = ?5, result_length = ?6 where source = ?7 and id = ?8"""

TOUCHED = f"""insert into touched values({_marks(7)})
    on conflict(source, part, path) do update set reads = reads + excluded.reads,
    writes = writes + excluded.writes,
    first_at = min(coalesce(first_at, excluded.first_at), coalesce(excluded.first_at, first_at)),
    last_at = max(coalesce(last_at, excluded.last_at), coalesce(excluded.last_at, last_at))"""

PROMPT = f"insert into prompt values({_marks(8)}, 0) on conflict(source, seq) do nothing"

FINDING = f"""insert into finding(source, reason, detail, slot, offset, length, line)
    values({_marks(7)}) on conflict do update set count = count + 1"""

INSERTS = (
    ("parts", PART),
    ("events", f"insert into event values({_marks(4)})"),
    ("usage", USAGE),
    ("touched", TOUCHED),
    ("prompts", PROMPT),
)

CURSOR = f"""update source set size = ?, mtime_ns = ?, device = ?, inode = ?, offset = ?, line = ?,
    chk = ?, state = ?, version = ?, gone = instr(uri, '{REWRITTEN}') > 0 where id = ?"""
# what was read before a file was rewritten is never on disk again, also when it is read once more

TROUBLE_OVER = (
    "delete from finding where source = ? and reason in ('unreadable', 'bomb', 'unrecognized')"
)

NOTHING_LEFT = "delete from source where id = ? and kind = 'other'"
"""Of what nothing was ever read nothing is kept."""

AROUND = (
    """select p.session from usage u cross join usage v on v.key = u.key and v.source <> u.source
    cross join part p on p.source = v.source and p.part = v.part where u.source = ?""",
    """select p.session from prompt u cross join prompt v on v.uid = u.uid and v.source <> u.source
    cross join part p on p.source = v.source and p.part = v.part
    where u.source = ? and u.uid <> ''""",
    """select p.session from part q cross join part p on p.parent = q.native
    where q.source = ? and p.parent <> ''""",
)
"""Sessions that share something with a source, or state one of its sessions as their parent."""
