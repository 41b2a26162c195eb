"""THE pipeline: source -> events -> store, from zero or from a cursor; there is no other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from decklog import agents, pricing, reading, sources
from decklog.model import Usage
from decklog.plan import News, Plan
from decklog.reading import ROWS_PER_BATCH, Step, Task, Told
from decklog.store.rows import Batch
from decklog.store.schema import TOKENS

if TYPE_CHECKING:
    from decklog.sources import File
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


class Lookout(NamedTuple):
    """Where to look: what has to be known before the first look at the disk."""

    roots: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]
    """(agent, path, only, skip) of every root."""
    variables: str
    """Names of the variables that decide the roots."""
    plugins: str
    """Names of installed agents that are not built in."""


def lookout(env: Mapping[str, str]) -> Lookout:
    """The roots of every agent there is."""
    agents.installed = None
    every = agents.every()
    roots = []
    for a in every:
        try:
            roots += [(a.name, r.path, r.only, r.skip) for r in a.roots(env)]
        except Exception as error:
            agents.set_aside(a.name, error)
    return Lookout(
        roots,
        ",".join(sorted({"HOME", *(v for a in every for v in a.variables)})),
        ",".join(a.name for a in every[len(agents.BUILT_IN) :]),
    )


def run(
    store: SqliteStore,
    look: Lookout,
    seen: tuple[list[list[File]], str, int] | None = None,
    *,
    tz: str,
    day: Callable[[int], str],
    jobs: int = 0,
    progress: Callable[[int, int], None] | None = None,
    wait: float = 30.0,
) -> Report:
    """Bring the store up to date with every source below the roots.

    ``seen`` is a survey of those roots, when one was made just before, and the `Store.version`
    before that: what another process has written since is newer than what was seen. ``day`` gives
    the calendar day of a moment in zone ``tz``. ``progress`` is told (bytes done, bytes in all).
    Raises StoreBusy when another process keeps writing for ``wait`` seconds.
    """
    with store.writing(wait):
        store.db.pragma("wal_autocheckpoint", 4_000)
        store.bulk()
        if store.get("tz") not in (None, tz):
            store.redate(tz, day)
        if store.get("prices_date") not in (None, pricing.prices_date()):
            store.reprice(_price, pricing.prices_date())
        # before the first row: a sync that is stopped leaves rows of this zone and these prices
        store.put_all({"tz": tz, "prices_date": pricing.prices_date()})
        if seen is None or seen[2] != store.version():
            files, mark = sources.survey(r[1:] for r in look.roots)
        else:
            files, mark, _ = seen
        plan = Plan(store)
        for (name, path, _, _), found in zip(look.roots, files, strict=True):
            plan.root(name, path, found)
        tasks = plan.finish()
        read, size, lines = _read_all(store, tasks, day, jobs, progress)
        sessions = store.link()
        problems = _finish(store, mark)
    return Report(plan.present, read, size, lines, sessions, problems)


class Round(NamedTuple):
    """What one round of following read."""

    tasks: list[Task]
    failed: list[str]
    """Files that have to be tried again."""


def some(
    store: SqliteStore,
    look: Lookout,
    news: News,
    *,
    day: Callable[[int], str],
    wait: float = 30.0,
) -> Round:
    """Read only what is new by ``news`` into a store that a `run` has brought up to date before.

    Sessions are renewed by `settle`, which may wait a little: what it does depends on the size of
    a session, not on that of what is new. Raises StoreBusy as `run` does.
    """
    with store.writing(wait):
        store.db.pragma("wal_autocheckpoint", 4_000)
        plan = Plan(store, news)
        for (name, path, _, _), found in zip(look.roots, news.files, strict=True):
            if found:
                plan.root(name, path, found)
        tasks = plan.finish()
        _read_all(store, tasks, day, 1, None)
        return Round(tasks, store.untried(t.source for t in tasks))


def settle(store: SqliteStore, mark: str, wait: float = 30.0) -> int:
    """Renew the sessions that `some` touched; how many. ``mark`` is the survey they follow from."""
    with store.writing(wait):
        sessions = store.link()
        _finish(store, mark)
    return sessions


def _finish(store: SqliteStore, mark: str) -> int:
    problems = store.partial()
    store.put_all({
        "fingerprint": mark, "problems": str(problems), "retry": str(int(store.unfinished())),
    })  # fmt: skip
    return problems


def _price(provider: str, model: str, at: int | None, *tokens: int) -> int | None:
    return pricing.price(provider, model, Usage(**dict(zip(TOKENS, tokens, strict=True))), at)


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
    stream: Iterator[Batch | Step | Told]
    if jobs > 1 and total > FORK_BYTES and len(tasks) > 1 and sys.platform != "win32":
        from decklog import workers

        stream = workers.parallel(tasks, day, jobs, lambda share: ())
    else:
        stream = reading.read(tasks, day, ())
    started = {t.source: (t.offset, t.line) for t in tasks}
    group: list[Batch] = []
    pending = size = lines = 0
    for b in stream:
        if isinstance(b, Told):
            continue
        offset, line = started[b.source]
        size += max(0, b.offset - offset)
        lines += b.line - line
        started[b.source] = (b.offset, b.line)
        if isinstance(b, Batch):
            group.append(b)
            pending += len(b.usage) + len(b.calls) + len(b.touched) + len(b.prompts)
        if pending >= ROWS_PER_BATCH or len(group) >= BATCHES_PER_COMMIT:
            store.apply(group)
            group, pending = [], 0
        elif isinstance(b, Batch):
            continue
        if progress:
            progress(size, total)
    if group:
        store.apply(group)
    if progress and total:
        progress(total, total)
    return len(tasks), size, lines
