"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

SECONDS = 30
"""As long as a busy machine may take. What comes sooner is waited for no longer."""


def until(ready: Callable[[], Any], what: str = "it never came true") -> Any:
    """Wait for a true answer and return it."""
    end = time.monotonic() + SECONDS
    while not (answer := ready()):
        assert time.monotonic() < end, what
        time.sleep(0.01)
    return answer


def opens(pid: int, path: str) -> bool:
    """Whether a process has a file open."""
    return any(f.path == path for f in psutil.Process(pid).open_files())
