"""The end of the machine: what a disk may hold when the power fails, at any moment.

    history = record(folder, work)               # operations and acknowledgements, in order
    for state in states(history, seed=1, most=2000):
        state.put(place)                         # an empty folder
        assert set(state.told) <= set(recovered(place))

The disk keeps what it was asked to keep: the contents of a file as of its last fsync, the names in
a folder as of the folder's last fsync. Of what came later any part may be there: writes dropped,
cut short or reordered, blocks zero where only the size got through; names made, renamed or removed,
each for itself there or not. Only a rename is taken to be atomic.

``told`` are the acknowledgements given before that moment: what they promise must be there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from faults import Fault, Faults, Work
from forked import in_child

BLOCK = 512
"""Bytes that a disk writes as one."""
ROOT = 0
"""Number of the folder that all happens in."""


@dataclass(frozen=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    """fsync of a file or folder."""

    what: int


@dataclass(frozen=True)
class Names:
    """Names that change together: (folder, name) to the file or folder it now means, or None."""

    changes: tuple[tuple[tuple[int, str], int | None], ...]


@dataclass(frozen=True)
class Made:
    """A new file or folder; it has no name yet."""

    what: int
    folder: bool


@dataclass(frozen=True)
class Told:
    value: Any


@dataclass(frozen=True)
class Begun:
    """All before this was there, and safe, when the work began."""


Op = Write | Truncate | Sync | Names | Made | Told | Begun


# --- what was done ----------------------------------------------------------------------------


def record(folder: Path, work: Work) -> list[Op]:
    """Run the work in a child process and give what it did below the folder, in order.

    What stands in the folder before counts as safely on disk.
    """

    def observed() -> list[str]:
        recorder = Recorder(folder)
        recorder.install()
        work(folder, recorder.tell)
        return [_packed(op) for op in recorder.ops]

    return [_unpacked(text) for text in in_child(observed)]


def _packed(op: Op) -> str:
    fields = {k: v.hex() if isinstance(v, bytes) else v for k, v in vars(op).items()}
    return json.dumps([type(op).__name__, fields])


def _unpacked(text: str) -> Op:
    name, fields = json.loads(text)
    if name == "Write":
        fields["data"] = bytes.fromhex(fields["data"])
    elif name == "Names":
        fields["changes"] = tuple(((f, n), what) for (f, n), what in fields["changes"])
    made: Op = globals()[name](**fields)
    return made


class Recorder(Faults):
    """Writes down what is done below a folder, and disturbs nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Fault())
        self.ops: list[Op] = []
        self._known = {self.folder: ROOT}
        self._open: dict[int, int] = {}
        for place, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = f"{place}/{name}"
                what = self._born(path, name in folders)
                if name in files:
                    self.ops += [Write(what, 0, Path(path).read_bytes()), Sync(what)]
            self.ops.append(Sync(self._known[place]))
        self.ops.append(Begun())

    def tell(self, value: Any) -> None:
        self.ops.append(Told(value))

    def _do(self, name: str, args: Any, kwargs: Any) -> Any:
        with self._one:
            return self._written_down(name, args, kwargs)

    def _written_down(self, name: str, args: Any, kwargs: Any) -> Any:
        offset = self._end(args[0]) if name == "write" else 0
        there = name == "open" and os.path.lexists(args[0])
        result = super()._do(name, args, kwargs)
        if name == "open":
            path = os.path.abspath(os.fspath(args[0]))
            what = self._known[path] if there else self._born(path, False)
            self._open[result] = what
            if there and args[1] & os.O_TRUNC:
                self.ops.append(Truncate(what, 0))
        elif name == "write":
            self.ops.append(Write(self._open[args[0]], offset, bytes(args[1])[:result]))
        elif name == "pwrite":
            self.ops.append(Write(self._open[args[0]], args[2], bytes(args[1])[:result]))
        elif name in ("truncate", "ftruncate"):
            self.ops.append(Truncate(self._file(args[0]), args[1]))
        elif name in ("fsync", "fdatasync"):
            self.ops.append(Sync(self._open[args[0]]))
        elif name == "mkdir":
            self._born(os.path.abspath(os.fspath(args[0])), True)
        elif name in ("rename", "replace", "link", "unlink", "remove", "rmdir"):
            self._renamed(name, [os.path.abspath(os.fspath(a)) for a in args[:2]])
        return result

    def _file(self, place: Any) -> int:
        if isinstance(place, int):
            return self._open[place]
        return self._known[os.path.abspath(os.fspath(place))]

    def _end(self, fd: int) -> int:
        """Where the next write to a descriptor goes."""
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
            return os.fstat(fd).st_size
        return os.lseek(fd, 0, os.SEEK_CUR)

    def _born(self, path: str, folder: bool) -> int:
        what = len(self._known) + len(self.ops) + 1
        self._known[path] = what
        self.ops += [Made(what, folder), Names(((self._at(path), what),))]
        return what

    def _at(self, path: str) -> tuple[int, str]:
        folder, name = os.path.split(path)
        return self._known[folder], name

    def _renamed(self, name: str, paths: list[str]) -> None:
        old = paths[0]
        what = self._known[old]
        changes: list[tuple[tuple[int, str], int | None]] = []
        if name != "link":
            changes.append((self._at(old), None))
        if name in ("rename", "replace", "link"):
            changes.append((self._at(paths[1]), what))
            self._known = {
                paths[1] + p[len(old) :] if p == old or p.startswith(old + "/") else p: w
                for p, w in self._known.items()
                if p != paths[1]
            } | ({old: what} if name == "link" else {})
        else:
            del self._known[old]
        self.ops.append(Names(tuple(changes)))


