"""decklog.screen with screens recorded from the real programs (tests/screens)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from decklog import agents, screen
from decklog.agents import Rule, Screen
from decklog.model.fleet import Evidence

SCREENS = Path(__file__).parent / "screens"
AGENTS = sorted(p.name for p in SCREENS.iterdir() if p.is_dir())
MENU = "❯ 1. Yes\n  2. No"


def of(agent: str) -> Screen:
    found = agents.get(agent).screen
    assert found is not None
    return found


def recorded(agent: str) -> dict[str, tuple[str, str]]:
    """Name to (screen, title)."""
    titles = json.loads((SCREENS / agent / "titles.json").read_text())
    return {n: ((SCREENS / agent / f"{n}.txt").read_text(), t) for n, t in titles.items()}


def told(agent: str, text: str, title: str) -> dict[str, Any]:
    evidence = screen.look(of(agent), text, title, 7, "%1")
    said = {e.kind: e.says for e in evidence}
    return {**said, "typed": screen.typed(of(agent), text)}


@pytest.mark.spec("R89")
@pytest.mark.parametrize("agent", AGENTS)
def test_recorded_screens(agent: str, accept: bool) -> None:
    found = {name: told(agent, *shown) for name, shown in recorded(agent).items()}
    golden = SCREENS / agent / "expected.json"
    if accept:
        golden.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    assert found == json.loads(golden.read_text())


@pytest.mark.parametrize("agent", [a for a in agents.BUILT_IN if agents.get(a).screen])
def test_each_rule_has_a_recording_that_shows_it(agent: str) -> None:
    known = of(agent)
    shown = recorded(agent)

    def decides(rules: tuple[Rule, ...], text: str) -> Rule | None:
        return next((r for r in rules if screen._search(r.pattern, text)), None)

    for rule in known.rules:
        assert decides(known.rules, screen.live(shown[rule.example][0])) == rule
    for rule in known.titles:
        assert decides(known.titles, rule.example) == rule


DIALOGS = ("waiting-approval-shell", "waiting-approval-edit", "waiting-question", "trust")


@pytest.mark.spec("R88", "R90")
@pytest.mark.parametrize(
    ("agent", "dialog"), [(a, d) for a in AGENTS for d in DIALOGS if d in recorded(a)]
)
def test_a_dialog_that_is_only_quoted_is_none(agent: str, dialog: str) -> None:
    """An answer that repeats a whole dialog, word for word, above the empty composer."""
    shown = recorded(agent)
    quoted = [line for line in shown[dialog][0].split("\n") if line.strip()][-14:]
    rest, title = shown["start"]
    lines = rest.rstrip().split("\n")
    for at in range(0, max(1, len(lines) - 8)):
        text = "\n".join([*lines[:at], *quoted, "", *lines[at:]])
        said = {e.says for e in screen.look(of(agent), text, title, 0)}
        assert not said & {"waiting_approval", "waiting_answer", "busy", "limited"}


@pytest.mark.spec("R90")
@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "1. one\n2. two\n", MENU, "$ ", "esc to interrupt", "x" * 200_000, "\n" * 5000],
)
def test_what_is_not_recognised_is_nothing(agent: str, text: str) -> None:
    assert screen.look(of(agent), text, "", 0) == ()


def test_evidence_says_where_it_is_from() -> None:
    text, title = recorded("claude")["waiting-approval-shell"]
    (evidence,) = screen.look(of("claude"), text, title, 1234, "%3")
    assert evidence == Evidence(
        kind="screen",
        says="waiting_approval",
        at=1234,
        id="screen:%3:1234",
        confidence=screen.SCREEN_CONFIDENCE,
        detail="Do you want to proceed? ❯ 1. Yes 2. Yes, and always allow access to interactive/"
        " from this project 3. No Esc to cancel · Tab to amend · ctrl+e to explain",
    )


@pytest.mark.spec("R86")
@pytest.mark.parametrize(
    ("agent", "name", "text", "held"),
    [
        ("claude", "typed", "A short text", True),
        ("claude", "typed", "Another text", False),
        ("claude", "typed-lines", "Two lines\nand the second", True),
        ("claude", "pasted-long", "\n".join("line" for _ in range(30)), True),
        ("claude", "start", "A short text", False),
        ("claude", "waiting-approval-shell", "A short text", None),
        ("codex", "pasted-long", "x" * 1429, True),
        ("codex", "busy-typed", "A queued text", True),
        ("gemini", "typed-lines", "Two lines\nand the second", True),
        ("opencode", "typed-lines", "Two lines\nand the second", True),
        ("opencode", "busy-typed", "A queued text", True),
    ],
)
def test_the_composer_holds_our_text(agent: str, name: str, text: str, held: bool | None) -> None:
    assert screen.holds(of(agent), recorded(agent)[name][0], text) is held


@pytest.mark.spec("D6")
def test_the_tail_of_a_screen() -> None:
    assert screen.tail("a   \nb\n\n   \n") == "a\nb"
    assert screen.tail("x" * 600) == "x" * 500


def test_live_is_the_bottom_of_a_screen() -> None:
    lines = [f"line {i}" for i in range(100)]
    framed = [f"│ {'w' * 60} │", "─" * 80, "", "", "", "end  "]
    assert screen.live("\n".join(lines + framed) + "\n\n") == "\n".join(
        [*lines[-12:], f"│ {'w' * 60}", "───", "", "end"]
    )
