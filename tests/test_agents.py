"""Every agent on every situation below tests/agents: no code, one walk."""

from __future__ import annotations

from pathlib import Path

import pytest

from decklog import agents
from decklog.testing import assert_agent

HERE = Path(__file__).parent / "agents"
SITUATIONS = sorted(
    (p.parent.parent.name, p.parent.name) for p in HERE.glob("*/*/input") if p.is_dir()
)


@pytest.mark.parametrize(("name", "situation"), SITUATIONS)
def test_situation(name: str, situation: str, accept: bool, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / situation).symlink_to(HERE / name / situation)
    assert_agent(agents.get(name), folder, accept=accept)


def test_every_built_in_agent_has_situations() -> None:
    assert {name for name, _ in SITUATIONS} == set(agents.BUILT_IN)
