"""What an agent is doing, from all that is seen and heard of it.

`reduce` takes a state and one piece of evidence to the next state. It is pure: replaying the same
evidence gives the same states and transitions. Evidence comes from collectors that know nothing of
each other; what they may decide depends on their kind, in this order:

1. ``process``, ``tmux``: facts. They alone decide ``exited`` and ``lost``, and always win.
2. ``protocol``, ``status_file``: the agent states its own state.
3. ``hook``, ``osc7501``: events of a turn; good for its beginnings, less for its end.
4. ``transcript``: what was recorded; best for the end of a turn, interrupts, limits, errors.
5. ``screen``: for dialogs, and to break ties.
6. ``title``, ``osc133``: hints. Two that agree, a second apart, count as one look at the screen.
7. ``silence``: never sets a state; it only casts doubt on one that rests on a hook alone.

Evidence of a turn that is newer beats what is older, whatever its kind (but 1). What belongs to
another generation of the agent, or is older than this one, is ignored. Without evidence a state is
``unknown``, never ``idle``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from decklog.model.fleet import (
    AgentState,
    Evidence,
    EvidenceKind,
    Says,
    State,
    Transition,
    Waiting,
)

TRUST: dict[str, float] = {
    "process": 1.0,
    "tmux": 1.0,
    "protocol": 0.98,
    "status_file": 0.97,
    "hook": 0.95,
    "osc7501": 0.92,
    "transcript": 0.90,
    "screen": 0.75,
    "osc133": 0.50,
    "title": 0.50,
    "silence": 0.30,
}
FACTS = frozenset(("process", "tmux"))
STATES_ITSELF = frozenset(("protocol", "status_file", "osc7501", "transcript"))
"""Kinds that also tell when a dialog has been answered."""
WEAK = frozenset(("screen", "osc133", "title"))
HINTS = frozenset(("osc133", "title"))

APART = 1_000
"""Milliseconds between two looks that are to agree."""
STALE_HOOK = 120_000
"""A hook's ``busy`` with no sign of work for so long (ms) is doubted."""
SLOW_START = 30_000
"""After so long (ms) with no word of an agent it is not starting any more."""
KEPT = 4
"""Pieces of evidence that stay with a state."""


def observed(kind: EvidenceKind, says: Says, at: int | None, **more: Any) -> Evidence:
    """A piece of evidence for a state, believed as its kind is unless ``confidence`` is given."""
    more.setdefault("confidence", TRUST.get(kind, 0.5))
    return Evidence(kind=kind, says=says, at=at, **more)


def replay(
    evidence: Iterable[Evidence], state: AgentState | None = None
) -> tuple[AgentState, list[Transition]]:
    """The state after all this evidence, in the order given, and every change on the way."""
    now, found = steps(evidence, state)
    return now, [step.transition for step in found]


class Step(NamedTuple):
    """A change of state with all that it follows from: ``reduce(before, by)`` is ``after``."""

    before: AgentState
    by: Evidence
    after: AgentState

    @property
    def transition(self) -> Transition:
        new = self.after
        return Transition(
            at=new.since,
            old=self.before.state,
            new=new.state,
            evidence=new.evidence,
            confidence=new.confidence,
            code=new.code,
        )


def steps(
    evidence: Iterable[Evidence], state: AgentState | None = None
) -> tuple[AgentState, list[Step]]:
    """The same as `replay`, each change with what it follows from."""
    now = state or AgentState()
    found: list[Step] = []
    for e in evidence:
        new = reduce(now, e)
        if (new.state, new.code) != (now.state, now.code):
            found.append(Step(now, e, new))
        now = new
    return now, found


def reduce(state: AgentState, e: Evidence) -> AgentState:
    """The state after one more piece of evidence."""
    if e.about != "state":
        return state
    if e.says == "started":
        return _started(state, e)
    if _of_another_time(state, e):
        return state
    if e.says in ("exited", "lost"):
        return _ended(state, e)
    if state.state in ("exited", "lost"):
        return state
    if e.kind == "silence":
        return _silent(state, e)
    return _seen(state, e) if e.kind in WEAK else _told(state, e)


# -- facts -----------------------------------------------------------------------------------------


def _started(state: AgentState, e: Evidence) -> AgentState:
    same = state.generation == e.generation and state.started_at == e.at
    if state.started_at is not None and same and state.state != "lost":
        return state  # seen again
    if state.started_at is not None and e.at is not None and e.at < state.started_at:
        return state
    return AgentState(
        state="starting",
        since=e.at,
        source=e.kind,
        evidence=(e,),
        confidence=e.confidence,
        generation=e.generation,
        session=e.session,
        started_at=e.at,
    )


