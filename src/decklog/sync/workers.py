"""Reading in several processes. Each sends back batches, which the caller alone writes; what else
a read feeds is written where it is read."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import selectors
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from decklog.errors import SourceError
from decklog.reading import Copied, Projection, Step, Task, Told, read
from decklog.store.rows import Batch

_HEAD = struct.Struct("<Q")


def shares(tasks: Sequence[Task], n: int) -> list[list[Task]]:
    """Tasks dealt out so that each share weighs about the same, in their order; those that have to
    be in a certain share are."""
    piles: list[list[int]] = [[] for _ in range(n)]
    weights = [0] * n
    for i in sorted(range(len(tasks)), key=lambda i: -tasks[i].weight):
        task = tasks[i]
        share = task.share if task.share >= 0 else weights.index(min(weights))
        piles[share].append(i)
        weights[share] += task.weight + 20_000  # opening a small file costs about so many bytes
    return [[tasks[i] for i in sorted(pile)] for pile in piles]


def parallel(
    tasks: Sequence[Task],
    day: Callable[[int], str],
    jobs: int,
    projections: Callable[[int, Callable[[Copied], None]], Sequence[Projection]],
    locks: Sequence[int] = (),
) -> Iterator[Batch | Step | Told | Copied]:
    """`read` in several processes, one for each share of the tasks. They are forked: a fork starts
    in under a millisecond and shares what is loaded. ``projections`` opens those of a share, in
    the process that feeds them; it is also given what sends records for the archive. ``locks`` are
    descriptors of the locks under which they write: where the caller is killed, nobody else gets
    them before the processes have seen that, and have ended.

    Raises SourceError when a worker dies.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    selector = selectors.DefaultSelector()
    children: dict[int, int] = {}
    for i, share in enumerate(shares(tasks, jobs)):
        if not share:
            continue
        reading, writing = os.pipe()
        _widen(writing)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _close_all_but(writing, *locks)
                for item in read(share, day, projections(i, partial(_send, writing))):
                    _send(writing, item)
                code = 0
            except (BrokenPipeError, KeyboardInterrupt):
                code = 0  # the caller has gone, or is told the same
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        children[reading] = pid
        selector.register(reading, selectors.EVENT_READ, bytearray())
    try:
        yield from _receive(selector, children)
    finally:
        for fd, pid in children.items():
            os.close(fd)
            os.waitpid(pid, 0)
        selector.close()


def _close_all_but(*kept: int) -> None:
    start = 3
    for fd in sorted(kept):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _widen(pipe: int) -> None:
    """Room for some batches, so that reading goes on while the caller writes to the store."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with contextlib.suppress(OSError):  # over the system's limit: slower, not wrong
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


_Sent: TypeAlias = Batch | Step | Told | Copied
_KINDS: tuple[type[_Sent], ...] = (Batch, Step, Told, Copied)


def _send(fd: int, item: _Sent) -> None:
    body = marshal.dumps((_KINDS.index(type(item)), tuple(item)))
    for data in (_HEAD.pack(len(body)), body):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def _receive(selector: selectors.DefaultSelector, children: dict[int, int]) -> Iterator[_Sent]:
    while children:
        for key, _ in selector.select():
            fd: int = key.fd
            buffer: bytearray = key.data
            data = os.read(fd, 1 << 20)
            if not data:
                selector.unregister(fd)
                pid = children.pop(fd)
                os.close(fd)
                _, status = os.waitpid(pid, 0)
                if status or buffer:
                    raise SourceError(
                        f"a reading process ended early (status {status})",
                        hint="run decklog sync again; --jobs 1 reads in one process",
                    )
                continue
            buffer += data
            at = 0
            while len(buffer) - at >= _HEAD.size:
                (length,) = _HEAD.unpack_from(buffer, at)
                end = at + _HEAD.size + length
                if len(buffer) < end:
                    break
                kind, item = marshal.loads(memoryview(buffer)[at + _HEAD.size : end])
                yield _KINDS[kind](*item)
                at = end
            del buffer[:at]
