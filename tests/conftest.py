"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from homes import Synced


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept", action="store_true", help="write golden files anew (then read the difference)"
    )


def pytest_configure() -> None:
    # whoever began this in the background had it ignored, and so would all that is begun here
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["TZ"] = "UTC"
    time.tzset()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that no processor is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What was collected stays: no collector and no forked child has to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--accept"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty HOME."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def env(home: Path, tmp_path: Path) -> dict[str, str]:
    """An environment that sees only that HOME and keeps our own files beside it."""
    return {"HOME": str(home), "DECKLOG_HOME": str(tmp_path / "own"), "TZ": "UTC"}


@pytest.fixture
def deck(home: Path, tmp_path: Path) -> Iterator[Synced]:
    """A deck over that HOME, nothing read yet."""
    with Synced(home, tmp_path / "own") as made:
        yield made
