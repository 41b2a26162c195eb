"""THE pipeline: source -> events -> store. Backfill is this from zero; live is this from a cursor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from decklog import agents, pricing, sources
from decklog.agents import Agent
from decklog.model import Cursor, Ref, Source, Usage
from decklog.store.rows import Batch, Rows
from decklog.store.schema import TOKENS

ROWS_PER_BATCH = 4_000
"""A source is committed in steps of about so many rows, each with its cursor."""
BATCHES_PER_COMMIT = 24
FORK_BYTES = 24 << 20
"""Below this much to read one process does it all."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.sources import Seen
    from decklog.store.sqlite import SqliteStore


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


class Task(NamedTuple):
    """One source to read, from a cursor on."""

    agent: str
    source: int
    uri: str
    kind: str
    stat: tuple[int, int, int, int]
    offset: int
    line: int
    check: bytes
    state: bytes
    version: str = ""
    document: str = ""
    parts: tuple[str, ...] = ()
    """Files of a ``dir`` document."""

    @property
    def weight(self) -> int:
        return max(1, self.stat[0] - self.offset)


def environment(env: Mapping[str, str], every: Iterable[Agent]) -> str:
    """The variables that decide where transcripts are, and who reads them, as one text."""
    names = sorted({"HOME", *(v for a in every for v in a.variables)})
    return "\n".join(f"{n}={env.get(n, '')}" for n in names)


def roots_text(env: Mapping[str, str], every: Iterable[Agent]) -> str:
    """The roots of all agents, one a line, as `unchanged` reads them back."""
    lines = []
    for a in every:
        for root in a.roots(env):
            lines.append("\t".join((root.path, ",".join(root.only), ",".join(root.skip))))
    return "\n".join(lines)


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
            store.redate(tz, lambda at: day(at))
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


