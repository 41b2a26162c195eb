#!/usr/bin/env python3
"""Measure following: how soon an appended line is told, and what watching costs.

    python benchmarks/live.py                                  # all of it
    python benchmarks/live.py --write docs/performance.md
    python benchmarks/live.py --only latency --appends 500

``latency``: lines are appended to random transcripts of many; the time until ``tail -f`` prints
each, until `deck.changes` gives it, and until a search finds it; then until agentsview's search
does, asked over HTTP again and again as ours is. ``idle``: processor time and memory of a daemon
that watches ten thousand files in which nothing happens. ``growing``: a thousand files that grow
at once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen
from uuid import UUID

import decklog
import decklog.hub
import report
import rivals

RECORDS = 20
"""Lines of a transcript to begin with."""


class Home:
    """A HOME of so many Claude transcripts, in folders of a hundred."""

    def __init__(self, folder: Path, files: int) -> None:
        self.env = {
            "HOME": str(folder / "home"), "DECKLOG_HOME": str(folder / "own"), "TZ": "UTC",
            "PATH": os.environ["PATH"],
        }  # fmt: skip
        self.paths = []
        self.count = 0
        for i in range(files):
            native = str(UUID(int=random.getrandbits(128), version=4))
            path = folder / f"home/.claude/projects/-work-{i // 100}/{native}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(self.line(native, f"begin {n}") for n in range(RECORDS)))
            self.paths.append(path)

    def line(self, native: str, text: str) -> bytes:
        self.count += 1
        now = time.time()
        record = {
            "type": "user",
            "uuid": f"{native}-{self.count}",
            "sessionId": native,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now)),
            "cwd": "/work",
            "version": "2.1.197",
            "message": {"role": "user", "content": text},
        }
        return json.dumps(record).encode() + b"\n"

    def append(self, path: Path, text: str) -> None:
        data = self.line(path.stem, text)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)


@contextmanager
def home(files: int) -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="decklog-live-"))
    try:
        yield Home(folder, files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Times(NamedTuple):
    """How long lines took to be told, in seconds."""

    by: str
    middle: float
    p99: float
    most: float
    lines: int
    goal: tuple[float, float] | None = None
    """Median and p99 that are to be kept."""

    def row(self) -> str:
        cells = [self.by, *(f"{t * 1000:,.0f} ms" for t in self[1:4]), str(self.lines)]
        if self.goal is None:
            verdict = ""
        else:
            met = self.middle <= self.goal[0] and self.p99 <= self.goal[1]
            wanted = " / ".join(f"{t * 1000:.0f}" for t in self.goal)
            verdict = f"≤ {wanted} ms: {'met' if met else '**missed**'}"
        return "| " + " | ".join([*cells, verdict]) + " |"


SOON = (0.05, 0.15)


def told(by: str, seconds: list[float], goal: tuple[float, float] | None = SOON) -> Times:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    found = Times(by, statistics.median(ordered), p99, ordered[-1], len(ordered), goal)
    print(found.row(), file=sys.stderr)
    return found


class Marks:
    """When each marked line was written, and when it was told."""

    def __init__(self) -> None:
        self.written: dict[str, float] = {}
        self.told: dict[str, float] = {}

    def hear(self, text: str) -> None:
        self.told.setdefault(text, time.perf_counter())

    def append(self, at: Home, appends: int) -> list[float]:
        chosen = random.Random(1)
        for i in range(appends):
            time.sleep(chosen.uniform(0.02, 0.1))
            text = f"mark {i}"
            path = chosen.choice(at.paths)
            at.append(path, text)
            self.written[text] = time.perf_counter()
        end = time.monotonic() + 60
        while len(self.told) < appends and time.monotonic() < end:
            time.sleep(0.01)
        missing = appends - len(self.told)
        if missing:
            raise SystemExit(f"{missing} lines were never told")
        return [max(0.0, self.told[t] - w) for t, w in self.written.items()]


def latency(files: int, appends: int, rival: int) -> list[Times]:
    rows = []
    with home(files) as at:
        marks = Marks()
        words = [sys.executable, "-m", "decklog", "tail", "--all", "-f", "--json", "-n", "1"]
        tail = subprocess.Popen(words, env=at.env, stdout=subprocess.PIPE)
        assert tail.stdout is not None
        tail.stdout.readline()
        time.sleep(2)

        def read(stream: Any) -> None:
            for line in stream:
                marks.hear(json.loads(line).get("content", ""))

        threading.Thread(target=read, args=(tail.stdout,), daemon=True).start()
        rows.append(told("decklog: `tail -f`", marks.append(at, appends)))
        tail.terminate()
        tail.wait()
    with home(files) as at, decklog.open(env=at.env) as deck:
        marks = Marks()
        changes = deck.changes(types=["user_message"])

        def follow() -> None:
            for change in changes:
                marks.hear(getattr(change, "event", None) and change.event.content)  # type: ignore[union-attr]

        threading.Thread(target=follow, daemon=True).start()
        rows.append(told("decklog: `changes()`", marks.append(at, appends)))

        def ours(word: str) -> bool:
            return bool(deck.search(word, limit=1).hits)

        rows.append(told("decklog: search", list(found(at, ours, appends))))
    if rival:
        with home(files) as at, agentsview(at) as (theirs, _):
            rows.append(told("agentsview: search", list(found(at, theirs, rival, 2.0)), None))
    return rows


def found(
    at: Home, finds: Callable[[str], bool], appends: int, pause: float = 0.06
) -> Iterator[float]:
    """Seconds from an append until a search that is asked again and again finds it."""
    for i in range(appends):
        word = f"needle{i}in{random.getrandbits(32)}"
        at.append(random.choice(at.paths), word)
        began = time.perf_counter()
        while not finds(word):
            time.sleep(0.001)
        yield time.perf_counter() - began
        time.sleep(random.uniform(0, pause))


@contextmanager
def agentsview(at: Home) -> Iterator[tuple[Callable[[str], bool], int]]:
    """Its server, with everything read, as a search for a word; and its pid."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    state = Path(at.env["DECKLOG_HOME"], "agentsview")
    state.mkdir(parents=True)
    env = at.env | rivals.AGENTSVIEW.env | {rivals.AGENTSVIEW.state: str(state)}
    env.pop("AGENTSVIEW_NO_DAEMON")
    words = [str(rivals.AGENTSVIEW.install()), "serve", "--port", str(port), "--no-browser"]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as it:
        assert it.stdout is not None
        for line in it.stdout:
            if b"listening at" in line:
                break
        threading.Thread(target=it.stdout.read, daemon=True).start()
        time.sleep(5)
        try:
            yield lambda word: _asked(port, word), it.pid
        finally:
            it.terminate()


