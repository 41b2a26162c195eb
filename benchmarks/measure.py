"""Running a command and saying what it took: wall time, processor time, memory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL = 0.005
"""Seconds between two looks at the memory of a process tree."""


@dataclass(frozen=True)
class Run:
    """What one run of a command took, with all processes it waited for."""

    wall: float
    cpu: float
    memory: int
    """Peak resident bytes of all its processes together, where somebody watched."""


class CommandError(Exception):
    """A command ended with an error."""


def run(argv: Sequence[str], env: Mapping[str, str], output: Path, *, watch: bool = False) -> Run:
    """Run to the end, output into a file. Watching memory costs time, so time it another run."""
    errors = output.with_suffix(".err")
    with output.open("wb") as out, errors.open("wb") as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=env["HOME"]
        )
        tree = Watch(process.pid) if watch else None
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = tree.stop() if tree else 0
    if process.returncode:
        why = errors.read_text(errors="replace").strip()[-2000:]
        raise CommandError(f"{' '.join(argv)} ended with {process.returncode}: {why}")
    if watch and not memory:  # nothing to look at on this system: the largest process, then
        memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(wall, usage.ru_utime + usage.ru_stime, memory)


class Watch(threading.Thread):
    """Looks at the memory of a process and its descendants until told to stop (Linux only).

    Two looks are combined: the sum of proportional set sizes now (shared pages count once), and
    the high-water mark of each process, which the kernel keeps between looks. The ``ru_maxrss``
    that wait4 gives would not do: it starts at what the parent held when it forked.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(POLL):
            seen = [_memory(pid) for pid in _tree(self.pid)]
            together = sum(now for now, _ in seen)
            self.peak = max(self.peak, together, *(most for _, most in seen))

    def stop(self) -> int:
        self.over.set()
        self.join()
        return self.peak


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Bytes a process holds now (its share of shared pages), and the most it ever held."""
    now = _field(f"/proc/{pid}/smaps_rollup", "Pss:")
    return now, _field(f"/proc/{pid}/status", "VmHWM:")


def _field(path: str, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def leave_network() -> bool:
    """Cut this process and its children off from every network but its own loopback.

    Works on Linux for root; False where it does not.
    """
    new_network, set_flags, up = 0x40000000, 0x8914, 1  # CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(new_network) != 0:
            return False
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up))
    except (OSError, AttributeError):
        return False
    return True
