#!/usr/bin/env python3
"""Measure decklog side by side with its rivals.

    python benchmarks/run.py                                  # 100 MB and 1 GB
    python benchmarks/run.py --write docs/performance.md
    python benchmarks/run.py --home ~ --runs 3                # on your own transcripts

First the numbers are checked against the truth of the corpus, then each case is run by turns:
ours, rival, ours, rival. Everything that is kept between runs of the benchmark (corpora, rivals)
is in the cache folder ``decklog-bench``.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asking
import exact
import report
import rivals
from cases import CASES, Case
from corpus import parse_size
from measure import CommandError, leave_network
from report import Report, Result, Side
from stage import Stage, cached_corpus, staged

FULL = 10**9
"""The goals hold at this size; other sizes only show growth."""
HUGE = "4GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="100MB,1GB", help="corpora to make and measure")
    parser.add_argument("--full", action="store_true", help=f"measure {HUGE} as well")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--home", type=Path, help="measure on this home instead of a corpus")
    parser.add_argument("--only", default="", help="measure only cases whose name contains this")
    parser.add_argument("--write", type=Path, metavar="docs/performance.md")
    parser.add_argument("--decklog", default="", help="command to measure as decklog")
    args = parser.parse_args()

    tools, notes = find_tools(args.decklog)
    sizes = args.sizes.split(",") + ([HUGE] if args.full else [])
    if args.home:
        homes = {args.home.resolve(): FULL}
    else:
        homes = {cached_corpus(s, args.seed): parse_size(s) for s in sizes}
    main_home = min(homes, key=lambda h: abs(homes[h] - FULL))
    versions = {name: version(argv) for name, argv in tools.items()}
    cases = [c for c in CASES if args.only in c.name]

    found = Report(versions, "", leave_network(), args.runs, notes=notes)
    for home in homes:
        with staged(home, tools) as stage:
            if home == main_home:
                found.corpus = describe(stage)
                measure_main(stage, found, cases)
            else:
                alone = [replace(c, rival=None, memory=None) for c in cases if c.linear]
                found.growth += measure_all(stage, alone, found)
    lines = found.lines()
    print("\n".join(lines))
    if args.write:
        report.write(args.write, lines)
    sys.exit(0 if found.exact and not found.missed() else 1)


def measure_main(stage: Stage, found: Report, cases: Sequence[Case]) -> None:
    """Are our numbers right, then how fast, then whether the rivals have them right too."""
    truth = exact.truth_of(stage.corpus)
    if truth is None:
        found.notes.append("this home has no truth.json: exactness was not checked")
    if stage.size < 0.9 * FULL:
        found.notes.append("the goals are meant for 1 GB of transcripts, and this is less")
    checks = exact.check_ours(stage, truth) if truth else []
    for check in checks:
        found.exact = check.exact
        print("\n".join(check.differences[:10]), file=sys.stderr)
    found.results = measure_all(stage, cases, found)
    found.asking = asking.table(stage, found.runs)
    planted = exact.recall(stage)
    found.exact = found.exact and not any("MISSING" in line for line in planted)
    found.notes += [*planted, exact.sizes(stage), exact.archived(stage)]
    if truth:
        found.exactness = exact.table(checks + exact.check_rivals(stage, truth), truth)


def find_tools(command: str) -> tuple[dict[str, list[str]], list[str]]:
    """Commands of decklog and of the rivals that can be had; what to say about the others."""
    beside = Path(sys.executable).with_name("decklog")
    installed = str(beside) if beside.exists() else shutil.which("decklog")
    if not command and installed is None:
        raise SystemExit("decklog is not installed here: pip install -e . (or give --decklog)")
    tools, notes = {"decklog": shlex.split(command) or [str(installed)]}, []
    for rival in rivals.RIVALS:
        try:
            tools[rival.name] = [str(rival.install())]
        except rivals.UnavailableError as why:
            notes.append(f"{rival.name} {rival.version} was left out: {why}")
            print(notes[-1], file=sys.stderr)
    return tools, notes


def version(argv: list[str]) -> str:
    done = subprocess.run([*argv, "--version"], check=True, capture_output=True, text=True)
    words = done.stdout.split()
    return next((w.lstrip("v") for w in words if any(map(str.isdigit, w))), "unknown")


def describe(stage: Stage) -> str:
    made = "synthetic transcripts" if (stage.corpus / "truth.json").exists() else "a real home"
    return f"{stage.size / 1e6:,.0f} MB in {len(stage.files):,} files of {made}"


# --- measuring --------------------------------------------------------------------------------


def measure_all(stage: Stage, cases: Sequence[Case], found: Report) -> list[Result]:
    stage.warm()
    results = []
    for case in cases:
        print(f"{case.name} ...", file=sys.stderr)
        try:
            result = measure(stage, case, found.runs)
        except CommandError as why:
            found.notes.append(f"{case.name} failed: {why}")
        else:
            results += [result] if result else []
    return results


def measure(stage: Stage, case: Case, runs: int) -> Result | None:
    """One case: a warm-up, a run whose memory is watched, then ours and the rival's by turns."""
    calls = [case.ours]
    if case.rival and case.rival.tool in stage.tools:
        calls.append(case.rival)
    with stage.daemon(calls[-1]):
        for call in calls:
            if not call.fresh:
                stage.run(call)
        if case.append and not stage.append():
            return None
        sides = [Side(stage.run(call, watch=True), []) for call in calls]
        for turn in range(runs):
            if case.append:
                stage.append()
            for call, side in zip(calls, sides, strict=True):
                if not call.once:
                    side.runs.append(stage.run(call))
                elif turn == 0:
                    side.runs.append(side.watched)
    ours, *rival = sides
    return Result(case, stage.size, ours, rival[0] if rival else None)


if __name__ == "__main__":
    try:
        main()
    except CommandError as why:
        sys.exit(str(why))
