"""A HOME whose agents are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from decklog import hub


@pytest.fixture
def work(home: Path) -> Path:
    folder = home / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def deck(env: dict[str, str]) -> Iterator[hub.Decklog]:
    with hub.open(env=env) as found:
        yield found


@pytest.fixture
def env(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """No tmux server of this machine is looked at."""
    return {**env, "TMUX_TMPDIR": str(tmp_path)}
