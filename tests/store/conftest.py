"""Fixtures for the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from decklog import store as stores
from decklog.store.sqlite import SqliteStore
from homes import Synced
from talks import few


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "own"


@pytest.fixture
def store(folder: Path) -> Iterator[SqliteStore]:
    made = stores.open(str(folder))
    assert isinstance(made, SqliteStore)
    yield made
    made.close()


@pytest.fixture
def deck(home: Path, folder: Path) -> Iterator[Synced]:
    """A deck over a few sessions, synced."""
    few(home)
    with Synced(home, folder) as made:
        made.sync()
        yield made
