"""Following on the command line, in processes of their own: tail, watch, daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import pytest

from homes import Claude, Codex
from shell import DECKLOG, decklog, environment, on_terminal

SECONDS = 30


class Place:
    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.env = {"HOME": str(self.home), "DECKLOG_HOME": str(folder / "own"), "TZ": "UTC"}
        self.talk = Claude("11111111-1111-4111-8111-111111111111")
        self.talk.prompt("begin")
        self.talk.answer("a", (1, 2, 3, 4), tool="Read")
        self.path = self.talk.write(self.home)

    def say(self, text: str) -> None:
        self.talk.prompt(text)
        with open(self.path, "ab") as f:
            f.write(self.talk.lines[-1].data)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Running:
    """A command that goes on, its lines as they come."""

    def __init__(self, env: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [*DECKLOG, *words],
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: Queue[str] = Queue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.decode())

    def line(self) -> str:
        return self.lines.get(timeout=SECONDS)

    def answers(self, ask: Callable[[], object]) -> str:
        """The first line of a command that hears only what is said once it listens: asked until
        it answers."""
        for _ in range(SECONDS * 2):
            ask()
            with suppress(Empty):
                return self.lines.get(timeout=0.5)
        raise AssertionError("no answer")

    def line_with(self, text: str) -> str:
        while text not in (line := self.line()):
            pass
        return line

    def json(self) -> Any:
        return json.loads(self.line())

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        code = self.process.wait(SECONDS)
        assert self.process.stderr is not None
        with self.process.stderr:
            said = self.process.stderr.read().decode()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code, said


def test_tail_prints_the_last_events(place: Place) -> None:
    ran = decklog(place.env, "tail", "-n", "2")
    assert ran.code == 0
    used = "claude-sonnet-4-5-20250929: input 1, cache read 2, cache write 3, output 4"
    assert ran.text.splitlines() == [f"00:00:02  {used}", "00:00:03    ok"]
    events = [json.loads(x) for x in decklog(place.env, "tail", "--json").text.splitlines()]
    assert events == decklog(place.env, "show", "latest", "--events", "--json").json
    assert [e["type"] for e in events][-3:] == ["tool_call", "usage", "tool_result"]


def test_tail_of_all_sessions_is_in_the_order_of_time(place: Place) -> None:
    other = Codex("019b7000-0000-7000-8000-000000000001")
    other.prompt("elsewhere")
    other.write(place.home)
    ran = decklog(place.env, "tail", "--all", "--json", "-n", "4")
    events = [json.loads(x) for x in ran.text.splitlines()]
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    assert {e["agent"] for e in events} == {"claude", "codex"}
    only = decklog(place.env, "tail", "--all", "--type", "user_message").text
    assert "> begin" in only
    assert "> elsewhere" in only
    assert "Read" not in only


def test_tail_follows_without_a_gap_and_ends_at_an_interrupt(place: Place) -> None:
    tail = Running(place.env, "tail", "-f", "--json", "-n", "1", "--type", "user_message")
    assert tail.json()["content"] == "begin"
    for text in ("one", "two", "three"):
        place.say(text)
        assert tail.json()["content"] == text
    assert tail.end() == (130, "")
    shown = decklog(place.env, "tail", "-n", "100", "--json").text.splitlines()
    assert [json.loads(x)["content"] for x in shown if '"user_message"' in x] == [
        "begin", "one", "two", "three",
    ]  # fmt: skip


def test_tail_follows_a_session_that_is_new(place: Place) -> None:
    tail = Running(place.env, "tail", "--all", "-f", "-n", "1")
    assert "ok" in tail.line()
    other = Codex("019b7000-0000-7000-8000-000000000001")
    other.prompt("elsewhere")
    other.write(place.home)
    seen = ""
    while "> elsewhere" not in seen:
        seen = tail.line()
    assert "codex 019b7000-0000" in seen
    assert tail.end(signal.SIGTERM)[0] == -signal.SIGTERM


def test_tail_ends_when_nobody_reads(place: Place) -> None:
    words = [sys.executable, "-m", "decklog", "tail", "-f", "--json", "-n", "1"]
    env = environment(place.env)
    tail = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert tail.stdout is not None
    assert tail.stdout.readline()
    tail.stdout.close()
    place.say("into a closed pipe")
    assert tail.wait(SECONDS) == 0
    assert tail.stderr is not None
    assert tail.stderr.read() == b""
    tail.stderr.close()


def test_a_transcript_cannot_drive_the_terminal(place: Place) -> None:
    place.say("evil \x1b]0;title\x07 \u202e text")
    _, seen = on_terminal(place.env, "tail", "-n", "1")
    assert "\x1b]0" not in seen
    assert "\\x1b]0;title\\x07" in seen


def test_what_tail_does_not_understand(place: Place) -> None:
    assert decklog(place.env, "tail", "latest", "--all").code == 2
    assert decklog(place.env, "tail", "nothing").code == 3
    assert decklog(place.env, "tail", "--type", "nonsense").code == 2
    assert decklog(place.env, "tail", "--agent", "nobody").code == 3


# --- watch ------------------------------------------------------------------------------------


def script(folder: Path, text: str) -> list[str]:
    path = folder / "command.py"
    path.write_text("import json, os, sys, time\n" + text)
    return [sys.executable, str(path)]


def test_watch_runs_a_command_with_the_event(place: Place, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "e = json.load(sys.stdin)\n"
        "assert e == json.loads(os.environ['DECKLOG_JSON'])\n"
        "names = ('DECKLOG_EVENT', 'DECKLOG_SESSION', 'DECKLOG_AGENT')\n"
        "print([os.environ[n] for n in names], e['content'], sys.argv[1:], flush=True)\n",
    )
    words = ("--on", "user_message", "--", *command, "$HOME", "; ls")
    watch = Running(place.env, "watch", *words)
    told = ["user_message", place.talk.id, "claude"]
    watch.answers(lambda: place.say("hello?"))
    place.say("begin")
    watch.line_with("begin")
    for text in ("one", "two"):
        place.say(text)
        assert watch.line() == f"{told} {text} ['$HOME', '; ls']\n"
    assert watch.end()[0] == 130


def test_watch_once_ends_with_the_code_of_the_command(place: Place, tmp_path: Path) -> None:
    command = script(tmp_path, "print('ran', flush=True)\nsys.exit(7)\n")
    watch = Running(place.env, "watch", "--on", "session_new", "--once", "--", *command)
    numbers = count(1)

    def begin() -> None:
        other = Codex(f"019b7000-0000-7000-8000-{next(numbers):012}")
        other.prompt("elsewhere")
        other.write(place.home)

    assert watch.answers(begin) == "ran\n"
    assert watch.wait()[0] == 7


def test_watch_runs_a_bounded_number_at_once_and_loses_none(place: Place, tmp_path: Path) -> None:
    command = script(
        tmp_path,
        f"run = {str(tmp_path / 'run')!r}\n"
        "os.makedirs(run, exist_ok=True)\n"
        "mine = f'{run}/{os.getpid()}'\n"
        "open(mine, 'w').close()\n"
        "print(len(os.listdir(run)), json.load(sys.stdin)['content'], flush=True)\n"
        "time.sleep(0.2)\n"
        "os.unlink(mine)\n",
    )
    watch = Running(place.env, "watch", "--on", "user_message", "--jobs", "2", "--", *command)
    lines = [watch.answers(lambda: place.say("hello?"))]
    texts = [f"text {i}" for i in range(8)]
    for text in texts:
        place.say(text)
    while not all(any(text in line for line in lines) for text in texts):
        lines.append(watch.line())
    assert all(int(line.split()[0]) <= 2 for line in lines)
    assert watch.end()[0] == 130


def test_tail_of_several_sessions_and_what_it_does_not_understand(place: Place) -> None:
    other = Codex("019b7000-0000-7000-8000-000000000001")
    other.prompt("elsewhere")
    other.write(place.home)
    ran = decklog(place.env, "tail", place.talk.id, other.id, place.talk.id, "--json")
    told = [json.loads(line)["session"] for line in ran.text.splitlines()]
    assert set(told) == {place.talk.id, other.id}
    assert decklog(place.env, "tail", place.talk.id, "nonsense").code == 3
    for words in (("tail", "-n", "-3"), ("ls", "--limit", "-1")):
        negative = decklog(place.env, *words)
        assert negative.code == 2
        assert "is not in the range x>=0" in negative.err


def test_what_watch_does_not_understand(place: Place) -> None:
    assert decklog(place.env, "watch", "--on", "user_message").code == 2
    assert decklog(place.env, "watch", "--on", "nonsense", "--", "true").code == 2
    assert decklog(place.env, "watch", "--", "true").code == 2
    words = ("watch", "--on", "user_message", "touch", str(place.home / "ran"), "--once")
    before = decklog(place.env, *words)
    assert (before.code, before.text) == (2, "")
    assert "'touch' stands before --" in before.err


# --- the daemon -------------------------------------------------------------------------------


@pytest.fixture
def daemon(place: Place) -> Iterator[dict[str, Any]]:
    ran = decklog(place.env, "daemon", "start", "--json")
    assert ran.code == 0, ran.err
    yield ran.json
    decklog(place.env, "daemon", "stop")


@pytest.mark.spec("R69")
def test_one_daemon_for_each_data_folder(place: Place, daemon: dict[str, Any]) -> None:
    status = decklog(place.env, "daemon", "status", "--json")
    assert (status.code, status.json) == (0, daemon)
    again = decklog(place.env, "daemon", "start", "--json")
    assert again.code == 1
    assert again.error["retryable"]
    assert str(daemon["pid"]) in again.error["message"]
    stopped = decklog(place.env, "daemon", "stop", "--json")
    assert (stopped.code, stopped.json["stopped"]) == (0, daemon["pid"])
    assert decklog(place.env, "daemon", "status").code == 3
    assert decklog(place.env, "daemon", "stop").code == 3


@pytest.mark.spec("R69")
def test_a_daemon_that_was_killed_leaves_nothing_to_be_cleaned(
    place: Place, daemon: dict[str, Any]
) -> None:
    os.kill(daemon["pid"], signal.SIGKILL)
    while decklog(place.env, "daemon", "status").code == 0:
        time.sleep(0.05)
    place.say("nobody watches")
    assert "> nobody watches" in decklog(place.env, "tail").text
    ran = decklog(place.env, "daemon", "start", "--json")
    assert ran.code == 0
    assert ran.json["pid"] != daemon["pid"]


def test_others_follow_what_the_daemon_reads(place: Place, daemon: dict[str, Any]) -> None:
    tail = Running(place.env, "tail", "-f", "-n", "1")
    assert "ok" in tail.line()
    place.say("one")
    assert "> one" in tail.line()
    os.kill(daemon["pid"], signal.SIGKILL)
    place.say("two")
    assert "> two" in tail.line()
    assert tail.end()[0] == 130


@pytest.mark.spec("R68")
def test_two_versions_name_the_older_side(place: Place, daemon: dict[str, Any]) -> None:
    lock = Path(place.env["DECKLOG_HOME"]) / "daemon.lock"
    said = lock.read_bytes()
    for version, older in (("0.0.1", "the daemon"), ("99.0", "this decklog")):
        changed = {k: v for k, v in json.loads(said).items() if k != "version"}
        with open(lock, "r+b") as f:
            f.write(json.dumps({**changed, "version": version}).encode().ljust(len(said)))
        error = decklog(place.env, "daemon", "start", "--json").error
        assert error["hint"].startswith(f"{older} is the older one")
    lock.write_bytes(said)
