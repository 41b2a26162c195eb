"""The archive as a whole: what is gone from disk is still there, damage is found and confined,
pruning and restoring do what they say and nothing else."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from decklog.archive import Archive, records
from decklog.archive.dictionaries import Dictionary
from decklog.errors import Denied, UsageError, WriteError
from decklog.sync import copying
from homes import Claude, Codex, Synced

TOKENS = (10, 200, 30, 40)


def talk(name: str = "talk", answers: int = 3) -> Claude:
    made = Claude(name)
    for n in range(answers):
        made.prompt(f"question {n} of {name}")
        made.answer(f"{name}-{n}", TOKENS)
    return made


def states(deck: Synced) -> dict[str, str]:
    return {Path(r["source"]).name: r["state"] for r in deck.deck.archive.ls()}


def restored(deck: Synced, target: str, folder: Path) -> list[bytes]:
    rows = deck.deck.archive.restore(target, to=str(folder))
    return [Path(r["path"]).read_bytes() for r in rows]


# --- what becomes of sources ----------------------------------------------------------------------


@pytest.mark.spec("R27", "R28", "R29")
def test_a_deleted_transcript_is_shown_and_given_back(
    home: Path, deck: Synced, tmp_path: Path
) -> None:
    made = talk()
    path = made.write(home)
    deck.sync()
    told = [(type(e), e.at) for e in deck.deck.events(made.id)]
    raw = b"".join(deck.deck.raw(made.id))
    path.unlink()
    deck.sync()
    assert [(type(e), e.at) for e in deck.deck.events(made.id)] == told
    assert b"".join(deck.deck.raw(made.id)) == raw == made.data
    assert deck.deck.provenance(made.id) == [
        {"source": str(path), "agent": "claude", "read_from": "archive"}
    ]
    before = deck.dump()
    deck.deck.sync(rebuild=True)
    assert deck.dump() == before
    assert restored(deck, made.id, tmp_path / "out") == [made.data]
    (row,) = deck.deck.archive.restore(made.id, in_place=True)
    assert (row["done"], path.read_bytes()) == ("written", made.data)


@pytest.mark.spec("R28", "R35", "R31")
@pytest.mark.parametrize("what", ["emptied", "cut", "stub", "replaced", "unfinished"])
def test_what_a_file_held_before_it_was_rewritten_is_kept(
    what: str, home: Path, deck: Synced, tmp_path: Path
) -> None:
    made = talk()
    path = made.write(home)
    whole = made.data + b'{"type":"user","unfin'
    path.write_bytes(whole)
    deck.sync()
    total = deck.total()
    new = {
        "emptied": b"",
        "cut": made.data[: len(made.data) // 2],
        "stub": b'{"type":"summary"}\n',
        "replaced": made.data[::-1],
        "unfinished": made.data + b'{"type":"us',
    }[what]
    path.write_bytes(new)
    os.utime(path, ns=(1, 1))
    deck.sync()
    assert deck.total() == total
    if what == "unfinished":  # nothing that was read is lost: the same generation goes on
        assert states(deck) == {"talk.jsonl": "live"}
    else:
        assert states(deck)["talk.jsonl#rewritten-1"] == "rewritten"
        (old,) = restored(deck, f"{path}#rewritten-1", tmp_path / "old")
        assert old == whole
    assert restored(deck, str(path), tmp_path / "now") == [new]
    before = deck.dump()
    deck.deck.sync(rebuild=True)
    assert deck.dump() == before


@pytest.mark.spec("R36")
def test_a_moved_and_a_packed_transcript_keep_their_copies(
    home: Path, deck: Synced, tmp_path: Path
) -> None:
    made = Codex("0199-moved")
    made.prompt("hello")
    path = made.write(home)
    deck.sync()
    moved = home / ".codex/archived_sessions" / path.name
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    deck.sync()
    assert states(deck) == {moved.name: "live"}
    packed = moved.with_name(f"{moved.name}.zst")
    packed.write_bytes(zstandard.compress(made.data))
    moved.unlink()
    deck.sync()
    assert states(deck) == {moved.name: "gone", packed.name: "live"}
    assert restored(deck, str(packed), tmp_path / "packed") == [packed.read_bytes()]
    assert restored(deck, str(moved), tmp_path / "plain") == [made.data]


@pytest.mark.spec("R38", "R27")
def test_a_new_store_is_filled_from_the_archive_too(home: Path, deck: Synced) -> None:
    gone, there = talk("gone"), talk("there")
    path = gone.write(home)
    there.write(home)
    deck.sync()
    path.unlink()
    deck.sync()
    before, own = deck.dump(), Path(deck.deck.config.data_dir)
    deck.deck.close()
    for file in own.glob("*.db*"):
        file.unlink()
    with Synced(home, own) as anew:
        anew.sync()
        assert anew.dump() == before
    (own / "archive/index.db").unlink()  # the index is nothing that is not in the packs
    with Synced(home, own) as again:
        again.deck.sync(rebuild=True)
        assert again.dump() == before


@pytest.mark.spec("R27", "R38")
def test_rows_that_nobody_can_give_any_more_are_taken_over_and_marked(
    home: Path, tmp_path: Path
) -> None:
    made, other = talk(), talk("other")
    path = made.write(home)
    other.write(home)
    with Synced(home, tmp_path / "own", archive=False) as deck:
        deck.sync()
        path.unlink()
        deck.sync()
        total = deck.total()
        deck.deck.sync(rebuild=True)
        assert deck.total() == total
        (finding,) = deck.store.findings()
        assert (finding["reason"], finding["source"]) == ("carried", str(path))
    assert not (tmp_path / "own/archive").exists()


@pytest.mark.spec("R28")
def test_documents_are_kept_where_they_lost_something_and_share_what_is_equal(
    home: Path, deck: Synced
) -> None:
    path = home / ".gemini/tmp/abc/chats/session-2026-01-01T00-00-aaaa.json"
    path.parent.mkdir(parents=True)
    filler = Random(1).randbytes(60_000).hex()

    def write(*answers: int) -> bytes:
        messages: list[dict[str, Any]] = [
            {"id": f"m{n}", "type": "gemini", "content": filler if n == 1 else "x",
             "model": "gemini-2.5-pro", "timestamp": "2026-01-01T00:00:01.000Z",
             "tokens": {"input": n, "output": n}} for n in answers
        ]  # fmt: skip
        path.write_bytes(json.dumps({"sessionId": "aaaa", "messages": messages}).encode())
        deck.sync()
        return path.read_bytes()

    first = write(1)
    size = deck.deck.archive.size()["packs"]
    for n in range(2, 12):
        write(*range(1, n))
    grown = deck.deck.archive.size()["packs"] - size
    assert grown < 1.5 * len(first)  # ten versions, of which only the end is new
    assert {r["state"] for r in deck.deck.archive.ls()} == {"live", "superseded"}
    write(7)
    assert deck.total()[3] == sum(range(1, 11))
    assert {r["state"] for r in deck.deck.archive.ls()} == {"live", "superseded", "rewritten"}
    done = deck.deck.archive.prune(states=["superseded"], yes=True)
    assert done["freed"] > 0
    assert not [r for r in deck.deck.archive.verify() if "detail" in r]
    before = deck.dump()
    deck.deck.sync(rebuild=True)
    assert deck.dump() == before


# --- work -----------------------------------------------------------------------------------------


def test_a_second_sync_writes_nothing_and_a_line_more_costs_a_line(
    home: Path, deck: Synced
) -> None:
    made = talk(answers=2_000)
    path = made.write(home)
    deck.sync()
    folder = Path(deck.deck.config.data_dir, "archive")

    def size() -> int:
        return sum(p.stat().st_size for p in folder.glob("*.dla"))

    before = size()
    deck.sync()
    assert size() == before
    made.prompt("one more")
    with path.open("ab") as f:
        f.write(made.lines[-1].data)
    deck.sync()
    assert before < size() < before + len(made.lines[-1].data) + 300


def test_lines_that_come_one_by_one_take_little_more_room(tmp_path: Path) -> None:
    lines = [x.data for x in talk(answers=150).lines]

    def packed(folder: Path, steps: list[bytes]) -> int:
        (folder / "home").mkdir(parents=True)
        path = folder / "home" / Claude("talk").path
        path.parent.mkdir(parents=True)
        with Synced(folder / "home", folder / "own") as deck:
            for step in steps:
                with path.open("ab") as f:
                    f.write(step)
                deck.sync()
            assert restored(deck, str(path), folder / "out") == [b"".join(lines)]
            return int(deck.deck.archive.size()["packs"])

    one_by_one = packed(tmp_path / "a", lines)
    assert one_by_one < 1.5 * sum(map(len, lines))
    assert len(os.listdir(tmp_path / "a/own/archive")) < 8


def test_a_command_that_does_not_need_the_archive_leaves_it_for_later(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "SOON", 1_000)
    made = talk(answers=20)
    made.write(home)
    assert deck.deck.refresh() == ""
    assert deck.deck.archive.ls() == []
    assert deck.deck.archive.pending() > 1_000
    assert deck.deck.sync_if_news() is not None
    assert states(deck) == {"talk.jsonl": "live"}
    assert deck.deck.archive.pending() == 0
    assert deck.deck.sync_if_news() is None


# --- what cannot be written -----------------------------------------------------------------------


@pytest.mark.spec("R20", "R19", "R31")
def test_no_cursor_runs_ahead_of_what_is_archived(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk("before").write(home)
    deck.sync()
    made = talk()
    made.write(home)
    total = deck.total()
    write = os.write

    def full(fd: int, data: Any) -> int:
        if bytes(data[:4]) == records.MAGIC:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(WriteError, match=r"pack-.*No space left on device") as failed:
            deck.sync()
    assert "free some space" in failed.value.hint
    assert deck.total() == total
    deck.sync()
    assert deck.total() != total
    assert states(deck) == {"before.jsonl": "live", "talk.jsonl": "live"}


# --- pruning and restoring ------------------------------------------------------------------------


def test_pruning_takes_out_what_was_said_and_changes_nothing_else(
    home: Path, deck: Synced, tmp_path: Path
) -> None:
    gone, kept = talk("gone"), talk("kept")
    path = gone.write(home)
    kept.write(home)
    deck.sync()
    path.unlink()
    deck.sync()
    total = deck.total()
    plan = deck.deck.archive.prune(states=["gone"])
    assert ([r["source"] for r in plan["copies"]], plan["done"]) == ([str(path)], False)
    assert states(deck) == {"gone.jsonl": "gone", "kept.jsonl": "live"}
    deck.deck.archive.prune(states=["gone"], yes=True)
    assert states(deck) == {"kept.jsonl": "live"}
    assert restored(deck, kept.id, tmp_path / "out") == [kept.data]
    assert deck.total() == total  # the numbers stay
    deck.deck.sync(rebuild=True)
    assert deck.total() == total
    with pytest.raises(UsageError, match="say what to prune"):
        deck.deck.archive.prune(yes=True)


def test_restoring_is_careful(home: Path, deck: Synced, tmp_path: Path) -> None:
    made = talk()
    path = made.write(home)
    deck.sync()
    path.write_bytes(b"mine\n")
    with pytest.raises(UsageError, match="holds something else"):
        deck.deck.archive.restore(str(path), in_place=True)
    assert path.read_bytes() == b"mine\n"
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WriteError, match="symbolic link"):
        deck.deck.archive.restore(str(path), in_place=True, force=True)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.spec("R70", "R71")
@pytest.mark.parametrize("uri", ["/etc/../../x", "../../x", "/a/./b", "relative", "/a/\0b"])
def test_no_record_leads_a_restore_out_of_its_folder(uri: str, tmp_path: Path) -> None:
    from decklog.archive import restoring

    with closing(Archive(str(tmp_path / "own"))) as archive, archive.writing():
        archive.add([
            records.begun(7, "x", uri, "jsonl", 0), records.ended(7, 0, 0, 0, 0, ""),
        ])  # fmt: skip
        archive.commit()
        (copy,) = archive.copies()
        with pytest.raises(Denied):
            restoring.in_place(copy)
        place = restoring.below(str(tmp_path / "out"), copy)
        assert os.path.normpath(place).startswith(str(tmp_path / "out/x") + "/")


@pytest.mark.spec("R27", "R28")
def test_text_stays_findable_when_its_source_is_gone_or_rewritten(home: Path, deck: Synced) -> None:
    gone, cut = talk("gone"), talk("cut")
    for made, word in ((gone, "quokka"), (cut, "wombat")):
        made.prompt(f"what is a {word}?")
        made.write(home)
    deck.sync()
    (home / gone.path).unlink()
    (home / cut.path).write_bytes(b'{"type":"summary"}\n')
    deck.sync()
    for word in ("quokka", "wombat"):
        (hit,) = deck.deck.search(word).hits
        assert word in hit.snippet
        assert hit.stale == ""
        (row,) = deck.deck.scan_rows(f"{word[:3]}.*{word[-2:]}")["hits"]
        assert word in row["snippet"]


def test_packs_that_were_taken_away_are_missed_and_made_again(home: Path, deck: Synced) -> None:
    made = talk()
    made.write(home)
    deck.sync()
    folder = Path(deck.deck.config.data_dir, "archive")
    for pack in folder.glob("pack-*"):
        pack.unlink()
    damage = [r for r in deck.deck.archive.verify() if "detail" in r]
    assert [r["source"] for r in damage] == ["", str(home / made.path)]
    assert "the pack is missing" in damage[0]["detail"]
    assert deck.deck.sync_if_news() is not None
    assert states(deck) == {"talk.jsonl": "live"}
    assert not [r for r in deck.deck.archive.verify() if "detail" in r]


def test_to_copy_a_line_loads_no_dictionary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.archive.LEAST", 1)
    read: list[int] = []
    whole = Dictionary.read

    def counted(dictionary: Dictionary) -> tuple[bytes, int]:
        read.append(dictionary.number)
        return whole(dictionary)

    monkeypatch.setattr(Dictionary, "read", counted)
    talk = Claude("talk")
    loaded = []
    for lines in (12_000, 1, 1, 500):
        talk.prompt("".join(f"one more thing {n % 6_000}\n" for n in range(lines)))
        talk.write(tmp_path / "home")
        read.clear()
        with Synced(tmp_path / "home", tmp_path / "own") as deck:
            deck.sync()
        loaded.append(bool(read))
    assert loaded == [False, False, False, True]  # at first it was made, not loaded
    with Synced(tmp_path / "home", tmp_path / "own") as deck:
        assert not [r for r in deck.deck.archive.verify() if "detail" in r]
