"""Matching, whatever is running: order does not matter, nothing is inferred twice, looking again
changes nothing."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decklog.match import Claim, Matches, match
from decklog.model import Session
from decklog.model.fleet import AgentProcess
from fleets import NOW, identity, session, tree

AGENTS = ("claude", "codex")
FOLDERS = ("/a", "/b")
TIMES = st.integers(0, 40).map(lambda n: NOW - n * 15_000)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    sessions: list[Session] = []
    for i in range(draw(st.integers(0, 8))):
        begin, end = sorted((draw(TIMES), draw(TIMES)))
        agent = draw(st.sampled_from(AGENTS))
        sessions.append(
            session(f"s{i}", agent, at=begin, last=end, cwd=draw(st.sampled_from(FOLDERS)),
                    paths=[f"/r/{agent}/s{i}"],
                    relation=draw(st.sampled_from((None, None, "subagent"))))
        )  # fmt: skip
    names = [s.native for s in sessions] or ["none"]
    trees: list[AgentProcess] = []
    claims: list[Claim] = []
    for i in range(draw(st.integers(0, 6))):
        agent = draw(st.sampled_from(AGENTS))
        opened = draw(st.lists(st.sampled_from(names), max_size=2)) if draw(st.booleans()) else []
        trees.append(
            tree(10 + i, agent, at=draw(TIMES), cwd=draw(st.sampled_from(FOLDERS)),
                 files=[f"/r/{agent}/{n}" for n in opened],
                 role=draw(st.sampled_from(("interactive", "interactive", "headless", "service"))),
                 resumes=draw(st.booleans()),
                 native=draw(st.sampled_from(["", "", "", *names])))
        )  # fmt: skip
        if draw(st.integers(0, 3)) == 0:
            kind = draw(st.sampled_from(("hook", "pid_file", "lock_file")))
            who = identity(10 + i, draw(st.sampled_from((10 + i, 999))))
            claims.append(Claim(who, draw(st.sampled_from(names)), kind, draw(TIMES)))
    return {"processes": trees, "sessions": sessions, "claims": claims}


def ask(fleet: dict[str, Any], **more: Any) -> Matches:
    return match(now=NOW, **fleet, **more)


@given(fleets(), st.randoms(use_true_random=False))
@settings(max_examples=120, deadline=None)
def test_order_does_not_matter(fleet: dict[str, Any], by: random.Random) -> None:
    def shuffled(items: list[Any]) -> list[Any]:
        return by.sample(items, len(items))

    first = ask(fleet)
    assert ask({k: shuffled(v) for k, v in fleet.items()}) == first
    before = shuffled(list(first.bindings))
    again = ask(fleet, bindings=first.bindings)
    assert ask({k: shuffled(v) for k, v in fleet.items()}, bindings=before) == again


@given(fleets())
@settings(max_examples=120, deadline=None)
def test_what_is_inferred_is_of_one_process_only(fleet: dict[str, Any]) -> None:
    for found in (ask(fleet), ask(fleet, bindings=ask(fleet).bindings)):
        assert {m.pid for m in found.matches} == {t.root.pid for t in fleet["processes"]}
        roles = {t.root.pid: t.role for t in fleet["processes"]}
        for m in found.matches:
            if not m.session or roles[m.pid] == "service":
                continue
            assert m.evidence
            assert m.confidence == m.evidence[0].confidence
            if m.evidence[0].kind in ("sticky", "cwd_start", "cwd_recent"):
                others = [o for o in found.matches if o.session == m.session and o is not m]
                assert all(roles[o.pid] == "service" for o in others)
        bound = {m.session for m in found.matches if m.session and roles[m.pid] != "service"}
        assert not bound & {c.session for m in found.matches for c in m.candidates}
        assert all(m.ambiguous == bool(m.candidates) for m in found.matches)


@given(fleets())
@settings(max_examples=100, deadline=None)
def test_looking_again_keeps_every_session(fleet: dict[str, Any]) -> None:
    first = ask(fleet)
    again = ask(fleet, bindings=first.bindings)
    for old, new in zip(first.matches, again.matches, strict=True):
        assert not old.session or new.session == old.session
