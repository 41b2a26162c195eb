"""Seeing what changes on disk: events of the system as a hint, looking again as the truth.

A `Watcher` knows every file below the roots as the last look found it. Where the system tells of
changes (`live.hints`), what it names is looked at at once; whether it tells or not, everything
is looked at again in turn, the files that changed lately more often. Hints that were lost
(an overflow) lead to a look at everything. File systems that other machines write to are never
relied upon to tell.

Nothing is opened here. What was looked at is counted (`Watcher.counts`), for idle work is promised
to be small.
"""

from __future__ import annotations

import os
import stat
import time
from collections import OrderedDict

from decklog import sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from decklog.live.hints import Hint, Hints
    from decklog.sources import File


TICK = 1.0
"""Seconds between two looks in turn."""
HOT_FILES, HOT_SECONDS = 256, 600.0
"""So many files that changed lately are looked at with every second tick, for so long."""
SWEEP_TOLD, SWEEP_UNTOLD = 120.0, 4.0
"""Seconds in which everything is looked at once: where the system tells of changes, and where it
does not."""


class Changed:
    """What is new since the last time: files as they are now, by root, and paths that are gone."""

    __slots__ = ("files", "gone")

    def __init__(self, roots: int) -> None:
        self.files: list[dict[str, File]] = [{} for _ in range(roots)]
        self.gone: list[dict[str, str]] = [{} for _ in range(roots)]
        """By path, the path relative to the root."""

    def __bool__(self) -> bool:
        return any(self.files) or any(self.gone)

    def after(self, earlier: Changed) -> Changed:
        """This and what was found earlier, as one."""
        both = Changed(len(self.files))
        for i, (files, gone) in enumerate(zip(both.files, both.gone, strict=True)):
            for one in (earlier, self):
                for path in one.files[i]:
                    gone.pop(path, None)
                for path in one.gone[i]:
                    files.pop(path, None)
                files.update(one.files[i])
                gone.update(one.gone[i])
        return both


class Counts:
    """Work done so far."""

    __slots__ = ("listed", "stats", "told")

    def __init__(self) -> None:
        self.stats = 0
        """Files and folders looked at one by one."""
        self.listed = 0
        """Folders listed."""
        self.told = 0
        """Hints taken."""


class _Folder:
    __slots__ = ("below", "files", "folders", "hidden", "mtime_ns", "path", "prefix", "root")

    def __init__(self, path: str, prefix: str, root: int) -> None:
        self.path, self.prefix, self.root = path, prefix, root
        self.mtime_ns = -1
        self.files: dict[str, None] = {}
        """Names of the files in it."""
        self.folders: dict[str, None] = {}
        """Paths of the folders in it."""
        self.hidden: File | None = None
        """The folder itself, where it may not be looked into."""
        self.below: dict[str, str] = {}
        """What was known below it before that: paths, and the same relative to the root."""


def _place(path: str) -> sources.Place:
    """Of a link that leads nowhere what can be said of the link itself. Raises OSError."""
    try:
        return sources.place(os.stat(path))
    except OSError:
        return sources.place(os.lstat(path))


def _is_folder(e: os.DirEntry[str]) -> bool:
    try:
        return e.is_dir()
    except OSError:
        return False


