"""One real agent program: a HOME of its own, a scripted model, headless runs and a private tmux."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scripted import Server

from agents import PROGRAMS, write


def until(ready: Callable[[], Any], what: str, timeout: float = 30) -> Any:
    """Wait for a true answer and return it."""
    end = time.monotonic() + timeout
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


class Sandbox:
    """`model` is the scripted server, `home` the agent's HOME, `cwd` a git repository below it."""

    def __init__(self, agent: str, scenario: dict[str, Any], **options: bool) -> None:
        self.agent = agent
        prefix = Path(os.environ["DECKLOG_REAL_AGENTS"], agent)
        self.program = str(prefix / "node_modules" / ".bin" / agent)
        # short: the agents and tmux keep sockets in here, whose paths may hold 107 bytes
        self.folder = Path(tempfile.mkdtemp(prefix="deck-"))
        self.home = self.folder / "home"
        self.cwd = self.home / "project"
        self.model = Server(scenario, str(self.cwd))
        options.setdefault("approvals", False)
        setup = PROGRAMS[agent].setup(self.model.url, str(self.cwd), **options)
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{os.path.dirname(self.program)}:{os.environ['PATH']}",
            "DECKLOG_HOME": str(self.folder / "decklog"),
            "TMUX_TMPDIR": str(self.folder),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "SHELL": "/bin/bash",
            "TZ": "UTC",
            "DO_NOT_TRACK": "1",
            "NO_UPDATE_NOTIFIER": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            **setup.env,
        }
        self.terminals: list[Terminal] = []
        self.repository(self.cwd)
        write(setup.files, self.home)

    def repository(self, folder: Path) -> Path:
        """Make the folder a git repository with one commit."""
        folder.mkdir(parents=True)
        (folder / "README").write_text("scratch project\n")
        author = ["-c", "user.name=dev", "-c", "user.email=dev@example.invalid"]
        for command in (
            ["init", "-q", "-b", "main"],
            ["add", "."],
            ["commit", "-q", "-m", "start"],
        ):
            subprocess.run(["git", *author, *command], cwd=folder, env=self.env, check=True)
        return folder

    def start(self, prompt: str, session: str = "", *, fork: bool = False) -> subprocess.Popen[str]:
        """One run without a screen; give ``session`` (a native id) to go on with it."""
        arguments = PROGRAMS[self.agent].headless(prompt, session, fork)
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [self.program, *arguments],
            cwd=self.cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def run(
        self, prompt: str, session: str = "", *, fork: bool = False, timeout: float = 90
    ) -> str:
        """The same, to its end; its standard output."""
        process = self.start(prompt, session, fork=fork)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise TimeoutError(f"{self.agent} did not end:\n{out}\n{err}") from None
        assert process.returncode == 0, f"{self.agent} {process.returncode}:\n{out}\n{err}"
        return out

    def terminal(self, *arguments: str, command: list[str] | None = None) -> Terminal:
        """The agent's own screen, in a tmux that belongs to this sandbox."""
        terminal = Terminal(self, command or [self.program, *arguments], f"t{len(self.terminals)}")
        self.terminals.append(terminal)
        return terminal

    def close(self) -> None:
        """End everything in the namespace but the tests: some agents leave daemons behind."""
        self.model.close()
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for pid in _others():
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)
            end = time.monotonic() + 2
            while _others() and time.monotonic() < end:
                time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)


def _others() -> list[int]:
    """Processes of this namespace that are neither its first, nor ours, nor dead."""
    found = []
    for pid in (int(n) for n in os.listdir("/proc") if n.isdigit()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if pid not in (1, os.getpid(), os.getppid()) and state != "Z":
            found.append(pid)
    return found


class Terminal:
    """A tmux session of the sandbox's own server (socket ``real``), addressed by its pane."""

    def __init__(self, sandbox: Sandbox, command: list[str], name: str) -> None:
        self.sandbox = sandbox
        keep = ["set-option", "-g", "remain-on-exit", "on"]
        new = ["new-session", "-d", "-P", "-F", "#{pane_id}", "-s", name, "-x", "110", "-y", "36"]
        # the option first: a program that ends at once must not take the pane with it
        self.pane = self.tmux(
            "start-server", ";", *keep, ";", *new, "-c", str(sandbox.cwd), *command
        )

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", "real", "-f", "/dev/null", *arguments]
        done = subprocess.run(
            command, env=self.sandbox.env, capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip("\n")

    def ask(self, form: str) -> str:
        """A tmux format (``#{pane_title}``) for this pane."""
        return self.tmux("display-message", "-p", "-t", self.pane, form)

    @property
    def pid(self) -> int:
        return int(self.ask("#{pane_pid}"))

    @property
    def dead(self) -> bool:
        return self.ask("#{pane_dead}") == "1"

    def screen(self, *, escapes: bool = False) -> str:
        return self.tmux("capture-pane", "-p", *(["-e"] if escapes else []), "-t", self.pane)

    def shows(self, pattern: str, timeout: float = 30, *, absent: bool = False) -> str:
        """Wait until the screen shows (or no longer shows) the pattern; the screen."""

        def ready() -> str:
            screen = self.screen()
            return screen if bool(re.search(pattern, screen)) != absent else ""

        try:
            return str(until(ready, "", timeout))
        except TimeoutError:
            verb = "lost" if absent else "showed"
            raise TimeoutError(f"never {verb} {pattern!r}:\n{self.screen()}") from None

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", "-t", self.pane, *keys)

    def say(self, text: str) -> None:
        """Type a prompt and submit it, as a person would."""
        self.tmux("send-keys", "-t", self.pane, "-l", text)
        time.sleep(0.5)
        self.keys("Enter")
