"""States from evidence: who may decide what, and which of two holds."""

from __future__ import annotations

from typing import Any

import pytest

from decklog.model.fleet import AgentState, Evidence, Transition
from decklog.state import TRUST, observed, reduce, replay

S = 1_000
"""A second, in the milliseconds that evidence is timed by."""


def e(kind: str, says: str, at: float | None = 0, **more: Any) -> Evidence:
    return observed(kind, says, None if at is None else round(at * S), **more)  # type: ignore[arg-type]


START = e("process", "started", 0, generation="g1")
BUSY = e("transcript", "turn_started", 1)


def states(*evidence: Evidence) -> list[str]:
    """The state after each change."""
    return [c.new for c in replay(evidence)[1]]


def last(*evidence: Evidence) -> AgentState:
    return replay([START, *evidence])[0]


@pytest.mark.spec("R89", "R92")
def test_a_turn_from_start_to_exit_and_every_change_with_its_evidence() -> None:
    told = [
        START,
        BUSY,
        e("transcript", "tool_started", 2, ref="t1", id="a"),
        e("hook", "waiting_approval", 3, ref="t1", id="b"),
        e("transcript", "tool_ended", 4, ref="t1", id="c"),
        e("transcript", "turn_ended", 5, id="d"),
        e("process", "exited", 9, code=3, generation="g1", id="e"),
    ]
    state, changes = replay(told)
    assert changes == [
        Transition(at=0, old="unknown", new="starting", evidence=(told[0],), confidence=1.0),
        Transition(at=1 * S, old="starting", new="busy", evidence=(told[1],), confidence=0.90),
        Transition(
            at=3 * S, old="busy", new="waiting_approval", evidence=(told[3],), confidence=0.95
        ),
        Transition(
            at=4 * S, old="waiting_approval", new="busy", evidence=(told[4],), confidence=0.90
        ),
        Transition(at=5 * S, old="busy", new="idle", evidence=(told[5],), confidence=0.90),
        Transition(at=9 * S, old="idle", new="exited", evidence=(told[6],), confidence=1.0, code=3),
    ]
    assert (state.state, state.since, state.source, state.code) == ("exited", 9 * S, "process", 3)
    assert replay(told) == (state, changes)


@pytest.mark.spec("R90")
def test_without_evidence_nothing_is_known() -> None:
    assert AgentState().state == "unknown"
    # One that never said a word is not starting for ever, and never idle.
    silent = [e("silence", "", t) for t in (1, 20, 31, 60, 3600)]
    assert states(START, *silent) == ["starting", "unknown"]
    assert (last(*silent).confidence, last(*silent).since) == (0.0, 30 * S)
    assert last(silent[-1]).since == 30 * S  # whenever it is looked


@pytest.mark.spec("R91")
@pytest.mark.parametrize(
    "old",
    [
        e("transcript", "turn_started", -5),
        e("hook", "waiting_approval", 5, generation="g0"),
        e("screen", "busy", 5, generation="g0"),
        e("process", "exited", 5, generation="g0"),
    ],
)
def test_evidence_of_another_generation_is_ignored(old: Evidence) -> None:
    assert last(old) == last()


@pytest.mark.spec("R91")
def test_a_new_generation_begins_anew() -> None:
    again = e("process", "started", 100, generation="g2")
    state = last(BUSY, again)
    assert state == reduce(AgentState(), again)
    assert last(BUSY, again, e("transcript", "turn_ended", 50)) == state
    assert last(BUSY, START).state == "busy"  # seen again


@pytest.mark.spec("R89")
@pytest.mark.parametrize("kind", sorted(TRUST.keys() - {"process", "tmux"}))
def test_only_facts_decide_that_an_agent_is_gone(kind: str) -> None:
    for says in ("exited", "lost"):
        assert last(BUSY, e(kind, says, 5)).state == "busy"


def test_facts_always_win_and_nothing_comes_after_them() -> None:
    gone = [e("tmux", "exited", 5, code=0), e("hook", "turn_started", 6), e("screen", "busy", 7)]
    assert last(BUSY, *gone).state == "exited"
    assert states(START, e("tmux", "lost", 5), e("tmux", "exited", 6, code=1)) == [
        "starting", "lost", "exited",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["protocol", "status_file", "hook", "osc7501", "transcript"])
