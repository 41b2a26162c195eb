#!/usr/bin/env python3
"""Measure `decklog ps`: cold, and how soon it tells while it watches, and what watching costs.

    python benchmarks/fleet.py [--runs 15] [--panes 60] [--agents 90] [--keep]
    python benchmarks/fleet.py --write docs/performance.md

The agents are real processes that look like Claude Code and Codex from outside, in real panes of a
tmux of their own; what they write is made up: transcripts, the files that Claude Code keeps of its
processes, notes of hooks, and screens, which are recorded ones. Each run of ``ps`` is a whole
process, whose median is told; ``ps -w`` is timed from the moment before something is written until
the line that tells it has been read.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import queue
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import report

GOAL_MS = 150
SOON_MS = 250
IDLE = 1.0
"""Percent of a core."""
SCREENS = Path(__file__).parents[1] / "tests" / "screens" / "codex"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--panes", type=int, default=60)
    parser.add_argument("--agents", type=int, default=90)
    parser.add_argument("--idle", type=int, default=20, help="seconds of watching in peace")
    parser.add_argument("--changes", type=int, default=40, help="of each kind that are timed")
    parser.add_argument("--write", type=Path, metavar="docs/performance.md")
    parser.add_argument("--keep", action="store_true", help="tell where it is, and wait")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    env = {
        "HOME": str(folder / "home"),
        "DECKLOG_HOME": str(folder / "own"),
        "TMUX_TMPDIR": str(folder),
        "PATH": os.environ["PATH"],
        "TZ": "UTC",
    }
    fleet = Fleet(folder, env, args.panes, args.agents)
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {report.machine()}; load before "
        f"{os.getloadavg()[0]:.1f}. {args.agents} agents, {args.panes} of them in panes of tmux.",
        "",
        "| `ps`, a whole process | wall | least to most | cpu | goal |",
        "|---|---|---|---|---|",
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind
    try:
        fleet.start()
        fleet.write()
        command = [sys.executable, "-m", "decklog", "ps", "--json"]
        rows = json.loads(run(command, env))
        mine = [r for r in rows if r["pid"] in fleet.pids]
        bound = sum(r["session"] == fleet.pids[r["pid"]] for r in mine)
        in_panes = sum(r["pane"] is not None for r in mine)
        print(f"{len(mine)} agents, {bound} on their sessions, {in_panes} in panes")
        if args.keep:
            print("env " + " ".join(f"{k}={v}" for k, v in env.items() if k != "PATH"))
            input("Enter ends it ")
        for name, flags in (("nothing new", []), ("all transcripts grew", ["grow"])):
            wall, cpu = [], []
            for _ in range(args.runs):
                if flags:
                    fleet.grow()
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                began = time.perf_counter()
                run(command, env)
                wall.append((time.perf_counter() - began) * 1000)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu.append(
                    1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
                )
            median = statistics.median(wall)
            goal = f"≤ {GOAL_MS} ms: {met(median <= GOAL_MS)}" if not flags else ""
            lines.append(
                f"| {name} | {median:.0f} ms | {min(wall):.0f} to {max(wall):.0f} ms "
                f"| {statistics.median(cpu):.0f} ms | {goal} |"
            )
        lines += watch(fleet, env, args.idle, args.changes)
        print("\n".join(lines))
        if args.write:
            report.write(args.write, lines, BEGIN, END)
    finally:
        fleet.stop()
        shutil.rmtree(folder, ignore_errors=True)


BEGIN, END = "<!-- fleet: written by benchmarks/fleet.py -->", "<!-- /fleet -->"


def met(well: bool) -> str:
    return "met" if well else "**missed**"


class Watching:
    """A ``ps -w`` and the lines that it tells."""

    def __init__(self, env: dict[str, str]) -> None:
        command = [sys.executable, "-u", "-m", "decklog", "ps", "-w", "--json"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.lines.get()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)

    def told(self, act: Callable[[], object], pid: int, **expected: str) -> float:
        """Milliseconds until the agent is told to be so."""
        while not self.lines.empty():
            self.lines.get()
        began = time.perf_counter()
        act()
        while True:
            rows = json.loads(self.lines.get(timeout=10))
            [row] = [r for r in rows if r["pid"] == pid]
            if all(row[k] == v for k, v in expected.items()):
                return 1000 * (time.perf_counter() - began)


def watch(fleet: Fleet, env: dict[str, str], seconds: int, changes: int) -> list[str]:
    """What watching costs while nothing happens, and how soon a change is told."""
    watching = Watching(env)
    pid = watching.process.pid
    try:
        time.sleep(12)
        before = cpu_of(pid)
        time.sleep(seconds)
        share = 100 * (cpu_of(pid) - before) / seconds
        lines = [
            "",
            "| `ps -w`, from what is written until it is told | median | most | changes | goal |",
            "|---|---|---|---|---|",
        ]
        for kind, change in fleet.changes().items():
            late = []
            for n in range(changes):
                act, who, expected = change(n)
                late.append(watching.told(act, who, **expected))
                time.sleep(0.3 + n % 7 / 20)
            well = met(max(late) <= SOON_MS)
            lines.append(
                f"| {kind} | {statistics.median(late):.0f} ms | {max(late):.0f} ms | {changes} "
                f"| ≤ {SOON_MS} ms: {well} |"
            )
        return [
            *lines,
            "",
            f"While nothing happens `ps -w` takes {share:.2f} % of a core (goal ≤ {IDLE:.0f} %: "
            f"{met(share <= IDLE)}).",
        ]
    finally:
        watching.process.kill()


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(command: list[str], env: dict[str, str]) -> bytes:
    return subprocess.run(command, env=env, capture_output=True, check=True).stdout


Change = tuple[Callable[[], object], int, dict[str, str]]


class Fleet:
    def __init__(self, folder: Path, env: dict[str, str], panes: int, agents: int) -> None:
        self.folder, self.env, self.panes, self.agents = folder, env, panes, agents
        self.pids: dict[int, str] = {}
        """Of each agent, with its session."""
        self.loose: list[subprocess.Popen[bytes]] = []
        self.transcripts: list[tuple[Path, str, str]] = []

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", "fleet", "-f", "/dev/null", *words]
        return run(command, self.env).decode().strip()

    def start(self) -> None:
        work = self.folder / "home"
        work.mkdir()
        for n in range(self.agents):
            name = "codex" if n % 3 == 2 else "claude"
            cwd = work / f"project{n}"
            cwd.mkdir()
            shell = ["bash", "-c", f"exec -a {name} sleep 3600"]
            if n < self.panes:
                new = ["new-session", "-d", "-P", "-F", "#{pane_pid}", "-x", "120", "-y", "40"]
                pid = int(self.tmux(*new, "-c", str(cwd), *shell))
            else:
                self.loose.append(subprocess.Popen(shell, cwd=cwd))
                pid = self.loose[-1].pid
            self.pids[pid] = f"{name}:00000000-0000-4000-8000-{n:012}"
        time.sleep(1)

    def write(self) -> None:
        home = self.folder / "home"
        (home / ".claude" / "sessions").mkdir(parents=True)
        (self.folder / "own" / "hooks" / "spool").mkdir(parents=True)
        for n, (pid, session) in enumerate(self.pids.items()):
            agent, _, native = session.partition(":")
            cwd = str(home / f"project{n}")
            if agent == "claude":
                path = home / ".claude" / "projects" / f"-project{n}" / f"{native}.jsonl"
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                at = int(time.time() * 1000)
                said = {"pid": pid, "sessionId": native, "procStart": stat[19], "status": "busy",
                        "updatedAt": at, "statusUpdatedAt": at}  # fmt: skip
                (home / ".claude" / "sessions" / f"{pid}.json").write_text(json.dumps(said))
            else:
                folder = home / ".codex" / "sessions" / "2026" / "01" / "01"
                path = folder / f"rollout-2026-01-01T00-00-00-{native}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self.transcripts.append((path, session, cwd))
            path.write_text("")
            if agent == "codex":
                meta = {"id": native, "cwd": cwd, "cli_version": "0.169.0"}
                self.put(path, {"type": "session_meta", "payload": meta})
            for _ in range(200):
                self.turn(path, session, cwd)
        run([sys.executable, "-m", "decklog", "sync", "-q"], self.env)

    def grow(self) -> None:
        for path, session, cwd in self.transcripts:
            self.turn(path, session, cwd)

    def turn(self, path: Path, session: str, cwd: str, text: str = "") -> None:
        agent, _, native = session.partition(":")
        text = text or "All work and no play makes a log. " * 20
        if agent == "codex":
            self.put(
                path, {"type": "event_msg", "payload": {"type": "user_message", "message": text}}
            )
            self.put(
                path, {"type": "event_msg", "payload": {"type": "agent_message", "message": text}}
            )
            return
        common = {"sessionId": native, "cwd": cwd, "version": "2.1.197"}
        self.put(path, {**common, "type": "user", "uuid": os.urandom(8).hex(),
                        "message": {"role": "user", "content": text}})  # fmt: skip
        usage = {"input_tokens": 5, "cache_read_input_tokens": 900, "output_tokens": 50}
        message = {"id": os.urandom(8).hex(), "role": "assistant", "model": "claude-sonnet-4-5",
                   "content": [{"type": "text", "text": text}], "usage": usage}  # fmt: skip
        self.put(path, {**common, "type": "assistant", "uuid": os.urandom(8).hex(),
                        "requestId": os.urandom(8).hex(), "message": message})  # fmt: skip

    def changes(self) -> dict[str, Callable[[int], Change]]:
        """By kind of evidence, what makes the nth change: what to do, whose, what is told then."""
        pids = list(self.pids)
        claudes = [p for p in pids[: self.panes] if self.pids[p].startswith("claude:")]
        codexes = [p for p in pids[: self.panes] if self.pids[p].startswith("codex:")]

        def registry(n: int) -> Change:
            pid = claudes[n % 9]
            status = "idle" if n // 9 % 2 == 0 else "busy"
            return lambda: self.state(pid, status), pid, {"state": status}

        def record(n: int) -> Change:
            pid = pids[n % len(pids)]
            path, session, cwd = self.transcripts[n % len(pids)]
            text = f"Step {n} of it"
            return lambda: self.turn(path, session, cwd, text), pid, {"thought": text}

        def hook(n: int) -> Change:
            pid = claudes[9 + n % 9]
            event = "PermissionRequest" if n // 9 % 2 == 0 else "Stop"
            state = "waiting_approval" if event == "PermissionRequest" else "idle"
            return lambda: self.note(pid, event), pid, {"state": state}

        def screen(n: int) -> Change:
            pid = codexes[n % 9]
            shown = "waiting-approval-shell" if n // 9 % 2 == 0 else "busy-tool-running"
            state = "waiting_approval" if n // 9 % 2 == 0 else "busy"
            return lambda: self.show(pid, shown), pid, {"state": state}

        return {"file of its process": registry, "record of its transcript": record,
                "note of a hook": hook, "screen": screen}  # fmt: skip

    def state(self, pid: int, status: str) -> None:
        path = self.folder / "home" / ".claude" / "sessions" / f"{pid}.json"
        at = int(time.time() * 1000)
        said = json.loads(path.read_text())
        said |= {"status": status, "updatedAt": at, "statusUpdatedAt": at}
        path.write_text(json.dumps(said))

    def note(self, pid: int, event: str) -> None:
        spool = self.folder / "own" / "hooks" / "spool" / "claude.jsonl"
        data = {"session_id": self.pids[pid].partition(":")[2]}
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        note = {"at": int(time.time() * 1000), "agent": "claude", "event": event, "pid": pid,
                "start": int(start), "generation": "",
                "data": base64.b64encode(json.dumps(data).encode()).decode()}  # fmt: skip
        with spool.open("a") as f:
            f.write(json.dumps(note) + "\n")

    def show(self, pid: int, name: str) -> None:
        """On the terminal of that agent, in its pane."""
        text = (SCREENS / f"{name}.txt").read_text().rstrip().replace("\n", "\r\n")
        terminal = os.readlink(f"/proc/{pid}/fd/1")
        fd = os.open(terminal, os.O_WRONLY | os.O_NOCTTY)
        os.write(fd, f"\x1b[2J\x1b[H{text}".encode())
        os.close(fd)

    def put(self, path: Path, record: dict[str, object]) -> None:
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        with path.open("a") as f:
            f.write(json.dumps({"timestamp": at, **record}) + "\n")

    def stop(self) -> None:
        for child in self.loose:
            child.kill()
            child.wait()
        subprocess.run(
            ["tmux", "-L", "fleet", "kill-server"], env=self.env, check=False, capture_output=True
        )


if __name__ == "__main__":
    main()
