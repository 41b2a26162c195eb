"""Death and failure at every operation on our own files.

    def work(folder, tell):            # what is tested; runs in a child process
        with Log(folder) as log:
            tell(log.append(b"one"))   # told only once it is acknowledged

    def check(folder, outcome):        # what must hold afterwards; runs here
        assert recovered(folder)[: len(outcome.told)] == outcome.told

    die_everywhere(tmp_path, work, check)
    fail_everywhere(tmp_path, work, check)

`Faults` stands between the code under test and the system: every call of `COUNTED` through ``os``
that touches something below the folder is one *operation*. The work runs in a forked child, once
for each operation and each `Fault`; the loops end when the work has come to its end untouched, so
that no operation is left out. What the child tells goes through a pipe into this process at once:
its death takes none of it along (a ledger outside, no report about oneself).

A file that is opened for writing in any other way than by ``os.open`` would go uncounted: the child
ends with an error then.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COUNTED = (
    "open", "write", "pwrite", "fsync", "fdatasync", "rename", "replace", "link", "unlink",
    "remove", "truncate", "ftruncate", "mkdir", "rmdir", "fchmod", "chmod", "utime",
)  # fmt: skip
_WRITES = ("write", "pwrite")
_NEED_ROOM = (*_WRITES, "fsync", "fdatasync", "rename", "replace", "link", "mkdir")
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EINTR", "EMFILE")

Tell = Callable[[Any], None]
Work = Callable[[Path, Tell], None]


@dataclass(frozen=True)
class Fault:
    """What happens at operation ``at`` (from 1; 0: nothing ever).

    ``how``: ``before``, ``middle`` (half of a write is done) and ``after`` kill the process;
    ``short`` writes half and says so; a name of `ERRORS` is raised and nothing is done. ``middle``
    and ``short`` count writes only. A lasting one meets every operation from there on, a full disk
    only those that need room.
    """

    at: int = 0
    how: str = "before"
    lasting: bool = False

    def lasts(self, count: int) -> bool:
        return self.lasting and 0 < self.at < count

    @property
    def kills(self) -> bool:
        return self.how in ("before", "middle", "after")


@dataclass
class Outcome:
    """How the work ended, as seen from outside."""

    fault: Fault
    told: list[Any] = field(default_factory=list)
    """What it told, in order. JSON values."""
    met: bool = False
    """Whether it got as far as the fault."""
    killed: bool = False
    error: str | None = None
    """Name of the exception that ended it."""


class Faults:
    """The stand-in for ``os``, in force from `install` to the end of the process."""

    def __init__(
        self, folder: Path, fault: Fault, *, met: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.fault, self.met = os.path.realpath(folder), fault, met
        self.count = 0
        self._fds: dict[int, str] = {}
        self._one = threading.RLock()
        self._inside = False
        self._real = {name: getattr(os, name) for name in (*COUNTED, "close")}

    def install(self) -> None:
        for name in COUNTED:
            setattr(os, name, self._stand_in(name))
        os.close = self._close
        sys.addaudithook(self._audit)

    def _stand_in(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._concerns(args[0], *args[1:2]):
                return real(*args, **kwargs)
            fault = self.fault
            if fault.how in ("middle", "short") and name not in _WRITES:
                return self._do(name, args, kwargs)
            self.count += 1
            hit = self.count == fault.at or (fault.lasts(self.count) and self._fits(name, args))
            if not hit:
                return self._do(name, args, kwargs)
            self.met()
            if fault.kills:
                if fault.how == "middle":
                    self._do(name, (args[0], _half(args[1]), *args[2:]), kwargs)
                elif fault.how == "after":
                    self._do(name, args, kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
            if fault.how == "short":
                return self._do(name, (args[0], _half(args[1]), *args[2:]), kwargs)
            code = getattr(errno, fault.how)
            raise OSError(code, os.strerror(code), *([args[0]] if isinstance(args[0], str) else []))

        return call

    def _fits(self, name: str, args: Any) -> bool:
        """Whether a lasting fault meets this operation."""
        if self.fault.how not in ("ENOSPC", "EDQUOT", "short"):
            return True
        return args[1] & os.O_CREAT > 0 if name == "open" else name in _NEED_ROOM

    def _do(self, name: str, args: Any, kwargs: Any) -> Any:
        with self._one:
            self._inside = True
            try:
                result = self._real[name](*args, **kwargs)
            finally:
                self._inside = False
        if name == "open":
            self._fds[result] = os.fspath(args[0])
        return result

    def _close(self, fd: int) -> None:
        self._fds.pop(fd, None)
        self._real["close"](fd)

    def _concerns(self, *places: Any) -> bool:
        return any(
            p in self._fds if isinstance(p, int) else self._below(p)
            for p in places
            if isinstance(p, (int, str, os.PathLike))
        )

    def _below(self, path: Any) -> bool:
        path = os.path.abspath(os.fspath(path))
        return path == self.folder or path.startswith(self.folder + "/")

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and not self._inside and isinstance(args[0], (str, os.PathLike)):
            writes = isinstance(args[1], str) and set(args[1]) & set("wax+")
            if writes and self._below(args[0]):
                raise AssertionError(f"{args[0]} is written past os.open: it cannot be tested")


def _half(data: Any) -> bytes:
    return bytes(data)[: len(data) // 2]


# --- one run ----------------------------------------------------------------------------------


def run(folder: Path, work: Work, fault: Fault | None = None) -> Outcome:
    """Run the work on a folder in a child process, with the fault, and see how it ends."""
    outcome = Outcome(fault or Fault())
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _child(folder, work, outcome.fault, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        for line in pipe:
            kind, value = json.loads(line)
            if kind == "told":
                outcome.told.append(value)
            elif kind == "met":
                outcome.met = True
            else:
                outcome.error = value
    status = os.waitpid(pid, 0)[1]
    outcome.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert outcome.killed or status == 0, f"the child ended with status {status}"
    return outcome


def _child(folder: Path, work: Work, fault: Fault, pipe: int) -> None:
    write = os.write

    def say(kind: str, value: Any) -> None:
        write(pipe, json.dumps([kind, value]).encode() + b"\n")

    code = 1
    try:
        faults = Faults(folder, fault, met=lambda: say("met", faults.count))
        faults.install()
        try:
            work(folder, lambda value: say("told", value))
        except AssertionError:
            raise
        except Exception as error:
            if fault.kills:
                raise  # nothing but its death may end it
            say("error", type(error).__name__)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


# --- all of them ------------------------------------------------------------------------------


def die_everywhere(
    folder: Path,
    work: Work,
    check: Callable[[Path, Outcome], None],
    *,
    prepare: Callable[[Path], None] = lambda folder: None,
) -> int:
    """Kill the work before, in the middle of, and after each of its operations; check each time.

    Each run has a fresh folder that ``prepare`` fills. Gives the number of runs.
    """
    ways = (("before", False), ("middle", False), ("after", False))
    return _everywhere(folder, work, check, prepare, ways)


def fail_everywhere(
    folder: Path,
    work: Work,
    check: Callable[[Path, Outcome], None],
    *,
    prepare: Callable[[Path], None] = lambda folder: None,
    errors: Iterable[str] = (*ERRORS, "short"),
    lasting: Iterable[bool] = (False, True),
    every: int = 1,
) -> int:
    """Let each operation of the work fail with each error, once and for good; check each time.

    ``every`` takes one in so many operations. Gives the number of runs.
    """
    ways = [(how, lasts) for how in errors for lasts in lasting]
    return _everywhere(folder, work, check, prepare, ways, every)


def _everywhere(
    folder: Path,
    work: Work,
    check: Callable[[Path, Outcome], None],
    prepare: Callable[[Path], None],
    ways: Iterable[tuple[str, bool]],
    every: int = 1,
) -> int:
    runs = 0
    for how, lasting in ways:
        at = 1
        while _case(folder / "case", work, check, prepare, Fault(at, how, lasting)).met:
            at += every
            runs += 1
    return runs


def _case(
    folder: Path,
    work: Work,
    check: Callable[[Path, Outcome], None],
    prepare: Callable[[Path], None],
    fault: Fault,
) -> Outcome:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepare(folder)
    outcome = run(folder, work, fault)
    try:
        check(folder, outcome)
    except BaseException as error:
        error.add_note(f"{outcome}; its files are in {folder}")
        raise
    return outcome