def _of_another_time(state: AgentState, e: Evidence) -> bool:
    other = state.generation and e.generation and state.generation != e.generation
    older = state.started_at is not None and e.at is not None and e.at < state.started_at
    return bool(other) or older


def _ended(state: AgentState, e: Evidence) -> AgentState:
    if e.kind not in FACTS or state.state in ("exited", e.says):
        return state
    ended: State = "exited" if e.says == "exited" else "lost"
    closed = replace(state, turn=False, tools=(), background=(), waiting=None, weak=None)
    return replace(_to(closed, ended, e), code=e.code)


# -- what is told: kinds 2 to 4 --------------------------------------------------------------------


def _told(state: AgentState, e: Evidence) -> AgentState:
    if e.says == "tool_ended":
        state = replace(state, tools=_without(state.tools, e.ref))
    elif e.says == "background_ended":
        return _background_ended(state, e)
    if e.at is not None and state.turn_at is not None and e.at < state.turn_at:
        return _late(state, e)
    if e.says == "background_started":
        return replace(state, background=_with(state.background, e.ref))
    if state.waiting is not None and _holds(state.waiting, e):
        return state
    heard = replace(state, turn_at=e.at if e.at is not None else state.turn_at, weak=None)
    match e.says:
        case "turn_started" | "busy" | "activity" | "tool_started" | "tool_ended" | "prompt_gone":
            return _working(heard, e)
        case "turn_ended" | "idle" | "interrupted":
            return _turn_over(heard, e)
        case "waiting_approval" | "waiting_answer":
            return _asks(heard, e)
        case "limited" | "error":
            return _to(_closed(heard), e.says, e)
        case "session_ended":
            return _closed(heard)
        case _:
            return state


def _late(state: AgentState, e: Evidence) -> AgentState:
    """Evidence that arrives after newer evidence: it may still say more exactly what happened."""
    asks = state.waiting is not None and state.waiting.says == "waiting_approval"
    if e.says == "waiting_answer" and asks and e.kind == "transcript":
        return _asks(state, e)  # the dialog is a question, not a permission
    of_turn = (e.at or 0) >= (state.opened_at or 0)
    if e.says in ("limited", "error") and state.state in ("idle", "background") and of_turn:
        return _to(state, e.says, e)
    return state


def _holds(waiting: Waiting, e: Evidence) -> bool:
    """Whether what an agent waits for stands against this: hooks of other tools run on beside a
    dialog, and only an answer to it, or another turn, ends it."""
    if e.says == "tool_ended":
        if waiting.ref:
            return e.ref != waiting.ref
        return waiting.kind in STATES_ITSELF
    return e.kind == "hook" and e.says in ("busy", "turn_started", "tool_started", "activity")


def _working(state: AgentState, e: Evidence) -> AgentState:
    if e.says == "tool_ended" and state.turn is False and state.waiting is None:
        return replace(state, growth_at=e.at)  # a task of an earlier turn
    opened = e.at if e.says == "turn_started" or state.turn is not True else state.opened_at
    tools = () if e.says == "turn_started" else state.tools
    if e.says == "tool_started":
        tools = _with(tools, e.ref)
    now = replace(state, turn=True, opened_at=opened, tools=tools, waiting=None, growth_at=e.at)
    return _to(now, "busy", e)


def _turn_over(state: AgentState, e: Evidence) -> AgentState:
    if state.state in ("limited", "error"):
        return _closed(state)  # that is why it is over
    return _to(_closed(state), "background" if state.background else "idle", e)


def _asks(state: AgentState, e: Evidence) -> AgentState:
    old = state.waiting
    if state.state == "limited" and e.kind == "status_file":
        return state  # the dialog about the limit
    says: Literal["waiting_answer", "waiting_approval"]
    says = "waiting_answer" if e.says == "waiting_answer" else "waiting_approval"
    ref = e.ref
    if old is not None and old.says == "waiting_answer" and old.ref:
        says, ref = "waiting_answer", old.ref
    waiting = Waiting(says=says, ref=ref, kind=e.kind)
    opened = state.opened_at if state.turn else e.at
    return _to(replace(state, turn=True, opened_at=opened, waiting=waiting), says, e)


def _background_ended(state: AgentState, e: Evidence) -> AgentState:
    left = replace(state, background=_without(state.background, e.ref))
    if left.state == "background" and not left.background:
        return _to(left, "idle", e)
    return left


