"""Reading in several processes. Each sends back batches; the caller alone writes."""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import selectors
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

from decklog.errors import SourceError
from decklog.reading import batches
from decklog.store.rows import Batch

_HEAD = struct.Struct("<Q")


def shares(tasks: list[Any], n: int) -> list[list[Any]]:
    """Tasks (largest first) dealt out so that each share weighs about the same."""
    piles: list[list[Any]] = [[] for _ in range(n)]
    weights = [0] * n
    for task in tasks:
        i = weights.index(min(weights))
        piles[i].append(task)
        weights[i] += task.weight + 20_000  # opening a small file costs about so many bytes
    return [p for p in piles if p]


def parallel(tasks: list[Any], day: Callable[[int], str], jobs: int) -> Iterator[Batch]:
    """Batches of all tasks, those of one source in order. Processes are forked: a fork starts in
    under a millisecond and shares what is loaded.

    Raises SourceError when a worker dies.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    selector = selectors.DefaultSelector()
    children: dict[int, int] = {}
    for share in shares(tasks, jobs):
        reading, writing = os.pipe()
        _widen(writing)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # Above all the store's lock: it would outlive the caller with us.
                os.closerange(3, writing)
                os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
                for task in share:
                    for batch in batches(task, day):
                        _send(writing, batch)
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


def _widen(pipe: int) -> None:
    """Room for some batches, so that reading goes on while the caller writes to the store."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux
        with contextlib.suppress(OSError):  # over the system's limit: slower, not wrong
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _send(fd: int, batch: Batch) -> None:
    body = marshal.dumps(tuple(batch))
    for data in (_HEAD.pack(len(body)), body):
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def _receive(selector: selectors.DefaultSelector, children: dict[int, int]) -> Iterator[Batch]:
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
                yield Batch(*marshal.loads(memoryview(buffer)[at + _HEAD.size : end]))
                at = end
            del buffer[:at]
