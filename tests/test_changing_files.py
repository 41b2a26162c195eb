"""What becomes of sessions whose files move, change and go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from decklog import sources
from homes import Claude, Synced, clean, line, truth
from talks import ANSWER, rollout, talk

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


@pytest.mark.spec("R36")
def test_a_second_name_of_a_file_that_was_read_under_both(home: Path, deck: Synced) -> None:
    first, second = (home / talk(name).path for name in ("first", "second"))
    for path in (first, second):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(talk("first").data)
        deck.sync()
    os.utime(first, ns=(second.stat().st_mtime_ns,) * 2)
    second.unlink()
    second.hardlink_to(first)
    deck.sync()
    uri = {"uri": str(second)}
    deck.store.db.execute(
        "update source set (device, inode) = (select device, inode from source where uri <> :uri) "
        "where uri = :uri",
        uri,
    )
    deck.store.put("fingerprint", "")
    deck.sync()
    gone = {str(u): g for u, g in deck.store.db.execute("select uri, gone from source")}
    assert gone == {str(first): 0, str(second): 1}
    first.unlink()
    deck.sync()
    gone = {str(u): g for u, g in deck.store.db.execute("select uri, gone from source")}
    assert gone == {str(first): 1, str(second): 0}


@pytest.mark.spec("R36", "R38")
def test_another_file_that_takes_a_path_between_the_look_and_the_read(
    home: Path, deck: Synced
) -> None:
    """What is read is not taken for the file that was looked at, which has another name now."""
    deck.sync()
    old, new = talk("old"), talk("new")
    path = old.write(home)
    looked = deck.deck._look()
    path.rename(path.with_name("renamed.jsonl"))
    path.write_bytes(new.data)
    deck.deck._run(looked, None, 30.0)
    deck.sync()
    assert deck.sessions().keys() == {old.id, new.id}
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