def _asked(port: int, word: str) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/api/v1/search?limit=1&q={word}") as answer:
        return bool(json.load(answer).get("results"))


def used(pid: int) -> tuple[float, int]:
    """(processor seconds, resident bytes) of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(x for x in status.splitlines() if x.startswith("VmRSS"))
    return ticks / os.sysconf("SC_CLK_TCK"), int(resident.split()[1]) * 1024


@contextmanager
def daemon(at: Home) -> Iterator[int]:
    words = [sys.executable, "-m", "decklog", "daemon"]
    said = subprocess.run([*words, "start", "--json"], env=at.env, capture_output=True, check=True)
    try:
        yield int(json.loads(said.stdout)["pid"])
    finally:
        subprocess.run([*words, "stop"], env=at.env, capture_output=True, check=False)


def idle(files: int, seconds: int, rival: bool) -> list[str]:
    rows = []
    with home(files) as at:
        subprocess.run([sys.executable, "-m", "decklog", "sync", "-q"], env=at.env, check=True)
        with daemon(at) as pid:
            share, resident = _idle(pid, seconds)
        met = "met" if share <= 0.005 and resident <= 60 << 20 else "**missed**"
        rows.append(f"| decklog: daemon | {share:.2%} | {resident >> 20} MiB | "
                    f"≤ 0.5 %, 60 MiB: {met} |")  # fmt: skip
        if rival:
            with agentsview(at) as (_, pid):
                share, resident = _idle(pid, seconds)
            rows.append(f"| agentsview: serve | {share:.2%} | {resident >> 20} MiB | |")
    print("\n".join(rows), file=sys.stderr)
    return rows


def _idle(pid: int, seconds: int) -> tuple[float, int]:
    time.sleep(5)
    before, _ = used(pid)
    time.sleep(seconds)
    after, resident = used(pid)
    return (after - before) / seconds, resident


def growing(files: int, seconds: int) -> str:
    with home(files) as at, decklog.open(env=at.env) as deck:
        heard: set[str] = set()
        changes = deck.changes(types=["user_message"])

        def follow() -> None:
            for change in changes:
                heard.add(getattr(change, "event", None) and change.event.content)  # type: ignore[union-attr]

        threading.Thread(target=follow, daemon=True).start()
        child = os.fork()
        if child == 0:
            end = time.monotonic() + seconds
            n = 0
            while time.monotonic() < end:
                began = time.monotonic()
                for path in at.paths:
                    at.append(path, f"grow {n}")
                    n += 1
                time.sleep(max(0.0, 1 - (time.monotonic() - began)))
            Path(at.env["HOME"], "count").write_text(str(n))
            os._exit(0)
        before = time.process_time()
        os.waitpid(child, 0)
        share = (time.process_time() - before) / seconds
        expected = int(Path(at.env["HOME"], "count").read_text())
        stop = time.monotonic() + 120
        late = time.monotonic()
        while len(heard) < expected and time.monotonic() < stop:
            time.sleep(0.05)
        late = time.monotonic() - late
    return (
        f"{files:,} files that grow at once, {expected:,} lines in {seconds} s: "
        f"{expected - len(heard)} lost, {share:.2f} cores, the last one {late:.1f} s late."
    )


BEGIN, END = "<!-- live: written by benchmarks/live.py -->", "<!-- /live -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", choices=("", "latency", "idle", "growing"))
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--appends", type=int, default=300)
    parser.add_argument("--rival-appends", type=int, default=40, help="0: without agentsview")
    parser.add_argument("--idle-files", type=int, default=10_000)
    parser.add_argument("--growing-files", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--write", type=Path, metavar="docs/performance.md")
    args = parser.parse_args()
    rival = args.rival_appends
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {report.machine()}; load before "
        f"{os.getloadavg()[0]:.1f}. agentsview {rivals.AGENTSVIEW.version} as it serves by "
        "default, asked over HTTP."
    ]
    if args.only in ("", "latency"):
        lines += [
            "",
            f"| from an appended line until it is told, {args.files:,} files watched | median "
            "| p99 | most | lines | goal |",
            "|---|---|---|---|---|---|",
            *(row.row() for row in latency(args.files, args.appends, rival)),
        ]
    if args.only in ("", "idle"):
        lines += [
            "",
            f"| nothing happens in {args.idle_files:,} files | of a core | resident | goal |",
            "|---|---|---|---|",
            *idle(args.idle_files, args.seconds, bool(rival)),
        ]
    if args.only in ("", "growing"):
        lines += ["", growing(args.growing_files, min(args.seconds, 20))]
    print("\n".join(lines))
    if args.write:
        report.write(args.write, lines, BEGIN, END)


if __name__ == "__main__":
    main()
