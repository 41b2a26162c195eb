#!/usr/bin/env python3
"""Measure `decklog ps`, cold: 60 panes of a tmux of its own, 90 agents, as many sessions.

    python benchmarks/fleet.py [--runs 15] [--panes 60] [--agents 90] [--keep]

The agents are real processes that look like Claude Code and Codex from outside, in real panes; the
transcripts, and the files that Claude Code keeps of its processes, are made up. Each run is a whole
process; the median of all is told.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

GOAL_MS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--panes", type=int, default=60)
    parser.add_argument("--agents", type=int, default=90)
    parser.add_argument("--idle", type=int, default=20, help="seconds of watching in peace")
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
            met = "met" if median <= GOAL_MS else "missed"
            print(
                f"ps, {name}: {median:.0f} ms ({min(wall):.0f} to {max(wall):.0f}), "
                f"cpu {statistics.median(cpu):.0f} ms; goal <= {GOAL_MS} ms: {met}"
            )
        watch(fleet, env, args.idle)
    finally:
        fleet.stop()
        shutil.rmtree(folder, ignore_errors=True)


def watch(fleet: Fleet, env: dict[str, str], seconds: int) -> None:
    """What watching costs while nothing happens, and how soon a change is told."""
    command = [sys.executable, "-u", "-m", "decklog", "ps", "-w", "--json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as watching:
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda: [lines.put(x) for x in watching.stdout or ()])
        reader.start()
        lines.get()
        time.sleep(3)
        before = cpu_of(watching.pid)
        time.sleep(seconds)
        share = 100 * (cpu_of(watching.pid) - before) / seconds
        print(f"ps -w, nothing happens: {share:.1f} % of a core")
        late = []
        for n in range(15):
            path, session, cwd = fleet.transcripts[n]
            began = time.perf_counter()
            fleet.turn(path, session, cwd, f"Step {n} of it")
            while f"Step {n} of it" not in lines.get():
                pass
            late.append(1000 * (time.perf_counter() - began))
        print(f"ps -w, a record is told after {statistics.median(late):.0f} ms ({max(late):.0f})")
        watching.kill()


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(command: list[str], env: dict[str, str]) -> bytes:
    return subprocess.run(command, env=env, capture_output=True, check=True).stdout


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
