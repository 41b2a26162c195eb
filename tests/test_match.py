"""Which process is on which session: hand-labelled situations."""

from __future__ import annotations

import pytest

from decklog.match import Claim, Matches, confidence, match
from decklog.model import Session
from decklog.model.fleet import AgentProcess, Match
from fleets import MINUTE, NOW, identity, process, session, tree

SECOND = 1000
A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"


def held(agent: str, path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".lock") if path.endswith(".lock") else ""


def pairs(found: Matches) -> dict[int, str]:
    return {m.pid: m.session for m in found.matches}


def kinds(m: Match) -> list[str]:
    return [e.kind for e in m.evidence]


@pytest.mark.spec("A2", "A4")
def test_confidence_by_kind_of_evidence() -> None:
    known = {k: confidence(k) for k in ("ebpf_file", "proc_fd", "sticky", "cwd_recent", "other")}
    assert known == {
        "ebpf_file": 0.95, "proc_fd": 0.90, "sticky": 0.70, "cwd_recent": 0.55, "other": 0.50,
    }  # fmt: skip


@pytest.mark.spec("A63", "A65", "R75")
def test_a_reused_pid_does_not_inherit_the_binding() -> None:
    on = session("s", at=NOW - 9 * MINUTE)
    first = match([tree(7, at=NOW - 9 * MINUTE)], [on], now=NOW)
    assert pairs(first) == {7: "gemini:s"}
    # The same pid, started later: another process, in another folder.
    again = match([tree(7, start=99, cwd="/elsewhere")], [on], now=NOW, bindings=first.bindings)
    assert pairs(again) == {7: ""}
    assert again.bindings == ()


@pytest.mark.spec("A63", "A64")
def test_observed_paths_and_claims_need_the_same_start_time() -> None:
    on = session("s", "claude", cwd="/x", paths=["/t/s.jsonl"])
    t = tree(7, "claude")
    assert pairs(match([t], [on], now=NOW, observed={(7, 8): "/t/s.jsonl"})) == {7: ""}
    assert pairs(match([t], [on], now=NOW, observed={(7, 7): "/t/s.jsonl"})) == {7: "claude:s"}
    stale = Claim(identity(7, 8), "s", "pid_file", NOW)
    assert pairs(match([t], [on], now=NOW, claims=[stale])) == {7: ""}
    other_boot = Claim(identity(7)._replace(boot="another"), "s", "pid_file", NOW)
    assert pairs(match([t], [on], now=NOW, claims=[other_boot])) == {7: ""}


@pytest.mark.spec("A64", "A72", "A73")
def test_path_evidence_is_the_union_over_the_tree_and_the_observed_path_is_stronger() -> None:
    on = session("s", "codex", cwd="/x", paths=["/r/rollout.jsonl"])
    child = process(8, files=("/r/rollout.jsonl",))
    t = tree(7, "codex", below=[child, process(9)])
    found = match([t], [on], now=NOW)
    m = found.session_for_pid(9)
    assert m is not None
    assert (m.session, m.pid, m.pids, kinds(m), m.confidence, m.source) == (
        "codex:s", 7, (7, 8, 9), ["proc_fd"], 0.90, "agent_session.process_match",
    )  # fmt: skip
    assert m.root == identity(7)
    assert found.session_for_pid(1234) is None
    observed = match([t], [on], now=NOW, observed={(8, 8): "/r/rollout.jsonl"}).matches[0]
    assert (kinds(observed), observed.confidence) == (["ebpf_file"], 0.95)


@pytest.mark.spec("A69")
def test_paths_are_compared_in_canonical_form() -> None:
    on = session("s", "codex", cwd="/x", paths=["/link/rollout.jsonl"])
    t = tree(7, "codex", files=["/real/./rollout.jsonl"])
    resolve = {"/link/rollout.jsonl": "/real/rollout.jsonl"}.get

    def canonical(path: str) -> str:
        return resolve(path, path).replace("/./", "/")

    assert pairs(match([t], [on], now=NOW, canonical=canonical)) == {7: "codex:s"}


@pytest.mark.spec("A68", "AW22")
def test_an_open_file_moves_a_binding_and_keeps_the_history() -> None:
    a, b = (session(n, "codex", cwd="/x", paths=[f"/r/{n}"]) for n in "ab")
    first = match([tree(7, "codex", files=["/r/a"])], [a, b], now=NOW)
    moved = match([tree(7, "codex", files=["/r/b"])], [a, b], now=NOW + 1, bindings=first.bindings)
    m = moved.matches[0]
    assert (m.session, kinds(m), m.history) == ("codex:b", ["proc_fd"], ("codex:a",))
    # Nothing to be seen any more: it stays where it was.
    kept = match([tree(7, "codex")], [a, b], now=NOW + 2, bindings=moved.bindings).matches[0]
    assert (kept.session, kinds(kept), kept.confidence, kept.history) == (
        "codex:b", ["sticky"], 0.70, ("codex:a",),
    )  # fmt: skip


