"""Runs dealt out to processes. A run is a number: it is the same wherever it is done."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Callable, Sequence
from typing import NamedTuple

Runs = Callable[[int, Sequence[int]], int]
"""Does the numbered runs of a seed; returns how many held. Raises for the first that does not."""


class Outcome(NamedTuple):
    held: int
    grown: int
    """Bytes that the resident memory of a process rose by, at most."""


class Failed(AssertionError):
    pass


def dealt(work: Runs, seed: int, runs: range, jobs: int = 0) -> Outcome:
    """All runs, in as many processes as there are processors. Raises Failed with the first
    failure, once every process has ended."""
    jobs = jobs or os.cpu_count() or 1
    children: list[tuple[int, int]] = []
    for job in range(jobs):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _child(work, seed, runs[job::jobs], writing)
        os.close(writing)
        children.append((pid, reading))
    outcomes, failures = [], []
    try:
        for pid, reading in children:
            with os.fdopen(reading, "rb") as pipe:
                data = pipe.read()
            _, status = os.waitpid(pid, 0)
            told = pickle.loads(data) if data else f"a process ended with status {status}"
            (outcomes if isinstance(told, Outcome) else failures).append(told)
    except BaseException:
        for pid, _ in children:
            os.kill(pid, signal.SIGKILL)
        raise
    if failures:
        raise Failed("\n".join(map(str, failures)))
    return Outcome(sum(o.held for o in outcomes), max(o.grown for o in outcomes))


def _child(work: Runs, seed: int, runs: Sequence[int], pipe: int) -> None:
    told: object = "ended early"
    try:
        warm = len(runs) // 10  # caches fill, and what was forked is copied
        held = work(seed, runs[:warm])
        before = _resident()
        held += work(seed, runs[warm:])
        told = Outcome(held, _resident() - before)
    except AssertionError as error:
        told = str(error)
    except BaseException as error:
        told = repr(error)
    finally:
        with os.fdopen(pipe, "wb") as out:
            pickle.dump(told, out)
        os._exit(0)


def _resident() -> int:
    """Most memory this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
