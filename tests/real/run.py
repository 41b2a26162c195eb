"""Run the tests of this folder in a namespace of their own: `just real`.

No network but loopback, and process numbers of their own: nothing outside is reached, no agent
of this machine is seen or touched, and whatever the programs leave behind ends with the run.
"""

from __future__ import annotations

import os
import shutil
import sys

INNER = "DECKLOG_REAL_INNER"


def main() -> int:
    if os.environ.get(INNER):
        return _init()
    missing = _missing()
    if missing:
        print(f"skipped: {missing}")
        return 0
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *own]
    inner = [sys.executable, os.path.abspath(__file__), *sys.argv[1:]]
    os.environ[INNER] = "1"
    return os.execvp("unshare", ["unshare", *flags, *inner])


def _missing() -> str:
    """What stands in the way, with its remedy; "" for nothing."""
    folder = os.environ.get("DECKLOG_REAL_AGENTS")
    if not folder:
        return "DECKLOG_REAL_AGENTS does not name a folder of npm installs (docs/real-agents.md)"
    if not os.path.isdir(folder):
        return f"DECKLOG_REAL_AGENTS={folder} is no folder (docs/real-agents.md)"
    for program, package in (("unshare", "util-linux"), ("tmux", "tmux"), ("git", "git")):
        if not shutil.which(program):
            return f"{program} is missing; install {package}"
    return ""


def _init() -> int:
    """The first process of the namespace: runs pytest, reaps what daemons leave behind."""
    arguments = sys.argv[1:] or [os.path.dirname(os.path.abspath(__file__))]
    command = [sys.executable, "-m", "pytest", *arguments]
    tests = os.spawnv(os.P_NOWAIT, sys.executable, command)
    while True:
        pid, status = os.wait()
        if pid == tests:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
