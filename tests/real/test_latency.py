"""How soon ``ps -w`` tells a state of the real programs, after there is something to tell it by.

A bystander looks at the same evidence every few milliseconds; the time it first saw each state is
what counts. The figures are printed: ``just real tests/real/test_latency.py -s``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sandbox import until
from test_panes import script

import decklog
from decklog import agents, collect, processes, screen
from decklog.hub.panes import Request
from decklog.model.fleet import Evidence

WITHIN = 2.0
MEANT = {
    "turn_started": "busy", "busy": "busy", "idle": "idle", "turn_ended": "idle",
    "interrupted": "idle", "waiting_approval": "waiting_approval", "limited": "limited",
}  # fmt: skip


class Bystander:
    """When the evidence for each state was first there."""

    def __init__(self, box: Any, agent: str, pane: Any, panes: Any) -> None:
        self.box, self.pane, self.panes = box, pane, panes
        self.agent = agents.get(agent)
        self.first: dict[str, float] = {}
        self.seen: set[str] = set()
        self.transcripts: dict[str, collect.Transcript] = {}
        self.over = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self.over.wait(0.01):
            for e in self._evidence():
                if e.says in MEANT and (name := f"{e.id}:{e.says}") not in self.seen:
                    self.seen.add(name)
                    self.first.setdefault(MEANT[e.says], time.monotonic())

    def _evidence(self) -> Iterator[Evidence]:
        trees = processes.snapshot([self.agent])
        stated = collect.own_files(trees, {self.agent.name: self.agent}, self.box.env)
        yield from (e for found in stated.states.values() for e in found)
        for root in self.agent.roots(self.box.env):
            for path in Path(root.path).rglob("*.jsonl"):
                native = self.agent.held(str(path)) or path.stem
                session = f"{self.agent.name}:{native}"
                one = collect.Transcript(self.agent, session, str(path))
                yield from self.transcripts.setdefault(str(path), one).read().evidence
        with suppress(decklog.DecklogError):
            for text in self.panes.capture([self.pane]).values():
                assert self.agent.screen is not None
                yield from screen.look(self.agent.screen, text, "", 0)

    def again(self) -> None:
        """What counts from now on; a screen that says the same still says nothing new."""
        self.seen = {i for i in self.seen if not i.startswith("screen:")}
        self.first = {}


class Told:
    """What ``ps -w`` says, and when."""

    def __init__(self, box: Any) -> None:
        command = [sys.executable, "-u", "-m", "decklog", "ps", "-w", "--json"]
        self.process = subprocess.Popen(command, env=box.env, stdout=subprocess.PIPE, text=True)
        self.rows: list[tuple[float, dict[str, Any]]] = []
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            at = time.monotonic()
            self.rows += [(at, row) for row in json.loads(line) if row["role"] == "interactive"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.thread.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_how_soon_a_state_is_told(agent: str, sandbox: Callable[..., Any]) -> None:
    options = {"subscriber": False} if agent == "claude" else {}
    box = sandbox(agent, script(agent), approvals=True, **options)
    late: list[tuple[str, float]] = []
    with decklog.open(env=box.env) as deck, closing(Told(box)) as told:
        panes = deck.panes
        panes.create(Request(agent, name="it", cwd=str(box.cwd)))
        pane = panes.find("it").pane
        other = decklog.open(env=box.env)
        watch = Bystander(box, agent, pane, other.panes)

        def state(expected: str, act: Callable[[], object]) -> dict[str, Any]:
            time.sleep(1.5)  # what was before is over
            watch.again()
            began = time.monotonic()
            act()

            def found() -> tuple[float, dict[str, Any]] | None:
                rows = (r for r in told.rows if r[0] > began and r[1]["state"] == expected)
                return next((r for r in rows if r[1]["session"]), None)

            at, row = until(lambda: expected in watch.first and found(), f"{expected} never told")
            late.append((expected, max(0.0, at - watch.first[expected])))
            print(f"{agent}: {expected} told {1000 * late[-1][1]:.0f} ms after its evidence")
            return row  # type: ignore[no-any-return]

        def send(text: str) -> Callable[[], object]:
            return lambda: panes.send("it", text, ready=30)

        def key(name: str) -> Callable[[], object]:
            return lambda: panes.server(pane.socket).act(pane, ["send-keys", "-t", pane.id, name])

        session = state("busy", send("Think about it."))["session"]
        assert session
        state("idle", lambda: box.model.open("g1"))
        assert state("waiting_approval", send("Run the command."))["session"] == session
        state("busy", key("Enter"))
        until(lambda: "command is finished" in panes.show("it").screen, "it never ended")
        state("busy", send("Think again."))
        state("idle", key("Escape"))
        box.model.open("g2")
        assert state("limited", send("Hit the limit."))["session"] == session
        watch.over.set()
        panes.end("it", grace=2)
        other.close()
    assert max(seconds for _, seconds in late) <= WITHIN
