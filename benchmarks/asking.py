"""Searches by a program that keeps a deck open: what it asks first, and what it asks again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from cases import COMMON, NOWHERE, PHRASED
from decklog import config, hub
from report import verdict
from stage import Stage
from synthetic.text import RARE

GOAL_MS = 2.0
LIMIT = 20
"""Hits on a page: what `Decklog.search` gives by itself."""
AGAIN = 20


def table(stage: Stage, runs: int) -> list[str]:
    """A Markdown table of wall times; of an index that earlier cases have left complete."""
    lines = [
        f"| `deck.search`, {LIMIT} hits at most | first asked | asked again | goal |",
        "|---|---|---|---|",
    ]
    for name, query in {
        "a rare word": RARE, "a common word": COMMON, "a phrase": PHRASED, "no hit": NOWHERE,
    }.items():  # fmt: skip
        asked = [list(_times(stage, query)) for _ in range(runs)]
        first = median(times[0] for times in asked)
        again = median(t for times in asked for t in times[1:])
        met = [
            f"{what} {verdict(ms <= GOAL_MS)}" for what, ms in (("first", first), ("again", again))
        ]
        cells = (name, f"{first:.2f} ms", f"{again:.2f} ms", f"≤ {GOAL_MS:g} ms: {', '.join(met)}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _times(stage: Stage, query: str) -> Iterator[float]:
    """Milliseconds of each asking, by a deck that has answered another query before."""
    with hub.Decklog(config.load(stage.env("decklog"), {})) as deck:
        deck.search("warm OR begun", limit=LIMIT)
        for _ in range(1 + AGAIN):
            began = time.perf_counter()
            deck.search(query, limit=LIMIT)
            yield 1_000 * (time.perf_counter() - began)
