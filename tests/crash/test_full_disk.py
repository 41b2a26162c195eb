"""A disk that is really full: a file system of 256 KiB in memory, in a name space of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from homes import Claude

ALONE = ("unshare", "--user", "--map-root-user", "--mount")

RECORD = """
import json, os, sys, time
from decklog.errors import WriteError
from decklog.log import Logs
from decklog.model import UserMessage

def said(n):
    return UserMessage(agent="claude", content="y" * 200, uid=f"u{n}")

root = sys.argv[1]
with open(f"{root}/ballast", "wb") as ballast:
    ballast.write(b"x" * 100_000)
logs = Logs(root)
writer = logs.open("s1", agent="claude")
for n in range(2000):
    try:
        writer.emit(said(n), durable=n % 3 == 0)
    except WriteError as raised:
        error = raised
        break
os.unlink(f"{root}/ballast")
began = time.monotonic()
receipt = writer.emit(said(n), durable=True)
waited = time.monotonic() - began
writer.close()
uids = [e.event.uid for e in logs.read("s1") if e.kind == "user_message"]
print(json.dumps({
    "retryable": error.retryable, "hint": bool(error.hint), "new": receipt.new, "waited": waited,
    "whole": uids == [f"u{i}" for i in range(n + 1)], "holes": len(list(logs.holes("s1"))),
}))
"""


def mounting(folder: Path, size: str) -> str:
    """The command that mounts a small disk there; skips where that is not allowed."""
    mount = f'mount -t tmpfs -o size={size} tmpfs "{folder}"'
    if subprocess.run([*ALONE, "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    return mount


@pytest.mark.spec("R20")
def test_a_full_disk_is_told_and_gone_on_from(tmp_path: Path) -> None:
    mount = mounting(tmp_path, "256k")
    words = f'{mount} && exec "{sys.executable}" -c "$0" "{tmp_path}"'
    done = subprocess.run(
        [*ALONE, "sh", "-c", words, RECORD], capture_output=True, check=True, timeout=60
    )
    told = json.loads(done.stdout)
    assert told.pop("waited") < 5
    assert told == {"retryable": True, "hint": True, "new": True, "whole": True, "holes": 0}


READ = """
import os, subprocess, sys
root, home, how = sys.argv[1:]
env = {**os.environ, "HOME": home, "DECKLOG_HOME": f"{root}/own"}

def decklog(*words):
    done = subprocess.run(
        [sys.executable, "-m", "decklog", *words], env=env, capture_output=True, text=True
    )
    print(words[-1], done.returncode, "marmalade" in done.stdout, done.stderr.strip())

decklog("sync")
if how == "read-only":
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
else:
    with open(f"{root}/ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(b"x" * 4096):
                pass
        except OSError:
            pass
decklog("search", "marmalade")
decklog("ls")
decklog("archive", "ls")
decklog("archive", "verify")
decklog("daemon", "start")
"""
REMEDY = {
    "full": "No space left on device\n  try: free some space on this disk",
    "read-only": "Read-only file system\n  try: the disk is read-only",
}


@pytest.mark.spec("R19", "R20")
@pytest.mark.parametrize("how", REMEDY)
def test_what_is_read_is_read_where_nothing_can_be_written(how: str, tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root"
    made = Claude("talk")
    made.prompt("marmalade")
    made.write(home)
    root.mkdir()
    mount = mounting(root, "3m")
    words = f'{mount} && exec "{sys.executable}" -c "$0" "{root}" "{home}" {how}'
    done = subprocess.run(
        [*ALONE, "sh", "-c", words, READ], capture_output=True, check=True, timeout=60, text=True
    )
    synced, found, listed, kept, verified, started = done.stdout.split("\n", 5)
    assert synced.startswith("sync 0")
    assert found.startswith("marmalade 0 True")
    assert listed.startswith("ls 0 True")
    assert kept.startswith("ls 0 False")
    assert verified.startswith("verify 0")
    assert REMEDY[how] in started
