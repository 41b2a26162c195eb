"""The real agent programs, offline: `just real` runs these tests in a namespace of their own."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

INSIDE = bool(os.environ.get("DECKLOG_REAL_INNER"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            if not INSIDE:
                item.add_marker(pytest.mark.skip(reason="real agents: run `just real`"))
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def loopback() -> None:
    """Bring up ``lo``, the one interface of the namespace."""
    with socket.socket() as s:
        import fcntl

        up = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(s, 0x8914, up)  # SIOCSIFFLAGS


@pytest.fixture
def sandbox(loopback: None) -> Iterator[Callable[..., Any]]:
    """``sandbox("claude", scenario, approvals=True)``: a `Sandbox` that ends with the test."""
    from sandbox import Sandbox

    made: list[Sandbox] = []

    def make(agent: str, scenario: dict[str, Any], **options: bool) -> Sandbox:
        program = Path(os.environ["DECKLOG_REAL_AGENTS"], agent, "node_modules", ".bin", agent)
        if not program.exists():
            pytest.skip(f"{agent} is not installed: no {program}")
        made.append(Sandbox(agent, scenario, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