def test_newer_evidence_of_a_turn_beats_older_of_any_kind(kind: str) -> None:
    for other in ("protocol", "hook", "transcript"):
        newer = [e(other, "turn_started", 5), e(kind, "turn_ended", 6)]
        assert last(*newer).state == "idle"
        assert last(*reversed(newer)).state == "idle"  # whichever arrives first
        assert last(e(other, "turn_ended", 5), e(kind, "busy", 6)).state == "busy"


@pytest.mark.parametrize("kind", ["hook", "screen"])
def test_a_dialog_holds_against_hooks_of_other_tools(kind: str) -> None:
    asks = e(kind, "waiting_approval", 3, ref="t1")
    for says in ("busy", "tool_started", "activity", "turn_started"):
        assert last(BUSY, asks, e("hook", says, 4)).state == "waiting_approval"
    assert last(BUSY, asks, e("hook", "tool_ended", 4, ref="t2")).state == "waiting_approval"
    assert last(BUSY, asks, e("transcript", "tool_ended", 4, ref="t1")).state == "busy"
    assert last(BUSY, asks, e("transcript", "interrupted", 4)).state == "idle"
    assert last(BUSY, asks, e("status_file", "busy", 4)).state == "busy"


def test_a_dialog_ends_when_two_looks_do_not_show_it() -> None:
    asks = e("hook", "waiting_approval", 3)
    gone, again = e("screen", "busy", 4), e("screen", "waiting_approval", 5)
    assert last(BUSY, asks, gone).state == "waiting_approval"
    assert last(BUSY, asks, gone, again, gone).state == "waiting_approval"
    assert last(BUSY, asks, gone, e("screen", "busy", 5)).state == "busy"
    assert last(BUSY, asks, gone, e("title", "busy", 5)).state == "waiting_approval"
    # One that states itself when it is over needs no look.
    itself = e("status_file", "waiting_approval", 3)
    assert last(BUSY, itself, gone, gone, gone).state == "waiting_approval"
    assert last(BUSY, itself, e("hook", "tool_ended", 4)).state == "waiting_approval"
    assert last(BUSY, itself, e("status_file", "busy", 4)).state == "busy"


def test_a_question_is_told_from_a_permission_by_the_transcript() -> None:
    file = e("status_file", "waiting_approval", 3)
    question = e("transcript", "waiting_answer", 2.9, ref="q")
    assert last(BUSY, file, question).state == "waiting_answer"
    assert last(BUSY, question, file).state == "waiting_answer"
    assert last(BUSY, question, file, e("transcript", "tool_ended", 5, ref="q")).state == "busy"


def test_leaving_busy_takes_one_strong_sign_or_two_weak_ones_a_second_apart() -> None:
    for kind in ("protocol", "status_file", "hook", "transcript", "osc7501"):
        assert last(BUSY, e(kind, "turn_ended", 2)).state == "idle"
    weak = [e("screen", "composer_empty", 2), e("screen", "composer_empty", 2.9)]
    assert last(BUSY, weak[0]).state == "busy"
    assert last(BUSY, *weak).state == "busy"
    settled = last(BUSY, weak[0], e("title", "idle", 3.1))
    assert (settled.state, settled.since) == ("idle", 3100)
    assert [x.kind for x in settled.evidence] == ["screen", "title"]
    live = e("screen", "busy", 2.5)
    assert last(BUSY, weak[0], live, e("screen", "composer_empty", 3.1)).state == "busy"


def test_an_end_without_its_hook_is_believed_and_surer_when_the_screen_agrees() -> None:
    ended = [e("hook", "turn_started", 1), e("transcript", "interrupted", 5)]
    assert (last(*ended).state, last(*ended).confidence) == ("idle", 0.90)
    assert last(*ended, e("screen", "composer_empty", 6)).confidence == 0.95


