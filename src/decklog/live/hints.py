"""What the system tells of changes below folders: inotify on Linux, `watchfiles` elsewhere.

Hints only: they may be late, doubled or lost, and nothing is concluded from their absence.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys

from decklog import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeAlias

    Hint: TypeAlias = tuple[str | None, str, bool]
    """Folder, name in it (empty: the folder itself), whether that is a folder. None for the
    folder: some were lost."""

    class Hints(Protocol):
        def add(self, folder: str) -> bool:
            """Be told of what changes in a folder; False where that is not to be had, or not
            to be relied on."""

        def expect(self, folder: str) -> None:
            """Be told of what comes into being in a folder that is not watched otherwise."""

        def drop(self, folder: str) -> None: ...
        def read(self, timeout: float) -> list[Hint]:
            """Hints that are there, else the first to come within ``timeout`` seconds."""

        def wake(self) -> None:
            """Make `read` come back at once. May be called from any thread."""

        def close(self) -> None: ...


MODIFY, MOVED_FROM, MOVED_TO = 0x2, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
OVERFLOW, IGNORED, ONLY_DIRECTORIES, EXCLUDE_UNLINKED = 0x4000, 0x8000, 0x1000000, 0x4000000
IS_FOLDER = 0x40000000
MASK = (
    MODIFY | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF
    | ONLY_DIRECTORIES | EXCLUDE_UNLINKED
)  # fmt: skip
_HEAD = struct.Struct("iIII")
BUFFER = 1 << 18


def best() -> Hints | None:
    """What this system offers; None where nothing can be had: then looking has to do."""
    try:
        return Inotify() if sys.platform == "linux" else Watchfiles()
    except (OSError, ImportError):
        return None


class Inotify:
    """One watch for each folder, by Linux itself: a hint comes some 0.01 ms after the change."""

    def __init__(self, network: Callable[[str], bool] | None = None) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify is not to be had")
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._waker, select.POLLIN)
        self._folders: dict[int, list[str]] = {}
        """By watch; links give one folder several names."""
        self._watches: dict[str, int] = {}
        self._network = network or _is_network
        self._devices: dict[int, bool] = {}
        """Of each device whether other machines write to it."""

    def add(self, folder: str) -> bool:
        watch = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), MASK)
        if watch < 0:  # it is not there, or there are too many watches
            return not os.path.isdir(folder)
        names = self._folders.setdefault(watch, [])
        if folder not in names:
            names.append(folder)
        self._watches[folder] = watch
        return not self._foreign(folder)

    def expect(self, folder: str) -> None:
        if folder not in self._watches:
            mask = CREATE | MOVED_TO | ONLY_DIRECTORIES
            watch = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), mask)
            if watch >= 0:
                self._folders.setdefault(watch, [folder])

    def _foreign(self, folder: str) -> bool:
        try:
            device = os.stat(folder).st_dev
        except OSError:
            return False
        if device not in self._devices:
            self._devices[device] = self._network(folder)
        return self._devices[device]

    def drop(self, folder: str) -> None:
        watch = self._watches.pop(folder, -1)
        names = self._folders.get(watch, [])
        if folder in names:
            names.remove(folder)
            if not names:  # else it was met again under another name
                del self._folders[watch]
                self._libc.inotify_rm_watch(self._fd, watch)

    def read(self, timeout: float) -> list[Hint]:
        ready = self._poll.poll(timeout * 1000)
        hints: dict[Hint, None] = {}
        for fd, _ in ready:
            if fd == self._waker:
                os.eventfd_read(fd)
            else:
                self._take(hints)
        return list(hints)

    def _take(self, hints: dict[Hint, None]) -> None:
        while True:
            try:
                data = os.read(self._fd, BUFFER)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, length = _HEAD.unpack_from(data, at)
                name = os.fsdecode(data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0"))
                at += _HEAD.size + length
                if mask & OVERFLOW:
                    hints[(None, "", False)] = None
                elif mask & IGNORED:
                    self._folders.pop(watch, None)
                else:
                    for folder in self._folders.get(watch, ()):
                        hints[(folder, name, bool(mask & IS_FOLDER))] = None
            if len(data) < BUFFER // 2:
                return

    def wake(self) -> None:
        os.eventfd_write(self._waker, 1)

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._waker)


def _is_network(folder: str) -> bool:
    kind = mounts.file_system(folder)
    return mounts.is_network(kind) or kind.startswith("fuse")


class Watchfiles:
    """What the ``watchfiles`` distribution tells, for systems other than Linux."""

    def __init__(self) -> None:
        import threading

        from watchfiles import _rust_notify

        self._make = _rust_notify.RustNotify
        self._tops: list[str] = []
        """Folders that are watched with all below."""
        self._stop = threading.Event()
        self._notify: Any = None

    def add(self, folder: str) -> bool:
        if os.path.isdir(folder) and not any(_within(folder, top) for top in self._tops):
            self._tops = [t for t in self._tops if not _within(t, folder)] + [folder]
            self._notify = None
        return not _is_network(folder)

    def expect(self, folder: str) -> None:
        """Nothing: to watch one folder is to watch all below it here."""

    def drop(self, folder: str) -> None:
        if folder in self._tops:
            self._tops.remove(folder)
            self._notify = None

    def read(self, timeout: float) -> list[Hint]:
        if not self._tops:
            self._stop.wait(timeout)
            self._stop.clear()
            return []
        hints: list[Hint] = []
        if self._notify is None:
            self._notify = self._make(self._tops, False, False, 0, True, True)
            hints.append((None, "", False))  # what happened until now was not told
            timeout = 0
        told = self._notify.watch(20, 5, max(1, int(timeout * 1000)), self._stop)
        self._stop.clear()
        if isinstance(told, set):
            for change, path in told:
                folder, _, name = path.rpartition("/")
                hints.append((folder, name if change == MODIFIED else "", False))
        return hints

    def wake(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._notify = None


MODIFIED = 2
"""`watchfiles.Change.modified`"""


def _within(folder: str, top: str) -> bool:
    return folder == top or folder.startswith(top.rstrip("/") + "/")
