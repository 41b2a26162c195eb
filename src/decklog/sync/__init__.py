"""THE pipeline: source -> events -> store, from zero or from a cursor; there is no other."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from decklog import agents, pricing, reading, sources
from decklog.errors import StoreCorrupt, StoreError
from decklog.model import Usage
from decklog.reading import NOT_WANTED, ROWS_PER_BATCH, Copied, Projection, Step, Task, Told
from decklog.search import indexing
from decklog.search.indexing import Shards
from decklog.store import text
from decklog.store.indexed import TEXT_PENDING, TEXT_SHARDS
from decklog.store.rows import Batch
from decklog.store.schema import TOKENS
from decklog.store.text import SHARDS
from decklog.sync.copying import ARCHIVE_BEHIND, Copying
from decklog.sync.plan import News, Plan

if TYPE_CHECKING:
    from decklog.archive import Archive
    from decklog.sources import File
    from decklog.store.sqlite import SqliteStore

BATCHES_PER_COMMIT = 24
FORK_BYTES = 24 << 20
"""Below this much to read one process does it all."""
INLINE_BYTES = 32 << 20
"""So much text is indexed by whatever command comes along; more waits for a sync or search."""


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
    documents: int = 0
    """Texts that were indexed."""
    shortened: int = 0
    """Of these those of which only the beginning was."""
    text_pending: int = 0
    """Bytes of sources that the text index lacks still, about."""


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
    complete: bool = True,
    archive: Archive | None = None,
    keep: bool = True,
    texts: bool = True,
) -> Report:
    """Bring the store up to date with every source below the roots.

    ``seen`` is a survey of those roots, when one was made just before, and the `Store.version`
    before that: what another process has written since is newer than what was seen. ``day`` gives
    the calendar day of a moment in zone ``tz``. ``progress`` is told (bytes done, bytes in all).
    The text index is brought up to date too, where it is not ``complete`` only if that is little,
    and without ``texts`` by a later sync.
    What is gone from disk is read from ``archive``, where one is given, and with ``keep`` what is
    read is copied into it, again where not ``complete`` only if that is little.
    Raises StoreBusy when another process keeps writing for ``wait`` seconds, and StoreError, after
    all rows are in, when the text index could not be written.
    """
    with store.writing(wait), archive.writing(wait) if archive else nullcontext():
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
        copying = Copying(archive, store, keep=keep) if archive else None
        plan, work = _plan(store, look, files, None, complete, copying, texts=texts)
        _read_all(store, work, day, jobs, progress)
        if copying and copying.apart and work.text:
            _read_all(store, _retold(store, copying), day, 1, None)
        sessions = store.link()
        problems = _finish(store, mark, work)
    if work.failed:
        raise work.failed
    return Report(plan.present, len(work.tasks), work.bytes, work.lines, sessions, problems,
                  work.counts["documents"], work.counts["shortened"], work.pending)  # fmt: skip


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
    archive: Archive | None = None,
    shards: Shards | None = None,
) -> Round:
    """Read only what is new by ``news`` into a store that a `run` has brought up to date before,
    and copy it into ``archive``. ``shards`` of the text index that are given stay open.

    Sessions are renewed by `settle`, which may wait a little: what it does depends on the size of
    a session, not on that of what is new. Raises StoreBusy as `run` does.
    """
    with store.writing(wait), archive.writing(wait) if archive else nullcontext():
        store.db.pragma("wal_autocheckpoint", 4_000)
        copying = Copying(archive, store) if archive else None
        _, work = _plan(store, look, news.files, news, False, copying, shards)
        _read_all(store, work, day, 1, None)
        store.put_all({TEXT_PENDING: str(work.pending)})
        return Round(work.tasks, store.untried(t.source for t in work.tasks))


def settle(store: SqliteStore, mark: str, wait: float = 30.0) -> int:
    """Renew the sessions that `some` touched; how many. ``mark`` is the survey they follow from."""
    with store.writing(wait):
        sessions = store.link()
        _finish(store, mark)
    return sessions


def _finish(store: SqliteStore, mark: str, work: _Work | None = None) -> int:
    problems = store.partial()
    store.put_all({
        "fingerprint": mark, "problems": str(problems), "retry": str(int(store.unfinished())),
        **({TEXT_PENDING: str(work.pending), TEXT_SHARDS: store.text_marks()} if work else {}),
        **({ARCHIVE_BEHIND: str(work.copying.behind)} if work and work.copying else {}),
    })  # fmt: skip
    return problems


class _Work:
    """What is to be read, and what the reading came to."""

    def __init__(
        self, tasks: list[Task], text: bool, pending: int, before: int, copying: Copying | None,
        shards: Shards | None = None,
    ) -> None:  # fmt: skip
        self.tasks, self.copying, self.shards = tasks, copying, shards
        self.text = text
        """Whether the texts of the sources are indexed too."""
        self._pending, self._before = pending, before
        self.bytes = self.lines = 0
        self.counts: Counter[str] = Counter()
        """Work of the other projections."""
        self.failed: StoreError | None = None
        """What kept one of them from going on."""

    def tell(self, told: Told) -> None:
        self.counts.update(told.counts)
        if told.failed[0]:
            kind = StoreCorrupt if told.damaged else StoreError
            self.failed = kind(told.failed[0], hint=told.failed[1])

    @property
    def pending(self) -> int:
        """Bytes of sources that the text index lacks, about."""
        done = self.text and not self.failed and not self.counts["unfinished"]
        return self._before if done else self._pending


def _plan(
    store: SqliteStore,
    look: Lookout,
    files: list[list[File]],
    news: News | None,
    complete: bool,
    copying: Copying | None,
    shards: Shards | None = None,
    *,
    texts: bool = True,
) -> tuple[Plan, _Work]:
    """What to read, for rows, texts and archive. All that the text index lacks is looked for when
    it is to be ``complete``, or lacks little, and nothing without ``texts``. ``shards`` of it that
    are open are used."""
    left = int(store.get(TEXT_PENDING) or 0)
    whole = store.texts_complete(asked=news is None)  # a round of following opens nothing for it
    if not whole:  # before a file of it is made, which is empty at first
        store.put_all({TEXT_PENDING: str(max(1, left))})
    look_back = texts and not whole and news is None and (complete or left <= INLINE_BYTES)
    with nullcontext(shards) if shards else closing(_shards(store)) as opened:
        lacking = indexing.Lacking(opened)
        behind = lacking.behind if look_back else None
        if copying:
            copying.tell()
        plan = Plan(store, news, behind, copying.renamed if copying else lambda old, new: 0)
        for (name, path, _, _), found in zip(look.roots, files, strict=True):
            if found or news is None:
                plan.root(name, path, found)
        tasks = plan.finish()
        if copying:
            copying.tell()
        if copying and news is None:
            tasks += copying.gone(tasks, plan.known, plan.met)
        if look_back:
            known = store.known()
            lost = lacking.lost(known)
            if copying:
                tasks += copying.told_again(lost, known, {t.uri for t in tasks})
        if sum(t.weight for t in tasks) <= FORK_BYTES:
            tasks.sort(key=lambda t: t.stat[1])  # told in the order in which they were written last
        before = 0 if look_back else left
        left = sum(plan.behind.values()) if look_back else left
        left += sum(t.weight for t in tasks if t.rows != NOT_WANTED)
        text = texts and (complete or left <= INLINE_BYTES)
        if tasks:  # a sync that is stopped leaves texts behind
            store.put(TEXT_PENDING, str(max(1, left)))
        if text:
            tasks = [lacking.aimed(t) for t in tasks]
        else:
            tasks = [t for t in tasks if t.rows != NOT_WANTED]
    if copying:
        tasks = copying.fed(tasks, plan.known, complete=complete or news is not None)
    return plan, _Work(tasks, text, left, before, copying, shards)


def _shards(store: SqliteStore) -> Shards:
    return Shards(store.folder, store.identity())


def _retold(store: SqliteStore, copying: Copying) -> _Work:
    """The texts of what was set apart in this sync: they are read from the archive."""
    known = store.known()
    with closing(_shards(store)) as opened:
        lacking = indexing.Lacking(opened)
        lacking.behind(known)
        tasks = [lacking.aimed(t) for t in copying.told_again(lacking.lost(known), known, ())]
    return _Work(tasks, True, 0, 0, None)


def _price(provider: str, model: str, at: int | None, *tokens: int) -> int | None:
    return pricing.price(provider, model, Usage(**dict(zip(TOKENS, tokens, strict=True))), at)


def _read_all(
    store: SqliteStore,
    work: _Work,
    day: Callable[[int], str],
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Read the tasks and write what they give."""
    tasks, copying = work.tasks, work.copying
    total = sum(t.weight for t in tasks)
    jobs = jobs or min(4, os.cpu_count() or 1)
    identity = store.identity()

    def projections(share: int, emit: Callable[[Copied], None]) -> list[Projection]:
        shards = work.shards or Shards(store.folder, identity)
        texts = [indexing.Texts(shards, keep=bool(work.shards))] if work.text else []
        return [*texts, *(copying.projections(emit) if copying else ())]

    def commit(group: list[Batch]) -> None:
        if copying:
            copying.commit()  # no cursor without the bytes it stands for
        for b in group:
            if b.source in documents and b.stat[0] >= 0:
                kept = store.replace(b, documents[b.source], *([copying.older] if copying else []))
                if kept and copying:
                    copying.tell()
        store.apply(group)
        if copying:
            copying.settle(group)

    documents = {t.source: t.uri for t in tasks if t.kind != "jsonl" and t.version != "anchor"}
    stream: Iterator[Batch | Step | Told | Copied]
    store.release()
    forks = sys.platform != "win32" and not (work.text and text.opened)
    if jobs > 1 and total > FORK_BYTES and len(tasks) > 1 and forks:
        from decklog.sync import workers

        # each shard of the index has one process that writes to it
        jobs = SHARDS if work.text else jobs
        stream = workers.parallel(tasks, day, jobs, projections, store.locks)
    else:
        emit = copying.take if copying else lambda copied: None
        stream = reading.read(tasks, day, projections(0, emit))
    started = {t.source: (t.offset, t.line) for t in tasks}
    group: list[Batch] = []
    pending = 0
    for b in stream:
        if isinstance(b, Told):
            work.tell(b)
            continue
        if isinstance(b, Copied):
            if copying:
                copying.take(b)
            continue
        offset, line = started[b.source]
        work.bytes += max(0, b.offset - offset)
        work.lines += b.line - line
        started[b.source] = (b.offset, b.line)
        if isinstance(b, Batch):
            group.append(b)
            pending += len(b.usage) + len(b.calls) + len(b.touched) + len(b.prompts)
        if pending >= ROWS_PER_BATCH or len(group) >= BATCHES_PER_COMMIT:
            commit(group)
            group, pending = [], 0
        elif isinstance(b, Batch):
            continue
        if progress:
            progress(work.bytes, total)
    commit(group)
    if progress and total:
        progress(total, total)
