"""Work done in a child process: measured there, or killed there."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any


def in_child(work: Callable[[], Any]) -> Any:
    """What the work returns (plain JSON values), done in a child: hooks set there end with it."""
    reading, writing = os.pipe()

    def tell() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(work()).encode())

    pid = start(tell)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with status {status}"
    return json.loads(data)


def killed(work: Callable[[], Any], after: float) -> bool:
    """Start the work in a child and kill it after so many seconds; False when it was done before.

    The work may as well kill itself: see `suicide`.
    """
    pid = start(work)
    until = time.monotonic() + after
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(min(0.002, max(0.0, until - time.monotonic())))
    else:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), f"the child ended with status {status}"
    return status == signal.SIGKILL


def suicide() -> None:
    """End at once, as by kill -9: nothing is flushed, closed or rolled back."""
    os.kill(os.getpid(), signal.SIGKILL)


def start(work: Callable[[], Any]) -> int:
    """Begin the work in a child, which ends with it; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def powerless() -> None:
    """Give up what lets root pass over permissions, in a child: to be called there first. Without
    effect for anybody else."""
    import ctypes

    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        none = (ctypes.c_uint32 * 6)()
        assert libc.capset(head, none) == 0, os.strerror(ctypes.get_errno())
