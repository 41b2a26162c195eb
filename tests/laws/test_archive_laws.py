"""However a source grows, is cut or rewritten, its archived copy is what it last was."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decklog.archive import Archive, copier, dictionary, records

LAW = settings(max_examples=60, deadline=None, database=None, derandomize=True)
PLAIN = dictionary.Packing()
LINES = st.lists(
    st.binary(min_size=0, max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=8
)


def _copied(archive: Archive, uri: str, data: bytes, cut: int) -> None:
    """What one read of a source that was appended to does, its bytes given in two pieces."""
    copy = archive.copy(uri)
    if copy is None:
        new = archive.new_id()
        known = copier.Known(new, begin=records.begun(new, "x", uri, "jsonl", 0))
        start = 0
    else:
        blocks = archive.index.blocks(copy.id, copy.cursor)
        tail = tuple((b.offset, b.raw, b.crc) for b in blocks if b.offset >= copy.cursor)
        known = copier.Known(copy.id, copy.stop, tail)
        start = copy.cursor
    made = copier.Copier(PLAIN, known)
    middle = start + (len(data) - start) * cut // 10
    made.add(start, data[start:middle])
    made.flush(data.rfind(b"\n", start, middle) + 1)
    made.add(middle, data[middle:])
    made.finish(data.rfind(b"\n") + 1, len(data), 0, "")
    archive.add(made.taken())
    archive.commit()


@LAW
@pytest.mark.spec("R35", "R43", "R31")
@given(
    steps=st.lists(st.tuples(LINES, st.binary(max_size=30), st.integers(0, 10)), max_size=6),
    block=st.sampled_from([7, 64, dictionary.BLOCK_SIZE]),
)
def test_any_growth_with_unfinished_lines_is_copied(
    steps: list[tuple[list[bytes], bytes, int]], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(copier, "BLOCK_SIZE", block)
        with closing(Archive(folder)) as archive, archive.writing():
            whole = b""
            for lines, unfinished, cut in steps:
                whole += b"".join(line + b"\n" for line in lines)
                data = whole + unfinished.replace(b"\n", b"")
                _copied(archive, "file", data, cut)
                copy = archive.copy("file")
                assert copy is not None
                assert b"".join(archive.open(copy).everything()) == data
                reader = archive.open(copy)
                for at in range(0, len(data), max(1, len(data) // 7)):
                    assert reader.read(at, 11) == data[at : at + 11]
        with closing(Archive(folder)) as again:  # the index comes from the packs alone
            before = again.copies()
            Path(again.folder, "index.db").unlink()
        with closing(Archive(folder)) as anew:
            assert anew.copies() == before
            for copy in before:
                assert b"".join(anew.open(copy).everything()) == data


@LAW
@pytest.mark.spec("R28")
@given(
    versions=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    shared=st.binary(max_size=200),
)
def test_every_version_of_a_document_is_given_back(versions: list[bytes], shared: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Archive(folder)) as archive:
        with archive.writing():
            for n, own in enumerate(versions):
                data = shared + own
                copy = archive.copy("file")
                new = archive.new_id()
                known = copier.Known(new, begin=records.begun(new, "x", "file", "json", 0))
                if copy is not None:
                    blocks = tuple(archive.index.blocks(copy.id))
                    known = known._replace(previous=copy.id, blocks=blocks)
                archive.add(
                    copier.document(PLAIN, known, data, archive.unpacked, n, n, "", block_size=16)
                )
                archive.commit()
        kept = [b"".join(archive.open(c).everything()) for c in archive.copies(superseded=True)]
        wanted = [shared + v for n, v in enumerate(versions)
                  if not n or v != versions[n - 1]]  # fmt: skip
        assert kept == wanted
        (current,) = archive.copies()
        assert b"".join(archive.open(current).everything()) == shared + versions[-1]