class Plan:
    """Compares what is on disk with what the store knows, and says what is to be read."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.known = store.known()
        self.by_inode = {
            (r[5], r[6]): uri for uri, r in self.known.items() if r[6] and "#" not in uri
        }
        self.met: set[str] = set()
        self.wanted: list[tuple[str, str, str, Any]] = []
        self.problems = 0
        self.present = 0
        self.paths: set[tuple[int, int]] = set()

    def agent(self, a: Agent, env: Mapping[str, str]) -> None:
        for root in a.roots(env):
            documents: dict[str, Seen] = {}
            for seen in sources.find(root):
                claim = a.claim(seen.relative)
                if claim in ("ignore", "companion"):
                    continue
                if claim is None or not seen.regular:
                    reason = "unrecognized" if claim is None else "unreadable"
                    self._odd(a, seen, reason)
                elif claim == "dir":
                    documents[seen.relative] = seen
                elif claim == "sqlite":
                    self._database(a, seen)
                else:
                    self._file(a, seen, claim)
            if documents:
                self._folder(a, root.path, documents)

    def finish(self) -> list[Task]:
        """The tasks, largest first. Sources that are not on disk any more are marked gone."""
        lost, back = [], []
        for uri, row in self.known.items():
            if uri in self.met:
                if row[11]:
                    back.append(row[0])
            elif not row[11] and "#rewritten-" not in uri:
                lost.append(row[0])
        if lost:
            self.store.mark_gone(lost, True)
        if back:
            self.store.mark_gone(back, False)
        ids = self.store.reserve_all([w[:3] for w in self.wanted]) if self.wanted else []
        tasks = [w[3](i) for i, w in zip(ids, self.wanted, strict=True)]
        return sorted(tasks, key=lambda t: -t.weight)

    def _odd(self, a: Agent, seen: Seen, reason: str) -> None:
        self.met.add(seen.path)
        self.problems += 1
        if seen.path not in self.known:
            (source,) = self.store.reserve_all([(a.name, seen.path, "other")])
            detail = "no rule for this file" if reason == "unrecognized" else "not a regular file"
            self.store.put_findings([(source, reason, detail)])

    def _file(self, a: Agent, seen: Seen, kind: str) -> None:
        if (seen.device, seen.inode) in self.paths:
            return  # a hard link or a link to a file that was met already
        self.paths.add((seen.device, seen.inode))
        if kind == "jsonl" and seen.path.endswith(".zst") and os.path.exists(seen.path[:-4]):
            self.met.add(seen.path)
            return  # the plain twin is read
        self.met.add(seen.path)
        self.present += 1
        row = self.known.get(seen.path)
        stat = (seen.size, seen.mtime_ns, seen.device, seen.inode)
        if row is None:
            row = self._moved(seen)
        if row is not None and row[3:7] == stat:
            return
        if seen.size == 0 and row is None:
            self._want(a, seen.path, kind, stat, 0, 0, b"", b"")
            return
        if row is None or kind != "jsonl" or seen.path.endswith(".zst"):
            if row is not None and row[7]:
                self.store.forget(row[0])
            self._want(a, seen.path, kind, stat, 0, 0, b"", b"")
        elif self._appended(seen, row):
            self._want(a, seen.path, kind, stat, row[7], row[8], row[9],
                       self.store.state(row[0]))  # fmt: skip
        else:
            self.store.retire(row[0])
            self._want(a, seen.path, kind, stat, 0, 0, b"", b"")

    def _moved(self, seen: Seen) -> Any:
        """The row of a source that was renamed to this path, if its bytes are the same."""
        uri = self.by_inode.get((seen.device, seen.inode))
        if uri is None or os.path.exists(uri):
            return None
        row = self.known[uri]
        if seen.size < row[7] or not self._appended(seen, row):
            return None
        self.store.move(row[0], seen.path)
        self.met.add(uri)
        return row

    def _appended(self, seen: Seen, row: Any) -> bool:
        """True when what was read is still there, so that reading can go on after it."""
        offset, check = row[7], row[9]
        if seen.size < offset:
            return False
        if not offset:
            return True
        try:
            fd = sources.open_regular(seen.path)
        except OSError:
            return True  # reading will say what is wrong
        try:
            return sources.matches(fd, offset, check)
        finally:
            os.close(fd)

    def _want(
        self, a: Agent, uri: str, kind: str, stat: tuple[int, int, int, int], offset: int,
        line: int, check: bytes, state: bytes, version: str = "", document: str = "",
        parts: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        def task(source: int) -> Task:
            return Task(a.name, source, uri, kind, stat, offset, line, check, state, version,
                        document, parts)  # fmt: skip

        self.wanted.append((a.name, uri, kind, task))

    def _documents(self, a: Agent, base: str, kind: str, versions: Mapping[str, Any]) -> None:
        """Documents of a database or folder: those whose version changed are read again."""
        for document, (version, stat, parts) in versions.items():
            uri = f"{base}#{document}"
            self.met.add(uri)
            row = self.known.get(uri)
            if row is not None and row[10] == version:
                continue
            if row is not None:
                self.store.forget(row[0])
            self._want(a, uri, kind, stat, 0, 0, b"", b"", version, document, parts)

    def _database(self, a: Agent, seen: Seen) -> None:
        self.met.add(seen.path)
        self.present += 1
        wal = _size(seen.path + "-wal")
        stat = (seen.size + wal[0], max(seen.mtime_ns, wal[1]), seen.device, seen.inode)
        row = self.known.get(seen.path)
        if row is not None and row[3:7] == stat:
            prefix = f"{seen.path}#"
            self.met |= {u for u in self.known if u.startswith(prefix)}
            return
        from decklog import databases

        try:
            found = databases.versions(seen.path, a)
        except (databases.Unreadable, databases.UnknownSchema) as error:
            self._trouble(a, seen.path, error)
            return
        self._documents(
            a, seen.path, "sqlite", {d: (v, (0, stat[1], 0, 0), ()) for d, v in found.items()}
        )
        self._want(a, seen.path, "sqlite", stat, 0, 0, b"", b"", "anchor")

    def _trouble(self, a: Agent, path: str, error: Exception) -> None:
        self.problems += 1
        (source,) = self.store.reserve_all([(a.name, path, "other")])
        self.store.put_findings([(source, "unreadable", str(error))])

    def _folder(self, a: Agent, root: str, files: Mapping[str, Seen]) -> None:
        self.present += 1
        versions = {}
        for document, relatives in a.gather(files).items():
            seen = [files[r] for r in relatives]
            moments = ",".join(f"{s.size}:{s.mtime_ns}" for s in seen)
            version = f"{len(seen)} {sources.check_hash(moments.encode()).hex()}"
            stat = (sum(s.size for s in seen), max(s.mtime_ns for s in seen), 0, 0)
            versions[document] = (version, stat, tuple(relatives))
        self._documents(a, root, "dir", versions)


def _size(path: str) -> tuple[int, int]:
    try:
        st = os.stat(path)
    except OSError:
        return 0, 0
    return st.st_size, st.st_mtime_ns


# --- reading ------------------------------------------------------------------------------------


def batches(task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    """Read one source from its cursor to its end, as batches to be committed in order."""
    a = agents.get(task.agent)
    try:
        if task.kind == "jsonl":
            yield from _lines(a, task, day)
        elif task.version != "anchor":
            yield from _document(a, task, day)
        else:
            yield _rows(a, task, day, {}).batch(task.stat, 1, 0, b"", b"", task.version)
    except (OSError, sources.Bomb, agents_errors()) as error:
        rows = _rows(a, task, day, {})
        reason = "bomb" if isinstance(error, sources.Bomb) else "unreadable"
        rows.finding(reason, str(error), Ref(task.uri))
        # size -1: looked at again on the next sync
        yield rows.batch((-1, 0, 0, 0), task.offset, task.line, task.check, task.state)


def agents_errors() -> type[Exception]:
    from decklog.databases import Unreadable

    return Unreadable


def _rows(a: Agent, task: Task, day: Callable[[int], str], facts: Any) -> Rows:
    return Rows(task.source, a.name, pricing.price, day, facts)


def _lines(a: Agent, task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    source = Source(agent=a.name, uri=task.uri)
    cursor = Cursor(source=source, offset=task.offset, line=task.line, state=task.state)
    reader = a.reader(cursor, text=False, companions=companions(a, task.uri))
    rows = _rows(a, task, day, reader.facts)
    uri, line, end, check = task.uri, task.line, task.offset, task.check
    feed, add = reader.feed, rows.add
    for chunk in sources.chunks(uri, task.offset):
        if chunk.continued:
            line -= 1
        for offset, data in chunk.lines:
            line += 1
            add(feed(data, Ref(uri, offset, len(data), line)))
            if len(rows) >= ROWS_PER_BATCH:
                end = offset + len(data) + 1
                if end < chunk.end:
                    stat = (-1, *task.stat[1:])
                    yield rows.batch(stat, end, line, chunk.check(end), reader.state())
        for start, length in chunk.skipped:
            line += 1
            rows.finding("too_long", f"line of {length} bytes skipped", Ref(uri, start, length, line))
        end, check = chunk.end, chunk.check(chunk.end)
    size = task.stat[0]
    yield rows.batch((size, *task.stat[1:]), end, line, check, reader.state(), task.version)


def companions(a: Agent, uri: str) -> dict[str, bytes]:
    found = {}
    for path in a.companions(uri):
        data = _companion(path)
        if data is not None:
            found[path] = data
    return found


_companion_cache: dict[str, tuple[tuple[int, int], bytes | None]] = {}


def _companion(path: str) -> bytes | None:
    stat = _size(path)
    if stat == (0, 0):
        return None
    kept = _companion_cache.get(path)
    if kept is None or kept[0] != stat:
        if len(_companion_cache) > 64:
            _companion_cache.clear()
        kept = _companion_cache[path] = (stat, sources.read_small(path))
    return kept[1]


def _document(a: Agent, task: Task, day: Callable[[int], str]) -> Iterator[Batch]:
    data = document_bytes(a, task.uri, task.kind, task.document, task.parts)
    source = Source(agent=a.name, uri=task.uri, kind=task.kind)  # type: ignore[arg-type]
    reader = a.reader(
        Cursor(source=source), text=False, companions=companions(a, task.uri.partition("#")[0])
    )
    rows = _rows(a, task, day, reader.facts)
    if data is None:
        detail = f"larger than {sources.MAX_DOCUMENT >> 20} MiB"
        rows.finding("too_long", detail, Ref(task.uri, 0, task.stat[0]))
    elif data:
        rows.add(reader.feed(data, Ref(task.uri, 0, len(data))))
    size = len(data) if data is not None else task.stat[0]
    end = size if task.kind == "json" else 1
    yield rows.batch(task.stat, end, 0, b"", b"", task.version)


def document_bytes(
    a: Agent, uri: str, kind: str, document: str, parts: Iterable[str] = ()
) -> bytes | None:
    """One document as JSON; None when it is too large. Raises OSError, databases.Unreadable."""
    if kind == "json":
        fd = sources.open_regular(uri)
        try:
            size = os.fstat(fd).st_size
            if size > sources.MAX_DOCUMENT:
                return None
            return _read_to_end(fd)
        finally:
            os.close(fd)
    base = uri.rpartition("#")[0]
    if kind == "sqlite":
        from decklog import databases

        return databases.document(base, a, document)
    files = {}
    for relative in parts:
        data = sources.read_small(os.path.join(base, relative))
        if data is not None:
            files[relative] = data
    return a.assemble(document, files)


def _read_to_end(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, sources.CHUNK):
        pieces.append(piece)
    return b"".join(pieces)


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
        from decklog.workers import parallel

        stream = parallel(tasks, day, jobs)
    else:
        stream = (b for t in tasks for b in batches(t, day))
    started = {t.source: (t.offset, t.line) for t in tasks}
    group: list[Batch] = []
    pending = done = size = lines = 0
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
        done += 1
    if group:
        store.apply(group)
    if progress and total:
        progress(total, total)
    return len(tasks), size, lines
