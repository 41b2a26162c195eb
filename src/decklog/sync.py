"""THE pipeline: source -> events -> store, from zero or from a cursor; there is no other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from decklog import agents, pricing, sources, workers
from decklog.agents import Agent
from decklog.model import Usage
from decklog.plan import Plan
from decklog.reading import ROWS_PER_BATCH, Task, batches
from decklog.store.rows import Batch
from decklog.store.schema import TOKENS

if TYPE_CHECKING:
    from decklog.store.sqlite import SqliteStore

BATCHES_PER_COMMIT = 24
FORK_BYTES = 24 << 20
"""Below this much to read one process does it all."""


class Report(NamedTuple):
    """What one sync did, in counted work."""

    sources: int
    """Sources known to be on disk."""
    read: int
    """Sources that were opened."""
    bytes: int
    """Bytes decoded."""
    lines: int
    sessions: int
    """Sessions whose rows were renewed."""
    problems: int
    """Sources that could not be read, or only in part."""
    changed: bool


def environment(env: Mapping[str, str], every: Iterable[Agent]) -> str:
    """The variables that decide where transcripts are, and who reads them, as one text."""
    names = sorted({"HOME", *(v for a in every for v in a.variables)})
    return "\n".join(f"{n}={env.get(n, '')}" for n in names)


def roots_text(env: Mapping[str, str], every: Iterable[Agent]) -> str:
    """The roots of all agents, one a line, as `unchanged` reads them back."""
    return "\n".join(
        "\t".join((root.path, ",".join(root.only), ",".join(root.skip)))
        for a in every
        for root in a.roots(env)
    )


def run(
    store: SqliteStore,
    env: Mapping[str, str],
    *,
    tz: str,
    day: Callable[[int], str],
    jobs: int = 0,
    progress: Callable[[int, int], None] | None = None,
    wait: float = 30.0,
) -> Report:
    """Bring the store up to date with every source on this machine.

    ``day`` gives the calendar day of a moment in zone ``tz``. ``progress`` is told (bytes done,
    bytes in all). Raises StoreBusy when another process keeps writing for ``wait`` seconds.
    """
    every = agents.every()
    with store.writing(wait):
        store.db.pragma("wal_autocheckpoint", 4_000)
        if store.get("tz") not in (None, tz):
            store.redate(tz, day)
        if store.get("prices_date") not in (None, pricing.prices_date()):
            store.reprice(_price, pricing.prices_date())
        roots = roots_text(env, every)
        mark = sources.fingerprint(parse_roots(roots))
        plan = Plan(store)
        for a in every:
            plan.agent(a, env)
        tasks = plan.finish()
        read, size, lines = _read_all(store, tasks, day, jobs, progress)
        sessions = store.link()
        _remember(store, {
            "roots": roots, "environment": environment(env, every), "fingerprint": mark,
            "variables": ",".join(sorted({v for a in every for v in a.variables})),
            "agents": ",".join(agents.names()), "tz": tz,
            "prices_date": pricing.prices_date(), "problems": str(plan.problems),
        })  # fmt: skip
    return Report(plan.present, read, size, lines, sessions, plan.problems, bool(read or sessions))


def _price(provider: str, model: str, at: int | None, *tokens: int) -> int | None:
    return pricing.price(provider, model, Usage(**dict(zip(TOKENS, tokens, strict=True))), at)


def _remember(store: SqliteStore, values: dict[str, str]) -> None:
    for key, value in values.items():
        if store.get(key) != value:
            store.put(key, value)


def parse_roots(text: str) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    rows = (line.split("\t") for line in text.split("\n") if line)
    return [
        (path, tuple(x for x in only.split(",") if x), tuple(x for x in skip.split(",") if x))
        for path, only, skip in rows
    ]


def _read_all(
    store: SqliteStore,
    tasks: list[Task],
    day: Callable[[int], str],
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int, int]:
    """Read the tasks and write what they give; (sources, bytes, lines)."""
    total = sum(t.weight for t in tasks)
    jobs = jobs or min(4, os.cpu_count() or 1)
    stream: Iterator[Batch]
    if jobs > 1 and total > FORK_BYTES and len(tasks) > 1 and sys.platform != "win32":
        stream = workers.parallel(tasks, day, jobs)
    else:
        stream = (b for t in tasks for b in batches(t, day))
    started = {t.source: (t.offset, t.line) for t in tasks}
    group: list[Batch] = []
    pending = size = lines = 0
    for b in stream:
        group.append(b)
        pending += len(b.events) + len(b.usage)
        offset, line = started[b.source]
        size += max(0, b.offset - offset)
        lines += b.line - line
        started[b.source] = (b.offset, b.line)
        if pending >= ROWS_PER_BATCH or len(group) >= BATCHES_PER_COMMIT:
            store.apply(group)
            group, pending = [], 0
            if progress:
                progress(size, total)
    if group:
        store.apply(group)
    if progress and total:
        progress(total, total)
    return len(tasks), size, lines
