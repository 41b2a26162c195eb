"""What the store counts of each situation below tests/agents/claude, reckoned by hand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

import decklog
from decklog import hub
from decklog.model import Session

HERE = Path(__file__).parent / "agents" / "claude"


class Sum(NamedTuple):
    prompts: int
    calls: int
    responses: int
    output: int


def of(session: Session) -> Sum:
    c = session.counts
    return Sum(c.prompts, c.tool_calls, c.responses, session.usage.output)


def opened(situation: str, env: dict[str, str]) -> hub.Decklog:
    deck = decklog.open(HERE / situation / "input", env=env)
    deck.sync()
    return deck


def sessions(situation: str, env: dict[str, str]) -> dict[str, Session]:
    """By the end of their id."""
    with opened(situation, env) as deck:
        return {s.id[-8:]: s for s in deck.sessions()}


@pytest.mark.spec("AW1", "AW3", "AW4", "AW10", "R44", "R45", "Y2", "A8")
@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        ("legacy_subagent", {"00000001": Sum(1, 1, 2, 55), "3f9c0a1b": Sum(0, 1, 2, 45)}),
        ("sidechain", {"00000002": Sum(1, 2, 5, 64)}),
        ("streamed", {"00000003": Sum(2, 1, 6, 57 + 31 + 20 + 30 + 40 + 50)}),
        (
            "embedded",
            {
                "00000004": Sum(1, 2, 2, 51),
                "-a11aaaa": Sum(0, 0, 1, 18),
                "-a22bbbb": Sum(0, 0, 1, 33),
            },
        ),
        (
            "acompact",
            {
                "00000005": Sum(1, 0, 1, 22),
                "t-4474ad": Sum(0, 0, 1, 350),
                "-a77cccc": Sum(0, 0, 1, 11),
            },
        ),
        ("misfiled", {"00000007": Sum(2, 0, 2, 24), "00000008": Sum(1, 0, 1, 12)}),
        ("queued", {"0000000e": Sum(4, 1, 3, 34)}),
        ("branch", {"00000012": Sum(2, 0, 2, 21), "00000013": Sum(1, 0, 1, 12)}),
        ("fork", {"6384a927": Sum(1, 0, 1, 23), "f4fd5e9c": Sum(1, 0, 1, 24)}),
        ("subagent", {"46a6bfd3": Sum(1, 1, 2, 79), "5c9fec95": Sum(0, 1, 2, 80)}),
        ("tools", {"d04ed573": Sum(1, 7, 7, 405)}),
        ("cost", {"00000011": Sum(2, 1, 5, 100 + 200 + 100 + 780 + 7)}),
    ],
)
def test_counts(situation: str, expected: dict[str, Sum], env: dict[str, str]) -> None:
    assert {k: of(s) for k, s in sessions(situation, env).items()} == expected


@pytest.mark.spec("AW2", "A38")
def test_totals_of_captured_runs_count_once(env: dict[str, str]) -> None:
    (session,) = sessions("capture", env).values()
    # the last totals: 15 in, 150 out, 900 read, 60 written; and 205, 45, 300, 20 of a second model
    usage = session.usage
    assert (usage.input, usage.output) == (220, 195)
    assert (usage.cache_read, usage.cache_write) == (1200, 80)


@pytest.mark.spec("AW2")
def test_totals_of_a_second_process(env: dict[str, str]) -> None:
    """The first states 100 of which 30 are recorded; the second states less than is recorded."""
    (session,) = sessions("capture_twice", env).values()
    assert session.usage.output == 100 + 30


@pytest.mark.spec("AW4", "X1")
def test_a_tree_of_subagents(env: dict[str, str]) -> None:
    found = sessions("embedded", env)
    main = found["00000004"]
    assert {s.parent for k, s in found.items() if k != "00000004"} == {main.id}
    assert main.counts.subagents == 2
    assert main.tree_usage.output == 51 + 18 + 33
    assert found["-a11aaaa"].completeness == "partial"
    assert found["-a22bbbb"].completeness == "full"


@pytest.mark.spec("R45", "X1")
def test_a_branch_says_where_it_comes_from(env: dict[str, str]) -> None:
    found = sessions("branch", env)
    branch = found["00000013"]
    assert (branch.parent, branch.relation) == (found["00000012"].id, "fork")


@pytest.mark.spec("A41", "A62", "AW17")
def test_files_touched_leave_out_the_agents_own(env: dict[str, str]) -> None:
    with opened("mixed", env) as deck:
        (session,) = deck.sessions()
        touched = {f["path"] for f in deck.files(session.id)}
    assert touched == {f"/home/dev/work/{name}" for name in ("a.ipynb", "b.py", "src")}
    assert (session.counts.tool_calls, session.counts.tool_errors) == (7, 1)


@pytest.mark.spec("A35")
def test_nothing_happened(env: dict[str, str]) -> None:
    assert sessions("empty", env) == {}


@pytest.mark.spec("R6", "AW25")
def test_what_is_unknown_is_counted(env: dict[str, str]) -> None:
    with opened("unknown", env) as deck:
        found = {(f.reason, f.detail): f.count for f in deck.findings()}
    assert found == {
        ("unknown", "record type 'hologram'"): 2,
        ("unknown", "content block 'smell'"): 1,
        ("unknown", "content block 'gesture'"): 1,
        ("unknown", "record type ''"): 1,
        ("unknown", "assistant record without message"): 1,
        ("bad_field", "message"): 1,
        ("bad_field", "cwd, message.content"): 1,
    }
