"""The bundled sample, end to end, against figures worked out without decklog's readers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import decklog

TRUTH: dict[str, Any] = json.loads((Path(__file__).parent / "sample_truth.json").read_text())
SAMPLE = Path(decklog.__file__).parent / "sample" / "home"


@pytest.fixture(scope="module")
def deck(tmp_path_factory: pytest.TempPathFactory) -> Any:
    own = tmp_path_factory.mktemp("own")
    env = {"HOME": str(SAMPLE), "DECKLOG_HOME": str(own), "TZ": "UTC"}
    with decklog.open(env=env) as opened:
        opened.sync()
        yield opened


@pytest.mark.spec("A8", "AW1", "AW3", "AW5", "AW6", "AW18", "R44", "R45", "Y2", "Y3")
def test_tokens_by_agent_day_and_model(deck: decklog.Decklog) -> None:
    got = {
        f"{r['agent']}|{r['date']}|{r['model']}": {
            k: r[k]
            for k in ("input", "cache_read", "cache_write", "output", "reasoning", "responses")
        }
        for r in deck.usage_rows("daily")
    }
    want = {
        key: {k: v for k, v in row.items() if k != "cache_write_1h"}
        for key, row in TRUTH["usage"].items()
    }
    assert got == want


@pytest.mark.spec("A1", "R1", "README-1")
def test_sessions_prompts_and_tools_by_agent(deck: decklog.Decklog) -> None:
    got: dict[str, Counter[str]] = {}
    for s in deck.sessions():
        sums = got.setdefault(s.agent, Counter())
        sums["sessions"] += 1
        sums["subagents"] += s.relation == "subagent"
        sums["forks"] += s.relation in ("fork", "resume")
        for name in ("prompts", "tool_calls", "compactions", "limits", "aborts"):
            sums[name] += getattr(s.counts, name)
    for agent, want in TRUTH["agents"].items():
        for name in got[agent]:
            if name in ("compactions", "limits", "aborts"):
                assert got[agent][name] >= want[name], (agent, name)
            else:
                assert got[agent][name] == want[name], (agent, name)


def test_reported_cost_stands_beside_the_computed_one(deck: decklog.Decklog) -> None:
    got: Counter[str] = Counter()
    for row in deck.usage_rows("models"):
        got[row["agent"]] += row["reported_micro_usd"] or 0
        assert row["basis"] == "computed"
    for agent, want in TRUTH["reported_micro_usd"].items():
        assert got[agent] == want


@pytest.mark.spec("R1", "R2")
def test_the_damaged_line_is_told_and_its_neighbour_read(deck: decklog.Decklog) -> None:
    assert [(f.agent, f.reason) for f in deck.findings()] == [("claude", "damaged")]


def test_every_session_can_be_read_back(deck: decklog.Decklog) -> None:
    for s in deck.sessions():
        events = list(deck.events(s.id))
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        assert all(e.session == s.id for e in events)
        turns = deck.turns(s.id)
        assert sum(len(t.tool_calls) for t in turns) >= s.counts.tool_calls
        assert sum(bool(t.prompt) for t in turns) >= s.counts.prompts


def test_why_explains_every_number(deck: decklog.Decklog) -> None:
    for s in deck.sessions():
        counted = [e for e in deck.why(s.id) if e.counted and e.session == s.id]
        assert sum(e.usage.output for e in counted) == s.usage.output
        assert len(counted) == s.counts.responses
        for entry in deck.why(s.id):
            assert entry.reason
            if entry.ref.line:  # a record in a file of lines
                with open(entry.ref.source, "rb") as source:
                    source.seek(entry.ref.offset)
                    assert source.read(entry.ref.length).lstrip().startswith(b"{")


def test_typed_and_plain_rows_agree(deck: decklog.Decklog) -> None:
    rows = [json.loads(text) for text in deck.session_json()]
    assert rows == json.loads(json.dumps(list(deck.session_rows())))
    daily = [json.loads(text) for text in deck.daily_json() or ()]
    assert daily == [{k: r[k] for k in daily[0]} for r in deck.usage_rows("daily")]
    assert [r["id"] for r in rows] == [s.id for s in deck.sessions()]
