"""Hooks in the real programs: they run them, and nothing the user sees changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_harness import READY

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
