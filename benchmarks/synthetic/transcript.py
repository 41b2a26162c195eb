"""A transcript being written: its random numbers, its clock, its records."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from .text import PHRASE, RARE, Kind, Texts
from .truth import Truth

DAY = 86_400_000
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def iso(ms: int) -> str:
    """``2026-01-02T03:04:05.678Z``"""
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def dumps(value: object) -> str:
    """JSON as the agents write it: compact, not escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Plan:
    """What is settled about a session before it is written."""

    rng: Random
    texts: Texts
    truth: Truth
    home: str
    cwd: str
    start: int
    """Milliseconds UTC."""
    budget: int
    """Bytes to write, roughly, subagents included."""


class Transcript:
    """The part that is the same for all agents; `agent` is the name in truth.json."""

    agent = ""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = plan.rng
        self.texts = plan.texts
        self.truth = plan.truth
        self.cwd = plan.cwd
        self.now = plan.start
        self.lines: list[bytes] = []
        self.size = 0

    # --- clock ---

    @property
    def time(self) -> str:
        return iso(self.now)

    def wait(self, low: float, high: float) -> None:
        """Let seconds pass."""
        self.now += int(self.rng.uniform(low, high) * 1000)

    def tick(self) -> None:
        """Let a moment pass inside one response, never past midnight: its day stays certain."""
        last = self.now - self.now % DAY + DAY - 1
        self.now = min(last, self.now + self.rng.randint(20, 900))

    def rest(self) -> None:
        """Wait for the next prompt: minutes mostly, hours sometimes."""
        self.now += int(min(14_400, self.rng.lognormvariate(4.5, 1.3)) * 1000)

    # --- random values ---

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def length(self, median: int, spread: float, most: int) -> int:
        return 1 + int(min(most, self.rng.lognormvariate(math.log(median), spread)))

    def hex(self, digits: int) -> str:
        return f"{self.rng.getrandbits(4 * digits):0{digits}x}"

    def base62(self, digits: int) -> str:
        return "".join(self.rng.choices(_BASE62, k=digits))

    def uuid(self) -> str:
        h = self.hex(32)
        return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"

    def uuid7(self) -> str:
        """Time-ordered, as newer agents use."""
        t, h = f"{self.now:012x}", self.hex(20)
        return f"{t[:8]}-{t[8:]}-7{h[1:4]}-a{h[5:8]}-{h[8:]}"

    def path(self) -> str:
        name = self.rng.choice(self.texts.names)
        return f"{self.cwd}/src/{name[:1].lower()}/{name}.{self.rng.choice(('py', 'ts', 'rs'))}"

    def text(self, kind: Kind, median: int, spread: float = 1.0, most: int = 6000) -> str:
        """A text that a reader should find: may hold a planted word."""
        text = self.texts.cut(self.rng, kind, self.length(median, spread, most)).strip() or "go on"
        draw = self.rng.random()
        if draw < 0.00008:
            self.truth.planted[RARE] += 1
            return f"{text} {RARE} "
        if draw < 0.0009:
            self.truth.planted[PHRASE] += 1
            return f"{text} {PHRASE}. "
        return text

    def tool_output(self, kind: Kind) -> str:
        """Mostly a few KB, rarely close to a megabyte."""
        draw = self.rng.random()
        if draw < 0.3:
            return self.text(kind, 120, 0.8, 400)
        if draw < 0.9985:
            return self.text(kind, 2000, 1.15, 100_000)
        return self.text(kind, 300_000, 0.5, 900_000)

    # --- output ---

    def put(self, record: dict[str, Any]) -> None:
        line = dumps(record).encode() + b"\n"
        self.lines.append(line)
        self.size += len(line)

    def count(self, what: str, n: int = 1) -> None:
        self.truth.counts[f"{self.agent}.{what}"] += n

    def used(self, model: str, **tokens: int) -> None:
        """One provider response, now."""
        self.truth.add(self.agent, self.time[:10], model, **tokens)

    def save(self, path: str, data: bytes | None = None) -> None:
        """Write the file below the home, last changed when the session was."""
        if data is None:
            data = b"".join(self.lines)
        path = f"{self.plan.home}/{path}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, ns=(self.now * 1_000_000, self.now * 1_000_000))
        self.count("files")
        self.count("bytes", len(data))
