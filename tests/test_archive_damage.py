"""Damage to the archive: found, told, and no more lost than what it hit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random

import pytest
import zstandard

from decklog.archive import Archive, copier, dictionary, packs, records
from decklog.archive.dictionaries import Dictionary
from decklog.archive.verifying import Checked, Damage, verify


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


# --- dictionaries ---------------------------------------------------------------------------------

TEXT = b"\\n".join(b"the same words again %d" % (n % 5000) for n in range(20_000))
RAW = TEXT[5_000:9_000]


def _learned(folder: Path) -> Dictionary:
    """The dictionary of an archive with one copy that was packed with it."""
    with closing(Archive(str(folder))) as archive, archive.writing():
        archive.learn([TEXT], len(TEXT))
        archive.add([
            records.begun(7, "x", "file", "jsonl", 0),
            copier.block(archive.current(), 7, 0, RAW),
            records.ended(7, len(RAW), len(RAW), len(RAW), 0, ""),
        ])  # fmt: skip
        archive.commit()
        (number,) = archive.dictionaries()
        return archive.dictionary(number)


def _copied(archive: Archive) -> bytes:
    (copy,) = archive.copies()
    return b"".join(archive.open(copy).everything())


@pytest.mark.parametrize("harm", ["lost", "damaged"])
@pytest.mark.parametrize("which", range(5))
def test_any_one_file_of_a_dictionary_is_made_anew(tmp_path: Path, which: int, harm: str) -> None:
    files = [Path(path) for path in _learned(tmp_path).files]
    before = [path.read_bytes() for path in files]
    if harm == "lost":
        files[which].unlink()
    else:
        files[which].write_bytes(before[which][:-40] + bytes(40))
    with closing(Archive(str(tmp_path))) as archive:
        assert _copied(archive) == RAW
        (damage, _) = verify(archive)
        assert isinstance(damage, Damage)
        assert (damage.file, damage.repaired) == (str(files[which]), "")
        with archive.writing():
            (damage, _) = verify(archive, repair=True)
        assert isinstance(damage, Damage)
        assert damage.repaired.startswith(str(files[which]))
        assert [type(r) for r in verify(archive)] == [Checked]
    assert [path.read_bytes() for path in files] == before


def test_a_dictionary_that_lost_too_much_says_what_goes_with_it(tmp_path: Path) -> None:
    dictionary = _learned(tmp_path)
    for path in dictionary.files[1:3]:
        Path(path).unlink()
    with closing(Archive(str(tmp_path))) as archive:
        lost, block, _ = verify(archive, repair=True)
        assert isinstance(lost, Damage)
        assert isinstance(block, Damage)
        assert lost.detail == "dictionary 1 is lost or damaged: what was packed with it is lost"
        assert block.uri == "file"
        with archive.writing():
            archive.learn([TEXT], len(TEXT))  # never under the number of another one
        assert archive.dictionaries() == [1, 2]


def test_a_dictionary_that_a_crash_left_half_written_harms_nothing(tmp_path: Path) -> None:
    for path in _learned(tmp_path).files[:3]:
        Path(path.replace("dictionary-1", "dictionary-2")).write_bytes(Path(path).read_bytes())
    with closing(Archive(str(tmp_path))) as archive:
        assert archive.current().number == 1
        assert [type(r) for r in verify(archive)] == [Checked]
        assert _copied(archive) == RAW


def test_a_dictionary_kept_whole_and_twice_is_read_as_before(tmp_path: Path) -> None:
    dictionary = _learned(tmp_path)
    content, in_sight = dictionary.read()
    made = records.record(
        records.DICTIONARY, 1, zstandard.compress(content), offset=in_sight, raw=content,
        codec=records.ZSTD,
    )  # fmt: skip
    for path in dictionary.files:
        Path(path).unlink()
    Path(dictionary.copies[1]).write_bytes(records.LEAD + made)
    with closing(Archive(str(tmp_path))) as archive:
        assert _copied(archive) == RAW
        assert [type(r) for r in verify(archive)] == [Checked]