# --- what may be left of it -------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """One way in which the disk may have been left."""

    tree: dict[str, bytes | None]
    """Path to contents; None for a folder."""
    told: list[Any]
    moment: int
    """How many operations had been done."""

    def put(self, folder: Path) -> None:
        for name, data in sorted(self.tree.items()):
            if data is None:
                (folder / name).mkdir()
            else:
                (folder / name).write_bytes(data)


def states(history: list[Op], *, seed: int, most: int) -> Iterator[State]:
    """Up to ``most`` different states, spread evenly over all moments of the history."""
    random = Random(seed)
    begin = history.index(Begun())
    seen: set[int] = set()
    barren = 0
    while len(seen) < most and barren < 20:
        barren += 1
        disk = Disk()
        for moment, op in enumerate(history):
            disk.apply(op)
            if moment < begin:
                continue
            tree = disk.left(random)
            key = hash((len(disk.told), *sorted(tree.items())))
            if key not in seen and len(seen) < most:
                seen.add(key)
                barren = 0
                yield State(tree, list(disk.told), moment - begin)


@dataclass
class Disk:
    """What is surely on disk, and what may be."""

    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    contents: dict[int, list[Write | Truncate]] = field(default_factory=dict)
    """Not yet synced, in order."""
    names: list[Names] = field(default_factory=list)
    """Not yet synced, in order."""
    told: list[Any] = field(default_factory=list)

    def apply(self, op: Op) -> None:
        match op:
            case Write(file=file) | Truncate(file=file):
                self.contents.setdefault(file, []).append(op)
            case Made(what=what, folder=True):
                self.folders[what] = {}
            case Made(what=what):
                self.files[what] = b""
            case Names():
                self.names.append(op)
            case Told(value=value):
                self.told.append(value)
            case Sync(what=what) if what in self.folders:
                ours = [n for n in self.names if any(at[0] == what for at, _ in n.changes)]
                self.names = [n for n in self.names if n not in ours]
                for n in ours:
                    _rename(self.folders, n)
            case Sync(what=what):
                for change in self.contents.pop(what, ()):
                    self.files[what] = _changed(self.files[what], change)

    def left(self, random: Random) -> dict[str, bytes | None]:
        """One tree that the disk may hold now."""
        folders = {what: dict(names) for what, names in self.folders.items()}
        for n in _some(self.names, random):
            _rename(folders, n)
        files = {
            what: _torn(data, self.contents.get(what, []), random)
            for what, data in self.files.items()
        }
        return dict(_walk(ROOT, "", folders, files))


def _walk(
    folder: int, path: str, folders: dict[int, dict[str, int]], files: dict[int, bytes]
) -> Iterator[tuple[str, bytes | None]]:
    for name, what in folders[folder].items():
        if what in folders:
            yield path + name, None
            yield from _walk(what, f"{path}{name}/", folders, files)
        else:
            yield path + name, files[what]


def _rename(folders: dict[int, dict[str, int]], names: Names) -> None:
    for (folder, name), what in names.changes:
        if what is None:
            folders[folder].pop(name, None)
        else:
            folders[folder][name] = what


def _some(items: list[Any], random: Random) -> list[Any]:
    """None, all, the first few, or any of them."""
    way = random.randrange(4)
    if way == 3:
        return [i for i in items if random.random() < 0.5]
    return items[: (0, len(items), random.randint(0, len(items)))[way]]


def _changed(data: bytes, change: Write | Truncate) -> bytes:
    if isinstance(change, Truncate):
        return data[: change.size].ljust(change.size, b"\0")
    before = data[: change.offset].ljust(change.offset, b"\0")
    return before + change.data + data[change.offset + len(change.data) :]


def _torn(data: bytes, changes: list[Write | Truncate], random: Random) -> bytes:
    """Contents of which only ``data`` is sure."""
    if not changes:
        return data
    whole = data
    for change in changes:
        whole = _changed(whole, change)
    way = random.choice(_WAYS)
    return way(data, changes, whole, random)


def _cut(data: bytes, changes: list[Any], whole: bytes, random: Random) -> bytes:
    """The last write that got through is cut short."""
    n = random.randint(1, len(changes))
    for change in changes[: n - 1]:
        data = _changed(data, change)
    last = changes[n - 1]
    if isinstance(last, Write):
        part = last.data[: random.randint(0, len(last.data))]
        return _changed(data, Write(last.file, last.offset, part)) if part else data
    return data


def _reordered(data: bytes, changes: list[Any], whole: bytes, random: Random) -> bytes:
    for change in _some(changes, random):
        data = _changed(data, change)
    return data


def _blocks(data: bytes, changes: list[Any], whole: bytes, random: Random) -> bytes:
    """The size got through, but not every block."""
    old = data[: len(whole)].ljust(len(whole), b"\0")
    parts = range(0, len(whole), BLOCK)
    return b"".join(random.choice((old, whole))[at : at + BLOCK] for at in parts)


def _zeros(data: bytes, changes: list[Any], whole: bytes, random: Random) -> bytes:
    """The size got through, and none of the contents."""
    return data[: len(whole)].ljust(len(whole), b"\0")


def _nothing(data: bytes, changes: list[Any], whole: bytes, random: Random) -> bytes:
    return data


def _everything(data: bytes, changes: list[Any], whole: bytes, random: Random) -> bytes:
    return whole


_WAYS: tuple[Callable[[bytes, list[Any], bytes, Random], bytes], ...] = (
    _nothing, _everything, _cut, _reordered, _blocks, _zeros,
)  # fmt: skip
