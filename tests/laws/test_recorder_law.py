"""The same session recorded while it happens, read afterwards, or written into the log later: the
same events, whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest

from decklog import backfill
from decklog.hub import Decklog
from decklog.model import SessionEnded
from followed import deck_on
from homes import files
from test_backfill import FIXTURES, once, told

SITUATIONS = [
    "claude/tools", "claude/streamed", "claude/usage_limit", "codex/tools", "codex/compact",
    "copilot/tools", "gemini/tools", "gemini/cut_stream", "opencode/tools", "pi/tools",
]  # fmt: skip


class Growing:
    """A HOME that comes to be in pieces: lines cut anywhere, all else in one piece."""

    def __init__(self, whole: Path, home: Path, random: Random) -> None:
        self.home, self.random = home, random
        self.left = {p.relative_to(whole): p.read_bytes() for p in files(whole)}

    def grow(self) -> None:
        for path in self.random.sample(sorted(self.left), min(len(self.left), 3)):
            data = self.left.pop(path)
            lines = path.suffix == ".jsonl" and len(data) > 1
            n = self.random.randint(1, len(data)) if lines else len(data)
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            with open(self.home / path, "ab") as f:
                f.write(data[:n])
            if data[n:]:
                self.left[path] = data[n:]


def logged(deck: Decklog, name: str) -> list[Any]:
    """What the log tells of a session, without what only the one who writes it knows."""
    events = [e.event for e in deck.log.read(name) if e.event.origin != "wrapper"]
    return [told(e) for e in once(events) if e.uid != "start" and not isinstance(e, SessionEnded)]


def read(deck: Decklog, session: str) -> list[Any]:
    return [told(e) for e in once(list(deck.events(session))) if not isinstance(e, SessionEnded)]


@pytest.mark.spec("X6", "B26", "B46", "BW6")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_recorded_read_and_backfilled_events_are_the_same(
    situation: str, home: Path, tmp_path: Path
) -> None:
    whole = FIXTURES / situation / "input"
    shutil.copytree(whole, tmp_path / "whole", dirs_exist_ok=True)
    with deck_on(tmp_path / "whole", tmp_path / "other") as deck:
        deck.sync()
        rows = list(deck.session_rows(subagents=True))
        deck.backfill()
        later = {r["id"]: logged(deck, backfill.name(r["agent"], r["native"])) for r in rows}
    growing = Growing(whole, home, Random(situation))
    with deck_on(home, tmp_path / "own") as deck:
        recorders = {r["id"]: deck.record(r["agent"], native=r["native"]) for r in rows}
        for recorder in recorders.values():
            recorder.start(command="run")
        while growing.left:
            growing.grow()
            for recorder in recorders.values():
                recorder.look(0.01)
        for recorder in recorders.values():
            recorder.finish()
            recorder.writer.close()
        live = {s: logged(deck, r.writer.id) for s, r in recorders.items()}
        afterwards = {s: read(deck, s) for s in recorders}
    assert sum(map(len, live.values())) >= 3

    def placeless(of: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {s: [(k, {**f, "ref": None}) for k, f in found] for s, found in of.items()}

    assert live == afterwards
    assert placeless(later) == placeless(afterwards)
