"""Backfill that dies or fails anywhere, and is called again: nothing missing, nothing twice."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from decklog import backfill, hub, store
from decklog.log import Logs
from faults import Outcome, Tell, die_everywhere, fail_everywhere
from test_backfill import FIXTURES, contents

ROWS = ("claude/plain", "codex/aborted")


@pytest.fixture
def database(tmp_path: Path) -> Any:
    """A store that has read two sessions, and their rows."""
    home = tmp_path / "home"
    for situation in ROWS:
        shutil.copytree(FIXTURES / situation / "input", home, dirs_exist_ok=True)
    env = {"HOME": str(home), "DECKLOG_HOME": str(tmp_path / "own"), "TZ": "UTC"}
    with hub.open(env=env) as deck:
        deck.sync()
        return str(tmp_path / "own"), list(deck.session_rows())


@pytest.mark.spec("BW5", "R41")
def test_it_goes_on_where_it_was_stopped(disk: Path, database: Any, tmp_path: Path) -> None:
    own, rows = database
    whole = Logs(str(tmp_path / "whole"))
    with closing(store.open(own)) as known:
        backfill.run(known, whole, rows)
    wanted = contents(whole)
    assert len(wanted) == len(rows) >= 2

    def work(folder: Path, tell: Tell) -> None:
        logs = Logs(str(folder), segment_bytes=1 << 20)
        backfill.run(store.open(own), logs, rows)
        logs.close()

    def check(folder: Path, outcome: Outcome) -> None:
        assert outcome.error in (None, "WriteError")
        logs = Logs(str(folder))
        with closing(store.open(own)) as known:
            report = backfill.run(known, logs, rows)
        assert report.failed == {}
        found = contents(logs)
        for name, events in wanted.items():
            assert [e for e in found[name] if e[0] != "parse_warning"] == [
                e for e in events if e[0] != "parse_warning"
            ]

    assert die_everywhere(disk, work, check) > 100
    assert fail_everywhere(disk, work, check, errors=("ENOSPC", "EIO"), every=5) > 15
