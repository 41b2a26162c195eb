"""Hooks in the real programs: they run them, and nothing the user sees changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_harness import READY
from test_panes import script

import decklog
from decklog.spool import Spool

SCRIPT = {
    "turns": [
        {"text": "I run it.", "tools": [{"tool": "shell", "command": "echo x > y"}]},
        {"text": "It is done."},
    ]
}


def events(box: Any) -> list[str]:
    return [n.event for n in Spool(box.env["DECKLOG_HOME"]).read()]


def test_claude_tells_its_turns_and_that_it_waits(sandbox: Callable[..., Any]) -> None:
    box = sandbox("claude", SCRIPT, approvals=True)
    settings = Path(box.env["HOME"], ".claude", "settings.json")
    before = json.loads(settings.read_text())
    with decklog.open(env=box.env) as deck:
        assert deck.fleet.install_hooks(["claude"])[0].changed
        terminal = box.terminal()
        terminal.shows(READY["claude"])
        time.sleep(1)
        terminal.say("Run it.")
        terminal.shows(r"1\. Yes", timeout=60)
        time.sleep(0.5)
        [row] = deck.fleet.rows(panes=())
        assert row["state"] == "waiting_approval"
        assert "hook" in {e["kind"] for e in row["evidence"]}
        terminal.keys("Enter")
        terminal.shows("It is done")
        time.sleep(1)
        [row] = deck.fleet.rows(panes=())
        assert row["state"] == "idle"
        assert (row["session"], row["confidence"]) == (row["session"], 0.99)
        assert "hook" not in terminal.screen().lower()  # no error, no notice
        assert deck.fleet.remove_hooks(["claude"])[0].changed
    assert before.items() <= json.loads(settings.read_text()).items()  # it writes there itself
    assert "decklog" not in settings.read_text()
    told = events(box)
    assert {"SessionStart", "UserPromptSubmit", "PermissionRequest", "Stop"} <= set(told)
    assert told.index("UserPromptSubmit") < told.index("PermissionRequest") < told.index("Stop")


def test_codex_tells_its_turns_and_that_it_waits(sandbox: Callable[..., Any]) -> None:
    box = sandbox("codex", script("codex"), approvals=True)
    with decklog.open(env=box.env) as deck:
        assert deck.fleet.install_hooks(["codex"])[0].changed
        terminal = box.terminal("--dangerously-bypass-hook-trust")
        terminal.shows(READY["codex"])
        time.sleep(1)
        terminal.say("Think about it.")
        box.model.reached("g1")
        [row] = [r for r in deck.fleet.rows(panes=()) if r["role"] != "service"]
        assert row["state"] == "busy"
        box.model.open("g1")
        terminal.shows("what I found")
        terminal.say("Run it.")
        terminal.shows("Would you like to run", timeout=60)
        time.sleep(0.5)
        [row] = [r for r in deck.fleet.rows(panes=()) if r["role"] != "service"]
        assert (row["state"], row["state_source"]) == ("waiting_approval", "hook")
        terminal.keys("Enter")
        terminal.shows("command is finished")
        time.sleep(1)
        [row] = [r for r in deck.fleet.rows(panes=()) if r["role"] != "service"]
        assert row["state"] == "idle"
    told = events(box)
    assert {"SessionStart", "UserPromptSubmit", "PermissionRequest", "Stop"} <= set(told)


@pytest.mark.parametrize("agent", ["claude", "gemini"])
def test_headless_runs_go_as_before(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, {"turns": SCRIPT["turns"] * 2})
    with decklog.open(env=box.env) as deck:
        deck.fleet.install_hooks([agent])
    out = box.run("Run it.")
    assert "It is done." in out
    assert "hook" not in out.lower()
    ends = {"claude": "Stop", "gemini": "AfterAgent"}
    assert {"SessionStart", ends[agent]} <= set(events(box))
    Path(box.env["DECKLOG_HOME"], "hooks", "decklog-hook").unlink()  # decklog has gone
    out = box.run("Run it.")
    assert "It is done." in out
    assert "hook" not in out.lower()
