"""Which boot of the machine this is: what was not flushed to disk is there only within one, and
processes are told by their numbers only within one."""

from __future__ import annotations

import os


def boot(proc: str = "/proc") -> str:
    """Identity of this boot; empty where the system does not tell."""
    try:
        with open(f"{proc}/sys/kernel/random/boot_id") as f:
            return f.read().strip()
    except OSError:
        return ""


def numbering(proc: str = "/proc") -> str:
    """Identity of this numbering of processes: of the boot and, in it, of the container."""
    try:
        space = os.readlink(f"{proc}/self/ns/pid")
    except OSError:
        space = ""
    return f"{boot(proc)}{space.removeprefix('pid:')}"
