"""What is not written by agents, or stands beside what they write: `just fuzz` does any number."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from decklog import config
from decklog.archive import records
from decklog.errors import UsageError
from fuzz import own
from fuzz.dealing import Failed, dealt

RUNS = 4_000


@pytest.mark.spec("R51", "R106", "R30")
@pytest.mark.parametrize("name", own.TARGETS)
def test_anything_may_be_read(name: str) -> None:
    assert dealt(own.TARGETS[name], 20_260_101, range(RUNS), jobs=1).held == RUNS


@pytest.mark.parametrize("text", ["x = " + "[" * 5_000, "x = " + "9" * 5_000, "x = \xff", "="])
def test_settings_beyond_measure_are_a_usage_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"config\.toml") as caught:
        config.load({"HOME": str(tmp_path), "DECKLOG_HOME": str(tmp_path)})
    assert caught.value.hint == "mend the file, or move it away"


# --- shown able to fail ---------------------------------------------------------------------------


def test_a_record_of_a_pack_that_is_not_met_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    head = records.head
    monkeypatch.setattr(records, "head", lambda data, at=0: head(data, at) if at < 500 else None)
    with pytest.raises(Failed, match="not met"):
        dealt(own.packs, 1, range(200), jobs=1)


def test_an_error_that_is_none_of_ours_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomllib, "loads", lambda text: {text: 1 // text.count("tz")})
    with pytest.raises(Failed, match="settings, seed 1, run"):
        dealt(own.settings, 1, range(200), jobs=1)
