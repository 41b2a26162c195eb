"""Fixtures for fault injection."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = "/dev/shm"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory where that can be had: faults are injected, so no disk is needed.

    What a failing test leaves there is moved to its ``tmp_path``.
    """
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="decklog-", dir=MEMORY))
    try:
        yield folder
    finally:
        if (folder / "case").exists():
            shutil.copytree(folder / "case", tmp_path / "case")
        shutil.rmtree(folder)
