"""Made-up HOMEs: transcripts of known content, written piece by piece, and what is true of them.

A `Line` knows the response it records, so that the truth about any part of a HOME can be said
without reading it: see `truth`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import zstandard

from decklog import config, hub
from decklog.sync import Report

START = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""

Tokens = tuple[int, int, int, int]
"""Input, cache read, cache write, output: disjoint."""


class Line(NamedTuple):
    data: bytes
    """With its newline."""
    key: str = ""
    """The response it records, named alike in all copies."""
    tokens: Tokens = (0, 0, 0, 0)


def stamp(ms: int) -> str:
    return (
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"
    )


def line(record: Mapping[str, Any], key: str = "", tokens: Tokens = (0, 0, 0, 0)) -> Line:
    return Line(json.dumps(record, separators=(",", ":")).encode() + b"\n", key, tokens)


def truth(lines: Iterable[Line]) -> Tokens:
    """What all these lines used: each response once, with the figures of its fullest record."""
    best: dict[str, Tokens] = {}
    for x in lines:
        if x.key and x.tokens >= best.get(x.key, x.tokens):
            best[x.key] = x.tokens
    sums = [sum(column) for column in zip(*best.values(), strict=True)] or [0] * 4
    return sums[0], sums[1], sums[2], sums[3]


@dataclass
class Transcript:
    """A transcript that is being made. Time goes on a second with each record."""

    name: str
    """Native session id."""
    now: int = START
    lines: list[Line] = field(default_factory=list)
    packed: bool = False
    """Written as a compressed file."""

    @property
    def path(self) -> str:
        """Below HOME."""
        raise NotImplementedError

    def twin(self, lines: int | None = None, **changes: Any) -> Self:
        """Another transcript of the same session with (the first) lines of this one."""
        return replace(self, lines=self.lines[:lines], **changes)

    def tick(self) -> str:
        self.now += 1000
        return stamp(self.now)

    def prompt(self, text: str) -> None:
        raise NotImplementedError

    @property
    def data(self) -> bytes:
        plain = b"".join(x.data for x in self.lines)
        return zstandard.compress(plain) if self.packed else plain

    def write(self, home: Path, lines: slice | None = None) -> Path:
        """Write it (or some lines of it) below a HOME, as a new file."""
        path = home / self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        cut = self if lines is None else replace(self, lines=self.lines[lines])
        path.write_bytes(cut.data)
        return path


@dataclass
class Claude(Transcript):
    version: str = "2.1.50"
    agent: str = ""
    """Id of the subagent; ``name`` is that of its parent then."""
    folder: str = "-home-me-work"
    model: str = "claude-sonnet-4-5-20250929"

    @property
    def path(self) -> str:
        place = f"{self.name}/subagents/agent-{self.agent}" if self.agent else self.name
        return f".claude/projects/{self.folder}/{place}.jsonl{'.zst' * self.packed}"

    @property
    def id(self) -> str:
        return f"claude:{self.name}" + (f".agent-{self.agent}" if self.agent else "")

    def _put(self, kind: str, uuid: str, **own: Any) -> None:
        key, tokens = own.pop("key", ""), own.pop("tokens", (0, 0, 0, 0))
        record = {
            "type": kind,
            "uuid": uuid,
            "sessionId": self.name,
            "timestamp": self.tick(),
            "cwd": "/home/me/work",
            "version": self.version,
            **({"isSidechain": True, "agentId": self.agent} if self.agent else {}),
            **own,
        }
        self.lines.append(line(record, key, tokens))

    def _uuid(self) -> str:
        return f"{self.name}-{self.agent}-{len(self.lines)}"

    def prompt(self, text: str) -> None:
        self._put("user", self._uuid(), message={"role": "user", "content": text})

    def answer(
        self, key: str, tokens: Tokens, *, records: int = 1, tool: str = "", path: str = ""
    ) -> None:
        """A response, streamed in so many records: all but the last state little output."""
        for i in range(records):
            last = i == records - 1
            output = tokens[3] if last else min(1, tokens[3])
            block: dict[str, Any] = {"type": "text", "text": f"{key} {i}"}
            if last and tool:
                given = {"file_path": path or f"/home/me/work/{key}.py"}
                block = {"type": "tool_use", "id": f"tool-{key}", "name": tool, "input": given}
            usage = {
                "input_tokens": tokens[0],
                "cache_read_input_tokens": tokens[1],
                "cache_creation_input_tokens": tokens[2],
                "output_tokens": output,
            }
            message = {
                "id": f"msg-{key}",
                "role": "assistant",
                "model": self.model,
                "content": [block],
                "usage": usage,
            }
            self._put(
                "assistant",
                self._uuid(),
                requestId=f"req-{key}",
                message=message,
                key=f"claude:msg-{key}:req-{key}",
                tokens=(*tokens[:3], output),
            )
        if tool:
            result = {"type": "tool_result", "tool_use_id": f"tool-{key}", "content": "done"}
            self._put(
                "user", self._uuid(), message={"role": "user", "content": [result]},
                toolUseResult={"file": "x"},
            )  # fmt: skip

    def queue(self) -> None:
        """The first record of a fork that was given a prompt when it was made."""
        self._put("queue-operation", "", operation="enqueue")

    def fork(
        self, name: str, lines: int | None = None, *, queue: bool = True, after: int = 60_000
    ) -> Claude:
        """Another session that begins with copies of (the first) lines of this one."""
        made = Claude(name, self.now + after, version=self.version, folder=self.folder)
        if queue:
            made.queue()
        for x in self.lines[:lines]:
            record = json.loads(x.data)
            if record["type"] != "queue-operation":
                made.lines.append(line({**record, "sessionId": name}, x.key, x.tokens))
        return made


@dataclass
class Codex(Transcript):
    parent: str = ""
    model: str = "gpt-5.1-codex"
    turns: bool = True
    """False: as written before turns had ids."""
    total: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    turn: str = ""
    archived: bool = False

    def __post_init__(self) -> None:
        if not self.lines:
            self.meta()

    @property
    def path(self) -> str:
        folder = "archived_sessions" if self.archived else "sessions/2026/01/01"
        name = f"rollout-2026-01-01T00-00-00-{self.name}.jsonl{'.zst' * self.packed}"
        return f".codex/{folder}/{name}"

    @property
    def id(self) -> str:
        return f"codex:{self.name}"

    def _put(self, kind: str, payload: Mapping[str, Any], key: str = "", *tokens: int) -> None:
        record = {"timestamp": self.tick(), "type": kind, "payload": payload}
        self.lines.append(line(record, key, tokens or (0, 0, 0, 0)))  # type: ignore[arg-type]

    def meta(self) -> None:
        fork = {"forked_from_id": self.parent} if self.parent else {}
        payload = {
            "id": self.name,
            "timestamp": stamp(self.now),
            "cwd": "/home/me/work",
            "originator": "codex_cli",
            "cli_version": "0.60.0",
            "model_provider": "openai",
            **fork,
        }
        self._put("session_meta", payload)

    def prompt(self, text: str) -> None:
        self.turn = f"{self.name}/turn-{len(self.lines)}" if self.turns else ""
        ids = {"turn_id": self.turn} if self.turns else {}
        self._put("turn_context", {"cwd": "/home/me/work", "model": self.model, **ids})
        self._put("event_msg", {"type": "user_message", "message": text})

    def answer(self, key: str, tokens: Tokens, *, repeat: bool = False) -> None:
        """A response with a tool call; with ``repeat`` its counter is told twice."""
        call = f"call-{key}"
        self._put(
            "response_item",
            {"type": "function_call", "name": "shell", "call_id": call, "arguments": "{}"},
        )
        self._put(
            "response_item", {"type": "function_call_output", "call_id": call, "output": "ok"}
        )
        self._put("event_msg", {"type": "agent_message", "message": f"said {key}"})
        given, read, written, output = tokens
        last = (given + read + written, read, written, output, 0)
        before = self.total
        self.total = (
            before[0] + last[0], before[1] + last[1], before[2] + last[2], before[3] + last[3], 0
        )  # fmt: skip
        for _ in range(1 + repeat):
            info = {"total_token_usage": _five(self.total), "last_token_usage": _five(last)}
            self._put("event_msg", {"type": "token_count", "info": info}, f"codex:{key}", *tokens)

    def fork(self, name: str, lines: int | None = None, *, after: int = 60_000) -> Codex:
        """A session that says where it comes from and repeats it, with times of its own."""
        made = Codex(name, self.now + after, parent=self.name, model=self.model, turns=self.turns)
        for x in self.lines[:lines]:
            record = {**json.loads(x.data), "timestamp": made.tick()}
            made.lines.append(line(record, x.key, x.tokens))
            info = record["payload"].get("info")
            if info:
                made.total = tuple(info["total_token_usage"].values())[:5]
        return made


def _five(figures: tuple[int, ...]) -> dict[str, int]:
    names = ("input", "cached_input", "cache_write_input", "output", "reasoning_output")
    return {f"{n}_tokens": f for n, f in zip(names, figures, strict=True)}


# --- syncing ----------------------------------------------------------------------------------


class Synced:
    """A deck over a HOME, with our own files in a folder of their own."""

    def __init__(self, home: Path, own: Path, **flags: object) -> None:
        env = {"HOME": str(home), "DECKLOG_HOME": str(own), "TZ": "UTC"}
        self.deck = hub.Decklog(config.load(env, {"jobs": 1, **flags}))

    def __enter__(self) -> Synced:
        return self

    def __exit__(self, *_: object) -> None:
        self.deck.close()

    @property
    def store(self) -> Any:
        return self.deck.store

    def sync(self) -> Report:
        return self.deck.sync()

    def dump(self) -> list[str]:
        return list(self.store.dump(text=True))

    def sessions(self) -> dict[str, dict[str, Any]]:
        return {s["id"]: s for s in self.store.sessions({})}

    def total(self) -> Tokens:
        rows = self.store.usage("models", {})
        names = ("input", "cache_read", "cache_write", "output")
        a, b, c, d = (sum(r[n] for r in rows) for n in names)
        return a, b, c, d

    def counted(self) -> dict[str, str]:
        """Key of each response that counts, and its session."""
        rows = list(self.store.ledger({}))
        found = [(r["key"], r["session"]) for r in rows if r["counted"]]
        assert len(found) == len({k for k, _ in found}), "a response counts twice"
        return dict(found)

    def verdicts(self, session: str) -> dict[str, tuple[bool, str | None]]:
        rows = self.store.ledger({"ids": [session]})
        return {r["key"]: (r["counted"], r["counted_in"]) for r in rows}


def clean(home: Path, own: Path, **flags: object) -> list[str]:
    """The dump of a new store after one sync."""
    with Synced(home, own, **flags) as fresh:
        fresh.sync()
        return fresh.dump()


def different(one: Iterable[str], other: Iterable[str]) -> str:
    """The rows that only one of two dumps has, ready for a message."""
    a, b = set(one), set(other)
    rows = [f"- {x}" for x in sorted(a - b)] + [f"+ {x}" for x in sorted(b - a)]
    return "\n".join(rows[:200])


def files(home: Path) -> Iterator[Path]:
    """Every file below a HOME, in a fixed order."""
    for folder, _, names in sorted(os.walk(home)):
        for name in sorted(names):
            yield Path(folder, name)
