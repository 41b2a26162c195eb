"""Real agents followed live: what was told is what is read afterwards, and its tokens are those of
the provider. Plain runs, an interrupt in mid-stream, a stream that is cut, a refusal, a resumption;
and all of it through ``decklog run``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import decklog
from decklog.model import Event, Happened, Lagged, UsageReported

ROOT = Path(__file__).parents[2]
WORK = {
    "turns": [
        {
            "thinking": "I look first.",
            "text": "I run a command.",
            "tools": [{"tool": "shell", "command": "echo made > made.txt"}],
        },
        {"thinking": "All is well.", "text": "Finished as scripted."},
        {"text": "And more."},
        {"text": "And even more."},
    ]
}
DROPPED = {"turns": [{"text": "I begin to say something long.", "error": {"drop": True}}] * 8}
REFUSED = {
    "turns": [
        {"error": {"status": 429, "message": "You have hit your usage limit. Try again at 5pm."}}
    ]
    * 30
}
HELD = {"turns": [{"text": "I think about it, slowly, in pieces.", "gate": "g"}]}
AGENTS = ("claude", "codex", "gemini")


def bare(event: Event) -> Any:
    return msgspec.json.encode(msgspec.structs.replace(event, seq=0))


class Followed:
    """A deck that follows the agents of a sandbox."""

    def __init__(self, box: Any) -> None:
        self.box = box
        self.deck = decklog.open(env=box.env)
        self.changes = self.deck.changes()
        self.told: list[Event] = []

    def __enter__(self) -> Followed:
        return self

    def __exit__(self, *_: object) -> None:
        self.deck.close()

    def take(self, seconds: float = 1.0) -> list[Event]:
        while (change := self.changes.poll(seconds)) is not None:
            assert not isinstance(change, Lagged)
            if isinstance(change, Happened):
                self.told.append(change.event)
        return self.told

    def assert_as_read_later(self) -> None:
        """What was told of each session is what is read of it now, in that order."""
        self.take()
        env = {**self.box.env, "DECKLOG_HOME": str(self.box.folder / "later")}
        with decklog.open(env=env) as later:
            later.sync()
            sessions = list(later.sessions())
            assert {e.session for e in self.told} == {s.id for s in sessions}
            for session in sessions:
                live = [bare(e) for e in self.told if e.session == session.id]
                assert live == [bare(e) for e in later.events(session.id)], session.id
                assert self.deck.session(session.id).usage == session.usage

    def tokens(self) -> tuple[int, int, int]:
        """Input, cached input, output by what was told, each response once."""
        last: dict[str, UsageReported] = {}
        for e in self.told:
            if isinstance(e, UsageReported):
                last[e.key] = e
        usages = [e.usage for e in last.values()]
        given = sum(u.input + u.cache_write for u in usages)
        return given, sum(u.cache_read for u in usages), sum(u.output for u in usages)

    def truth(self) -> tuple[int, int, int]:
        """The same by the provider."""
        said = [a["usage"] for a in self.box.model.answers if a["route"] == "main"]
        given = sum(u["input"] + u["cache_write"] for u in said)
        return given, sum(u["cache_read"] for u in said), sum(u["output"] for u in said)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_plain_run_and_its_resumption(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, WORK)
    with Followed(box) as live:
        box.run("Say hello.")
        live.take()
        session = live.told[-1].session
        assert live.tokens() == live.truth()
        box.run("Go on.", session.partition(":")[2])
        live.assert_as_read_later()
        assert live.tokens() == live.truth()
        assert {e.session for e in live.told} == {session}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_interrupt_in_mid_stream(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, HELD)
    with Followed(box) as live:
        process = box.start("Think about it.")
        box.model.reached("g", timeout=60)
        live.take(0.5)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
        live.assert_as_read_later()
        assert [e for e in live.told if getattr(e, "content", "") == "Think about it."]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("scenario", [DROPPED, REFUSED], ids=["a cut stream", "a refusal"])
def test_a_provider_that_fails(
    agent: str, scenario: dict[str, Any], sandbox: Callable[..., Any]
) -> None:
    box = sandbox(agent, scenario)
    with Followed(box) as live:
        process = box.start("Say hello.")
        try:
            process.communicate(timeout=25)
        except subprocess.TimeoutExpired:  # it goes on trying for minutes
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        live.assert_as_read_later()
        assert [e for e in live.told if getattr(e, "content", "") == "Say hello."]


# --- decklog run ------------------------------------------------------------------------------

ALLOWED = {
    "claude": ["--dangerously-skip-permissions"],
    "codex": ["--skip-git-repo-check"],
    "gemini": ["--yolo", "--skip-trust"],
    "copilot": ["--allow-all-tools"],
    "opencode": [],
    "pi": [],
}


def run(box: Any, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[bytes]:
    env = {**box.env, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-m", "decklog", "run", box.agent, *words],
        cwd=box.cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("agent", sorted(ALLOWED))
def test_run_records_what_the_agent_did(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, WORK)
    done = run(box, "--prompt", "Say hello.", "--json", "--", *ALLOWED[agent])
    assert done.returncode == 0, done.stderr.decode()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "session_started"
    assert events[-1]["type"] == "session_ended"
    said = [e["content"] for e in events if e["type"] == "assistant_message"]
    assert "Finished as scripted." in said
    with decklog.open(env=box.env) as deck:
        deck.sync()
        (session,) = [s for s in deck.sessions() if s.relation is None]
        logged = deck.log.find("latest")
        assert logged.provider_session_id == session.native
        entries = list(deck.log.read(logged.wrapper_session_id))
        recorded = [e.event.uid for e in entries if e.event.origin == "provider_file"]
        expected = [e.uid for e in deck.events(session.id)]
        if (
            agent == "opencode"
        ):  # it changes its records in place: what they were before is told too
            assert set(recorded) >= set(expected)
        else:
            assert recorded == expected


@pytest.mark.parametrize("agent", AGENTS)
def test_run_prints_what_the_agent_prints(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, {"turns": [{"text": "Finished as scripted."}] * 2})
    done = run(box, "--prompt", "Say hello.", "--", *ALLOWED[agent])
    time.sleep(1)
    bare_run = box.start("Say hello.").communicate(timeout=90)
    assert (done.returncode, done.stdout.decode()) == (0, bare_run[0])


def test_a_run_goes_on_after_a_usage_limit(sandbox: Callable[..., Any]) -> None:
    """The program names the minute in which its limit ends; then it is asked to go on, once."""
    resets = str((int(time.time()) // 60 + 1) * 60)
    claim = "anthropic-ratelimit-unified"
    limit = {
        "status": 429,
        "message": "This request would exceed your account's rate limit.",
        "headers": {
            f"{claim}-status": "rejected",
            f"{claim}-reset": resets,
            f"{claim}-representative-claim": "five_hour",
            f"{claim}-5h-status": "rejected",
            f"{claim}-5h-reset": resets,
            f"{claim}-overage-status": "rejected",
        },
    }
    turns = [{"error": limit}, {"text": "Finished after the limit."}]
    box = sandbox("claude", {"turns": turns}, subscriber=True)
    done = run(box, "--resume-after-limit", "--prompt", "Work.", "--json", seconds=200)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [e["type"] for e in events]
    assert done.returncode == 0, done.stderr.decode()
    assert kinds.count("usage_limit_resumed") == 1
    (said,) = [e for e in events if e["type"] == "assistant_message" and "after" in e["content"]]
    assert kinds.index("usage_limit_hit") < kinds.index("usage_limit_resumed") < events.index(said)
    with decklog.open(env=box.env) as deck:
        (resumed,) = deck.limits.all()
        assert (resumed.state, resumed.attempt, resumed.fallback) == ("completed", 1, False)
        deck.sync()
        assert len(list(deck.sessions())) == 1
