"""A supervisor with fake agents on real tmux servers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from decklog import agents, processes
from decklog.model.fleet import AgentProcess, AgentState, Evidence, Pane, State
from decklog.sight import Place, place
from decklog.supervisor import Occupant, Supervisor
from fake_agent import install
from tmux_server import Room, rooms


class Crew:
    """``crew.boss`` is a supervisor; ``crew.fake(...)`` says how the next agents behave."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.ledger = room.folder / "ledger.jsonl"
        self.project = room.folder / "project"
        self.project.mkdir()
        room.env["PATH"] = f"{install(room.folder / 'bin').parent}:{os.environ['PATH']}"
        room.env["FAKE_LEDGER"] = str(self.ledger)
        room.env["FAKE_BUSY"] = "0.3"
        self.boss = self.supervisor()

    def supervisor(self, **more: Any) -> Supervisor:
        """Another one over the same registry: what a restart of ours is."""
        return Supervisor(str(self.room.folder / "own" / "fleet"), self.room.env, Sight(), **more)

    def fake(self, **habits: object) -> None:
        for name in [k for k in self.room.env if k.startswith("FAKE_") and k != "FAKE_LEDGER"]:
            del self.room.env[name]
        self.room.env |= {f"FAKE_{k.upper()}": str(v) for k, v in ({"busy": 0.3} | habits).items()}

    def given(self) -> list[str]:
        """What the fake agents were given, in order."""
        return [e["text"] for e in self.entries()]

    def entries(self) -> list[dict[str, Any]]:
        if not self.ledger.exists():
            return []
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]


class Sight:
    """Agents by their processes; their state is what the screen says, no more."""

    def processes(self) -> list[AgentProcess]:
        return processes.snapshot(agents.every(), ourselves=-1)

    def occupants(
        self,
        trees: Sequence[AgentProcess],
        panes: Sequence[Pane],
        said: Mapping[Place, Sequence[Evidence]],
    ) -> list[Occupant]:
        found = []
        for tree in trees:
            state: State = "unknown"
            known = {*tree.pids, tree.root.ppid}
            where = [place(p) for p in panes if p.pid in known]
            for e in (e for at in where for e in said.get(at, ())):
                state = {"composer_empty": "idle"}.get(e.says, e.says)  # type: ignore[assignment]
            found.append(Occupant(tree, None, AgentState(state=state)))
        return found


def crews() -> Iterator[Crew]:
    for room in rooms():
        yield Crew(room)


def write_transcript(home: Path, native: str, cwd: str) -> Path:
    folder = home / ".claude" / "projects" / cwd.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{native}.jsonl"
    path.write_text("")
    return path
