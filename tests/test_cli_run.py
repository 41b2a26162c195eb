"""Running an agent: as if decklog were not there, and recorded."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decklog.hub import Decklog
from followed import deck_on
from shell import DECKLOG, Ran, decklog, environment
from waiting import until

FAKE = Path(__file__).parent / "fake_claude.py"
SECONDS = 60


class Place:
    def __init__(self, folder: Path) -> None:
        self.home, self.own = folder / "home", folder / "own"
        programs = folder / "bin"
        programs.mkdir()
        self.home.mkdir()
        program = programs / "claude"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
        program.chmod(0o755)
        self.env = {
            "HOME": str(self.home), "DECKLOG_HOME": str(self.own), "TZ": "UTC",
            "PATH": f"{programs}:{os.environ['PATH']}",
        }  # fmt: skip
        self.cwd = folder / "work"
        self.cwd.mkdir()

    def run(self, *words: str) -> Ran:
        return self.call("run", *words)

    def call(self, *words: str) -> Ran:
        done = subprocess.run(
            [*DECKLOG, *words], env=environment(self.env), cwd=self.cwd,
            capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*DECKLOG, "run", *words], env=environment(self.env), cwd=self.cwd,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def deck(self) -> Decklog:
        return deck_on(self.home, self.own)

    def recorded(self) -> list[Any]:
        """The entries of the latest log."""
        with self.deck() as deck:
            return list(deck.log.read(deck.log.find("latest").wrapper_session_id))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def kinds(entries: list[Any]) -> list[str]:
    return [e.kind for e in entries]


def prompts(entries: list[Any]) -> list[str]:
    return [e.event.content for e in entries if e.kind == "user_message"]


WHOLE = ["session_started", "user_message", "session_started", "user_message", "assistant_message",
         "usage", "session_ended"]  # fmt: skip


def test_streams_are_those_of_the_agent_and_the_run_is_recorded(place: Place) -> None:
    ran = place.run("claude", "--prompt", "hello there")
    assert (ran.code, ran.out) == (0, b"out \xff\n")
    assert ran.err.encode("utf-8", "surrogateescape") == b"err \xfe\n"
    entries = place.recorded()
    assert Counter(kinds(entries)) == Counter(WHOLE)
    assert kinds(entries)[:2] == ["session_started", "user_message"]
    assert "claude --session-id" in entries[0].event.command
    with place.deck() as deck:
        deck.sync()
        (session,) = deck.sessions()
        expected = list(deck.events(session.id))
    recorded = [e.event for e in entries if e.event.origin == "provider_file"]
    assert [(type(e), e.uid, e.at) for e in recorded] == [(type(e), e.uid, e.at) for e in expected]
    assert entries[-1].event.success


@pytest.mark.parametrize(
    ("prompt", "code", "said"),
    [("exit 7", 7, "exit code 7"), ("die 9", 137, "ended by SIGKILL"),
     ("die 15", 143, "ended by SIGTERM")],
)  # fmt: skip
def test_the_exit_code_is_that_of_the_agent(
    place: Place, prompt: str, code: int, said: str
) -> None:
    assert place.run("claude", "--prompt", prompt).code == code
    ended = place.recorded()[-1].event
    assert (ended.success, ended.error) == (False, said)


def test_signals_go_to_the_agent(place: Place) -> None:
    process = place.start("claude", "--prompt", "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 43
    assert place.recorded()[-1].kind == "session_ended"


def test_an_interrupt_ends_the_agent_and_not_the_recording(place: Place) -> None:
    process = place.start("claude", "--prompt", "wait")
    assert process.stdout is not None
    assert process.stdout.readline() == b"waiting\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    assert process.returncode in (1, 130)
    assert place.recorded()[-1].kind == "session_ended"


def test_json_prints_the_events_as_they_come(place: Place) -> None:
    ran = place.run("claude", "--prompt", "hello", "--json")
    assert ran.code == 0
    events = [json.loads(x) for x in ran.out.decode().splitlines()]
    assert Counter(e["type"] for e in events) == Counter(WHOLE) - Counter(["user_message"])
    assert [e["content"] for e in events if e["type"] == "assistant_message"] == ["did hello"]
    assert events[-1]["type"] == "session_ended"


def test_words_after_the_dashes_are_the_agents(place: Place) -> None:
    place.run("claude", "--prompt", "one", "--", "--model", "x", "--add-dir", "/a b")
    command = place.recorded()[0].event.command
    assert command.endswith("--model x --add-dir '/a b' -p one")


def test_a_session_is_gone_on_with(place: Place) -> None:
    place.run("claude", "--prompt", "one")
    with place.deck() as deck:
        deck.sync()
        (session,) = deck.sessions()
    place.run("claude", "--resume", session.id, "--prompt", "two")
    entries = place.recorded()
    assert entries[0].event.resumed
    assert [e.event.content for e in entries if e.kind == "user_message"] == ["two", "two"]
    with place.deck() as deck:
        deck.sync()
        assert len(list(deck.sessions())) == 1


def test_what_cannot_be_run(place: Place) -> None:
    assert decklog(place.env, "run", "nobody").code == 3
    assert decklog(place.env, "run", "claude", "--json").code == 2
    error = decklog({**place.env, "PATH": "/nowhere"}, "run", "claude", "--prompt", "x", "--json")
    assert (error.code, error.error["error"]) == (3, "NotFound")
    assert decklog(place.env, "--sample", "run", "claude").code == 2


# --- on a terminal ----------------------------------------------------------------------------


OWN = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Takes the terminal for its own, then runs a command."""


