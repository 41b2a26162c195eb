"""What is to be read: the disk compared with what the store knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from decklog import agents, sources
from decklog.agents import Agent
from decklog.errors import StoreError
from decklog.reading import NOT_WANTED, TRY_AGAIN, Task, companions, stat_of
from decklog.sources import Seen
from decklog.store import REWRITTEN
from decklog.unpacking import Bomb

if TYPE_CHECKING:
    from collections.abc import Callable

    from decklog.sources import File
    from decklog.store import SourceRow
    from decklog.store.sqlite import SqliteStore

    Behind = Callable[[Mapping[str, SourceRow]], dict[str, int]]
    """Of all known sources those that are behind, and the bytes to be read for them."""


class Plan:
    """Compares what is on disk with what the store knows, and says what is to be read."""

    def __init__(
        self,
        store: SqliteStore,
        news: News | None = None,
        behind: Behind | None = None,
        renamed: Callable[[str, str], int] = lambda old, new: 0,
    ) -> None:
        """A plan of all there is, or, with ``news``, only of what these may concern.

        ``behind`` tells which sources another projection has yet to read, though no rows are new;
        ``renamed`` is told of a source that the store is about to call otherwise, and gives the
        copy that the archive has of it (0: none), so that the store can note that.
        """
        self.store, self.renamed = store, renamed
        self.news = news
        self.known = store.known() if news is None else news.known(store)
        self.beside = frozenset(() if news is None else news.beside(self.known))
        self.behind = behind(self.known) if behind else {}
        files = [(uri, r) for uri, r in self.known.items() if r[6] and REWRITTEN not in uri]
        files.sort(key=lambda f: -f[1][11])  # the inode of one that is gone may serve again
        self.by_inode = {(r[5], r[6]): uri for uri, r in files}
        self.met: set[str] = set()
        self.retired: set[int] = set()
        """Sources whose path another file has now."""
        self.wanted: dict[str, Task] = {}
        self.companions: dict[str, list[Seen]] = {}
        """Those that changed, by agent."""
        self.present = 0
        self.inodes: set[tuple[int, int]] = set()

    def root(self, name: str, path: str, files: list[File]) -> None:
        """Look at the files of one root of an agent. What did not change costs a comparison."""
        try:
            self._root(name, path, files)
        except StoreError:
            raise
        except Exception as error:
            agents.set_aside(name, error)
            self.met |= {uri for uri, row in self.known.items() if row[1] == name}

    def _root(self, name: str, path: str, files: list[File]) -> None:
        known, met, inodes = self.known, self.met, self.inodes
        documents: dict[str, Seen] = {}
        a = None
        hidden = False
        for file in sorted(files):  # a fixed order, whatever the file system's is
            row = known.get(file[0])
            if row is not None and row[3:7] == file[2:6] and row[2] != "sqlite":
                counts = row[2] not in ("other", "companion")
                if counts and file[4:6] in inodes:
                    continue  # another name of a file that was met already, once read under both
                met.add(file[0])
                if counts:
                    inodes.add(file[4:6])
                    self.present += 1
                    if file[0] in self.behind:
                        self._catch_up(name, file[0], row)
                continue
            if a is None:
                a = agents.get(name)
            seen = Seen(*file) if self.news is None else _again(file)
            if seen is None:
                continue
            hidden = hidden or seen.hidden
            if seen.hidden and seen.folder:
                self._hidden(a, seen)
                continue
            claim = a.claim(seen.relative)
            if claim == "ignore":
                continue
            if claim == "companion":
                if type(a).companions is not Agent.companions:
                    self.companions.setdefault(name, []).append(seen)
                    met.add(seen.path)
                continue
            if claim is None or not seen.regular:
                self._odd(a, seen, "unrecognized" if claim is None else "unreadable")
            elif seen.hidden:
                self._unreadable(a, seen, claim)
            elif claim == "dir":
                documents[seen.relative] = seen
            elif claim == "sqlite":
                self._database(a, seen)
            else:
                self._file(a, seen, claim)
        if hidden:  # documents of which a part cannot be seen stay as they are
            self.met |= {uri for uri in known if uri.startswith(f"{path}#")}
        elif a is not None and documents:
            self._folder(a, path, documents)

    def finish(self) -> list[Task]:
        """The tasks, in the order of their last change. Sources that are not on disk any more are
        marked gone."""
        for name, changed in self.companions.items():
            self._renew(agents.get(name), {seen.path for seen in changed})
        lost, back = [], []
        for uri, row in self.known.items():
            if uri in self.met:
                if row[11] and row[0] not in self.retired:
                    back.append(row[0])
            elif not row[11] and REWRITTEN not in uri and uri not in self.beside:
                lost.append(row[0])
        if lost:
            self.store.mark_gone(lost, True)
        if back:
            self.store.mark_gone(back, False)
        wanted = _dealt(self.wanted.values())
        ids = self.store.reserve_all((t.agent, t.uri, t.kind) for t in wanted) if wanted else []
        for name, changed in self.companions.items():
            self.store.met_companions(name, ((s.path, _stat(s)) for s in changed))
        return [t._replace(source=i) for t, i in zip(wanted, ids, strict=True)]

    def _renew(self, a: Agent, changed: set[str]) -> None:
        """Want the sources read anew of which a changed companion says something else now."""
        for uri, row in self.known.items():
            task = self.wanted.get(uri)
            if row[1] != a.name or uri not in self.met or (task and not task.offset):
                continue
            if row[2] not in ("jsonl", "json") or changed.isdisjoint(a.companions(uri)):
                continue
            if a.mark(uri, companions(a, uri)) != row[10]:
                self.store.forget(row[0])
                self._want(a, uri, row[2], task.stat if task else row[3:7])

    def _odd(self, a: Agent, seen: Seen, reason: str) -> None:
        self.met.add(seen.path)
        row = self.known.get(seen.path)
        if row is None or row[11]:
            detail = "no rule for this file" if reason == "unrecognized" else "not a regular file"
            self.store.note(a.name, seen.path, "other", reason, detail)

    def _hidden(self, a: Agent, folder: Seen) -> None:
        """A folder that cannot be looked into: what was read below it stays as it is."""
        below = f"{folder.path}/"
        self.met |= {folder.path, *(uri for uri in self.known if uri.startswith(below))}
        detail = f"the folder cannot be read: {os.strerror(folder.inode)}"
        self.store.note(a.name, folder.path, "other", "unreadable", detail)

    def _unreadable(self, a: Agent, seen: Seen, kind: str) -> None:
        """A file that may not be looked at: reading will say so, and go on when it may."""
        self.met |= {seen.path, *(uri for uri in self.known if uri.startswith(f"{seen.path}#"))}
        row = self.known.get(seen.path)
        if kind in ("jsonl", "json") and row is not None:
            self._want(a, seen.path, kind, TRY_AGAIN, row[7], row[8], row[9],
                       self.store.state(row[0]), row[10])  # fmt: skip
        elif kind in ("jsonl", "json"):
            self._want(a, seen.path, kind, TRY_AGAIN)
        else:
            detail = os.strerror(seen.inode)
            kind = "sqlite" if kind == "sqlite" else "other"
            self.store.note(a.name, seen.path, kind, "unreadable", detail)

    def _file(self, a: Agent, seen: Seen, kind: str) -> None:
        if self.news is not None:
            seen = self._first_name(seen)
        if (seen.device, seen.inode) in self.inodes:
            return  # a hard link or a link to a file that was met already
        self.inodes.add((seen.device, seen.inode))
        self.met.add(seen.path)
        self.present += 1
        row = self.known.get(seen.path)
        stat = _stat(seen)
        if row is None:
            row = self._moved(seen, stat, kind)
        if row is not None and row[3:7] == stat:
            if seen.path in self.behind:
                self._catch_up(a.name, seen.path, row)
            return
        if row is None or kind != "jsonl":
            self._want(a, seen.path, kind, stat)
        elif self._appended(seen, row):
            self._want(a, seen.path, kind, stat, row[7], row[8], row[9],
                       self.store.state(row[0]), row[10])  # fmt: skip
        else:
            if row[7]:
                copy = self.renamed(seen.path, self.store.rewritten(seen.path))
                self.store.retire(row[0], seen.path, copy)
                self.retired.add(row[0])
            self._want(a, seen.path, kind, stat)

    def _first_name(self, seen: Seen) -> Seen:
        """Of a file with several names the one it is known by, as long as that is there."""
        uri = self.by_inode.get((seen.device, seen.inode), seen.path)
        if uri == seen.path or seen.path in self.known:
            return seen
        first = _again((uri, seen.relative, *_stat(seen), 0))
        same = first is not None and (first.device, first.inode) == (seen.device, seen.inode)
        return first if first is not None and same else seen

    def _moved(self, seen: Seen, stat: tuple[int, int, int, int], kind: str) -> Any:
        """The row of a source that was renamed to this path, if its bytes are the same.

        Of the names of one file (hard links, links) the first on the walk stands.
        """
        uri = self.by_inode.get((seen.device, seen.inode))
        if uri is None:
            return None
        row = self.known[uri]
        if row[3:7] != stat and not (kind == "jsonl" and self._appended(seen, row)):
            return None
        self.store.move(row[0], seen.path, self.renamed(uri, seen.path))
        del self.known[uri]
        self.known[seen.path] = row
        if uri in self.behind:
            self.behind[seen.path] = self.behind.pop(uri)
        return row

    def _appended(self, seen: Seen, row: Any) -> bool:
        """True when what was read is still there, so that reading can go on after it."""
        offset, check = row[7], row[9]
        if seen.size < offset and not seen.path.endswith(".zst"):
            return False
        if not offset:
            return True
        try:
            fd = sources.open_regular(seen.path)
        except OSError:
            return True  # reading will say what is wrong
        try:
            return sources.matches(fd, seen.path, offset, check)
        except (OSError, Bomb):
            return True
        finally:
            os.close(fd)

    def _want(
        self, a: Agent, uri: str, kind: str, stat: tuple[int, int, int, int], offset: int = 0,
        line: int = 0, check: bytes = b"", state: bytes = b"", version: str = "",
        document: str = "", parts: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.wanted[uri] = Task(a.name, 0, uri, kind, stat, offset, line, check, state, version,
                                document, parts, offset)  # fmt: skip

    def _catch_up(
        self, agent: str, uri: str, row: SourceRow, document: str = "", parts: tuple[str, ...] = ()
    ) -> None:
        """Want a source of which the rows are there already."""
        state = self.store.state(row[0]) if row[7] else b""
        self.wanted[uri] = Task(agent, 0, uri, row[2], row[3:7], *row[7:10], state, row[10],
                                document, parts, NOT_WANTED)  # fmt: skip

    def _documents(self, a: Agent, base: str, kind: str, versions: Mapping[str, Any]) -> None:
        """Documents of a database or folder: those whose version changed are read again."""
        for document, (version, stat, parts) in versions.items():
            uri = f"{base}#{document}"
            self.met.add(uri)
            row = self.known.get(uri)
            if row is not None and row[10] == version:
                if uri in self.behind:
                    self._catch_up(a.name, uri, row, document, parts)
                continue
            self._want(a, uri, kind, stat, version=version, document=document, parts=parts)

    def _database(self, a: Agent, seen: Seen) -> None:
        self.met.add(seen.path)
        self.present += 1
        wal = stat_of(seen.path + "-wal")
        stat = (seen.size + wal[0], max(seen.mtime_ns, wal[1]), seen.device, seen.inode)
        row = self.known.get(seen.path)
        documents = {u: r for u, r in self.known.items() if u.startswith(f"{seen.path}#")}
        # A document without version was to be read when the sync before this one was stopped.
        if row is not None and row[3:7] == stat and all(r[10] for r in documents.values()):
            self.met |= documents.keys()
            for uri in documents.keys() & self.behind:
                self._catch_up(a.name, uri, documents[uri], uri.rpartition("#")[2])
            return
        from decklog import databases

        try:
            found = databases.versions(seen.path, a)
        except (databases.Unreadable, databases.UnknownSchema) as error:
            self.met |= documents.keys()
            self.store.note(a.name, seen.path, "sqlite", "unreadable", str(error))
            return
        self._documents(
            a, seen.path, "sqlite", {d: (v, (0, stat[1], 0, 0), ()) for d, v in found.items()}
        )
        self._want(a, seen.path, "sqlite", stat, version="anchor")

    def _folder(self, a: Agent, root: str, files: Mapping[str, Seen]) -> None:
        self.present += 1
        versions = {}
        for document, relatives in a.gather(files).items():
            seen = [files[r] for r in relatives]
            moments = ",".join(f"{s.size}:{s.mtime_ns}" for s in seen)
            version = f"{len(seen)} {sources.checksum(moments.encode()).decode()}"
            stat = (sum(s.size for s in seen), max(s.mtime_ns for s in seen), 0, 0)
            versions[document] = (version, stat, tuple(relatives))
        self._documents(a, root, "dir", versions)


class News(NamedTuple):
    """What a watch of the disk found changed since the last look."""

    files: list[list[File]]
    """Files of each root that are new or changed."""
    gone: frozenset[str]
    """Paths at which a file was."""
    agents: frozenset[str] = frozenset()
    """Agents of which ``files`` has every file there is, because one of them may say something
    about others."""

    @property
    def paths(self) -> set[str]:
        return {f[0] for root in self.files for f in root} | self.gone

    def known(self, store: SqliteStore) -> dict[str, SourceRow]:
        """Rows of the sources that are concerned: by path, by inode, and documents within."""
        inodes = {(f[4], f[5]) for root in self.files for f in root}
        return store.known_of(self.paths, inodes, self.agents)

    def beside(self, known: Mapping[str, SourceRow]) -> Iterator[str]:
        """Those of them that nothing is said of: known for an inode they have in common."""
        paths = self.paths
        for uri, row in known.items():
            if uri.partition("#")[0] not in paths and row[1] not in self.agents:
                yield uri


def _again(file: File) -> Seen | None:
    """A file as it is now that we are the one who writes: others may have read more of it than
    there was when it was looked at."""
    if file[2] == sources.HIDDEN:
        return Seen(*file)
    try:
        return Seen(file[0], file[1], *sources.place(os.stat(file[0])))
    except OSError as error:
        if os.path.islink(file[0]):
            return Seen(*file)
        if isinstance(error, FileNotFoundError):
            return None
        return Seen(file[0], file[1], *sources.hidden(error))


def _dealt(wanted: Iterable[Task]) -> list[Task]:
    """Tasks in an order in which every second one makes half of the work (so what is divided by
    the number of a source is divided well), and else the one that changed last comes last."""
    tasks = sorted(wanted, key=lambda t: (t.stat[1], t.uri))
    ahead = 0
    for i in range(1, len(tasks), 2):
        first, second = tasks[i - 1], tasks[i]
        if (first.weight > second.weight) == (ahead > 0):
            tasks[i - 1], tasks[i] = second, first
        ahead += tasks[i - 1].weight - tasks[i].weight
    return tasks


def _stat(seen: Seen) -> tuple[int, int, int, int]:
    return seen.size, seen.mtime_ns, seen.device, seen.inode
