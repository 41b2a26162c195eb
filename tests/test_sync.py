"""What counts where, and what becomes of files that move, change and go."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from decklog import agents, hub, pricing, sources
from decklog.agents import Agent, Claim, Reader, Root
from decklog.model import Cursor, Ref
from forked import in_child
from homes import Claude, Codex, Synced, Transcript, clean, different, line, truth

ANSWER = (10, 20, 3, 40)
CODEX = "019b7000-0000-7000-8000-{:012}"


@pytest.fixture
def deck(home: Path, tmp_path: Path) -> Iterator[Synced]:
    with Synced(home, tmp_path / "own") as made:
        yield made


def talk(name: str = "talk", answers: int = 2, **own: Any) -> Claude:
    made = Claude(name, **own)
    made.prompt("do it")
    for n in range(answers):
        made.answer(f"{name}{n}", ANSWER, tool="Edit")
    return made


def rollout(number: int = 1, answers: int = 2, **own: Any) -> Codex:
    made = Codex(CODEX.format(number), **own)
    made.prompt("do it")
    for n in range(answers):
        made.answer(f"{number}-{n}", (100 + number, 7 * n, 0, 50 + n))
    return made


def in_any_order(home: Path, tmp_path: Path, *members: Transcript) -> Iterator[Synced]:
    """The files appear in every order, each looked at as it comes; then all at once."""
    used = truth(x for m in members for x in m.lines)
    for i, order in enumerate([*itertools.permutations(members), None]):
        with Synced(home, tmp_path / f"own{i}") as made:
            for m in order or members:
                m.write(home)
                if order:
                    made.sync()
            made.sync()
            assert made.total() == used
            yield made
        for m in members:
            (home / m.path).unlink()


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


# --- files that move ------------------------------------------------------------------------------


@pytest.mark.spec("R36", "R32")
def test_a_renamed_file_is_the_same_and_is_not_read_again(home: Path, deck: Synced) -> None:
    made = talk()
    before = made.write(home)
    deck.sync()
    after = before.with_name("renamed.jsonl")
    before.rename(after)
    report = deck.sync()
    assert (report.bytes, report.lines) == (0, 0)
    (found,) = deck.sessions().values()
    assert (found["sources"], found["gone"]) == ((str(after),), False)
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R36", "R32")
def test_a_file_that_is_renamed_and_goes_on(home: Path, deck: Synced) -> None:
    made = talk()
    before = made.write(home)
    deck.sync()
    made.prompt("more")
    after = before.with_name("renamed.jsonl")
    before.rename(after)
    after.write_bytes(made.data)
    assert deck.sync().lines == 1
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R36", "R32")
def test_an_inode_that_a_file_left_behind_serves_again(home: Path, deck: Synced) -> None:
    gone, made = talk("gone"), talk("made")
    for m in (made, gone):
        m.write(home)
    deck.sync()
    (home / gone.path).unlink()
    path = home / made.path
    deck.store.db.execute(
        "update source set inode = ?, device = ? where uri = ?",
        (path.stat().st_ino, path.stat().st_dev, str(home / gone.path)),
    )
    deck.sync()
    path.rename(path.with_name("renamed.jsonl"))
    assert deck.sync().bytes == 0
    assert not deck.sessions()[made.id]["gone"]
    assert deck.sessions()[gone.id]["gone"]


@pytest.mark.spec("R36", "R28")
def test_a_name_that_another_file_takes_over(home: Path, deck: Synced) -> None:
    first, second = talk("first"), talk("second")
    path = first.write(home)
    deck.sync()
    path.rename(path.with_name("zzz.jsonl"))
    path.write_bytes(second.data)
    deck.sync()
    found = deck.sessions()
    assert found["claude:first"]["sources"] == (str(path.with_name("zzz.jsonl")),)
    assert found["claude:second"]["sources"] == (str(path),)
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R36", "Y3")
def test_a_file_that_is_packed_is_still_the_same_session(home: Path, deck: Synced) -> None:
    made = rollout()
    plain = made.write(home)
    deck.sync()
    before = deck.total()
    made.twin(packed=True).write(home)
    plain.unlink()
    deck.sync()
    (found,) = deck.sessions().values()
    assert not found["gone"]
    assert found["counts"]["responses"] == 2
    assert deck.total() == before


@pytest.mark.spec("R36", "Y3")
def test_a_file_that_is_archived_is_still_the_same_session(home: Path, deck: Synced) -> None:
    made = rollout()
    before = made.write(home)
    deck.sync()
    archive = home / made.twin(archived=True).path
    archive.parent.mkdir(parents=True)
    before.rename(archive)
    assert deck.sync().bytes == 0
    assert deck.dump() == clean(home, home.parent / "new")


# --- files with several names ---------------------------------------------------------------------


@pytest.mark.spec("R37")
@pytest.mark.parametrize("name", ["aaa.jsonl", "zzz.jsonl"])
def test_a_hard_link_is_no_second_file(name: str, home: Path, deck: Synced) -> None:
    made = talk()
    path = made.write(home)
    deck.sync()
    path.with_name(name).hardlink_to(path)
    assert deck.sync().bytes == 0
    assert deck.deck.unchanged()
    (found,) = deck.sessions().values()
    assert len(found["sources"]) == 1
    assert deck.dump() == clean(home, home.parent / "new")
    path.unlink()
    assert deck.sync().bytes == 0
    assert [s["gone"] for s in deck.sessions().values()] == [False]


@pytest.mark.spec("R37")
def test_links_to_files_and_folders_are_no_second_files(home: Path, deck: Synced) -> None:
    made = talk()
    path = made.write(home)
    (path.parent / "link.jsonl").symlink_to(path)
    (path.parent.parent / "-home-me-linked").symlink_to(path.parent)
    (path.parent / "up").symlink_to(path.parent.parent)
    (path.parent / "one").symlink_to(path.parent / "two")
    (path.parent / "two").symlink_to(path.parent / "one")
    (path.parent / "nowhere.jsonl").symlink_to(home / "none")
    deck.sync()
    assert len(deck.sessions()) == 1
    assert deck.total() == truth(made.lines)
    assert deck.sync().read == 0


# --- files that change ----------------------------------------------------------------------------


@pytest.mark.spec("R28", "R35")
@pytest.mark.parametrize("lines", [0, 1, 3], ids=["emptied", "cut to one line", "cut"])
def test_what_was_read_of_a_file_that_is_cut_is_kept_and_counts_once(
    lines: int, home: Path, deck: Synced
) -> None:
    made = talk(answers=4)
    path = made.write(home)
    deck.sync()
    before = deck.total()
    made.write(home, slice(lines))
    deck.sync()
    assert deck.total() == before
    (found,) = deck.sessions().values()
    assert found["counts"]["prompts"] == 1
    assert found["counts"]["responses"] == 4
    assert not found["gone"] or not lines
    (finding,) = deck.store.findings()
    assert (finding["reason"], finding["source"]) == ("rewritten", f"{path}#rewritten-1")
    made.write(home)  # and back: a third generation
    deck.sync()
    assert deck.total() == before
    assert deck.sync().read == 0


@pytest.mark.spec("R28", "R32", "R35")
def test_a_file_that_is_rewritten_keeps_both_generations(home: Path, deck: Synced) -> None:
    first, second = talk("talk", answers=3), talk("talk", answers=0)
    first.write(home)
    deck.sync()
    for n in range(5):
        second.answer(f"other{n}", ANSWER)
    path = home / second.path
    path.write_bytes(second.data)
    deck.sync()
    assert deck.total() == truth([*first.lines, *second.lines])
    assert deck.sessions()["claude:talk"]["counts"]["responses"] == 8


@pytest.mark.spec("R28", "R35")
def test_a_file_that_is_replaced_by_one_of_its_size_and_time(home: Path, deck: Synced) -> None:
    first, second = talk("one"), talk("two")
    path = first.write(home)
    stat = path.stat()
    deck.sync()
    other = path.with_name("tmp")
    other.write_bytes(second.data)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)
    assert path.stat().st_size == stat.st_size
    deck.sync()
    assert set(deck.sessions()) == {"claude:one", "claude:two"}
    assert deck.total() == truth([*first.lines, *second.lines])


@pytest.mark.spec("R28", "A28")
def test_what_a_document_loses_when_it_is_rewritten_is_kept(home: Path, deck: Synced) -> None:
    folder = home / ".gemini/tmp/abc/chats"
    folder.mkdir(parents=True)
    path = folder / "session-2026-01-01T00-00-aaaa.json"

    def write(*answers: int) -> None:
        messages = [
            {"id": f"m{n}", "type": "gemini", "content": "x", "model": "gemini-2.5-pro",
             "timestamp": "2026-01-01T00:00:01.000Z",
             "tokens": {"input": n, "output": n, "cached": 0, "thoughts": 0, "tool": 0}}
            for n in answers
        ]  # fmt: skip
        document = {"sessionId": "aaaa", "startTime": "2026-01-01T00:00:00.000Z",
                    "lastUpdated": "2026-01-01T00:00:02.000Z", "messages": messages}  # fmt: skip
        path.write_bytes(line(document).data)

    for answers, kept, total in (((1,), 0, 1), ((1, 2), 0, 3), ((2, 4, 8), 1, 15), ((), 2, 15)):
        write(*answers)
        deck.sync()
        assert deck.total()[3] == total
        assert [f["reason"] for f in deck.store.findings()] == ["rewritten"] * kept
    before = deck.dump()
    deck.deck.sync(rebuild=True)
    assert deck.dump() == before


@pytest.mark.spec("AW3", "R45")
def test_a_document_that_loses_what_it_shared_gives_it_back(home: Path, deck: Synced) -> None:
    """Copies must count in the fork once the original is rewritten without them."""
    old, new = talk("old"), talk("old").fork("new")
    new.answer("own", ANSWER)
    for m in (old, new):
        m.write(home)
    deck.sync()
    assert deck.sessions()[new.id]["counts"]["responses"] == 1
    (source,) = [r[0] for uri, r in deck.store.known().items() if uri.endswith("old.jsonl")]
    deck.store.forget(source)
    deck.store.link()
    assert deck.sessions()[new.id]["counts"]["responses"] == 3
    assert deck.sessions()[new.id]["parent"] is None
    assert deck.total() == truth(new.lines)


@pytest.mark.spec("R36")
def test_a_twin_counts_again_when_the_other_loses_its_records(home: Path, deck: Synced) -> None:
    short = talk("talk")
    long = short.twin(folder="-home-me-moved")
    long.prompt("more")
    for m in (short, long):
        m.write(home)
    deck.sync()
    deck.store.forget(deck.store.known()[str(home / long.path)][0])
    deck.store.link()
    (found,) = deck.sessions().values()
    assert found["counts"] == {**found["counts"], "prompts": 1, "tool_calls": 2}


@pytest.mark.spec("AW4")
def test_a_parent_loses_what_its_subagent_lost(home: Path, deck: Synced) -> None:
    main, child = talk("main"), Claude("main", agent="child")
    child.answer("child", ANSWER)
    for m in (main, child):
        m.write(home)
    deck.sync()
    deck.store.forget(deck.store.known()[str(home / child.path)][0])
    deck.store.link()
    (found,) = deck.sessions().values()
    assert found["counts"]["subagents"] == 0
    assert found["tree_usage"] == found["usage"]


@pytest.mark.spec("R7")
def test_what_changes_in_one_session_of_a_file_leaves_the_others_as_they_are(
    home: Path, deck: Synced
) -> None:
    """A file may hold records of several sessions, as some old resumes do."""
    origin, other = talk("origin"), talk("other")
    fork = origin.fork("fork", queue=False)
    fork.answer("own", ANSWER)
    mixed = Claude("mixed", lines=[*other.lines, *fork.lines])
    elsewhere = other.twin(1, folder="-home-me-elsewhere")
    for m in (origin, mixed, elsewhere):
        m.write(home)
    deck.sync()
    assert deck.sessions()[fork.id]["counts"]["prompts"] == 0
    elsewhere.prompt("only the other session goes on")
    elsewhere.write(home)
    assert deck.sync().sessions == 1
    assert deck.sessions()[fork.id]["counts"]["prompts"] == 0
    assert deck.dump() == clean(home, home.parent / "new")


# --- files that go --------------------------------------------------------------------------------


@pytest.mark.spec("R27", "A28")
def test_a_session_outlives_its_file(home: Path, deck: Synced) -> None:
    made = talk()
    path = made.write(home)
    deck.sync()
    before = deck.dump()
    path.unlink()
    deck.sync()
    (found,) = deck.sessions().values()
    assert found["gone"]
    assert deck.total() == truth(made.lines)
    assert deck.sync().read == 0
    made.write(home)
    deck.sync()
    assert not deck.sessions()[made.id]["gone"]
    assert deck.dump() == before


@pytest.mark.spec("R27", "AW4")
def test_a_whole_folder_that_goes_and_comes_back(home: Path, deck: Synced) -> None:
    members = [talk("main"), Claude("main", agent="x"), rollout(1), rollout(2)]
    members[1].prompt("task")
    for m in members:
        m.write(home)
    deck.sync()
    before = deck.dump()
    (home / ".claude").rename(home / "away")
    (home / ".codex").rename(home / "away too")
    deck.sync()
    assert all(s["gone"] for s in deck.sessions().values())
    (home / "away").rename(home / ".claude")
    (home / "away too").rename(home / ".codex")
    report = deck.sync()
    assert report.bytes == 0
    assert deck.dump() == before


@pytest.mark.spec("R37", "R42", "R34")
def test_a_file_that_vanishes_while_it_is_read(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, kept = talk("lost"), talk("kept")
    for m in (lost, kept):
        m.write(home)
    chunks = sources.chunks

    def vanishing(path: str, offset: int, *given: Any, **named: Any) -> Any:
        (home / lost.path).unlink(missing_ok=True)
        return chunks(path, offset, *given, **named)

    monkeypatch.setattr(sources, "chunks", vanishing)
    report = deck.sync()
    assert report.problems == 1
    assert deck.total() == truth(kept.lines)
    assert [f["reason"] for f in deck.store.findings()] == ["unreadable"]
    monkeypatch.undo()
    deck.sync()
    assert list(deck.store.findings()) == []
    lost.write(home)
    deck.sync()
    assert deck.total() == truth([*lost.lines, *kept.lines])


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.spec("R37", "R42", "R11")
def test_trouble_with_a_file_holds_up_no_other_and_ends_with_it(home: Path, deck: Synced) -> None:
    good, bad = rollout(1), rollout(2)
    good.write(home)
    path = home / bad.twin(packed=True).path
    path.write_bytes(b"this is not compressed")
    os.mkfifo(path.with_name("rollout-pipe.jsonl"))
    for _ in range(3):
        report = deck.sync()
        assert report.problems == 2
        assert sorted((f["reason"], f["count"]) for f in deck.store.findings()) == [
            ("unreadable", 1), ("unreadable", 1),
        ]  # fmt: skip
    assert not deck.deck.unchanged()  # it is tried again
    assert deck.total() == truth(good.lines)
    path.write_bytes(zstandard.compress(bad.data))
    path.with_name("rollout-pipe.jsonl").unlink()
    assert deck.sync().problems == 0
    assert deck.total() == truth([*good.lines, *bad.lines])
    assert list(deck.store.findings()) == []
    assert deck.deck.unchanged()


@pytest.mark.spec("R31", "R36")
def test_a_packed_file_that_grows_is_read_on(home: Path, tmp_path: Path, deck: Synced) -> None:
    made = rollout(1)
    packed = made.twin(packed=True)
    path = home / packed.path
    path.parent.mkdir(parents=True)
    half = len(made.lines) // 2
    first, second = (
        b"".join(x.data for x in made.lines[s]) for s in (slice(half), slice(half, None))
    )
    path.write_bytes(zstandard.compress(first))
    deck.sync()
    for rest in (zstandard.compress(second)[:20], zstandard.compress(second)[20:]):
        with path.open("ab") as f:
            f.write(rest)
        deck.sync()
    assert deck.total() == truth(made.lines)
    assert deck.dump() == clean(home, tmp_path / "clean")


@pytest.mark.spec("R28", "R37")
def test_a_packed_file_that_is_replaced_by_what_cannot_be_unpacked(
    home: Path, deck: Synced
) -> None:
    """Nothing that was read of it is lost, and what is in its place in the end is read."""
    first, second = talk("first"), talk("second")
    path = talk("first", packed=True).write(home)
    deck.sync()
    assert deck.total() == truth(first.lines)
    path.write_bytes(b"no frame at all" * 9)
    for _ in range(2):
        deck.sync()
        assert deck.total() == truth(first.lines)
        assert [(f.reason, f.source) for f in deck.deck.findings()] == [("unreadable", str(path))]
    path.write_bytes(zstandard.compress(second.data))
    deck.sync()
    assert deck.total() == truth([*first.lines, *second.lines])
    assert {f.reason for f in deck.deck.findings()} == {"rewritten"}


@pytest.mark.spec("R34", "R42")
def test_trouble_in_the_middle_of_a_file_loses_nothing_of_it(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = talk(answers=20)
    made.write(home)
    monkeypatch.setattr("decklog.reading.ROWS_PER_BATCH", 1)
    monkeypatch.setattr(sources, "CHUNK", 600)
    read, left = os.pread, [10]

    def failing(fd: int, size: int, at: int) -> bytes:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(5, "the disk is ill")
        return read(fd, size, at)

    monkeypatch.setattr(os, "pread", failing)
    assert deck.sync().problems == 1
    assert 0 < deck.total()[3] < truth(made.lines)[3]
    assert "the disk is ill" in next(deck.store.findings())["detail"]
    assert deck.sync().problems == 0
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R34", "R42", "R73")
def test_a_reader_that_fails_costs_only_its_file(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decklog.agents.claude.reader import ClaudeReader

    feed = ClaudeReader.feed

    def failing(self: ClaudeReader, record: bytes, ref: Ref) -> Any:
        if b"secret" in record:
            raise KeyError(record)
        return feed(self, record, ref)

    monkeypatch.setattr(ClaudeReader, "feed", failing)
    good, bad = talk("good"), talk("bad")
    bad.prompt("a secret")
    for m in (good, bad):
        m.write(home)
    assert deck.sync().problems == 1
    assert "claude:good" in deck.sessions()
    (finding,) = deck.store.findings()
    assert finding["source"] == str(home / bad.path)
    assert "KeyError in test_sync.py" in finding["detail"]
    assert "secret" not in finding["detail"]
    monkeypatch.undo()
    assert deck.sync().problems == 0
    assert deck.total() == truth([*good.lines, *bad.lines])


@pytest.mark.spec("R10", "R37")
def test_a_file_nobody_knows_is_told_of_as_long_as_it_is_there(home: Path, deck: Synced) -> None:
    path = home / ".codex/sessions/notes.txt"
    path.parent.mkdir(parents=True)
    for _ in range(2):
        path.write_text("hello")
        for _ in range(2):
            deck.sync()
            (finding,) = deck.store.findings()
            assert (finding["reason"], finding["source"]) == ("unrecognized", str(path))
        path.unlink()
        deck.sync()
        assert list(deck.store.findings()) == []


def test_a_file_that_an_agent_learns_to_read_is_read(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rollout()
    monkeypatch.setattr(type(agents.get("codex")), "claim", lambda self, relative: None)
    made.write(home)
    deck.sync()
    assert [f["reason"] for f in deck.store.findings()] == ["unrecognized"]
    monkeypatch.undo()
    deck.sync()
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R8")
@pytest.mark.parametrize(
    "name", [b"caf\xe9 \xff.jsonl", b"two\nlines.jsonl", b"a\x1b[31m'\".jsonl"]
)
def test_names_that_are_no_text(name: bytes, home: Path, deck: Synced) -> None:
    made = talk()
    path = made.write(home)
    odd = os.fsencode(path.parent) + b"/" + name
    os.rename(path, odd)
    for _ in range(2):
        deck.sync()
        (found,) = deck.sessions().values()
        assert os.fsencode(found["sources"][0]) == odd
    with open(odd, "ab") as f:
        f.write(talk("talk", answers=3).lines[-1].data)
    assert deck.sync().lines == 1
    Path(os.fsdecode(odd)).write_bytes(b"")
    deck.sync()
    Path(os.fsdecode(odd)).unlink()
    deck.sync()
    assert [s["gone"] for s in deck.sessions().values()] == [True]
    assert next(deck.store.findings())["source"] == os.fsdecode(odd) + "#rewritten-1"


# --- companions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("companion_first", [True, False])
def test_what_a_companion_says_is_found_whenever_it_comes(
    companion_first: bool, home: Path, deck: Synced
) -> None:
    child = Claude("main", agent="x")
    child.prompt("task")
    path = home / child.path
    meta = path.with_name("agent-x.meta.json")
    path.parent.mkdir(parents=True)
    steps = [lambda: meta.write_text('{"description": "Count the boats"}'),
             lambda: child.write(home)]  # fmt: skip
    for step in steps if companion_first else reversed(steps):
        step()
        deck.sync()
    assert deck.sessions()[child.id]["title"] == "Count the boats"
    meta.write_text('{"description": "Count the ships"}')
    deck.sync()
    assert deck.sessions()[child.id]["title"] == "Count the ships"
    assert deck.dump() == clean(home, home.parent / "new")
    assert deck.sync().read == 0


def test_a_new_name_in_the_index_renews_the_session_it_names_and_no_other(
    home: Path, deck: Synced
) -> None:
    members = [rollout(n) for n in range(1, 6)]
    for m in members:
        m.write(home)
    index = home / ".codex/session_index.jsonl"
    index.write_bytes(line({"id": members[0].name, "thread_name": "Boats"}).data)
    deck.sync()
    with index.open("ab") as f:
        f.write(line({"id": members[1].name, "thread_name": "Ships"}).data)
    report = deck.sync()
    assert report.read == 1
    titles = {s: f["title"] for s, f in deck.sessions().items()}
    assert (titles[members[0].id], titles[members[1].id]) == ("Boats", "Ships")
    assert deck.dump() == clean(home, home.parent / "new")


# --- two at once ----------------------------------------------------------------------------------


@pytest.mark.spec("X3")
def test_two_syncs_at_once_make_one_store(home: Path, tmp_path: Path) -> None:
    members = [talk(f"t{n}", answers=8) for n in range(30)]
    own = tmp_path / "own"

    def four() -> Any:
        done = []
        for _ in range(4):
            reading, writing = os.pipe()
            if os.fork() == 0:
                try:
                    with Synced(home, own) as deck:
                        for _ in range(5):
                            os.write(writing, b"%d " % deck.sync().lines)
                finally:
                    os._exit(0)
            os.close(writing)
            done.append(reading)
        for m in members:
            m.write(home)
            time.sleep(0.002)
        return [os.fdopen(fd, "rb").read().decode() for fd in done]

    lines = [int(n) for text in in_child(four) for n in text.split()]
    assert len(lines) == 20
    with Synced(home, own) as deck:
        last = deck.sync().lines
        assert sum(lines) + last == sum(len(m.lines) for m in members)  # each was read once
        seen, new = deck.dump(), clean(home, tmp_path / "new")
        assert seen == new, different(seen, new)


@pytest.mark.spec("X3", "R28")
def test_a_look_that_is_older_than_what_another_process_wrote_is_repeated(
    home: Path, deck: Synced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = talk()
    made.write(home, slice(2))
    deck.sync()
    survey = sources.survey

    def overtaken(roots: Any) -> Any:
        seen = survey(roots)
        if not monkeypatch_done:
            monkeypatch_done.append(True)
            made.write(home)
            with Synced(home, tmp_path / "own") as other:
                other.sync()
        return seen

    monkeypatch_done: list[bool] = []
    made.write(home, slice(3))
    monkeypatch.setattr(sources, "survey", overtaken)
    deck.sync()
    assert not [uri for uri in deck.store.known() if "#rewritten" in uri]
    assert deck.total() == truth(made.lines)
    assert deck.dump() == clean(home, tmp_path / "new")


# --- what days and prices are reckoned by ---------------------------------------------------------


@pytest.mark.spec("R46")
def test_another_time_zone_moves_facts_to_their_days_there(home: Path, tmp_path: Path) -> None:
    made = Claude("talk", 1_767_261_600_000)  # 2026-01-01T10:00Z
    made.answer("a", ANSWER)
    made.now += 13 * 3_600_000
    made.answer("b", ANSWER)
    made.write(home)

    def days(tz: str) -> dict[str, int]:
        with Synced(home, tmp_path / "own", tz=tz) as deck:
            deck.sync()
            assert deck.dump() == clean(home, tmp_path / f"new-{tz.replace('/', '-')}", tz=tz)
            rows = deck.deck.usage_rows("daily")
            return {r["date"]: r["output"] for r in rows}

    assert days("UTC") == {"2026-01-01": 80}
    assert days("Pacific/Kiritimati") == {"2026-01-02": 80}
    assert days("Asia/Tokyo") == {"2026-01-01": 40, "2026-01-02": 40}
    assert days("UTC") == {"2026-01-01": 80}


@pytest.mark.spec("R46")
def test_a_sync_that_was_stopped_in_one_zone_goes_on_in_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Claude("talk", 1_767_261_600_000)
    made.answer("a", ANSWER)
    made.write(home)
    with Synced(home, tmp_path / "own", tz="Pacific/Kiritimati") as deck:
        monkeypatch.setattr(deck.store, "link", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deck.sync()
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        assert deck.dump() == clean(home, tmp_path / "new")


@pytest.mark.spec("R46")
def test_a_change_of_zone_that_was_stopped_is_made_up_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk().write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
    with Synced(home, tmp_path / "own", tz="Pacific/Kiritimati") as deck:
        monkeypatch.setattr(deck.store, "link", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deck.sync()
    with Synced(home, tmp_path / "own", tz="Pacific/Kiritimati") as deck:
        assert not deck.deck.unchanged()
        deck.sync()
        assert deck.dump() == clean(home, tmp_path / "new", tz="Pacific/Kiritimati")


def test_another_price_list_prices_everything_anew(
    home: Path, deck: Synced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for m in (talk(), rollout()):
        m.write(home)
    deck.sync()
    before = deck.deck.usage_rows("models")
    assert all(r["cost_micro_usd"] for r in before)
    monkeypatch.setattr(pricing, "price", lambda *_: 5)
    deck.sync()
    assert deck.deck.usage_rows("models") == before  # the same list is not asked again
    monkeypatch.setattr(pricing, "prices_date", lambda: "2099-01-01")
    deck.sync()
    assert [r["cost_micro_usd"] for r in deck.deck.usage_rows("models")] == [10, 10]
    assert {s["cost"]["prices_date"] for s in deck.sessions().values()} == {"2099-01-01"}
    assert deck.dump() == clean(home, tmp_path / "new")


# --- roots that move ------------------------------------------------------------------------------


@pytest.mark.spec("AW14")
def test_variables_move_the_roots(home: Path, tmp_path: Path) -> None:
    talk().write(home)
    rollout().write(home)
    elsewhere = tmp_path / "elsewhere"
    (home / ".codex").rename(elsewhere)
    env = {"HOME": str(home), "DECKLOG_HOME": str(tmp_path / "own"), "TZ": "UTC"}
    with hub.open(env=env) as deck:
        deck.sync()
        assert {s.agent for s in deck.sessions()} == {"claude"}
    with hub.open(env={**env, "CODEX_HOME": str(elsewhere)}) as deck:
        assert not deck.unchanged()
        deck.sync()
        assert {s.agent for s in deck.sessions()} == {"claude", "codex"}
        assert deck.unchanged()


class Strange(Agent):
    """An agent of somebody else, which reads lines of JSON and fails where it is told to."""

    name = "strange"
    fails = ""

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        if self.fails == "roots":
            raise RuntimeError("no idea")
        return (Root(f"{env['HOME']}/.strange"),)

    def claim(self, relative: str) -> Claim | None:
        if self.fails == "claim":
            raise RuntimeError("no idea")
        return "jsonl"

    def reader(self, cursor: Cursor | None = None, **_: Any) -> Reader:
        if self.fails == "reader":
            raise RuntimeError("no idea")
        return agents.get("claude").reader(cursor)


@pytest.mark.spec("R34")
@pytest.mark.parametrize("where", ["load", "roots", "claim", "reader"])
def test_an_agent_of_somebody_else_that_fails_is_set_aside(
    where: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> type[Agent]:
        if Strange.fails == "load":
            raise ImportError("no idea")
        return Strange

    monkeypatch.setattr(agents, "_entry_points", lambda: {"strange": load})
    monkeypatch.setattr(agents, "_loaded", dict(agents._loaded))
    monkeypatch.setattr(agents, "broken", {})
    made, its = talk(), talk("its")
    made.write(home)
    path = home / ".strange/its.jsonl"
    path.parent.mkdir()
    path.write_bytes(its.data)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        assert len(deck.sessions()) == 2
        before = deck.total()
        agents._loaded.pop("strange")
        monkeypatch.setattr(Strange, "fails", where)
        monkeypatch.setattr(hub.lookout, "_code", lambda: "something was installed")
        for made_again in (talk(answers=3), talk(answers=4)):
            made_again.write(home)
            its.prompt("more")
            path.write_bytes(its.data)
            deck.sync()
            assert len(deck.sessions()) == 2  # what it told before is not forgotten
            assert deck.total()[3] > before[3]
            assert where == "reader" or "no idea" in agents.broken["strange"]
        if where == "claim":
            assert not any(s["gone"] for s in deck.sessions().values())