@pytest.mark.spec("A66", "AW22")
def test_strong_evidence_of_a_later_process_wins_over_a_weak_one_of_an_earlier() -> None:
    on = session("s", "codex", at=NOW - 5 * MINUTE, last=NOW, paths=["/r/s"])
    first = match([tree(7, "codex", at=NOW - 6 * MINUTE)], [on], now=NOW)
    assert pairs(first) == {7: "codex:s"}
    later = tree(8, "codex", at=NOW - 2 * MINUTE, files=["/r/s"])
    found = match(
        [tree(7, "codex", at=NOW - 6 * MINUTE), later], [on], now=NOW, bindings=first.bindings
    )
    assert pairs(found) == {7: "", 8: "codex:s"}


@pytest.mark.spec("A66")
def test_agents_have_to_be_equal() -> None:
    assert pairs(match([tree(7, "gemini")], [session("s", "pi")], now=NOW)) == {7: ""}
    t = tree(7, "codex", files=["/r/s"])
    assert pairs(match([t], [session("s", "claude", paths=["/r/s"])], now=NOW)) == {7: ""}


@pytest.mark.spec("A3", "A67", "A70", "A71")
@pytest.mark.parametrize(
    ("began", "ended", "bound"),
    [
        (-9 * MINUTE, -2 * MINUTE, ""),  # over long before the process began
        (-9 * MINUTE, -MINUTE - 31 * SECOND, ""),
        (-9 * MINUTE, -MINUTE - 29 * SECOND, "gemini:s"),  # within the skew
        (-9 * MINUTE, 0, "gemini:s"),  # taken up again by it
        (-MINUTE + SECOND, 0, "gemini:s"),
        (None, 0, "gemini:s"),
        (None, None, ""),
    ],
)
def test_a_session_has_to_be_fresh_enough_for_the_process(
    began: int | None, ended: int | None, bound: str
) -> None:
    on = session("s", at=None if began is None else NOW + began)
    on = session("s", at=on.started_at, last=None if ended is None else NOW + ended)
    assert pairs(match([tree(7, at=NOW - MINUTE)], [on], now=NOW)) == {7: bound}


@pytest.mark.spec("A70")
@pytest.mark.parametrize(
    ("mine", "its", "bound"),
    [
        ("/work/app", "/work/app", "gemini:s"),
        ("/work/app/", "/work/app", "gemini:s"),  # AW21
        ("/work/app", "/work/other", ""),
        ("", "", ""),
        ("/work/app", "", ""),
    ],
)
def test_folders_have_to_be_equal(mine: str, its: str, bound: str) -> None:
    found = match([tree(7, cwd=mine)], [session("s", cwd=its)], now=NOW)
    assert pairs(found) == {7: bound}


@pytest.mark.spec("A70")
def test_a_process_of_unknown_age_is_not_matched_by_its_folder() -> None:
    t = tree(7, at=0)
    t = AgentProcess(agent="gemini", root=process(7, at=None), members=t.members, cwd=t.cwd)  # type: ignore[arg-type]
    assert pairs(match([t], [session("s")], now=NOW)) == {7: ""}


@pytest.mark.spec("A70")
def test_a_process_with_path_evidence_is_not_matched_by_its_folder() -> None:
    on = session("here", "codex")
    t = tree(7, "codex", files=["/locks/elsewhere.lock"])
    assert pairs(match([t], [on], now=NOW, held=held)) == {7: "codex:elsewhere"}


@pytest.mark.spec("AW20")
def test_the_live_session_beats_one_that_ended_when_the_process_began() -> None:
    began = NOW - 60 * MINUTE
    old = session("old", at=began - 60 * MINUTE, last=began)
    live = session("live", at=began + MINUTE, last=NOW)
    m = match([tree(7, at=began)], [old, live], now=NOW).matches[0]
    assert (m.session, kinds(m), m.ambiguous) == ("gemini:live", ["cwd_start"], False)


@pytest.mark.spec("AW21")
def test_a_match_by_folder_does_not_flap() -> None:
    on = session("s", at=NOW - MINUTE + SECOND)
    first = match([tree(7)], [on], now=NOW)
    # The session is listed no more, or another of the folder grows: it stays.
    other = session("other", at=NOW - 99 * MINUTE, last=NOW + 5)
    for seen in ([], [other], [on, other]):
        again = match([tree(7)], seen, now=NOW + 10, bindings=first.bindings)
        assert pairs(again) == {7: "gemini:s"}
    assert first.matches[0].confidence >= again.matches[0].confidence


