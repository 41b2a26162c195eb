#!/usr/bin/env python3
"""Make a HOME full of synthetic agent transcripts, and the exact truth about it.

    python benchmarks/corpus.py HOME --size 1GB --seed 1

The same size and seed give the same bytes whatever ``--jobs``: every session has random numbers
of its own. ``HOME/truth.json`` holds tokens per ``agent|day|model``, counts, and how many texts
hold the planted words. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path
from random import Random

from synthetic import claude, codex, copilot, gemini, pi
from synthetic.text import Texts
from synthetic.transcript import DAY, Plan
from synthetic.truth import Truth

END = 1_793_404_800_000
"""2026-10-31T00:00Z: no session starts later."""
PROJECTS = 40
OVERRUN = 1.07
"""A session ends with the record that exceeds its budget: what it takes on average."""
WRITERS: dict[str, tuple[Callable[[Plan], None], int]] = {
    "claude": (claude.write, 64),
    "codex": (codex.write, 24),
    "gemini": (gemini.write_document, 4),
    "gemini-log": (gemini.write_log, 4),
    "pi": (pi.write, 2),
    "copilot": (copilot.write, 2),
}
"""How each kind of transcript is written, and its share of the sessions in percent."""


@dataclass(frozen=True)
class Order:
    """One session to write."""

    index: int
    kind: str
    project: int
    budget: int


def parse_size(text: str) -> int:
    """Bytes of ``100MB``, ``1GB``, ``5000``; powers of ten."""
    unit = text.upper().rstrip("B")
    factor = {"K": 10**3, "M": 10**6, "G": 10**9}.get(unit[-1:], 1)
    return int(float(unit.rstrip("KMG")) * factor)


def plan(seed: int, size: int) -> list[Order]:
    """Sessions that add up to ``size``: one giant, then a long tail of sizes."""
    rng = Random(f"{seed}/plan")
    weights = [1 / (i + 1) for i in range(PROJECTS)]
    orders = [Order(0, "claude", 0, min(24_000_000, size // 50))]
    left = size - orders[0].budget
    while left > 0:
        (kind,) = rng.choices(list(WRITERS), weights=[share for _, share in WRITERS.values()])
        (project,) = rng.choices(range(PROJECTS), weights=weights)
        most = 3_000_000 if kind.startswith("gemini") else 16_000_000
        budget = int(min(most, size // 20, max(2_000, rng.lognormvariate(12.0, 1.35))))
        orders.append(Order(len(orders), kind, project, budget))
        left -= int(budget * OVERRUN)
    return orders


def working_directories(seed: int, texts: Texts) -> list[str]:
    rng = Random(f"{seed}/projects")
    places = ("work", "src", "code")
    return [
        f"/home/dev/{rng.choice(places)}/{rng.choice(texts.words[200:])}-{i}"
        for i in range(PROJECTS)
    ]


class Worker:
    """Writes sessions in one process; the pools of text are made once for each."""

    def __init__(self, home: str, seed: int) -> None:
        self.home = home
        self.seed = seed
        self.texts = Texts()
        self.projects = working_directories(seed, self.texts)

    def write(self, order: Order) -> Truth:
        rng = Random(f"{self.seed}/{order.index}")
        days = min(364.0, rng.expovariate(1 / 110))
        start = END - int(days * DAY) - rng.randrange(DAY)
        truth = Truth()
        cwd = self.projects[order.project]
        WRITERS[order.kind][0](Plan(rng, self.texts, truth, self.home, cwd, start, order.budget))
        return truth


@cache
def _worker(home: str, seed: int) -> Worker:
    return Worker(home, seed)


def _write(home: str, seed: int, order: Order) -> Truth:
    return _worker(home, seed).write(order)


def make(home: Path, size: int, seed: int = 1, jobs: int | None = None) -> Truth:
    """Write the corpus; ``truth.json`` comes last, so a corpus that has one is whole."""
    home.mkdir(parents=True, exist_ok=True)
    truth = Truth()
    orders = sorted(plan(seed, size), key=lambda o: -o.budget)
    with Pool(jobs or os.cpu_count()) as pool:
        for part in pool.imap_unordered(partial(_write, str(home), seed), orders):
            truth.merge(part)
    found = {"seed": seed, "requested": size, **truth.as_json()}
    (home / "truth.json").write_text(json.dumps(found, indent=1) + "\n")
    return truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("home", type=Path, help="folder to write to; new or empty")
    parser.add_argument("--size", type=parse_size, default=10**8, metavar="1GB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int)
    args = parser.parse_args()
    if args.home.exists() and any(args.home.iterdir()):
        parser.error(f"{args.home} is not empty")
    began = time.monotonic()
    counts = make(args.home, args.size, args.seed, args.jobs).counts
    size = sum(n for what, n in counts.items() if what.endswith(".bytes"))
    files = sum(n for what, n in counts.items() if what.endswith(".files"))
    took = time.monotonic() - began
    print(f"{size / 1e6:.1f} MB in {files} files, {took:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
