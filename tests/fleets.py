"""Fake processes, sessions and process tables for tests of the fleet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from decklog.errors import SourceError
from decklog.model import Session
from decklog.model.fleet import AgentProcess, Identity, Process, Role
from homes import Claude

NOW = 1_800_000_000_000
MINUTE = 60_000
BOOT = "0b0e4b5a-boot"


def process(pid: int, *, at: int = NOW - MINUTE, start: int = 0, **more: object) -> Process:
    """A process; start ticks are its pid unless given, times milliseconds."""
    return Process(
        pid=pid,
        start_ticks=start or pid,
        boot=BOOT,
        started_at=at,
        **more,  # type: ignore[arg-type]
    )


def tree(
    pid: int,
    agent: str = "gemini",
    *,
    at: int = NOW - MINUTE,
    cwd: str = "/work/app",
    files: Sequence[str] = (),
    below: Sequence[Process] = (),
    start: int = 0,
    role: Role = "interactive",
    native: str = "",
    resumes: bool = False,
) -> AgentProcess:
    root = process(pid, at=at, start=start, agent=agent, cwd=cwd, files=tuple(files))
    return AgentProcess(
        agent=agent,
        root=root,
        members=(root, *below),
        role=role,
        cwd=cwd,
        native=native,
        resumes=resumes,
    )


def session(
    native: str,
    agent: str = "gemini",
    *,
    at: int | None = NOW - MINUTE,
    last: int | None = None,
    cwd: str = "/work/app",
    paths: Sequence[str] = (),
    **more: object,
) -> Session:
    return Session(
        id=f"{agent}:{native}",
        agent=agent,
        native=native,
        started_at=at,
        last_at=at if last is None else last,
        cwd=cwd,
        sources=tuple(paths),
        **more,  # type: ignore[arg-type]
    )


class Table:
    """A process table made of given processes, which may end or be replaced between looks."""

    def __init__(
        self, processes: Iterable[Process], *, fails: bool = False, boot: str = BOOT
    ) -> None:
        self.boot = boot
        self.processes = {p.pid: msgspec.structs.replace(p, boot=boot) for p in processes}
        self.fails = fails
        self.looks = self.lists = 0

    def numbers(self) -> frozenset[int]:
        return frozenset(self.processes)

    def argv(self, pid: int) -> tuple[str, ...]:
        return tuple(self.processes[pid].argv)

    def list(self, deadline: float) -> list[Process]:
        self.lists += 1
        if self.fails:
            raise SourceError("/proc: Permission denied")
        return [msgspec.structs.replace(p, exe="", cwd="", files=()) for p in self.all()]

    def all(self) -> list[Process]:
        return list(self.processes.values())

    def look(self, process: Process, *, files: bool) -> Process | None:
        self.looks += 1
        found = self.processes.get(process.pid)
        if found is None or found.start_ticks != process.start_ticks:
            return None
        return found if files else msgspec.structs.replace(found, files=())

    def start_ticks(self, pid: int) -> int | None:
        found = self.processes.get(pid)
        return None if found is None else found.start_ticks


def identity(pid: int, start: int = 0) -> Identity:
    return Identity(BOOT, pid, start or pid)


# -- of Claude Code, on this machine ---------------------------------------------------------------

ID = "aaaa0001-0000-4000-8000-00000000000a"


def now() -> int:
    return time.time_ns() // 1_000_000


def transcript(work: Path, name: str = ID, at: int | None = None) -> Claude:
    talk = Claude(name, now() - 60_000 if at is None else at)
    put = talk._put
    talk._put = lambda *a, **k: put(*a, **{**k, "cwd": str(work)})  # type: ignore[method-assign]
    return talk


def running(pid: int, work: Path, *argv: str, **more: Any) -> Process:
    at = more.pop("at", now() - 90_000)
    return process(pid, at=at, argv=argv or ("claude",), cwd=str(work), **more)


def own_file(home: Path, pid: int, start: int, native: str = ID, **more: Any) -> Path:
    path = home / ".claude" / "sessions" / f"{pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"pid": pid, "sessionId": native, "procStart": str(start), "updatedAt": now(), **more}
    path.write_text(json.dumps(said))
    return path
