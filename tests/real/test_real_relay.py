"""What the real Claude Code tells its terminal, heard by the relay: ``just real``."""

from __future__ import annotations

import json
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sandbox import until
from test_panes import script

import decklog
from decklog.hub.panes import Request

SINCE = (2, 1, 295)
"""The first version of Claude Code that reports."""


def test_claude_reports_its_states(sandbox: Callable[..., Any]) -> None:
    box = sandbox("claude", script("claude"), approvals=True, subscriber=False)
    asked = [box.program, "--version"]
    said = subprocess.run(asked, env=box.env, capture_output=True, text=True, check=True)
    if tuple(map(int, said.stdout.split()[0].split("."))) < SINCE:
        pytest.skip(f"{said.stdout.strip()} does not report its state")
    spool = Path(box.env["DECKLOG_HOME"], "hooks", "spool", "claude.jsonl")

    def noted() -> list[str]:
        lines = spool.read_text().splitlines() if spool.exists() else []
        found = [json.loads(b64decode(json.loads(line)["data"])) for line in lines]
        return [" ".join(f[k] for k in ("state", "kind") if k in f) for f in found]

    with decklog.open(env=box.env) as deck:
        panes = deck.panes
        panes.create(Request("claude", name="it", cwd=str(box.cwd), relay=True))

        def heard() -> tuple[str, list[str]]:
            deck.refresh()
            who = panes.find("it").occupant
            evidence = who.state.evidence if who is not None else ()
            return (who.state.state if who else ""), [
                e.says for e in evidence if e.kind == "osc7501"
            ][-1:]

        def both(state: str) -> None:
            with suppress(TimeoutError):
                until(lambda: heard() == (state, [state]), "", 10)
            assert heard() == (state, [state]), noted()

        assert panes.send("it", "Think about it.", ready=30).outcome == "submitted"
        box.model.reached("g1")
        both("busy")
        box.model.open("g1")
        both("idle")
        assert panes.send("it", "Run the command.").outcome == "submitted"
        both("waiting_approval")
        pane = panes.find("it").pane
        assert pane is not None
        time.sleep(1)  # a dialog that was just opened takes no keys
        panes.server(pane.socket).act(pane, ["send-keys", "-t", pane.id, "Enter"])
        both("idle")
        assert panes.end("it").gone
    assert noted()[:3] == ["idle", "working", "done"]
    assert noted()[-3:] == ["blocked permission", "working", "done"]
