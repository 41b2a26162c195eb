"""What counts where: forks, subagents and twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homes import Claude, Codex, Synced, line, truth
from talks import ANSWER, CODEX, in_any_order, rollout, talk

# --- forks: a response counts in the session that made it -----------------------------------------


@pytest.mark.spec("AW3", "R45")
@pytest.mark.parametrize("queue", [True, False], ids=["queue record first", "nothing to tell it"])
def test_a_fork_that_does_not_say_so_inherits_whichever_file_comes_first(
    queue: bool, home: Path, tmp_path: Path
) -> None:
    old = talk("old")
    new = old.fork("aaa", queue=queue)  # its name comes first, so names cannot have decided
    new.prompt("go on here")
    new.answer("own", ANSWER, tool="Read")
    old.now = new.now + 60_000
    old.prompt("and here, later")
    old.answer("later", ANSWER)
    for deck in in_any_order(home, tmp_path, old, new):
        found = deck.sessions()
        assert found[new.id]["parent"] == old.id
        assert found[new.id]["relation"] == "fork"
        assert found[old.id]["parent"] is None
        counts = {s: (f["counts"]["prompts"], f["counts"]["responses"], f["counts"]["tool_calls"])
                  for s, f in found.items()}  # fmt: skip
        assert counts == {old.id: (2, 3, 2), new.id: (1, 1, 1)}
        verdicts = deck.verdicts(new.id)
        assert verdicts["claude:msg-old0:req-old0"] == (False, old.id)
        assert verdicts["claude:msg-own:req-own"] == (True, None)


@pytest.mark.spec("AW3")
def test_the_original_may_never_go_on(home: Path, tmp_path: Path) -> None:
    old = talk("old")
    new = old.fork("aaa", queue=False)
    new.prompt("go on here alone")
    for deck in in_any_order(home, tmp_path, old, new):
        assert deck.sessions()[new.id]["parent"] == old.id
        assert set(deck.counted().values()) == {old.id}


@pytest.mark.spec("AW3", "R45", "X1")
def test_a_fork_of_a_fork(home: Path, tmp_path: Path) -> None:
    first = talk("first")
    second = first.fork("bbb")
    second.answer("second", ANSWER)
    third = second.fork("aaa")
    third.answer("third", ANSWER)
    for deck in in_any_order(home, tmp_path, first, second, third):
        counted = deck.counted()
        assert [counted[f"claude:msg-{k}:req-{k}"] for k in ("first0", "second", "third")] == [
            first.id, second.id, third.id,
        ]  # fmt: skip
        found = deck.sessions()
        assert found[second.id]["parent"] == first.id
        assert found[third.id]["parent"] == second.id
        assert [found[s.id]["counts"]["prompts"] for s in (first, second, third)] == [1, 0, 0]


@pytest.mark.spec("AW3")
def test_an_old_resume_is_called_one(home: Path, deck: Synced) -> None:
    old = talk("old", version="1.0.80")
    new = old.fork("new")
    new.answer("own", ANSWER)
    for m in (old, new):
        m.write(home)
    deck.sync()
    assert deck.sessions()[new.id]["relation"] == "resume"


@pytest.mark.spec("AW1", "Y2", "AW3")
def test_a_copy_that_has_more_of_a_response_than_the_original_is_believed(
    home: Path, tmp_path: Path
) -> None:
    """As when a session is forked in the middle of an answer, and the original is cut there."""
    old = Claude("old")
    old.prompt("do it")
    old.answer("cut", ANSWER, records=3)
    new = old.fork("new")
    new.answer("own", ANSWER)
    old.lines = old.lines[:2]
    for deck in in_any_order(home, tmp_path, old, new):
        assert deck.sessions()[new.id]["parent"] == old.id
        assert deck.counted()["claude:msg-cut:req-cut"] == new.id


@pytest.mark.spec("AW3", "R44", "R45")
@pytest.mark.parametrize("turns", [True, False], ids=["turns with ids", "no ids"])
def test_a_codex_fork_says_where_it_comes_from(turns: bool, home: Path, tmp_path: Path) -> None:
    old = rollout(9, turns=turns)
    new = old.fork(CODEX.format(1))
    new.prompt("go on")
    new.answer("own", (77, 0, 0, 3))
    old.prompt("me too")
    old.answer("later", (33, 0, 0, 3))
    for deck in in_any_order(home, tmp_path, old, new):
        found = deck.sessions()
        assert (found[new.id]["parent"], found[new.id]["relation"]) == (old.id, "fork")
        assert [found[s.id]["counts"]["responses"] for s in (old, new)] == [3, 1]
        assert [found[s.id]["usage"]["input"] for s in (old, new)] == [218 + 33, 77]
        inherited = [v for v in deck.verdicts(new.id).values() if not v[0]]
        assert inherited == [(False, old.id)] * 2


@pytest.mark.spec("R44", "R45")
def test_a_replay_of_a_replay_counts_where_it_was_made(home: Path, tmp_path: Path) -> None:
    first = rollout(7, turns=False)
    second = first.fork(CODEX.format(8))
    second.prompt("second")
    second.answer("second", (55, 0, 0, 5))
    third = second.fork(CODEX.format(9))
    third.prompt("third")
    third.answer("third", (66, 0, 0, 6))
    for m in (first, second, third):
        m.write(home)
    for deck in (Synced(home, tmp_path / "a"), Synced(home, tmp_path / "b")):
        with deck:
            deck.sync()
            where = [v[1] for v in deck.verdicts(third.id).values() if not v[0]]
            assert where == [first.id, first.id, second.id]
            assert deck.total() == truth(x for m in (first, second, third) for x in m.lines)


@pytest.mark.spec("R44", "R45")
def test_of_forks_without_their_parent_the_first_stands_in(home: Path, tmp_path: Path) -> None:
    parent = rollout(1, answers=3, turns=False)
    forks = [parent.fork(CODEX.format(n)) for n in (2, 3)]
    for n, fork in enumerate(forks):
        fork.prompt(f"go on, number {n}")
        fork.answer(f"own{n}", (60 + n, 0, 0, 9))
    for deck in in_any_order(home, tmp_path, *forks):
        counts = [deck.sessions()[fork.id]["counts"] for fork in forks]
        assert [c["responses"] for c in counts] == [4, 1]
        assert [c["prompts"] for c in counts] == [2, 1]
        assert [c["tool_calls"] for c in counts] == [4, 1]
    for deck in in_any_order(home, tmp_path / "more", parent, *forks):
        found = deck.sessions()
        assert [found[s.id]["counts"]["responses"] for s in (parent, *forks)] == [3, 1, 1]


@pytest.mark.spec("R44", "R45")
def test_forks_that_share_nothing_but_what_a_missing_parent_had(home: Path, tmp_path: Path) -> None:
    parent = Codex(CODEX.format(1), turns=False)
    for n in range(3):
        parent.answer(f"old{n}", (100 + n, 0, 0, 50))
    forks = [parent.fork(CODEX.format(n)) for n in (2, 3, 4)]
    for deck in in_any_order(home, tmp_path, *forks):
        counts = [deck.sessions()[fork.id]["counts"]["responses"] for fork in forks]
        assert counts == [3, 0, 0]


@pytest.mark.spec("R45")
def test_a_run_of_replays_ends_where_the_fork_goes_its_own_way(home: Path, deck: Synced) -> None:
    """A total that the parent comes to have later, by chance, is not a replay of it."""
    old = rollout(1, answers=1, turns=False)
    new = old.fork(CODEX.format(2))
    new.prompt("go on")
    new.answer("own", (5, 0, 0, 5))
    new.answer("same", (9, 0, 0, 9))
    old.prompt("go on")
    old.answer("all", (14, 0, 0, 14))  # the same total as the fork's
    for m in (old, new):
        m.write(home)
    deck.sync()
    assert deck.total() == truth(x for m in (old, new) for x in m.lines)


# --- subagents ------------------------------------------------------------------------------------


@pytest.mark.spec("AW4", "X1", "A8")
def test_a_subagent_is_a_session_below_its_parent(home: Path, tmp_path: Path) -> None:
    main = talk("main")
    child = Claude("main", main.now, agent="child")
    child.prompt("a task")
    child.answer("child", ANSWER)
    for deck in in_any_order(home, tmp_path, main, child):
        found = deck.sessions()
        assert found[child.id]["relation"] == "subagent"
        assert found[child.id]["parent"] == found[child.id]["root"] == main.id
        assert found[main.id]["counts"]["subagents"] == 1
        assert found[main.id]["usage"]["output"] == 80
        assert found[main.id]["tree_usage"]["output"] == 120
        assert found[child.id]["counts"]["prompts"] == 0  # nobody typed the task
        assert [s["id"] for s in deck.store.sessions({"subagents": False})] == [main.id]


@pytest.mark.spec("AW4")
def test_a_subagent_without_its_parent_stands_alone_until_it_comes(
    home: Path, deck: Synced
) -> None:
    main, child = talk("main"), Claude("main", agent="child")
    child.answer("child", ANSWER)
    child.write(home)
    deck.sync()
    assert deck.sessions()[child.id]["root"] == child.id
    main.write(home)
    deck.sync()
    assert deck.sessions()[child.id]["root"] == main.id
    (home / main.path).unlink()
    deck.sync()
    assert deck.sessions()[child.id]["root"] == main.id  # gone, but not forgotten


@pytest.mark.spec("AW4", "AW3")
def test_a_fork_of_a_session_with_subagents(home: Path, tmp_path: Path) -> None:
    main = talk("main")
    child = Claude("main", main.now, agent="child")
    child.answer("child", ANSWER)
    fork = main.fork("fork")
    fork.answer("own", ANSWER)
    again = Claude("fork", fork.now, agent="child")
    again.lines = [line({**_plain(x.data), "sessionId": "fork"}, x.key, x.tokens)
                   for x in child.lines]  # fmt: skip
    for deck in in_any_order(home, tmp_path, main, child, fork, again):
        found = deck.sessions()
        trees = [found[s.id]["tree_usage"]["output"] for s in (main, fork)]
        assert sum(trees) == 160
        assert trees in ([120, 40], [80, 80])  # nothing tells whose the subagent was


def _plain(data: bytes) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(data)
    return found


# --- twins ----------------------------------------------------------------------------------------


@pytest.mark.spec("R36", "Y3")
def test_twins_count_once(home: Path, tmp_path: Path) -> None:
    plain = rollout(1, answers=3)
    packed, archived = plain.twin(packed=True), plain.twin(5, archived=True)
    for deck in in_any_order(home, tmp_path, plain, packed, archived):
        (found,) = deck.sessions().values()
        assert found["counts"] == {**found["counts"], "prompts": 1, "responses": 3, "tool_calls": 3}
        assert found["sources"][0].endswith(".jsonl")
        assert len(found["sources"]) == 3


@pytest.mark.spec("R36")
def test_the_twin_with_more_counts_prompts(home: Path, tmp_path: Path) -> None:
    short = talk("talk")
    long = short.twin(folder="-home-me-moved")
    long.prompt("more")
    for deck in in_any_order(home, tmp_path, short, long):
        (found,) = deck.sessions().values()
        assert found["counts"]["prompts"] == 2
        assert found["counts"]["messages"] == 2
