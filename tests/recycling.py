"""Run in a pid namespace of its own: agents end, and others get their numbers.

Each time, all that was known of the one that ended (its binding, the file it kept of itself, a note
of its hook) is held against the one that has its number now. Prints what went wrong, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from decklog import agents, processes
from decklog.collect import own_files
from decklog.errors import NotFound
from decklog.match import Claim, match
from decklog.model.fleet import AgentProcess, Identity

ENV = {"HOME": sys.argv[2]}
OLD = "aaaa0001-0000-4000-8000-00000000000a"
CLAUDE = agents.get("claude")
TICK = 1 / os.sysconf("SC_CLK_TCK")


def start(pid: int) -> None:
    """A process that looks like Claude Code, under this very number."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    child = os.fork()
    if child == 0:
        os.execv("/bin/sleep", ["claude", "60"])
    assert child == pid, (child, pid)
    while not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"claude\0"):
        time.sleep(0.0005)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def seen(pid: int) -> AgentProcess:
    [one] = [t for t in processes.snapshot([CLAUDE], timeout=60) if t.root.pid == pid]
    return one


def main() -> None:
    wrong = {"same identity": 0, "bound": 0, "signalled": 0, "not bound before": 0}
    folder = Path(ENV["HOME"], ".claude", "sessions")
    folder.mkdir(parents=True)
    for n in range(int(sys.argv[1])):
        pid = 300 + n % 50
        start(pid)
        old = seen(pid)
        who = old.root.identity
        said = {"pid": pid, "sessionId": OLD, "procStart": str(who.start_ticks), "status": "busy"}
        (folder / f"{pid}.json").write_text(json.dumps(said))
        now = time.time_ns() // 1_000_000
        stated = own_files([old], {"claude": CLAUDE}, ENV)
        noted = Claim(Identity("", pid, who.start_ticks), OLD, "hook", now)
        before = match([old], [], now=now, claims=[*stated.claims, noted])
        wrong["not bound before"] += before.matches[0].session != f"claude:{OLD}"
        end(pid)
        time.sleep(TICK * 1.1)  # no system comes round within a tick
        start(pid)
        new = seen(pid)
        wrong["same identity"] += new.root.identity == who
        stated = own_files([new], {"claude": CLAUDE}, ENV)
        after = match([new], [], now=now, claims=[*stated.claims, noted], bindings=before.bindings)
        wrong["bound"] += bool(after.matches[0].session or stated.states)
        try:
            processes.send_signal(who, signal.SIGTERM)
            wrong["signalled"] += 1
        except NotFound:
            pass
        wrong["signalled"] += not processes.alive(new.root.identity)
        end(pid)
        (folder / f"{pid}.json").unlink()
    print(json.dumps(wrong))


if __name__ == "__main__":
    main()
