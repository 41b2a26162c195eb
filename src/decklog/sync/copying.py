"""What is read goes into the archive; what is gone is read from it again.

Works on the tasks of one sync: it adds to each what the archive has of its source, finds the
sources that the archive is behind on, and those that it alone still has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from errno import ESTALE
from typing import TYPE_CHECKING
from zlib import crc32

from decklog import agents, reading, sources
from decklog.archive import records
from decklog.archive.copier import Copier, Known, catch_up, document
from decklog.archive.dictionary import PIECE, Packing
from decklog.reading import NOT_WANTED, Copied, Mark, Task
from decklog.store import REWRITTEN

if TYPE_CHECKING:
    from decklog.archive import Archive, Copy
    from decklog.model import Facts
    from decklog.store import SourceRow
    from decklog.store.rows import Batch
    from decklog.store.sqlite import SqliteStore

NAME = "archive"
ARCHIVE_BEHIND = "archive_behind"
"""Key in the store of the bytes that the archive has yet to copy."""
SOON = 32 << 20
"""With more bytes than this to copy, a command that does not need the archive leaves it behind."""
LITTLE = 4 << 10
"""Up to so many bytes are packed without a dictionary: to load one takes longer than all the rest,
and it would save a kilobyte at most."""
_COPIED = frozenset({"jsonl", "json", "sqlite", "dir"})


class Copies(reading.Projection):
    """Feeds the archive, in the process that reads; the records go out by ``emit``."""

    name = NAME
    verbatim = True

    def __init__(self, archive: Archive, packing: Packing, emit: Callable[[Copied], None]) -> None:
        self.archive, self.packing, self.emit = archive, packing, emit
        self.counts: dict[str, int] = {}
        self._copier: Copier | None = None
        self._packed = False
        self._document: bytes | None = None
        self._task: Task | None = None

    def begin(self, task: Task, start: int) -> None:
        self._task, self._copier, self._document = task, None, None
        known = task.known
        if known is None or task.kind != "jsonl":
            return
        # of a packed file the copy is of the file as it stands, not of what it unpacks to
        self._packed = task.uri.endswith(".zst")
        self._copier = copier = Copier(self.packing, known)
        if not self._packed and copier.stop >= start:
            return
        fd = sources.open_regular(task.uri, task.place)
        try:
            stop = os.fstat(fd).st_size if self._packed else start
            stands, check = task.stands
            if check and not sources.matches(fd, task.uri, stands, check):
                raise OSError(ESTALE, "rewritten since it was looked at", task.uri)
            for _ in catch_up(copier, fd, stop):
                self._send(copier.taken())
            if self._packed and task.stat[0] >= 0:  # it is whole, however far rows are read of it
                copier.finish(copier.end, *_told(task.stat, task.version))
                self._send(copier.taken())
        finally:
            os.close(fd)

    def verbatim_bytes(self, at: int, data: bytes) -> None:
        if self._copier is not None and not self._packed:
            self._copier.add(at, data)
            self._send(self._copier.taken())

    def document(self, data: bytes) -> None:
        self._document = data

    def reached(self, mark: Mark, facts: Mapping[str, Facts]) -> None:
        task, copier = self._task, self._copier
        made: list[bytes] = []
        if copier is not None:
            if mark.stat[0] >= 0:
                end = copier.end if self._packed else mark.offset
                copier.finish(end, *_told(mark.stat, mark.version))
            elif not self._packed:
                copier.flush(mark.offset)
            made = copier.taken()
        elif task is not None and task.known is not None and self._document is not None:
            told = _told(mark.stat, mark.version)
            made = document(self.packing, task.known, self._document, self.archive.unpacked, *told)
            self._document = None
        self._send(made)

    def _send(self, made: list[bytes]) -> None:
        if made:
            self.emit(Copied(made))


def _told(stat: tuple[int, int, int, int], version: str) -> tuple[int, int, str]:
    return stat[0], stat[1], version


class Copying:
    """The archive's part of one sync, in the process that writes.

    Only inside `Archive.writing` and `Store.writing`.
    """

    def __init__(self, archive: Archive, store: SqliteStore, *, keep: bool = True) -> None:
        """Without ``keep`` nothing is copied; what is there is read all the same."""
        self.archive, self.store, self.keep = archive, store, keep
        self.behind = 0 if keep else -1
        """Bytes that the archive stays behind the store; -1: nobody looked."""
        self._copies: dict[str, Copy | None] = {}
        self._restored: dict[int, bool] = {}
        """Sources that are read from the archive, and whether they had been rewritten."""
        self._lacking: dict[str, int] = {}
        """Sources of which the archive has less than the store, and by how many bytes."""
        self.apart = 0
        """Versions of documents that were kept."""
        self._looked = self._feeding = self._little = False
        self._called: dict[str, str] = {}
        """Those renamed in this sync, from the uri they had before it."""

    def copy(self, uri: str) -> Copy | None:
        if uri not in self._copies:
            self._copies[uri] = self.archive.copy(uri)
        return self._copies[uri]

    def renamed(self, old: str, new: str) -> int:
        """The store is about to call a source otherwise; the copy of it (0: there is none), which
        is called so too when `tell` comes."""
        called = self._called.pop(old, old)
        copy = self.copy(called)
        if copy is None:
            return 0
        self._called[old] = new  # another file may have taken the name of one that was moved
        self._copies[called] = None
        self._copies[new] = copy._replace(uri=new)
        return copy.id

    def tell(self) -> None:
        """Call copies what the store calls them: it notes what was renamed, and a sync may have
        been stopped before it came to that."""
        names = self.store.renamed()
        if names:
            self.archive.add([records.named(copy, uri) for copy, uri in names])
            self.archive.commit()
            self.store.told()
            for _, uri in names:
                self._copies[uri] = self.archive.copy(uri)

    def older(self, uri: str) -> int:
        """The version of a document before the one that was just copied, which is to be kept."""
        versions = [c for c in self.archive.index.versions(uri) if c.superseded]
        self.apart += len(versions[-1:])
        return versions[-1].id if versions else 0

    def gone(self, tasks: list[Task], known: Mapping[str, SourceRow], met: set[str]) -> list[Task]:
        """Tasks for sources that are not on disk, and not in the store or only in part.

        Looks at everything, for `fed` too.
        """
        self._copies = {c.uri: c for c in self.archive.copies()}
        self._looked = True
        if self.keep:
            self._lacking = dict(self._late(known, met))
            others = [self._again(uri, known[uri]) for uri in self._lacking]
            self._reconcile([*tasks, *others])
        return self._gone(known, met)

    def fed(
        self, tasks: list[Task], known: Mapping[str, SourceRow], *, complete: bool
    ) -> list[Task]:
        """The tasks, each with what the archive has of its source, and those that only the
        archive wants; all that it lacks if it is to be ``complete``, or lacks little."""
        if not self.keep:
            return tasks
        if not self._looked:
            self._reconcile(tasks)
        wanted = {t.uri for t in tasks}
        late = {uri: n for uri, n in self._lacking.items() if uri not in wanted}
        pending = sum(t.weight for t in tasks if self._wants(t)) + sum(late.values())
        if pending > SOON and not complete:
            self.behind = pending
            return tasks
        if pending == 0:
            return tasks
        self._little = self._looked and pending <= LITTLE  # one who follows has it loaded
        if not self._little:
            self._learn(tasks, known, pending)
        self._feeding = True
        made = []
        for task in (*tasks, *(self._again(uri, known[uri]) for uri in late)):
            if self._wants(task):
                task = task._replace(
                    known=self._known(task), others=(*task.others, (NAME, task.offset))
                )
            made.append(task)
        self._companions(made)
        self.archive.commit()
        return made

    def _wants(self, task: Task) -> bool:
        if task.copy is not None or task.kind not in _COPIED or task.version == "anchor":
            return False
        return task.rows != NOT_WANTED or task.uri in self._lacking

    def told_again(
        self, uris: Iterable[str], known: Mapping[str, SourceRow], wanted: Container[str]
    ) -> list[Task]:
        """Tasks for sources that are gone, of which only the text is wanted; the archive has it."""
        found = []
        for uri in uris:
            copy = self.copy(uri)
            if uri not in wanted and copy is not None and copy.readable and self._readable(copy):
                found.append(self._task(copy)._replace(source=known[uri][0], rows=NOT_WANTED))
        return found

    def _again(self, uri: str, row: SourceRow) -> Task:
        """A source on disk of which only the archive wants something."""
        source, agent, kind, *stat = row[:7]
        jsonl = kind == "jsonl" and not uri.endswith(".zst")
        document = uri.rpartition("#")[2] if kind in ("sqlite", "dir") else ""
        return Task(
            agent, source, uri, kind, (stat[0], stat[1], stat[2], stat[3]), row[7] if jsonl else 0,
            row[8], row[9], self.store.state(source) if jsonl else b"", row[10], document,
            self._parts(agent, uri) if kind == "dir" else (), rows=NOT_WANTED,
        )  # fmt: skip

    def _parts(self, agent: str, uri: str) -> tuple[str, ...]:
        a = agents.get(agent)
        root, _, document = uri.rpartition("#")
        relatives = [r for r, _ in sources.walk(root) if a.claim(r) == "dir"]
        return tuple(a.gather(relatives).get(document, ()))

    def projections(self, emit: Callable[[Copied], None]) -> tuple[Copies, ...]:
        if not self._feeding:
            return ()
        packing = self.archive.packing(0) if self._little else self.archive.current()
        return (Copies(self.archive, packing, emit),)

    def take(self, copied: Copied) -> None:
        self.archive.add(copied.records)

    def commit(self) -> None:
        self.archive.commit()

    def settle(self, group: Iterable[Batch]) -> None:
        """What was read from the archive is not on disk."""
        found = [(b.source, self._restored[b.source]) for b in group if b.source in self._restored]
        if found:
            self.store.restored(found)

    # -- what only the archive has -------------------------------------------------------------

    def _gone(self, known: Mapping[str, SourceRow], met: set[str]) -> list[Task]:

        def wanted(rows: Mapping[str, SourceRow]) -> list[Copy]:
            return [
                copy for uri, copy in self._copies.items()
                if copy is not None and uri not in met and copy.kind in _COPIED and copy.readable
                and (uri not in rows or rows[uri][3] < 0 or _says_more(copy, rows[uri]))
            ]  # fmt: skip

        if not wanted(known):
            return []
        known = self.store.known()  # some have been renamed since
        found = []
        for copy in wanted(known):
            if not self._readable(copy):
                continue
            row = known.get(copy.uri)
            if row is not None:
                self.store.forget(row[0])
            found.append(self._task(copy))
        ids = self.store.reserve_all((t.agent, t.uri, t.kind) for t in found) if found else []
        made = [t._replace(source=i) for t, i in zip(found, ids, strict=True)]
        self._restored = {t.source: REWRITTEN in t.uri for t in made}
        return made

    def _readable(self, copy: Copy) -> bool:
        try:
            agents.get(copy.agent)
        except Exception:  # an agent that is not installed any more
            return False
        return True

    def _task(self, copy: Copy) -> Task:
        origin = copy.uri.partition(REWRITTEN)[0]
        beside = {}
        for path in agents.get(copy.agent).companions(origin.partition("#")[0]):
            companion = self.copy(path)
            if companion is not None:
                beside[path] = b"".join(self.archive.open(companion).everything())
        version = copy.version if copy.kind in ("sqlite", "dir") else ""
        size = copy.stop if copy.kind == "jsonl" else copy.size
        return Task(
            copy.agent, 0, copy.uri, copy.kind, (size, copy.mtime_ns, 0, 0), 0, 0, b"", b"",
            version, copy=self.archive.open(copy), beside=beside,
        )  # fmt: skip

    # -- feeding -------------------------------------------------------------------------------

    def _reconcile(self, tasks: Iterable[Task]) -> None:
        """Where the archive has another generation of a source than the disk, keep it apart."""
        for task in tasks:
            copy = self.copy(task.uri)
            if copy is None or task.kind != "jsonl" or task.uri.endswith(".zst"):
                continue
            if copy.cursor != task.rows and not self._continues(copy, task.uri):
                kept = self._free(task.uri)
                self.store.keep_apart(task.agent, kept, task.kind, self.renamed(task.uri, kept))
        self.tell()

    def _continues(self, copy: Copy, path: str) -> bool:
        """True when the file goes on from what the archive has of it."""
        if not copy.cursor:
            return True  # its blocks are compared one by one
        blocks = [b for b in self.archive.index.blocks(copy.id) if b.offset < copy.cursor]
        if not blocks:
            return True  # they are damaged: nothing says that it does not
        try:
            fd = sources.open_regular(path)
        except OSError:
            return True  # reading will say what is wrong
        try:
            last = blocks[-1]
            data = os.pread(fd, last.raw, last.offset)
            return len(data) == last.raw and crc32(data) == last.crc
        finally:
            os.close(fd)

    def _free(self, uri: str) -> str:
        n = 1
        known = self.store.known()
        while self.copy(f"{uri}{REWRITTEN}{n}") or f"{uri}{REWRITTEN}{n}" in known:
            n += 1
        return f"{uri}{REWRITTEN}{n}"

    def _late(self, known: Mapping[str, SourceRow], met: set[str]) -> Iterator[tuple[str, int]]:
        """Sources on disk of which the archive has less than the store, and by how many bytes."""
        for uri, row in known.items():
            _, _, kind, size, mtime_ns, *_, version, _ = row
            if uri not in met or not should_have(uri, row):
                continue
            copy = self.copy(uri)
            if copy is None or (copy.size, copy.mtime_ns, copy.version) != (
                size, mtime_ns, version,
            ):  # fmt: skip
                yield uri, max(1, size - (copy.stop if copy and kind == "jsonl" else 0))

    def _known(self, task: Task) -> Known:
        copy = self.copy(task.uri)
        new = self.archive.new_id()
        now = time.time_ns() // 1_000_000
        begin = records.begun(new, task.agent, task.uri, task.kind, now)
        if copy is None:
            return Known(new, begin=begin)
        if task.kind == "jsonl" and not task.uri.endswith(".zst"):
            sure = max(copy.cursor, task.offset)
            blocks = self.archive.index.blocks(copy.id, sure)
            tail = tuple((b.offset, b.raw, b.crc) for b in blocks if b.offset >= sure)
            return Known(copy.id, copy.stop, tail)
        blocks = self.archive.index.blocks(copy.id) if task.kind != "jsonl" else []
        return Known(new, begin=begin, previous=copy.id, blocks=tuple(blocks))

    def _companions(self, tasks: Iterable[Task]) -> None:
        """Copy the small files that readers look at beside the sources."""
        looked = set()
        for task in tasks:
            for path in agents.get(task.agent).companions(task.uri.partition("#")[0]):
                stat = reading.stat_of(path)
                copy = self.copy(path)
                if path in looked or stat == (0, 0):
                    continue
                looked.add(path)
                if copy is not None and (copy.size, copy.mtime_ns) == stat:
                    continue
                data = sources.read_small(path)
                if data is not None:
                    whole = Task(task.agent, 0, path, "companion", (*stat, 0, 0), 0, 0, b"", b"")
                    self.archive.add(
                        document(self.archive.current(), self._known(whole), data,
                                 self.archive.unpacked, *stat, "")
                    )  # fmt: skip

    def _learn(self, tasks: Iterable[Task], known: Mapping[str, SourceRow], pending: int) -> None:
        """Learn a dictionary if there is enough to learn from."""
        need = self.archive.wants_dictionary(pending)
        if not need:
            return
        sizes = {uri: r[3] for uri, r in known.items() if r[2] in ("jsonl", "json") and not r[11]}
        sizes |= {t.uri: t.stat[0] for t in tasks if t.kind in ("jsonl", "json")}
        places = {uri: n for uri, n in sizes.items() if n > 0 and not uri.endswith(".zst")}
        self.archive.learn(_sample(places, need), self.archive.index.total() + pending)


def _says_more(copy: Copy, row: SourceRow) -> bool:
    """True where bytes were copied, and a sync was stopped before it had the rows of them."""
    return copy.kind == "jsonl" and copy.stop > row[3]


def should_have(uri: str, row: SourceRow) -> bool:
    """True for a source on disk of which the archive should have a copy."""
    kind, size, version, gone = row[2], row[3], row[10], row[11]
    if gone or size < 0 or REWRITTEN in uri or (kind == "json" and size > sources.MAX_DOCUMENT):
        return False
    return kind in _COPIED and version != "anchor"


def _sample(places: Mapping[str, int], need: int) -> Iterator[bytes]:
    """Pieces from everywhere, evenly; all of it where no more is there than needed."""
    total = sum(places.values())
    step = total * PIECE // need if total > need else 0
    ahead = 0
    for path, size in sorted(places.items()):
        if ahead < size:
            try:
                fd = sources.open_regular(path)
            except OSError:
                continue
            try:
                while ahead < size and (piece := os.pread(fd, PIECE, ahead)):
                    yield piece
                    ahead += step or len(piece)
            finally:
                os.close(fd)
        ahead = max(0, ahead - size)
