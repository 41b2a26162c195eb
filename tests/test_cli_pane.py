"""``decklog pane`` as a person uses it: the command line, fake agents, a real tmux server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from crew import Crew, crews
from tmux_server import needs_tmux
from waiting import until

pytestmark = needs_tmux


class Shell:
    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "decklog", "pane", *words],
            env=self.crew.room.env,
            cwd=self.crew.project,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))


@pytest.fixture
def shell() -> Iterator[Shell]:
    for crew in crews():
        yield Shell(crew)


@pytest.mark.spec("D31", "D36", "D37", "D38", "R84")
def test_a_day(shell: Shell) -> None:
    assert shell("ls") == "No agent is in a tmux pane. Start one: decklog pane new claude\n"
    assert shell.json("ls") == []
    made = shell.json("new", "claude", "The first", "--name", "web")
    one = made["pane"]
    assert (made["delivery"]["outcome"], one["name"]) == ("submitted", "web")
    taken = ("submitted", "queued")
    assert shell("send", "web", "--", "-l 'second'").startswith(taken)
    assert shell("send", "web", stdin="from a pipe\nin two lines\n").startswith(taken)
    until(lambda: len(shell.crew.given()) == 3)
    assert shell.crew.given() == ["The first", "-l 'second'", "from a pipe\nin two lines"]
    (row,) = shell.json("ls")
    assert {k: row[k] for k in ("id", "name", "agent", "session", "standing", "pane", "cwd")} == {
        "id": one["id"],
        "name": "web",
        "agent": "claude",
        "session": one["session"],
        "standing": "live",
        "pane": "%0",
        "cwd": str(shell.crew.project),
    }
    until(lambda: shell.json("show", "web")["state"] == "idle")
    assert "❯ from a pipe" in shell("show", one["id"])
    assert shell("interrupt", "web").startswith("web: ")
    shell.crew.room.pids.add(one["server_pid"])
    os.kill(one["server_pid"], signal.SIGKILL)
    (row,) = shell.json("ls")
    assert (row["state"], row["why"]) == ("lost", "its tmux server ended")
    told = shell("restore", "--dry-run")
    assert f"would run: claude --resume {one['session'][7:]}" in told
    (plan,) = shell.json("restore")
    assert plan["restored"]["session"] == one["session"]
    assert shell("kill", "web").rstrip().endswith("closed the pane")
    assert shell("restore", "-n") == "Nothing is lost.\n"
    events = [json.loads(line)["happened"] for line in shell("events").splitlines()]
    assert [e for e in events if e not in ("bound", "moved")] == [
        *(
            "created",
            "sent",
            "sent",
            "sent",
            "interrupted",
            "lost",
            "created",
            "restored",
            "killed",
        ),
    ]


@pytest.mark.spec("DW11", "R85")
def test_what_goes_wrong(shell: Shell) -> None:
    assert "no pane 'nobody'" in shell("send", "nobody", "x", code=3)
    assert "known agents: claude" in shell("new", "emacs", code=3)
    assert "no folder /nowhere" in shell("new", "claude", "--cwd", "/nowhere", code=2)
    assert "codex is not installed" in shell("new", "codex", code=3)
    shell("new", "claude", "--name", "web")
    assert "called 'web' already" in shell("new", "claude", "--name", "web", code=2)
    assert "control character (U+001B, line 1)" in shell("send", "web", "a\x1bb", code=2)
    assert "nothing to send" in shell("send", "web", code=2)
    assert "no terminal to attach" in shell("attach", "web", code=2)
    error = json.loads(shell("send", "nobody", "x", "--json", code=3))
    assert error["message"] == "no pane 'nobody'"
    shell.crew.room.env["PATH"] = "/nowhere"
    assert "try: install tmux" in shell("ls", code=1)


@pytest.mark.spec("D36")
def test_release(shell: Shell) -> None:
    one = shell.json("new", "claude")["pane"]
    assert shell("kill", "--release", one["id"]) == f"{one['id']}: released\n"
    (row,) = shell.json("ls")
    assert (row["id"], row["pid"]) == ("", one["pid"])


@pytest.mark.spec("D1", "R92")
def test_watching_tells_what_changes_and_is_idle_otherwise(shell: Shell) -> None:
    shell.crew.fake(busy=2.5)
    shell.json("new", "claude", "--name", "web")
    command = [sys.executable, "-m", "decklog", "pane", "ls", "-w", "--json"]
    with subprocess.Popen(
        command, env=shell.crew.room.env, stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline())[0]["state"]]
        while seen[-1] != "idle":
            seen.append(json.loads(watching.stdout.readline())[0]["state"])
        shell.crew.room.tmux("decklog", "send-keys", "-t", "%0", "work", "Enter")
        while seen[-1] != "busy":
            seen.append(json.loads(watching.stdout.readline())[0]["state"])
        while seen[-1] != "idle":
            seen.append(json.loads(watching.stdout.readline())[0]["state"])
        watching.terminate()
    assert "unknown" not in seen[1:]


@pytest.mark.spec("Y6", "D33", "D36", "R84", "R86")
def test_a_day_behind_a_relay(shell: Shell) -> None:
    """What the agent tells its terminal is heard, and all else is as without."""
    crew = shell.crew
    crew.fake(reports=1, busy=0.5)

    def ps(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "decklog", "ps", "--json", *words],
            env=crew.room.env, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    def idle() -> bool:
        (row,) = (r for r in json.loads(ps()) if r["pane"])
        said = [e["says"] for e in row["evidence"] if e["kind"] == "osc7501"]
        return row["state"] == "idle" and said[-1:] == ["idle"]

    def asked() -> bool:
        """Each report is evidence, however late it is looked at."""
        changes = [json.loads(line)["transition"] for line in ps("--changes").splitlines()]
        kinds = [t["evidence"][-1]["kind"] for t in changes if t["new"] == "waiting_answer"]
        return kinds == ["osc7501"]

    made = shell.json("new", "claude", "The first", "--name", "web", "--relay")
    one = made["pane"]
    assert (made["delivery"]["outcome"], one["relay"]) == ("submitted", True)
    assert crew.room.tmux("decklog", "list-panes", "-aF", "#{pane_current_command}") == "claude"
    until(idle)
    assert shell("send", "web", "ask me").startswith("submitted")
    until(asked)
    until(idle)
    long = "x" * 70 + "\n" + "y" * 9000
    assert shell("send", "web", stdin=long).startswith("submitted")
    until(lambda: crew.given() == ["The first", "ask me", long])
    (row,) = shell.json("ls")
    assert (row["pid"], row["session"]) != (one["pid"], "")  # the agent, not the relay
    crew.room.pids.add(one["server_pid"])
    os.kill(one["server_pid"], signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{row['pid']}"))  # nothing holds it back
    (plan,) = shell.json("restore")
    assert (plan["restored"]["session"], plan["restored"]["relay"]) == (one["session"], True)
    until(idle)
    crew.fake(reports=1, dies=1)
    other = shell.json("new", "claude", "go", "--name", "ends", "--relay", code=1)["pane"]
    until(
        lambda: (other["id"], "exited") in {(r["id"], r["state"]) for r in shell.json("ls", "-a")}
    )
    assert shell("kill", "web").rstrip().endswith("closed the pane")


@pytest.mark.spec("Y6")
def test_a_relay_may_be_the_rule(shell: Shell) -> None:
    shell.crew.room.env["DECKLOG_RELAY"] = "yes"
    assert shell.json("new", "claude")["pane"]["relay"]
