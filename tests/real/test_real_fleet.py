"""Sessions, states and thoughts of the real programs, without a look at their screens."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from test_harness import READY

import decklog

SLOW = "I think about it, slowly, in pieces, and then I say what I found."
SCRIPT = {
    "turns": [
        {"text": SLOW, "gate": "g"},
        {"text": "I run a command.", "tools": [{"tool": "shell", "command": "echo x > y"}]},
        {"text": "It is done."},
    ]
}
TELL_APPROVAL = ("claude", "copilot")
"""Programs that say themselves, outside their screens, that they wait for permission."""
EXACT = {"claude": 0.97, "copilot": 0.9}
"""Programs whose session is stated; of the others it is inferred."""


class Watched:
    """The one agent of a sandbox, as decklog sees it."""

    def __init__(self, box: Any) -> None:
        self.deck = decklog.open(env=box.env)

    def close(self) -> None:
        self.deck.close()

    def row(self) -> dict[str, Any]:
        self.deck.refresh()
        return next((r for r in self.deck.fleet.rows(panes=()) if r["role"] != "service"), {})

    def until(self, timeout: float = 2.0, **expected: Any) -> dict[str, Any]:
        """Wait, two seconds if not told otherwise, until the row says so."""
        end = time.monotonic() + timeout
        while True:
            row = self.row()
            if all(row.get(k) == v for k, v in expected.items()):
                return row
            if time.monotonic() > end:
                raise TimeoutError(f"never {expected}, but {row}")
            time.sleep(0.05)


def prompt(box: Any, terminal: Any, text: str) -> None:
    """Say it until it has arrived: a screen that still starts may swallow it."""
    for _ in range(3):
        terminal.say(text)
        try:
            return box.model.reached("g", timeout=15)
        except TimeoutError:
            terminal.keys("C-u")
    raise TimeoutError("the prompt never arrived")


def say(terminal: Any, text: str, answer: str) -> None:
    """Say it until it was answered."""
    for _ in range(3):
        terminal.say(text)
        try:
            terminal.shows(answer, timeout=10)
            return
        except TimeoutError:
            terminal.keys("C-u")
    raise TimeoutError(f"never answered {answer!r}")


@pytest.mark.parametrize("agent", sorted(READY))
def test_session_state_and_thought(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, SCRIPT, approvals=True)
    terminal = box.terminal()
    screen = terminal.shows(READY[agent])
    if re.search("trust", screen):
        terminal.keys("Enter")
        terminal.shows("trust", absent=True)
    watched = Watched(box)
    fresh = watched.until(agent=agent)
    assert terminal.pid in fresh["pids"]
    assert fresh["state"] in ("starting", "idle", "unknown")
    prompt(box, terminal, "Think about it.")
    if agent != "pi":  # it writes nothing before its first answer is complete
        busy = watched.until(state="busy", thought="Think about it.")
        assert (busy["pid"], busy["ambiguous"]) == (fresh["pid"], False)
        assert busy["session"]
    box.model.open("g")
    idle = watched.until(8.0, state="idle", thought=SLOW)
    assert idle["confidence"] == EXACT.get(agent, 0.65)
    assert idle["session"].startswith(f"{agent}:")
    assert idle["objective"] == "Think about it."
    terminal.say("Now run it.")
    if agent in TELL_APPROVAL:
        watched.until(6.0, state="waiting_approval", session=idle["session"])
        terminal.shows(r"1\. Yes")
        name = "Bash" if agent == "claude" else "bash"
        watched.until(thought=f"{name}: Scripted step")
        terminal.keys("Enter")
    elif agent != "pi":
        terminal.shows(r"Yes|Allow|It is done")
        terminal.keys("Enter")
    watched.until(10.0, state="idle", thought="It is done.", session=idle["session"])
    told = [a["usage"] for a in box.model.answers if a["route"] == "main"]
    kinds = ("input", "cache_read", "cache_write", "output")
    watched.until(tokens=sum(u.get(k, 0) for u in told for k in kinds))  # a sync later
    watched.close()


def test_clear_moves_claude_on_and_keeps_where_it_was(sandbox: Callable[..., Any]) -> None:
    box = sandbox("claude", {"turns": [{"text": "One."}, {"text": "Two."}]})
    terminal = box.terminal()
    terminal.shows(READY["claude"])
    watched = Watched(box)
    say(terminal, "First.", "One")
    one = watched.until(8.0, state="idle", thought="One.")
    terminal.say("/clear")
    time.sleep(1)
    say(terminal, "Second.", "Two")
    two = watched.until(8.0, state="idle", thought="Two.")
    assert two["session"] != one["session"]
    assert two["history"] == [one["session"]]
    assert two["pid"] == one["pid"]
    watched.close()


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "copilot", "opencode", "pi"])
def test_headless_runs_are_found_while_they_work(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, {"turns": [{"text": "Slowly, in several pieces, it comes.", "gate": "g"}]})
    run = box.start("Say it.")
    watched = Watched(box)
    box.model.reached("g", timeout=30)
    row = watched.until(3.0, agent=agent)
    assert row["role"] == ("interactive" if agent == "pi" else "headless")  # pi hides its argv
    assert run.pid in row["pids"]
    box.model.open("g")
    run.communicate(timeout=60)
    watched.until(5.0, agent=None)
    watched.close()
