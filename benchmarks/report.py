"""Results as one Markdown table, with what is needed to judge them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from cases import LINEAR_SLACK, Case
from measure import Run

MIB = 1 << 20
BEGIN, END = "<!-- benchmark: written by benchmarks/run.py -->", "<!-- /benchmark -->"


@dataclass
class Side:
    """The runs of one tool in one case; only the one that was `watched` knows its memory."""

    watched: Run
    runs: list[Run]

    @property
    def wall(self) -> float:
        return median(r.wall for r in self.runs)

    @property
    def cpu(self) -> float:
        return median(r.cpu for r in self.runs)

    def __str__(self) -> str:
        return (
            f"{_seconds(self.wall)}, cpu {_seconds(self.cpu)}, {self.watched.memory / MIB:.0f} MiB"
        )


@dataclass
class Result:
    case: Case
    size: int
    """Bytes of transcripts."""
    ours: Side
    rival: Side | None = None

    @property
    def ratios(self) -> list[float]:
        """Wall time of each of our runs over that of the rival's run beside it."""
        if self.rival is None:
            return []
        if len(self.rival.runs) == 1:
            return [r.wall / self.rival.wall for r in self.ours.runs]
        return [a.wall / b.wall for a, b in zip(self.ours.runs, self.rival.runs, strict=True)]

    @property
    def verdicts(self) -> list[tuple[str, bool | None]]:
        """Each goal in words, and whether it is met; None when it could not be measured."""
        case, found = self.case, []
        ratio = median(self.ratios) if self.ratios else None
        if case.goal is not None:
            found.append((f"≤ {case.goal:g}x", None if ratio is None else ratio <= case.goal))
        if case.stretch is not None:
            text = f"stretch ≤ {case.stretch:g}x"
            found.append((text, None if ratio is None else ratio <= case.stretch))
        if case.memory is not None:
            found.append((f"≤ {case.memory} MiB", self.ours.watched.memory <= case.memory * MIB))
        return found

    def row(self) -> str:
        rival = self.case.rival
        against = "" if rival is None else f"{rival.tool}: {self.rival or 'not available'}"
        ratio = ""
        if self.ratios:
            low, high = min(self.ratios), max(self.ratios)
            ratio = f"**{median(self.ratios):.2f}x** ({low:.2f} to {high:.2f})"
        goals = "; ".join(f"{text}: {_VERDICT[met]}" for text, met in self.verdicts)
        cells = (self.case.name, str(self.ours), against, ratio, goals)
        return "| " + " | ".join(cells) + " |"


def verdict(met: bool | None) -> str:
    return _VERDICT[met]


_VERDICT = {True: "met", False: "**missed**", None: "not measured"}


@dataclass
class Report:
    """All results, most important size first."""

    versions: Mapping[str, str]
    corpus: str
    sealed: bool
    """True when no tool could reach a network."""
    runs: int
    results: list[Result] = field(default_factory=list)
    growth: list[Result] = field(default_factory=list)
    """The linear cases again, at other sizes."""
    exact: bool = True
    """False when one of our rows differs from the truth."""
    exactness: list[str] = field(default_factory=list)
    asking: list[str] = field(default_factory=list)
    """Searches by a program that keeps a deck open."""
    notes: list[str] = field(default_factory=list)
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def lines(self) -> list[str]:
        remarks = [f"{r.case.name}: {r.case.remark}" for r in self.results if r.case.remark]
        return [
            *self._circumstances(),
            "",
            "| | decklog | rival | wall, ours over theirs | goal |",
            "|---|---|---|---|---|",
            *(r.row() for r in self.results),
            *(["", *self.asking] if self.asking else []),
            *self._growth(),
            *(["", *self.exactness] if self.exactness else []),
            "",
            *(f"- {note}" for note in remarks + self.notes),
        ]

    def missed(self) -> bool:
        met = [ok for r in self.results for text, ok in r.verdicts if "stretch" not in text]
        return False in met or any(not ok for _, ok in self._growths())

    def _circumstances(self) -> list[str]:
        tools = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        network = "no network" if self.sealed else "network reachable, offline flags"
        return [
            f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; load before {self.load:.1f}.",
            f"{tools}. {self.corpus}.",
            f"Medians of {self.runs} interleaved runs after a warm-up, page cache warm, {network}. "
            "Whole processes: wall time, processor time of all processes, peak memory of all "
            "processes together. The ratio is the median of paired ratios (least to most).",
        ]

    def _growths(self) -> list[tuple[str, bool]]:
        found = []
        everything = sorted([*self.results, *self.growth], key=lambda r: r.size)
        for name in dict.fromkeys(r.case.name for r in everything if r.case.linear):
            first, *rest = [r for r in everything if r.case.name == name and r.case.linear]
            for r in rest:
                factor = (r.ours.wall / r.size) / (first.ours.wall / first.size)
                met = factor <= LINEAR_SLACK
                sizes = f"{_bytes(first.size)} → {_bytes(r.size)}"
                walls = f"{_seconds(first.ours.wall)} → {_seconds(r.ours.wall)}"
                line = f"| {name} | {sizes} | {walls} | {factor:.2f}x | "
                line += f"≤ {LINEAR_SLACK:g}x: {_VERDICT[met]} |"
                found.append((line, met))
        return found

    def _growth(self) -> list[str]:
        found = self._growths()
        if not found:
            return []
        head = [
            "",
            "| growth | transcripts | wall | time per byte | goal |",
            "|---|---|---|---|---|",
        ]
        return [*head, *(line for line, _ in found)]


def machine() -> str:
    """Processor, cores, memory, system and Python, in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = (
        _processor(),
        f"{os.cpu_count()} cores",
        f"{memory / (1 << 30):.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
    )
    return ", ".join(facts)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(path: Path, lines: Sequence[str], begin: str = BEGIN, end: str = END) -> None:
    """Put a section into a document: between its marks, or at the end."""
    section = "\n".join([begin, *lines, end])
    text = path.read_text() if path.exists() else "# Performance\n"
    if begin not in text:
        path.write_text(f"{text.rstrip()}\n\n{section}\n")
        return
    before, _, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not closed:
        raise SystemExit(f"{path} has no {end} after {begin}")
    path.write_text(before + section + after)


def _seconds(s: float) -> str:
    return f"{s * 1000:.0f} ms" if s < 1 else f"{s:.2f} s"


def _bytes(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 5e8 else f"{n / 1e6:.0f} MB"
