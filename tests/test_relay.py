"""The relay between a terminal and an agent, on real terminals."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from decklog import agents, relay
from decklog.osc import ANSWER
from waiting import until

PYTHON = os.path.realpath(sys.executable)
RAW = "import os,sys,tty,time\ntty.setraw(0)\nos.write(1,b'ready')\n"


class Terminal:
    """A program behind a relay, and the other end of the terminal that the relay has."""

    def __init__(self, folder: Path, program: list[str], env: dict[str, str]) -> None:
        self.spool = folder / "spool"
        self.spool.mkdir()
        words = relay.command("claude", str(self.spool), str(folder / "prog"))
        self.master, theirs = os.openpty()
        self.pid = os.fork()
        if self.pid == 0:
            os.login_tty(theirs)
            os.execve(words[0], [*words, *program], env)
        os.close(theirs)
        self.out = b""
        self.status: int | None = None

    def reads(self, words: bytes) -> bytes:
        """Read until these bytes came; what came up to them."""
        while words not in self.out:
            assert select.select([self.master], [], [], 30)[0], self.out
            self.out += os.read(self.master, 1 << 16)
        found, _, self.out = self.out.partition(words)
        return found

    def writes(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def ends(self) -> int:
        """Its status as `os.waitstatus_to_exitcode` gives it."""
        with suppress(OSError):
            while data := os.read(self.master, 1 << 16):
                self.out += data
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def children(self) -> dict[str, int]:
        """Pids of the program and of the process that passes on."""
        pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        shown = {p: Path(f"/proc/{p}/cmdline").read_bytes() for p in pids}
        return {"passing" if b"relay.py" in shown[p] else "program": int(p) for p in pids}

    def notes(self) -> list[tuple[str, dict[str, str]]]:
        path = self.spool / "claude.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        assert all(n["pid"] == self.children().get("program", n["pid"]) for n in found)
        return [(n["event"], json.loads(b64decode(n["data"]))) for n in found]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    made: list[Terminal] = []

    def begin(program: str | list[str], **env: str) -> Terminal:
        words = [PYTHON, "-c", program] if isinstance(program, str) else program
        made.append(Terminal(tmp_path, words, {"PATH": os.environ["PATH"], **env}))
        return made[-1]

    yield begin
    for one in made:
        if one.status is None:
            for pid in (*one.children().values(), one.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)
        os.close(one.master)


@pytest.mark.spec("Y6")
def test_bytes_pass_unchanged_and_so_does_the_exit_code(start: Any) -> None:
    terminal = start(RAW + "d=b''\nwhile len(d)<512: d+=os.read(0,99)\nos.write(1,d)\nsys.exit(7)")
    terminal.reads(b"ready")
    every = bytes(range(256)) * 2
    terminal.writes(every)
    assert terminal.ends() == 7
    assert terminal.out == every


def test_neither_side_waits_for_the_other(start: Any) -> None:
    """Each writes much before it reads anything."""
    size = 300_000
    terminal = start(
        RAW + f"from hashlib import sha256\nos.write(1,b'x'*{size})\nd=b''\n"
        f"while len(d)<{size}: d+=os.read(0,4096)\nprint(sha256(d).hexdigest(),end='.')"
    )
    terminal.reads(b"ready")
    sent = os.urandom(size)
    left = sent
    while left or b"." not in terminal.out:
        ready = select.select([terminal.master], [terminal.master] if left else [], [], 30)
        assert any(ready)
        if ready[1]:
            left = left[os.write(terminal.master, left[:512]) :]
        if ready[0]:
            terminal.out += os.read(terminal.master, 1 << 16)
    digest = hashlib.sha256(sent).hexdigest().encode()
    assert terminal.out == b"x" * size + digest + b"."
    assert terminal.ends() == 0


def test_the_size_passes(start: Any) -> None:
    terminal = start(
        RAW + "import signal\n"
        "def told(*_): os.write(1, b'<%d,%d>' % tuple(os.get_terminal_size(0)))\n"
        "signal.signal(signal.SIGWINCH, told)\nos.write(1,b'set')\nwhile 1: time.sleep(9)"
    )
    terminal.reads(b"set")
    until(lambda: "passing" in terminal.children())
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    terminal.reads(b"<77,33>")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_signals_pass_both_ways(start: Any, number: signal.Signals) -> None:
    terminal = start(RAW + "time.sleep(99)")
    terminal.reads(b"ready")
    os.kill(terminal.pid, number)
    assert terminal.ends() == -number


def test_a_program_that_stops_goes_on(start: Any) -> None:
    terminal = start(RAW + "os.kill(0, 19)\nos.write(1,b'on')")
    terminal.reads(b"on")
    assert terminal.ends() == 0


def test_a_terminal_that_hangs_up(start: Any) -> None:
    terminal = start(RAW + "time.sleep(99)")
    terminal.reads(b"ready")
    os.dup2(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC), terminal.master)
    assert terminal.ends() == -signal.SIGHUP


@pytest.mark.parametrize("locale", [{}, {"LANG": "C.UTF-8"}])
def test_the_program_is_run_as_if_nobody_stood_between(start: Any, locale: dict[str, str]) -> None:
    told = "grep -h SigIgn /proc/$$/status; stty -a | sed s/rows.*//; env"
    program = ["/bin/sh", "-c", told]
    env = {"PATH": os.environ["PATH"], "PWD": os.getcwd(), **locale}
    terminal = start(program, PWD=os.getcwd(), **locale)
    assert terminal.ends() == 0
    master, theirs = os.openpty()
    with subprocess.Popen(program, env=env, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        expected = b""
        with suppress(OSError):
            while data := os.read(master, 1 << 16):
                expected += data
    os.close(master)
    assert sorted(terminal.out.split()) == sorted(expected.split())


@pytest.mark.spec("Y6")
def test_where_what_passes_on_is_killed_another_takes_its_place(start: Any) -> None:
    terminal = start(RAW + "while 1: os.write(1, b'<' + os.read(0, 99) + b'>')")
    terminal.reads(b"ready")
    for n in range(5):
        passing = until(lambda: terminal.children().get("passing"))
        os.kill(passing, signal.SIGSTOP)
        terminal.writes(b"typed %d" % n)  # while nobody passes it on
        os.kill(passing, signal.SIGKILL)
        assert terminal.reads(b">") == b"<typed %d" % n
    assert "program" in terminal.children()


def test_without_a_terminal_the_program_runs_all_the_same(tmp_path: Path) -> None:
    words = relay.command("claude", str(tmp_path), str(tmp_path / "prog"))
    done = subprocess.run(
        [*words, "/bin/sh", "-c", "echo here; exit 3"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, b"here\n")
    done = subprocess.run([*words, "/nowhere/at/all"], capture_output=True, check=False)
    told = b"/nowhere/at/all: No such file or directory\r\n"
    assert (done.returncode, done.stderr) == (127, told)


@pytest.mark.spec("Y6")
def test_reports_are_answered_taken_out_and_noted(start: Any) -> None:
    terminal = start(
        RAW + "os.write(1, b'\\x1b]7501;?\\x07')\nos.write(1, os.read(0, 99).hex().encode())\n"
        "for state in ('working', 'blocked:kind=auth:msg=eA==', 'done'):\n"
        "    os.write(1, b'<\\x1b]7501;state=' + state.encode() + b'\\x1b\\\\>')\n"
        "    os.read(0, 1)\n"
        "os.write(1, b'\\x1b]133;A\\x07\\x1b]133;C\\x07')\n"  # a program that marks what it shows
        "os.write(1, b'.')\nos.read(0, 1)\nos.write(1, b'\\x1b]133;D;0\\x07\\x1b]133;A\\x07!')\n"
        "time.sleep(99)"
    )
    assert terminal.reads(b"<>") == b"ready" + ANSWER.hex().encode()
    noted = [("osc7501", {"state": "working"})]
    until(lambda: terminal.notes() == noted)
    terminal.writes(b"x")
    assert terminal.reads(b"<>") == b""
    noted += [("osc7501", {"state": "blocked", "kind": "auth"})]
    until(lambda: terminal.notes() == noted)
    terminal.writes(b"x")
    terminal.reads(b"<>")
    noted += [("osc7501", {"state": "done"})]
    until(lambda: terminal.notes() == noted)
    terminal.writes(b"x")
    assert terminal.reads(b".") == b"\x1b]133;A\x07\x1b]133;C\x07"
    terminal.writes(b"x")
    terminal.reads(b"!")
    noted += [("osc133", {"mark": "D"}), ("osc133", {"mark": "A"})]
    until(lambda: terminal.notes() == noted)


def test_a_flood_is_noted_now_and_then_and_its_end_surely(start: Any) -> None:
    flood = "for n in range(3000): os.write(1, b'\\x1b]7501;state=%s\\x07' % (b'idle' if n % 2"
    terminal = start(RAW + flood + " else b'working'))\nos.write(1,b'over')\ntime.sleep(99)")
    began = time.monotonic()
    assert terminal.reads(b"over") == b"ready"
    until(lambda: terminal.notes()[-1:] == [("osc7501", {"state": "idle"})])
    seconds = time.monotonic() - began
    assert len(terminal.notes()) <= relay.NOTES + seconds / relay.NOTES_EVERY + 1


def test_a_program_in_the_background_is_not_believed(start: Any) -> None:
    """Who reports is told by the group in the foreground, not by what it says."""
    other = "import os; os.write(1, b'\\x1b]7501;state=error\\x07<other>')"
    terminal = start(
        "import os,subprocess,signal,sys,time\nsignal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        f"p=subprocess.Popen([sys.executable,'-c',{other!r}],process_group=0)\n"
        "os.tcsetpgrp(0,p.pid)\np.wait()\nos.tcsetpgrp(0,os.getpgrp())\n"
        "os.write(1, b'\\x1b]7501;state=idle\\x07<own>')\ntime.sleep(99)"
    )
    terminal.reads(b"<own>")
    until(lambda: terminal.notes() == [("osc7501", {"state": "idle"})])


def test_it_goes_by_the_name_of_the_program_and_is_not_taken_for_it(tmp_path: Path) -> None:
    words = relay.command("claude", str(tmp_path), str(tmp_path / "claude"))
    assert words[0].endswith("/claude")
    claude = agents.get("claude")
    assert claude.process(words[:1], "") is not None
    assert claude.process((*words, "/usr/bin/claude", "--resume", "x"), "") is None
