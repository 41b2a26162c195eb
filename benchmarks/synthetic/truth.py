"""What a corpus really contains, counted while it is written."""

from __future__ import annotations

from collections import Counter
from typing import Any

FIELDS = ("input", "cache_read", "cache_write", "output", "reasoning", "responses")
"""Of one row. ``input`` is without cache, ``output`` includes ``reasoning``; each provider
response counts once, however often it is recorded or copied."""


class Truth:
    """Tokens per ``agent|day|model`` (days in UTC), counts, texts that hold planted words."""

    def __init__(self) -> None:
        self.usage: dict[str, Counter[str]] = {}
        self.counts: Counter[str] = Counter()
        self.planted: Counter[str] = Counter()

    def add(self, agent: str, day: str, model: str, **tokens: int) -> None:
        """One provider response."""
        row = self.usage.setdefault(f"{agent}|{day}|{model}", Counter())
        row.update(tokens)
        row["responses"] += 1

    def merge(self, other: Truth) -> None:
        for key, row in other.usage.items():
            self.usage.setdefault(key, Counter()).update(row)
        self.counts.update(other.counts)
        self.planted.update(other.planted)

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": dict(sorted(self.counts.items())),
            "planted": dict(sorted(self.planted.items())),
            "fields": FIELDS,
            "usage": {k: [row[f] for f in FIELDS] for k, row in sorted(self.usage.items())},
        }
