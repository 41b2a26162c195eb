"""Fuzz readers for as long as you like: python -m fuzz AGENT [--runs N] [--seed N] [--jobs N]."""

from __future__ import annotations

import argparse
import sys
import time

from decklog import agents
from fuzz.dealing import Failed, dealt
from fuzz.readers import Fuzz

STEP = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="just fuzz", description=__doc__)
    parser.add_argument("agent", nargs="*", help="all agents when none is named")
    parser.add_argument("--runs", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=0, help="processes; as many as processors")
    given = parser.parse_args()
    failed = 0
    for name in given.agent or agents.BUILT_IN:
        fuzz = Fuzz(name)
        begun = time.monotonic()
        held = 0
        for start in range(0, given.runs, STEP):
            runs = range(start, min(start + STEP, given.runs))
            try:
                held += dealt(fuzz.run, given.seed, runs, given.jobs).held
            except Failed as error:
                print(error)
                failed += 1
            pace = (start + len(runs)) / (time.monotonic() - begun)
            print(f"{name}: {held:,} of {start + len(runs):,} held, {pace:,.0f}/s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
