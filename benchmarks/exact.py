"""Are the numbers right? Rows of every tool against the truth of the corpus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rivals
from cases import Call
from stage import Stage

FIELDS = ("input", "cache_read", "cache_write", "output", "reasoning", "responses")
Values = Mapping[str, tuple[int, ...]]
"""``agent|day|model`` to the first fields of a row; a rival states the first four."""


@dataclass
class Check:
    """How many rows a tool has right, by agent."""

    tool: str
    right: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return not self.differences


def truth_of(home: Path) -> dict[str, tuple[int, ...]] | None:
    """Rows of ``truth.json``; None in a home that has none."""
    path = home / "truth.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    order = [found["fields"].index(name) for name in FIELDS]
    return {key: tuple(row[i] for i in order) for key, row in found["usage"].items()}


def our_rows(document: Any) -> dict[str, tuple[int, ...]]:
    """Rows of ``decklog usage daily --json``, added up over providers."""
    rows: dict[str, tuple[int, ...]] = {}
    for row in document:
        key = f"{row['agent']}|{row['date']}|{row['model']}"
        values = tuple(row[name] for name in FIELDS)
        before = rows.get(key, (0,) * len(FIELDS))
        rows[key] = tuple(a + b for a, b in zip(before, values, strict=True))
    return {key: row for key, row in rows.items() if any(row)}


def check_ours(stage: Stage, truth: Values) -> list[Check]:
    """Of a first run, which has nothing but the transcripts to go by."""
    said = stage.ask(Call("decklog", ("usage", "daily", "--json"), fresh=True))
    return [compare("decklog", truth, our_rows(said))]


def recall(stage: Stage) -> list[str]:
    """Of each planted word or phrase how many texts hold it, and at how many places it is found;
    nothing in a home that has no truth. More places than texts are copies that forks made."""
    path = stage.corpus / "truth.json"
    if not path.exists():
        return []
    lines = []
    for words, texts in json.loads(path.read_text())["planted"].items():
        call = Call("decklog", ("search", "--count", "--json", f'"{words}"'))
        found = stage.ask(call)["count"]
        verdict = "all found" if found >= texts else f"MISSING {texts - found}"
        lines.append(f'"{words}": {texts} texts hold it, {found} places found: {verdict}')
    return lines


def sizes(stage: Stage) -> str:
    """What the tools have written for it: their data folders, our archive left out."""
    written = {}
    for tool in ("decklog", "agentsview"):
        files = [p for p in stage.state(tool).rglob("*") if p.is_file()]
        written[tool] = sum(p.stat().st_size for p in files if "archive" not in p.parts)
    ours, theirs = written["decklog"], written["agentsview"]
    ratio = f", {ours / theirs:.2f}x" if theirs else ""
    return f"on disk: decklog {ours / 1e6:,.0f} MB, agentsview {theirs / 1e6:,.0f} MB{ratio}"


ARCHIVE_GOAL = 0.25
"""Bytes of the archive over those of the transcripts, at most."""


def archived(stage: Stage) -> str:
    """How large the archive is, all its files counted."""
    folder = stage.state("decklog") / "archive"
    size = sum(p.stat().st_size for p in folder.iterdir()) if folder.is_dir() else 0
    ratio = size / stage.size
    verdict = "as wanted" if 0 < ratio <= ARCHIVE_GOAL else f"MISSED, {ARCHIVE_GOAL} is the goal"
    return f"archive: {size / 1e6:,.0f} MB, {ratio:.3f} of the transcripts: {verdict}"


def check_rivals(stage: Stage, truth: Values) -> list[Check]:
    """Of those that can be had; agentsview answers from the index it has by now."""
    checks = []
    if "ccusage" in stage.tools:
        said = stage.ask(Call("ccusage", rivals.CCUSAGE_ROWS))
        checks.append(compare("ccusage", loosely(truth), loosely(rivals.ccusage_rows(said))))
    if "agentsview" in stage.tools:
        rows: dict[str, tuple[int, ...]] = {}
        for agent in sorted({key.partition("|")[0] for key in truth}):
            said = stage.ask(Call("agentsview", rivals.agentsview_rows_args(agent)))
            rows.update(rivals.agentsview_rows(agent, said))
        checks.append(compare("agentsview", loosely(truth), loosely(rows)))
    return checks


def loosely(rows: Values) -> dict[str, tuple[int, ...]]:
    """The rows with models that differ only in spelling (4.5, 4-5) made the same."""
    return {key.replace(".", "-"): row for key, row in rows.items()}


def compare(tool: str, truth: Values, said: Values) -> Check:
    check = Check(tool)
    for key in sorted({*truth, *said}):
        agent = key.partition("|")[0]
        want, got = truth.get(key), said.get(key)
        if got is not None and want is not None:
            want = want[: len(got)]
        if want is not None:
            check.total[agent] = check.total.get(agent, 0) + 1
        if want == got:
            check.right[agent] = check.right.get(agent, 0) + 1
        else:
            check.differences.append(f"{key}: is {_text(want)}, {tool} says {_text(got)}")
    return check


def table(checks: Iterable[Check], truth: Values) -> list[str]:
    """Rows right of all rows, agent by agent, as Markdown, and what is known of the others."""
    checks = list(checks)
    agents = sorted({key.partition("|")[0] for key in truth})
    lines = [
        "| rows (agent, day, model) right | " + " | ".join(agents) + " |",
        "|---|" + "---|" * len(agents),
    ]
    for check in checks:
        cells = [f"{check.right.get(a, 0)} of {check.total.get(a, 0)}" for a in agents]
        lines.append(f"| {check.tool} | " + " | ".join(cells) + " |")
    known = {rival.name: rival.differs for rival in rivals.RIVALS}
    lines += ["", "A row is right when input, cache read, cache write and output all are."]
    return lines + [f"{c.tool} {known[c.tool]}" for c in checks if not c.exact and c.tool in known]


def _text(row: tuple[int, ...] | None) -> str:
    return "no row" if row is None else " ".join(f"{n:_}" for n in row)
