"""The canonical text of a store: equal for equal contents, whatever the order of reading was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from decklog.store.events import unpack
from decklog.store.schema import TOKENS

_EVENTS = """select s.uri, e.first, e.events, e.body from event e
    join source s on s.id = e.source order by s.uri, e.first"""


def dump(db: Any) -> Iterator[str]:
    """Every row of every table, one a line, without ids that depend on the order of reading."""
    for uri, first, n, body in db.execute(_EVENTS):
        for event in unpack(first, n, body):
            yield f"event\t{uri!r}\t" + "\t".join(map(repr, event))
    for table, sql in _DUMP:
        for r in db.execute(sql):
            yield f"{table}\t" + "\t".join(_canonical(v) for v in r)


def _canonical(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return repr(value)


_OF_PART = "p.source = x.source and p.part = x.part join source s on s.id = x.source"
_DUMP: tuple[tuple[str, str], ...] = (
    (
        "source",
        """select agent, uri, kind, size, offset, line, hex(chk), version, gone from source
        order by uri""",
    ),
    (
        "part",
        """select s.uri, p.session, p.parent, p.relation, p.cwd, p.project, p.branch, p.title,
        p.prompt, p.model, p.agent_version, p.opened_at, p.started_at, p.ended_at, p.last_at,
        p.first_uid, p.prompts, p.messages, p.compactions, p.aborts, p.limits, p.completeness,
        p.superseded from part p join source s on s.id = p.source order by s.uri, p.session""",
    ),
    (
        "usage",
        f"""select s.uri, x.key, p.session, x.at, x.day, x.provider, x.model,
        {", ".join(f"x.{c}" for c in TOKENS)}, x.cost, x.reported, x.rank, x.inherits, x.offset,
        x.length, x.line, x.records, x.verdict, x.counted_in from usage x join part p on {_OF_PART}
        order by s.uri, x.key""",
    ),
    (
        "tool",
        f"""select s.uri, x.id, p.session, x.seq, x.name, x.kind, x.at, x.child, x.offset,
        x.length, x.ok, x.ended_at, x.duration_ms, x.result_offset, x.inherited
        from tool x join part p on {_OF_PART} order by s.uri, x.id""",
    ),
    (
        "touched",
        f"""select s.uri, p.session, x.path, x.reads, x.writes, x.first_at, x.last_at
        from touched x join part p on {_OF_PART} order by s.uri, p.session, x.path""",
    ),
    (
        "prompt",
        f"""select s.uri, x.seq, p.session, x.uid, x.at, x.text, x.inherited from prompt x
        join part p on {_OF_PART} order by s.uri, x.seq""",
    ),
    (
        "finding",
        """select s.uri, f.reason, f.detail, f.slot, f.offset, f.length, f.line, f.count
        from finding f join source s on s.id = f.source order by 1, 2, 3, 4""",
    ),
    ("session", "select * from session order by name"),
    ("daily", "select * from daily order by session, day, provider, model"),
)