@pytest.mark.spec("AW23", "R74")
def test_what_the_agent_states_of_itself_is_believed_before_all_else() -> None:
    on, other = session(A, "claude"), session(B, "claude", last=NOW)
    named = match([tree(7, "claude", native=A)], [on, other], now=NOW).matches[0]
    assert (named.session, kinds(named), named.confidence) == (f"claude:{A}", ["argv"], 0.98)
    own = Claim(identity(7), A, "pid_file", NOW - 5)
    told = match([tree(7, "claude")], [on, other], now=NOW, claims=[own]).matches[0]
    assert (told.session, kinds(told), told.confidence) == (f"claude:{A}", ["pid_file"], 0.97)
    # Known before there is any transcript.
    assert pairs(match([tree(7, "claude")], [], now=NOW, claims=[own])) == {7: f"claude:{A}"}


@pytest.mark.spec("R77", "Y4")
def test_clear_and_resume_move_the_binding_by_the_newest_statement() -> None:
    t = tree(7, "claude", native=A, at=NOW - 9 * MINUTE)
    cleared = Claim(identity(7), B, "pid_file", NOW - MINUTE)
    m = match([t], [], now=NOW, claims=[cleared]).matches[0]
    assert (m.session, m.history, m.also) == (f"claude:{B}", (f"claude:{A}",), ())
    hook = Claim(identity(7), "cccc", "hook", NOW - 5)  # its file is stale
    m = match([t], [], now=NOW, claims=[hook, cleared]).matches[0]
    assert (m.session, m.history) == ("claude:cccc", (f"claude:{A}", f"claude:{B}"))
    stale = Claim(identity(7), "cccc", "hook", NOW - 2 * MINUTE)
    assert match([t], [], now=NOW, claims=[stale, cleared]).matches[0].session == f"claude:{B}"


@pytest.mark.spec("R77")
def test_a_new_session_in_the_folder_moves_a_binding_that_was_only_inferred() -> None:
    t = tree(7, at=NOW - 9 * MINUTE)
    one = session("one", at=NOW - 8 * MINUTE, last=NOW - 6 * MINUTE)
    first = match([t], [one], now=NOW - 5 * MINUTE)
    two = session("two", at=NOW - MINUTE, last=NOW)
    m = match([t], [one, two], now=NOW, bindings=first.bindings).matches[0]
    assert (m.session, m.history) == ("gemini:two", ("gemini:one",))


@pytest.mark.spec("AW24")
def test_equal_native_ids_of_two_agents_are_two_sessions() -> None:
    found = match(
        [tree(7, "claude", native=A), tree(8, "codex", native=A)],
        [session(A, "claude"), session(A, "codex")],
        now=NOW,
    )
    assert pairs(found) == {7: f"claude:{A}", 8: f"codex:{A}"}
    assert [m.pid for m in found.on(f"codex:{A}")] == [8]


@pytest.mark.spec("AW22")
def test_subagents_and_other_sessions_in_one_process_stand_beside_the_main_one() -> None:
    main = session("main", "codex", cwd="/x", paths=["/r/main"], last=NOW - 5)
    sub = session(
        "sub",
        "codex",
        cwd="/x",
        paths=["/r/sub"],
        relation="subagent",
        parent="codex:main",
        last=NOW,
    )
    m = match([tree(7, "codex", files=["/r/sub", "/r/main"])], [sub, main], now=NOW).matches[0]
    assert (m.session, m.also) == ("codex:main", ("codex:sub",))


@pytest.mark.spec("AW22")
def test_a_service_holds_many_and_takes_none_from_the_terminal_that_shows_it() -> None:
    daemon = tree(
        5, "codex", role="service", at=NOW - 99 * MINUTE, files=["/l/a.lock", "/l/b.lock"]
    )
    front = tree(7, "codex", at=NOW - MINUTE)
    sessions = [
        session("a", "codex", at=NOW - MINUTE + SECOND, last=NOW),
        session("b", "codex", at=NOW - 50 * MINUTE, last=NOW, cwd="/work/other"),
        session("gone", "codex", at=NOW - MINUTE + 2 * SECOND, last=NOW),
    ]
    found = match([daemon, front], sessions, now=NOW, held=held)
    assert pairs(found) == {5: "", 7: "codex:a"}
    assert found.matches[0].also == ("codex:a", "codex:b")