class Terminal:
    """decklog on a terminal of its own, with somebody who types."""

    def __init__(self, place: Place, *words: str) -> None:
        self.ours, its = pty.openpty()
        self.its = its
        self.resize(90)
        self.before = termios.tcgetattr(its)
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN, *DECKLOG, "run", *words],
            env={"TERM": "xterm", **environment(place.env)},
            cwd=place.cwd, stdin=its, stdout=its, stderr=its, start_new_session=True,
        )  # fmt: skip
        self.seen = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    def shows(self, text: str) -> None:
        end = time.monotonic() + SECONDS
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.ours], [], [], 0.5)[0]:
                self.seen += os.read(self.ours, 65536).decode()

    def types(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def end(self) -> int:
        code = self.process.wait(SECONDS)
        assert termios.tcgetattr(self.its) == self.before
        os.close(self.its)
        os.close(self.ours)
        return code


def test_the_agent_has_a_terminal_and_ours_is_as_before(place: Place) -> None:
    terminal = Terminal(place, "claude")
    terminal.shows("ready 90")
    terminal.types("first\r")
    terminal.shows("did first")
    terminal.resize(70)
    terminal.shows("size 70")
    terminal.types("quit\r")
    assert terminal.end() == 5
    assert prompts(place.recorded()) == ["first"]


def test_a_cleared_session_goes_on_in_the_next(place: Place) -> None:
    terminal = Terminal(place, "claude")
    terminal.shows("ready")
    for text in ("first", "/clear", "second"):
        terminal.types(f"{text}\r")
        if text != "/clear":
            terminal.shows(f"did {text}")
    until(lambda: prompts(place.recorded())[-1:] == ["second"])
    terminal.types("quit\r")
    assert terminal.end() == 5
    entries = place.recorded()
    assert prompts(entries) == ["first", "second"]
    assert kinds(entries).count("session_cleared") == 1


def test_a_killed_agent_leaves_our_terminal_as_it_was(place: Place) -> None:
    terminal = Terminal(place, "claude")
    terminal.shows("ready")
    (own,) = (place.home / ".claude" / "sessions").iterdir()
    os.kill(int(own.stem), signal.SIGKILL)
    assert terminal.end() == 137


# --- usage limits -----------------------------------------------------------------------------


def test_after_a_usage_limit_it_goes_on_when_asked_to(place: Place) -> None:
    ran = place.run("claude", "--prompt", "limit 1", "--resume-after-limit")
    assert ran.code == 0
    assert "going on at" in ran.err
    entries = place.recorded()
    hits = [e.event for e in entries if e.kind == "usage_limit_hit"]
    assert [h.origin for h in hits] == ["provider_file", "wrapper"]
    assert hits[1].scheduled_resume_at
    assert not hits[1].fallback_used
    (resumed,) = [e.event for e in entries if e.kind == "usage_limit_resumed"]
    assert (resumed.attempt, resumed.resume_message) == (1, "Continue")
    assert [e.event.content for e in entries if e.kind == "assistant_message"] == ["did Continue"]
    with place.deck() as deck:
        (pending,) = deck.limits.all()
    assert (pending.state, pending.waiting, pending.id) == ("completed", False, hits[1].incident_id)


def test_without_being_asked_to_it_does_not_go_on(place: Place) -> None:
    assert place.run("claude", "--prompt", "limit 1").code == 1
    with place.deck() as deck:
        assert deck.limits.all() == []


def test_a_resumption_survives_a_crash_and_can_be_cancelled(place: Place) -> None:
    process = place.start("claude", "--prompt", "limit 3000", "--resume-after-limit")
    with place.deck() as deck:
        until(lambda: [p for p in deck.limits.all() if p.waiting])
        process.kill()
        process.communicate()
        (pending,) = deck.limits.all()
        assert (pending.state, pending.waiting, pending.cwd) == ("scheduled", False, str(place.cwd))
        assert pending.resume_at > time.time() * 1000 + 2_000_000
    assert "left alone" in decklog(place.env, "log", "limits").text
    (row,) = decklog(place.env, "log", "limits", "--json").json
    assert (row["id"], row["state"]) == (pending.id, "scheduled")
    assert decklog(place.env, "log", "limits", "--cancel", pending.id[:8]).code == 0
    assert decklog(place.env, "log", "limits", "--cancel", "nothing").code == 3
    resumed = decklog(place.env, "log", "limits", "--resume", pending.id, "--json")
    assert (resumed.code, resumed.error["message"]) == (2, f"{pending.id} is cancelled")


def test_a_resumption_that_was_left_alone_is_taken_up(place: Place) -> None:
    process = place.start("claude", "--prompt", "limit 3", "--resume-after-limit")
    with place.deck() as deck:
        until(lambda: [p for p in deck.limits.all() if p.waiting])
        process.kill()
        process.communicate()
        (pending,) = deck.limits.all()
        soon = msgspec.structs.replace(pending, resume_at=0)
        deck.limits.put(soon)
    assert place.call("log", "limits", "--resume", pending.id).code == 0
    assert [e.event.content for e in place.recorded() if e.kind == "assistant_message"] == [
        "did Continue"
    ]
    (row,) = decklog(place.env, "log", "limits", "--json").json
    assert row["state"] == "completed"