def _closed(state: AgentState) -> AgentState:
    return replace(state, turn=False, tools=(), waiting=None)


# -- what is seen: kinds 5 and 6 -------------------------------------------------------------------


def _seen(state: AgentState, e: Evidence) -> AgentState:
    says = "idle" if e.says == "composer_empty" else e.says
    if state.waiting is not None:
        return _seen_waiting(state, e, says)
    if says in ("waiting_approval", "waiting_answer"):
        return _asks(replace(state, weak=None), e) if e.kind == "screen" else _agree(state, e, says)
    if says == state.state:
        grown = e.at if says == "busy" else state.growth_at
        surer = max(state.confidence, 0.95 if state.turn is False and says == "idle" else 0.0)
        return replace(state, growth_at=grown, confidence=surer, weak=None)
    if says == "idle" and state.state in ("limited", "error", "background"):
        return state
    unsure = state.state in ("starting", "unknown") or state.confidence < e.confidence
    at_once = state.state != "busy" and (unsure or (says == "busy" and state.source in WEAK))
    if at_once and says in ("busy", "idle") and e.kind == "screen":
        return _weakly(state, e, says)
    return _agree(state, e, says)


def _seen_waiting(state: AgentState, e: Evidence, says: str) -> AgentState:
    waiting = state.waiting
    assert waiting is not None
    if e.kind in HINTS or waiting.kind in STATES_ITSELF:
        return state
    if says in ("waiting_approval", "waiting_answer"):
        return replace(state, waiting=replace(waiting, misses=0))
    if waiting.misses == 0:
        return replace(state, waiting=replace(waiting, misses=1))
    answered = replace(state, waiting=None)
    return _weakly(answered, e, "idle" if says == "idle" else "busy")


def _agree(state: AgentState, e: Evidence, says: str) -> AgentState:
    """One weak sign leaves no state; a second one like it, some time later, does."""
    first = state.weak
    alike = first is not None and _plain(first.says) == says
    if first is None or not alike or e.at is None or first.at is None:
        return replace(state, weak=e)
    if e.at - first.at < APART:
        return state
    if says in ("waiting_approval", "waiting_answer"):
        return _asks(replace(state, weak=None), e)
    if says in ("busy", "idle", "limited", "error"):
        return _weakly(state, e, says, first)
    return state


def _weakly(state: AgentState, e: Evidence, says: str, *before: Evidence) -> AgentState:
    new: State = says  # type: ignore[assignment]
    if new == "idle" and state.background:
        new = "background"
    opened = e.at if new == "busy" and state.turn is not True else state.opened_at
    now = replace(state, turn=new == "busy", opened_at=opened, weak=None)
    if new != "busy":
        now = replace(now, tools=(), waiting=None)
    return _to(now, new, e, *before)


def _plain(says: str) -> str:
    return "idle" if says == "composer_empty" else says


# -- silence -------------------------------------------------------------------------------------


def _silent(state: AgentState, e: Evidence) -> AgentState:
    if e.at is None:
        return state
    slow = (state.since or 0) + SLOW_START
    if state.state == "starting" and e.at > slow:
        return _to(state, "unknown", replace(e, at=slow))
    heard = max(state.since or 0, state.growth_at or 0, state.turn_at or 0)
    if state.state != "busy" or state.source != "hook" or e.at - heard <= STALE_HOOK:
        return state
    first = state.weak
    if first is None or first.kind != "silence" or first.at is None:
        return replace(state, weak=e)  # look again before giving it up
    if e.at - first.at < APART:
        return state
    return _to(replace(state, weak=None), "unknown", e)


# -- the new state ---------------------------------------------------------------------------------


def _to(state: AgentState, new: State, e: Evidence, *before: Evidence) -> AgentState:
    if new == state.state:
        kept = tuple(k for k in state.evidence if k.id != e.id or not e.id)
        return replace(
            state,
            evidence=(*kept, e)[-KEPT:],
            confidence=max(state.confidence, e.confidence),
            source=state.source if TRUST[state.source or "silence"] > TRUST[e.kind] else e.kind,
        )
    sure = 0.0 if new == "unknown" else e.confidence
    return replace(
        state,
        state=new,
        since=e.at,
        source=e.kind,
        evidence=(*before, e),
        confidence=sure,
        code=None,
    )


def _with(refs: tuple[str, ...], ref: str) -> tuple[str, ...]:
    return refs if not ref or ref in refs else (*refs, ref)


def _without(refs: tuple[str, ...], ref: str) -> tuple[str, ...]:
    return tuple(r for r in refs if r != ref)
