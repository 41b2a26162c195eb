"""For people who write agents: observe what an agent makes of a HOME, and hold it to the laws.

    from decklog.testing import assert_agent
    def test_mine(accept): assert_agent(MyAgent(), Path("tests/mine"), accept=accept)

A fixture folder holds ``<situation>/input/`` (a HOME) and ``<situation>/expected.json`` (golden).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from decklog import databases, reading, sources
from decklog.agents import Agent
from decklog.model import Cursor, Event, Ref, Source, UsageReported


def documents(agent: Agent, home: Path) -> Iterator[tuple[str, str, bytes | None]]:
    """(uri, kind, whole document or None for lines) of every source below a HOME."""
    for root in agent.roots({"HOME": str(home)}):
        folders = []
        for seen in sources.find(root):
            claim = agent.claim(seen.relative)
            if claim == "jsonl":
                yield seen.path, claim, None
            elif claim == "json":
                yield seen.path, claim, reading.document_bytes(agent, seen.path, claim, "")
            elif claim == "sqlite":
                for d in sorted(databases.versions(seen.path, agent)):
                    uri = f"{seen.path}#{d}"
                    yield uri, claim, reading.document_bytes(agent, uri, claim, d)
            elif claim == "dir":
                folders.append(seen.relative)
        for d, parts in sorted(agent.gather(folders).items()):
            uri = f"{root.path}#{d}"
            yield uri, "dir", reading.document_bytes(agent, uri, "dir", d, parts)


def lines(uri: str) -> list[tuple[int, bytes]]:
    return [line for chunk in sources.chunks(uri, 0) for line in chunk.lines]


def read(
    agent: Agent, uri: str, kind: str, data: bytes | None, *, text: bool = True, cut: int = 0
) -> tuple[list[Event], dict[str, Any]]:
    """Events and facts of one source; with ``cut`` a new reader takes over every so many lines."""
    source = Source(agent=agent.name, uri=uri, kind=kind)  # type: ignore[arg-type]
    companions = reading.companions(agent, uri.partition("#")[0])
    reader = agent.reader(Cursor(source=source), text=text, companions=companions)
    events: list[Event] = []
    if data is not None:
        events += reader.feed(data, Ref(uri, 0, len(data)))
        return events, reader.facts
    for number, (offset, line) in enumerate(lines(uri), 1):
        if cut and number % cut == 0:
            cursor = Cursor(source=source, offset=offset, line=number, state=reader.state())
            reader = agent.reader(cursor, text=text, companions=companions)
        events += reader.feed(line, Ref(uri, offset, len(line), number))
    return events, reader.facts


def observe(agent: Agent, home: Path) -> dict[str, Any]:
    """Everything an agent makes of a HOME, as plain values with paths relative to it."""
    seen: dict[str, Any] = {}
    for uri, kind, data in documents(agent, home):
        events, facts = read(agent, uri, kind, data)
        name = os.path.relpath(uri, home)
        seen[name] = {
            "facts": {n: _plain(f, home) for n, f in facts.items()},
            "events": [_plain(e, home) for e in events],
        }
    return seen


def _plain(value: Any, home: Path) -> dict[str, Any]:
    defaults = json.loads(msgspec.json.encode(type(value)()))
    raw = json.loads(msgspec.json.encode(value))
    return {
        k: _short(v, home)
        for k, v in raw.items()
        if (v != defaults.get(k) or k == "type") and k != "ref"
    }


def _short(value: Any, home: Path) -> Any:
    """Long texts by their beginning and length, so that golden files stay readable."""
    if isinstance(value, str):
        value = value.replace(str(home), "~")
        return value if len(value) <= 300 else f"{value[:200]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [_short(v, home) for v in value]
    if isinstance(value, dict):
        return {k: _short(v, home) for k, v in value.items()}
    return value


_BODIES = ("content", "output", "error", "input", "data", "raw", "result", "summary", "message")


def _bare(event: Event) -> Any:
    """An event without its bodies, which a reader may leave out when no text is wanted."""
    plain = json.loads(msgspec.json.encode(event))
    return {k: v for k, v in plain.items() if k not in _BODIES}


def assert_laws(agent: Agent, home: Path) -> None:
    """However a source is cut, and whether text is wanted or not, the events are the same."""
    for uri, kind, data in documents(agent, home):
        whole, facts = read(agent, uri, kind, data)
        lean, lean_facts = read(agent, uri, kind, data, text=False)
        assert [_bare(e) for e in whole] == [_bare(e) for e in lean], f"text or no text: {uri}"
        assert facts == lean_facts, f"text or no text: {uri}"
        for cut in (1, 2, 3, 7) if data is None else ():
            again, again_facts = read(agent, uri, kind, data, cut=cut)
            assert whole == again, f"cut every {cut} lines: {uri}"
            assert facts == again_facts, f"cut every {cut} lines: {uri}"
        assert [e.seq for e in whole] == list(range(1, len(whole) + 1)), f"sequence: {uri}"
        keys = {e.key for e in whole if isinstance(e, UsageReported)}
        assert all(k.startswith(f"{agent.name}:") for k in keys), f"keys: {uri}"


def assert_agent(agent: Agent, folder: Path, *, accept: bool = False) -> None:
    """Compare every situation below a fixture folder with its golden file, and hold the laws."""
    situations = sorted(p.parent for p in folder.glob("*/input"))
    assert situations, f"no situations below {folder}"
    for situation in situations:
        home = situation / "input"
        assert_laws(agent, home)
        seen = observe(agent, home)
        golden = situation / "expected.json"
        if accept:
            text = json.dumps(seen, indent=1, ensure_ascii=False, sort_keys=True)
            golden.write_text(text + "\n", encoding="utf-8")
            continue
        assert golden.exists(), f"{golden} is missing: run with --accept and check what it says"
        expected = json.loads(golden.read_text(encoding="utf-8"))
        assert seen == expected, f"{situation.name}: not as {golden}"
