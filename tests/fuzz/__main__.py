"""Fuzz readers for as long as you like: python -m fuzz NAME [--runs N] [--seed N] [--jobs N]."""

from __future__ import annotations

import argparse
import sys
import time

from decklog import agents
from fuzz import own
from fuzz.dealing import Failed, dealt
from fuzz.readers import Fuzz

STEP = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="just fuzz", description=__doc__)
    names = (*agents.BUILT_IN, *own.TARGETS)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names)}; all when none is named")
    parser.add_argument("--runs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=0, help="processes; as many as processors")
    given = parser.parse_args()
    failed = 0
    for name in given.name or names:
        run = own.TARGETS.get(name) or Fuzz(name).run
        begun = time.monotonic()
        held = 0
        for start in range(0, given.runs, STEP):
            runs = range(start, min(start + STEP, given.runs))
            try:
                held += dealt(run, given.seed, runs, given.jobs).held
            except Failed as error:
                print(error)
                failed += 1
            pace = (start + len(runs)) / (time.monotonic() - begun)
            print(f"{name}: {held:,} of {start + len(runs):,} held, {pace:,.0f}/s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
