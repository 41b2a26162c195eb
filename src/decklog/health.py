"""What the store stands on: its SQLite."""

from __future__ import annotations


def wal_safe(version: str) -> bool:
    """False for versions of SQLite that can lose committed pages when a write and a checkpoint
    of a database in WAL mode meet (3.7.0 to 3.51.2; fixed in 3.51.3, 3.50.7 and 3.44.6)."""
    numbers = tuple(int(n) for n in version.split(".")[:3])
    if numbers[:2] == (3, 44):
        return numbers >= (3, 44, 6)
    if numbers[:2] == (3, 50):
        return numbers >= (3, 50, 7)
    return numbers >= (3, 51, 3)