@pytest.mark.spec("R74")
def test_what_only_names_a_pid_has_to_be_younger_than_the_process() -> None:
    t = tree(7, "copilot", at=NOW - MINUTE)
    loose = identity(7)._replace(start_ticks=0, boot="")
    old = Claim(loose, "s", "lock_file", NOW - 9 * MINUTE)
    assert pairs(match([t], [], now=NOW, claims=[old])) == {7: ""}
    new = old._replace(at=NOW - MINUTE + SECOND)
    m = match([t], [], now=NOW, claims=[new]).matches[0]
    assert (m.session, m.confidence) == ("copilot:s", 0.93)


# -- the same folder -----------------------------------------------------------------------------


def eight(gap: int, reply: int) -> tuple[list[AgentProcess], list[Session]]:
    """Eight processes in one folder, one each ``gap`` ms, whose sessions begin ``reply`` after."""
    first = NOW - 60 * MINUTE
    trees = [tree(10 + i, at=first + i * gap) for i in range(8)]
    sessions = [session(f"s{i}", at=first + i * gap + reply, last=NOW) for i in range(8)]
    return trees, sessions


@pytest.mark.spec("AW22")
def test_eight_in_one_folder_each_with_its_own_session() -> None:
    trees, sessions = eight(gap=MINUTE, reply=3 * SECOND)
    found = match(trees, sessions, now=NOW)
    assert pairs(found) == {10 + i: f"gemini:s{i}" for i in range(8)}
    assert not any(m.ambiguous for m in found.matches)


@pytest.mark.spec("R74")
def test_eight_at_once_in_one_folder_stay_ambiguous() -> None:
    trees, sessions = eight(gap=100, reply=5 * SECOND)
    found = match(trees, sessions, now=NOW)
    assert pairs(found) == {10 + i: "" for i in range(8)}
    for m in found.matches:
        assert m.ambiguous
        assert {c.session for c in m.candidates} == {f"gemini:s{i}" for i in range(8)}
        assert sum(c.confidence for c in m.candidates) <= 0.66
    # One that states its session helps itself and nobody else.
    claim = Claim(identity(10), "s3", "hook", NOW)
    found = match(trees, sessions, now=NOW, claims=[claim])
    assert pairs(found) == {10: "gemini:s3"} | {11 + i: "" for i in range(7)}
    assert "gemini:s3" not in {c.session for m in found.matches for c in m.candidates}


@pytest.mark.spec("R74")
def test_two_that_may_be_either_stay_ambiguous() -> None:
    one, two = tree(7, at=NOW - 60 * MINUTE), tree(8, at=NOW - 59 * MINUTE)
    late = [session("a", at=NOW - 9 * MINUTE), session("b", at=NOW - 8 * MINUTE, last=NOW)]
    found = match([one, two], late, now=NOW)
    assert pairs(found) == {7: "", 8: ""}
    assert [[c.session for c in m.candidates] for m in found.matches] == [
        ["gemini:b", "gemini:a"], ["gemini:b", "gemini:a"],
    ]  # fmt: skip


def test_a_process_at_work_on_its_own_session_did_not_begin_another() -> None:
    one, two = tree(7, at=NOW - 60 * MINUTE), tree(8, at=NOW - 20 * MINUTE)
    a = session("a", at=NOW - 30 * MINUTE, last=NOW)  # before two was there: of one
    b = session("b", at=NOW - 10 * MINUTE, last=NOW)
    assert pairs(match([one, two], [a, b], now=NOW)) == {7: "gemini:a", 8: "gemini:b"}


def test_headless_agents_begin_at_once() -> None:
    first = NOW - 10 * MINUTE
    one = tree(7, at=first, role="headless")
    mine = session("mine", at=first + SECOND, last=NOW)
    later = session("later", at=first + 5 * MINUTE, last=NOW)
    assert pairs(match([one], [mine, later], now=NOW)) == {7: "gemini:mine"}
    assert pairs(match([one], [later], now=NOW)) == {7: ""}


def test_continue_means_the_latest_session_before() -> None:
    t = tree(7, at=NOW - MINUTE, resumes=True)
    old = session("old", at=NOW - 99 * MINUTE, last=NOW - 50 * MINUTE)
    older = session("older", at=NOW - 999 * MINUTE, last=NOW - 900 * MINUTE)
    m = match([t], [older, old], now=NOW).matches[0]
    assert (m.session, kinds(m)) == ("gemini:old", ["cwd_recent"])
    live = session("live", at=NOW - 500 * MINUTE, last=NOW)
    assert pairs(match([t], [older, old, live], now=NOW)) == {7: "gemini:live"}


def test_two_terminals_that_state_the_same_session_are_both_on_it() -> None:
    trees = [tree(7, "claude", native=A), tree(8, "claude", native=A)]
    found = match(trees, [], now=NOW)
    assert [m.pid for m in found.on(f"claude:{A}")] == [7, 8]
