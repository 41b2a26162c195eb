"""The harness itself: every program runs offline, headless, and those with a screen in tmux."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from agents import PROGRAMS

HELLO = {
    "turns": [
        {
            "text": "I run a command.",
            "tools": [{"tool": "shell", "command": "echo made > made.txt"}],
        },
        {"thinking": "All is well.", "text": "Finished as scripted."},
    ]
}


@pytest.mark.parametrize("agent", sorted(PROGRAMS))
def test_headless(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, HELLO)
    out = box.run("Say hello.")
    assert "Finished as scripted." in out
    assert (box.cwd / "made.txt").read_text() == "made\n"
    main = [a["turn"] for a in box.model.answers if a["route"] == "main"]
    assert main == [0, 1]


READY = {
    "claude": r"\? for shortcuts|❯",
    "codex": r"Ask Codex",
    "gemini": r"Type your message",
    "opencode": r"Ask anything",
    "pi": r"fake-model",
    "copilot": r"Confirm folder trust|/ commands",
}


@pytest.mark.parametrize("agent", sorted(PROGRAMS))
def test_terminal(agent: str, sandbox: Callable[..., Any]) -> None:
    turn = {
        "text": "I think about it, slowly, in pieces, and then I say what I found.",
        "gate": "g",
    }
    box = sandbox(agent, {"turns": [turn]})
    terminal = box.terminal()
    screen = terminal.shows(READY[agent])
    if re.search("trust", screen):
        terminal.keys("Enter")
        terminal.shows("trust", absent=True)
    terminal.shows(r"\S")
    for _ in range(3):  # a screen that still starts may swallow the prompt
        terminal.say("Think about it.")
        try:
            box.model.reached("g", timeout=8)
            break
        except TimeoutError:
            terminal.keys("C-u")
    box.model.reached("g", timeout=1)
    assert "what I found" not in terminal.screen()
    box.model.open("g")
    terminal.shows("what I found")
