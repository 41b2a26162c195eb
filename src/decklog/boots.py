"""Which boot of the machine this is: what was not flushed to disk is there only within one."""

from __future__ import annotations


def boot(proc: str = "/proc") -> str:
    """Identity of this boot; empty where the system does not tell."""
    try:
        with open(f"{proc}/sys/kernel/random/boot_id") as f:
            return f.read().strip()
    except OSError:
        return ""
