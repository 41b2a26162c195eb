"""The archive as a whole: what is gone from disk is still there, damage is found and confined,
pruning and restoring do what they say and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from decklog.archive import Archive, copier, dictionary, packs, records
from decklog.archive.verifying import Checked, Damage, verify
from decklog.errors import Denied, UsageError, WriteError
from decklog.sync import copying
from homes import Claude, Codex, Synced

TOKENS = (10, 200, 30, 40)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def deck(home: Path, tmp_path: Path) -> Iterator[Synced]:
    with Synced(home, tmp_path / "own") as made:
        yield made


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


# --- damage ---------------------------------------------------------------------------------------


def small(folder: Path) -> dict[str, bytes]:
    """An archive of two copies in several blocks."""
    told = {"one": b"first line\n" * 9, "two": Random(2).randbytes(150)}
    packing = dictionary.Packing()
    with closing(Archive(str(folder))) as archive, archive.writing():
        for uri, data in told.items():
            new = archive.new_id()
            made = copier.Copier(
                packing, copier.Known(new, begin=records.begun(new, "x", uri, "jsonl", 0))
            )
            for at in range(0, len(data), 50):
                made.add(at, data[at : at + 50])
                made.flush(min(at + 50, len(data)))
            made.finish(len(data), len(data), 0, "")
            archive.add(made.taken())
        archive.commit()
    return told


@pytest.mark.spec("R30", "R15")
def test_every_flipped_byte_is_found_and_costs_only_its_block(tmp_path: Path) -> None:
    told = small(tmp_path)
    (pack,) = (tmp_path / "archive").glob("pack-*")
    sound = pack.read_bytes()
    with closing(Archive(str(tmp_path))) as archive:
        spans = [(m.at, m.at + m.size) for m in packs.scan(str(pack))]
        assert [type(r) for r in verify(archive)] == [Checked]
        for at in range(len(sound)):
            pack.write_bytes(sound[:at] + bytes([sound[at] ^ 0x55]) + sound[at + 1 :])
            damage = [r for r in verify(archive) if isinstance(r, Damage)]
            assert damage, f"byte {at} may be anything"
            bad = next((s for s in spans if s[0] <= at < s[1]), (0, records.LEAD_SIZE))
            assert all(bad[0] <= d.offset < bad[1] for d in damage)
            for copy in archive.copies():
                for block in archive.index.blocks(copy.id):
                    if bad[0] <= block.at < bad[1]:
                        continue
                    stop = block.offset + block.raw
                    assert archive.unpacked(block) == told[copy.uri][block.offset : stop]
    for suffix in ("", "-wal", "-shm"):
        Path(tmp_path, "archive", f"index.db{suffix}").unlink(missing_ok=True)
    middle = spans[1]
    pack.write_bytes(sound[: middle[0]] + b"\0" * 20 + sound[middle[0] + 20 :])
    with closing(Archive(str(tmp_path))) as anew:  # from a damaged pack, too
        found = {
            c.uri: b"".join(map(anew.unpacked, anew.index.blocks(c.id))) for c in anew.copies()
        }
    assert found["two"] == told["two"]
    assert len(found["one"]) == len(told["one"]) - 50


@pytest.mark.spec("R14", "R26")
def test_a_pack_torn_anywhere_is_cut_at_its_last_record(tmp_path: Path) -> None:
    small(tmp_path)
    folder = tmp_path / "archive"
    (pack,) = folder.glob("pack-*")
    whole = pack.read_bytes()
    ends = [m.at + m.size for m in packs.scan(str(pack))]
    for stop in range(records.LEAD_SIZE, len(whole), 7):
        for file in folder.glob("index*"):
            file.unlink()
        for file in folder.glob("*.torn-*"):
            file.unlink()
        pack.write_bytes(whole[:stop])
        with closing(Archive(str(tmp_path))) as archive:
            archive.copies()
            last = max([e for e in ends if e <= stop], default=records.LEAD_SIZE)
            assert pack.read_bytes() == whole[:last]
            torn = b"".join(p.read_bytes() for p in folder.glob("*.torn-*"))
            assert torn == whole[last:stop]


@pytest.mark.spec("R55")
def test_a_block_never_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    packing = dictionary.Packing()
    codec, body = packing.pack(bytes(200_000))
    with pytest.raises(ValueError, match="decompress"):
        packing.unpack(codec, body, 1_000)
    with pytest.raises(ValueError, match="another length"):
        packing.unpack(records.ZSTD, zstandard.compress(bytes(1 << 20)), 1_000)
    huge = records.record(records.BLOCK, 1, b"x", raw=bytes(records.MAX_RAW + 1))
    assert records.head(huge) is None


def test_a_dictionary_is_mended_from_its_twin(tmp_path: Path) -> None:
    text = b"\\n".join(b"the same words again %d" % (n % 5000) for n in range(20_000))
    with closing(Archive(str(tmp_path))) as archive, archive.writing():
        archive.learn([text], len(text))
        (number,) = archive.dictionaries()
        raw = text[5_000:9_000]
        archive.add([
            records.begun(7, "x", "file", "jsonl", 0),
            copier.block(archive.current(), 7, 0, raw),
            records.ended(7, len(raw), len(raw), len(raw), 0, ""),
        ])  # fmt: skip
        archive.commit()
    first, twin = map(Path, archive.dictionary_files(number))
    first.write_bytes(first.read_bytes()[:-40] + b"\0" * 40)
    with closing(Archive(str(tmp_path))) as archive:
        (copy,) = archive.copies()
        assert b"".join(archive.open(copy).everything()) == raw
        (damage, _) = verify(archive)
        assert isinstance(damage, Damage)
        assert damage.file == str(first)
        with archive.writing():
            list(verify(archive, repair=True))
        assert [type(r) for r in verify(archive)] == [Checked]
    assert first.read_bytes() == twin.read_bytes()


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