def test_a_weak_sign_does_not_undo_a_strong_one_alone() -> None:
    idle = [BUSY, e("transcript", "turn_ended", 5)]
    flicker = e("screen", "busy", 5.1)
    assert last(*idle, flicker).state == "idle"
    assert last(*idle, flicker, e("screen", "busy", 6.2)).state == "busy"
    guess = e("transcript", "turn_ended", 5, confidence=0.5)
    assert last(BUSY, guess).confidence == 0.5
    assert last(BUSY, guess, flicker).state == "busy"  # the screen is surer than a guess


def test_a_first_look_at_the_screen_is_better_than_nothing_a_title_is_not() -> None:
    assert last(e("screen", "busy", 1)).state == "busy"
    assert last(e("screen", "composer_empty", 1)).state == "idle"
    assert last(e("screen", "waiting_approval", 1)).state == "waiting_approval"
    assert last(e("title", "idle", 1)).state == "starting"
    assert last(e("title", "idle", 1), e("title", "idle", 2.5)).state == "idle"


def test_work_that_outlives_its_turn_is_background() -> None:
    launch = e("transcript", "background_started", 2, ref="b1")
    stop = e("hook", "turn_ended", 3)
    assert last(BUSY, launch, stop).state == "background"
    assert last(BUSY, launch, stop, e("screen", "composer_empty", 9)).state == "background"
    done = e("transcript", "background_ended", 4, ref="b1")
    assert last(BUSY, launch, stop, done).state == "idle"
    assert last(BUSY, launch, done, stop).state == "idle"
    assert last(BUSY, launch, stop, e("transcript", "turn_started", 5)).state == "busy"


@pytest.mark.parametrize("says", ["limited", "error"])
def test_a_turn_that_ends_with_a_limit_or_error_stays_so_until_the_next(says: str) -> None:
    refused = e("transcript", says, 3)
    assert last(BUSY, refused, e("transcript", "turn_ended", 3)).state == says
    assert last(BUSY, refused, e("status_file", "idle", 4)).state == says
    assert last(BUSY, e("status_file", "idle", 3.1), refused).state == says  # told late
    assert last(BUSY, refused, e("screen", "composer_empty", 4)).state == says
    assert last(BUSY, refused, e("transcript", "turn_started", 5)).state == "busy"
    earlier = e("transcript", says, 0.5)
    assert last(BUSY, e("status_file", "idle", 3), earlier).state == "idle"
    for n in (4, 5.5):
        banner = e("screen", says, n)
    assert last(BUSY, e("screen", says, 4)).state == "busy"
    assert last(BUSY, e("screen", says, 4), banner).state == says


def test_the_dialog_about_a_limit_is_not_a_question() -> None:
    limit = e("transcript", "limited", 3)
    assert last(BUSY, limit, e("status_file", "waiting_answer", 4)).state == "limited"


def test_a_hook_that_nothing_bears_out_is_doubted_after_two_minutes() -> None:
    hook = e("hook", "turn_started", 1)
    doubt = [e("silence", "", 122), e("silence", "", 123.5)]
    assert last(hook, e("silence", "", 100), e("silence", "", 102)).state == "busy"
    assert last(hook, doubt[0]).state == "busy"
    unknown = last(hook, *doubt)
    assert (unknown.state, unknown.confidence) == ("unknown", 0.0)
    # Growth of the transcript or a live line on the screen bears it out.
    assert last(hook, e("screen", "busy", 60), *doubt).state == "busy"
    assert last(hook, e("transcript", "activity", 60), *doubt).state == "busy"
    assert last(BUSY, *doubt).state == "busy"  # a long tool, as recorded


def test_evidence_for_a_session_says_nothing_about_a_state() -> None:
    claim = Evidence(kind="hook", about="session", says="", session="claude:x", at=5)
    assert last(claim) == last()


def test_since_stays_while_the_state_does_and_evidence_is_bounded() -> None:
    work = [e("transcript", "activity", 2 + n, id=f"a{n}") for n in range(50)]
    state = last(BUSY, *work)
    assert (state.since, len(state.evidence)) == (1 * S, 4)