class Watcher:
    """Watches the files below some roots (path, only, skip), as `decklog.sources.survey` sees them.

    ``hints`` is what the system tells, or None; ``clock`` gives seconds that never go back.
    """

    def __init__(
        self,
        roots: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]],
        *,
        hints: Hints | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.roots = list(roots)
        self.hints = hints
        self.clock = clock
        self.counts = Counts()
        self.files: dict[str, File] = {}
        self.folders: dict[str, _Folder] = {}
        self.hot: OrderedDict[str, float] = OrderedDict()
        self.links: dict[tuple[int, int, int], str] = {}
        """Folders that links lead to, by root, device and inode: each is entered by one of them."""
        self.expected: set[str] = set()
        """Folders in which a root may come into being."""
        self.untold: set[int] = set()
        """Roots that the system does not tell of, or not of all."""
        self.mark = self.counted = 0
        self._turn: list[str] = []
        """Paths that are still to be looked at in this sweep."""
        self._share = 0.0
        self._tick = 0
        self._next = clock() + TICK

    @property
    def fingerprint(self) -> str:
        """What `decklog.sources.survey` would call what is known."""
        return sources.fingerprint(self.counted, self.mark)

    def survey(self) -> tuple[list[list[File]], str]:
        """Everything known, in the form of `decklog.sources.survey`."""
        found: list[list[File]] = [[] for _ in self.roots]
        for folder in self.folders.values():
            files = found[folder.root]
            files += (self.files[f"{folder.path}/{name}"] for name in folder.files)
            if folder.hidden is not None:
                files.append(folder.hidden)
        return found, self.fingerprint

    def close(self) -> None:
        if self.hints is not None:
            self.hints.close()

    # -- waiting ---------------------------------------------------------------------------------

    def wait(self, timeout: float) -> Changed:
        """What changed; comes back at once when something did, else after ``timeout`` seconds, or
        earlier when it was woken or had to look at something."""
        until = self.clock() + timeout
        changed = Changed(len(self.roots))
        while True:
            now = self.clock()
            if now >= self._next:
                self._next = now + TICK
                self._look_in_turn(changed)
            left = max(0.0, min(until, self._next) - now)
            if changed:
                left = 0.0
            told = self._told(left)
            for hint in told:
                self._take(hint, changed)
            if changed or not told or self.clock() >= until:
                return changed

    def _told(self, left: float) -> list[Hint]:
        if self.hints is not None:
            return self.hints.read(left)
        if left:
            time.sleep(left)
        return []

    def _take(self, hint: Hint, changed: Changed) -> None:
        self.counts.told += 1
        folder_path, name, is_folder = hint
        if folder_path is None:  # some were lost
            self.rescan(changed)
            return
        folder = self.folders.get(folder_path)
        if folder is None:
            if is_folder:
                self._look_at_roots(changed)
            return
        if is_folder or not name:
            self._list(folder, changed)
        elif not name.endswith(sources.UNCOUNTED):
            self._look(folder, name, changed)

    # -- looking ---------------------------------------------------------------------------------

    def scan(self) -> Changed:
        """The first look at everything: all is new."""
        changed = Changed(len(self.roots))
        self.rescan(changed)
        self._look_at_roots(changed)
        self.hot.clear()
        return changed

    def rescan(self, changed: Changed) -> None:
        """Look at everything again."""
        for i, (path, _, _) in enumerate(self.roots):
            self._enter(path, "", i, changed)
        for folder in list(self.folders.values()):
            if folder.path in self.folders:
                self._list(folder, changed)

    def _enter(self, path: str, prefix: str, root: int, changed: Changed) -> None:
        """A folder, and all below it, when it is there and was not known."""
        if path in self.folders:
            return
        folder = _Folder(path, prefix, root)
        if self.hints is not None and not self.hints.add(path):
            self.untold.add(root)
        self.folders[path] = folder
        self._list(folder, changed)

    def _leave(self, folder: _Folder, changed: Changed) -> None:
        """A folder that is gone, with all that was below."""
        gone = self._drop(folder)
        changed.gone[folder.root].update(gone)
        for path in gone:
            changed.files[folder.root].pop(path, None)
        if folder.prefix:
            self._forget(folder)

    def _hide(self, folder: _Folder, error: OSError, changed: Changed) -> None:
        """A folder that may not be looked into: that is said of it, and nothing of what is below.
        It is tried again in turn."""
        new = (folder.path, folder.prefix, *sources.hidden(error, stat.S_IFDIR))
        old = folder.hidden
        below = self._drop(folder)
        folder.hidden, folder.below = new, below
        if new != old:
            changed.files[folder.root][folder.path] = new

    def _seen_again(self, folder: _Folder, below: dict[str, str], changed: Changed) -> None:
        """A folder that may be looked into again: what went meanwhile is told, but for what a
        folder in it still hides."""
        gone = changed.gone[folder.root]
        gone[folder.path] = folder.prefix
        for path, relative in below.items():
            place = os.path.dirname(path)
            while place not in self.folders:
                place = os.path.dirname(place)
            if self.folders[place].hidden is not None:
                self.folders[place].below[path] = relative
            elif path not in self.files:
                gone[path] = relative

    def _drop(self, folder: _Folder) -> dict[str, str]:
        """Know nothing of what is in a folder any more; the files that were known below it."""
        dropped = folder.below
        for path in folder.folders:
            below = self.folders[path]
            dropped |= self._drop(below)
            self._forget(below)
        for name in list(folder.files):
            dropped[f"{folder.path}/{name}"] = folder.prefix + name
            self._remove(folder, name)
        folder.folders, folder.below, folder.hidden, folder.mtime_ns = {}, {}, None, -1
        return dropped

    def _forget(self, folder: _Folder) -> None:
        del self.folders[folder.path]
        self.links = {k: p for k, p in self.links.items() if p != folder.path}
        if self.hints is not None:
            self.hints.drop(folder.path)

    def _list(self, folder: _Folder, changed: Changed) -> bool:
        """List one folder: files and folders that are new, files that changed or are gone."""
        _, only, skip = self.roots[folder.root]
        self.counts.listed += 1
        try:
            mtime_ns = os.stat(folder.path).st_mtime_ns
            with os.scandir(folder.path) as entries:
                found = list(entries)
        except (FileNotFoundError, NotADirectoryError):
            if folder.files or folder.mtime_ns >= 0 or folder.hidden is not None:
                self._leave(folder, changed)
            return False
        except OSError as error:
            self._hide(folder, error, changed)
            return False
        was_hidden, known_below = folder.hidden is not None, folder.below
        folder.hidden, folder.below = None, {}
        if folder.mtime_ns < 0 and not folder.prefix and self.hints is not None:
            self.hints.add(folder.path)  # a root that was not there before
        folder.mtime_ns = mtime_ns
        names, below = set(), set()
        for e in found:
            if only and not folder.prefix and e.name not in only:
                continue
            if _is_folder(e):
                if e.name not in skip and self._enters(e, folder.root):
                    below.add(e.path)
            else:
                names.add(e.name)
        for path in [p for p in folder.folders if p not in below]:
            del folder.folders[path]
            self._leave(self.folders[path], changed)
        for name in [n for n in folder.files if n not in names]:
            self._lose(folder, name, changed)
        for name in names:
            self._look(folder, name, changed)
        for path in below:
            if path not in self.folders:
                folder.folders[path] = None
                name = path.rpartition("/")[2]
                self._enter(path, f"{folder.prefix}{name}/", folder.root, changed)
        if was_hidden:
            self._seen_again(folder, known_below, changed)
        return True

    def _enters(self, e: os.DirEntry[str], root: int) -> bool:
        """Links to folders are followed once, and never in a circle, as `sources.walk` does."""
        if not e.is_symlink():
            return True
        try:
            st = e.stat()
        except OSError:
            return False
        first = self.links.setdefault((root, st.st_dev, st.st_ino), e.path)
        return first == e.path and not sources.above(e.path, self.roots[root][0])

    def _look(self, folder: _Folder, name: str, changed: Changed) -> None:
        """Look at one file again."""
        path = f"{folder.path}/{name}"
        only = self.roots[folder.root][1]
        if only and not folder.prefix and name not in only:
            return
        self.counts.stats += 1
        try:
            place = _place(path)
        except (FileNotFoundError, NotADirectoryError):
            if name in folder.files:
                self._lose(folder, name, changed)
            return
        except OSError as error:  # it may be there: reading will say that it cannot be seen
            place = sources.hidden(error)
        if stat.S_ISDIR(place[-1]):
            return
        new = (path, folder.prefix + name, *place)
        old = self.files.get(path)
        if old == new:
            return
        if old is not None:
            self._count(old, -1)
        self._count(new, 1)
        self.files[path] = new
        folder.files[name] = None
        changed.files[folder.root][path] = new
        changed.gone[folder.root].pop(path, None)
        self.hot[path] = self.clock()
        self.hot.move_to_end(path)
        if len(self.hot) > HOT_FILES:
            self.hot.popitem(last=False)

    def _lose(self, folder: _Folder, name: str, changed: Changed) -> None:
        path = f"{folder.path}/{name}"
        self._remove(folder, name)
        changed.files[folder.root].pop(path, None)
        changed.gone[folder.root][path] = folder.prefix + name

    def _remove(self, folder: _Folder, name: str) -> None:
        path = f"{folder.path}/{name}"
        del folder.files[name]
        self._count(self.files.pop(path), -1)
        self.hot.pop(path, None)

    def _count(self, file: File, sign: int) -> None:
        path, _, size, mtime_ns, _, inode, _ = file
        if size != sources.HIDDEN and not path.endswith(sources.UNCOUNTED):
            self.mark += sign * sources.share(path, size, mtime_ns, inode)
            self.counted += sign

    # -- in turn ---------------------------------------------------------------------------------

    def _look_in_turn(self, changed: Changed) -> None:
        """A share of everything: folders by their time, files by all that is known of them."""
        self._tick += 1
        if self._tick % 2 == 0:
            self._look_at_hot(changed)
        self._look_at_roots(changed)
        told = self.hints is not None and not self.untold
        if not self._turn:
            self._turn = [*self.folders, *self.files]
        every = len(self.folders) + len(self.files)
        self._share += every * TICK / (SWEEP_TOLD if told else SWEEP_UNTOLD)
        while self._share >= 1 and self._turn:
            self._share -= 1
            self._look_at(self._turn.pop(), changed)

    def _look_at_roots(self, changed: Changed) -> None:
        """Roots come and go; where one is not there, that in which it may come is watched."""
        for path, _, _ in self.roots:
            self._look_at_folder(self.folders[path], changed)
            if self.hints is not None and self.folders[path].mtime_ns < 0:
                self._expect(path)

    def _expect(self, root: str) -> None:
        above = os.path.dirname(root)
        while above != os.path.dirname(above) and not os.path.isdir(above):
            above = os.path.dirname(above)
        if above not in self.expected and self.hints is not None:
            self.hints.expect(above)
            self.expected.add(above)

    def _look_at_hot(self, changed: Changed) -> None:
        old = self.clock() - HOT_SECONDS
        while self.hot and next(iter(self.hot.values())) < old:
            self.hot.popitem(last=False)
        for path in list(self.hot):
            self._look_at(path, changed)

    def _look_at(self, path: str, changed: Changed) -> None:
        folder = self.folders.get(path)
        if folder is not None:
            self._look_at_folder(folder, changed)
        elif path in self.files:
            place, _, name = path.rpartition("/")
            if place in self.folders:
                self._look(self.folders[place], name, changed)

    def _look_at_folder(self, folder: _Folder, changed: Changed) -> None:
        self.counts.stats += 1
        try:
            mtime_ns = os.stat(folder.path).st_mtime_ns
        except OSError:
            mtime_ns = -1
        if mtime_ns != folder.mtime_ns:
            self._list(folder, changed)
