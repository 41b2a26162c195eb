"""States, whatever is told in whatever order: replaying is the same, facts are final, nothing is
idle without evidence that says so."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from decklog.model.fleet import Evidence
from decklog.state import TRUST, observed, replay

SAYS = (
    "busy waiting_approval waiting_answer idle limited error turn_started turn_ended interrupted "
    "tool_started tool_ended background_started background_ended activity session_ended "
    "composer_empty prompt_gone exited lost"
).split()
QUIET = {"turn_ended", "idle", "interrupted", "composer_empty", "background_ended"}


@st.composite
def told(draw: st.DrawFn) -> list[Evidence]:
    first = observed("process", "started", 0, generation="g")
    found = [first]
    for n in range(draw(st.integers(0, 25))):
        kind = draw(st.sampled_from(sorted(TRUST)))
        says = "" if kind == "silence" else draw(st.sampled_from(SAYS))
        if says in ("exited", "lost") and draw(st.booleans()):
            continue
        at = draw(st.integers(-2, 400)) * 500
        ref = draw(st.sampled_from(("", "a", "b")))
        found.append(observed(kind, says, at, ref=ref, id=str(n)))  # type: ignore[arg-type]
    return found


@given(told(), st.integers(0, 26))
@settings(max_examples=150, deadline=None)
def test_replaying_in_parts_is_the_same(evidence: list[Evidence], cut: int) -> None:
    whole, changes = replay(evidence)
    half, first = replay(evidence[:cut])
    rest, second = replay(evidence[cut:], half)
    assert (rest, first + second) == (whole, changes)


@given(told())
@settings(max_examples=150, deadline=None)
def test_laws_of_states(evidence: list[Evidence]) -> None:
    state, changes = replay(evidence)
    olds = ["unknown", *(c.new for c in changes)]
    assert [c.old for c in changes] == olds[:-1]
    assert olds[-1] == state.state
    facts = [x for x in evidence if x.kind in ("process", "tmux") and x.says in ("exited", "lost")]
    ended = [x for x in facts if (x.at or 0) >= 0]
    assert (state.state in ("exited", "lost")) == bool(ended)
    for change in changes:
        assert change.evidence
        if change.new == "idle":
            assert any(x.says in QUIET for x in change.evidence)
    if state.state not in ("unknown", "starting"):
        assert state.confidence > 0
    assert len(state.evidence) <= 4
