"""Bytes in bounded pieces: records whole, places exact, whatever stands where a piece ends."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decklog import sources
from decklog.agents import Root
from decklog.unpacking import Bomb
from forked import in_child

A, B, C = b'{"a": 1}', b'{"bb": [2, 3]}', b'{"c": "\xc3\xa4"}'


def read(path: Path, offset: int = 0) -> list[tuple[int, bytes]]:
    return [line for chunk in sources.chunks(str(path), offset) for line in chunk.lines]


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


# --- where a file ends ----------------------------------------------------------------------------


@pytest.mark.spec("R31")
@pytest.mark.parametrize(
    ("tail", "given_out"),
    [
        (b"", False),
        (b'{"c": ', False),
        (b'{"c": "}', False),
        (b"[1, 2]", False),
        (b'"c"', False),
        (b"12", False),
        (b"   ", False),
        (C, True),
        (b"  " + C, True),
        (C + b"  ", True),
    ],
)
def test_a_tail_without_newline_waits_until_it_is_a_whole_object(
    file: Path, tail: bytes, given_out: bool
) -> None:
    write(file, A, b"\n", tail)
    expected = [(0, A), *[(9, tail)] * given_out]
    assert read(file) == expected


@pytest.mark.spec("R31")
@pytest.mark.parametrize(
    ("tail", "taken"),
    [
        (A + B[:5], [(0, A)]),
        (A + B + C[:1], [(0, A), (8, B)]),
        (A + B, [(0, A), (8, B)]),
        (b" " + C + C[:-1], [(0, b" " + C)]),
        (b'{"a": "}{', []),
        (b'{"a": "}{"}', [(0, b'{"a": "}{"}')]),
        (B[:5], []),
        (b'{"a": ' * 9_999 + b"}{", []),
        (b'{"a": "%s"}' % (b"x" * sources.SHORT_TAIL) + B[:5], []),
    ],
)
def test_whole_objects_before_an_unfinished_one_are_taken(
    file: Path, tail: bytes, taken: list[tuple[int, bytes]]
) -> None:
    """Nobody may ever end that line."""
    write(file, tail)
    chunks = list(sources.chunks(str(file), 0))
    assert [line for chunk in chunks for line in chunk.lines] == taken
    assert [chunk.continued for chunk in chunks] == [bool(chunk.start) for chunk in chunks]
    for chunk in chunks:
        assert chunk.check == sources.check_hash(tail[: chunk.end])


@pytest.mark.spec("R31", "R43")
def test_a_line_that_is_finished_later_is_read_then(file: Path) -> None:
    write(file, A, b"\n", B[:5])
    (chunk,) = sources.chunks(str(file), 0)
    assert chunk.end == 9
    write(file, A, b"\n", B, b"\n", C)
    assert read(file, chunk.end) == [(9, B), (24, C)]


@pytest.mark.spec("R43")
def test_what_goes_on_a_line_that_was_taken_is_marked(file: Path) -> None:
    write(file, A)
    (first,) = sources.chunks(str(file), 0)
    assert (first.end, first.continued) == (8, False)
    write(file, A, b"\n", B, b"\n")
    (second,) = sources.chunks(str(file), first.end)
    assert list(second.lines) == [(8, b""), (9, B)]
    assert second.continued
    assert second.check == sources.check_hash(file.read_bytes())


@pytest.mark.spec("R8")
def test_lines_end_at_the_newline_byte_alone(file: Path) -> None:
    odd = '{"a": "\u2028 \u2029 \u0085 \x0b \x0c"}'.encode()
    write(file, odd, b"\r\n", A, b"\n\n", B, b"\n")
    assert [line for _, line in read(file)] == [odd + b"\r", A, b"", B]


# --- where a piece ends ---------------------------------------------------------------------------


def records(data: bytes) -> list[tuple[int, bytes]]:
    """What a file holds, the simple way."""
    found, at = [], 0
    *lines, tail = data.split(b"\n")
    for line in lines:
        found.append((at, line))
        at += len(line) + 1
    try:
        if isinstance(json.loads(tail), dict):
            found.append((at, tail))
    except ValueError:
        pass
    return found


LINES = st.lists(st.sampled_from([b"", A, B, C, A * 3, b"x" * 40, b"\xff\x00", b" "]), max_size=6)


@pytest.mark.spec("R43", "R49", "R51")
@settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=150
)
@given(lines=LINES, tail=st.sampled_from([b"", A, b'{"torn', b"junk"]), size=st.integers(1, 60))
def test_pieces_of_any_size_give_the_same_records(
    lines: list[bytes], tail: bytes, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = b"".join(line + b"\n" for line in lines) + tail
    file = write(tmp_path_factory.mktemp("pieces") / "a.jsonl", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", size)
        assert read(file) == records(data)
        at = 0
        for chunk in sources.chunks(str(file), 0):
            assert chunk.start == at
            at = chunk.end
            assert chunk.check == sources.check_hash(data[:at])
            assert [*chunk.lines, *read(file, at)] == [
                x for x in records(data) if x[0] >= chunk.start
            ]


@pytest.mark.spec("R51")
@pytest.mark.parametrize("beyond", [-2, -1, 0, 1, 2])
def test_a_newline_around_the_end_of_a_full_piece(file: Path, beyond: int) -> None:
    """The newline is the last byte of the piece, or comes before or after it."""
    long = b'{"a": "' + b"x" * (sources.CHUNK + beyond - 10) + b'"}'
    write(file, long, b"\n", A, b"\n")
    assert len(long) == sources.CHUNK + beyond - 1
    pieces = [list(chunk.lines) for chunk in sources.chunks(str(file), 0)]
    assert [line for piece in pieces for line in piece] == [(0, long), (len(long) + 1, A)]


# --- over-long lines ------------------------------------------------------------------------------


@pytest.mark.spec("R50", "R51")
@pytest.mark.parametrize("size", [1, 7, 64, 100])
def test_an_over_long_line_is_skipped_and_its_place_is_told(
    file: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK", size)
    monkeypatch.setattr(sources, "MAX_LINE", 100)
    monkeypatch.setattr(sources, "CHECK", 16)
    long = b"x" * 150
    data = b"\n".join([A, long, B, long, long, b"y" * 100, C]) + b"\n"
    write(file, data)
    lines, skipped, at = [], [], 0
    for chunk in sources.chunks(str(file), 0):
        lines += chunk.lines
        if chunk.skipped:
            skipped.append((chunk.start, chunk.skipped))
            assert not chunk.records
        assert chunk.start == at
        at = chunk.end
        assert chunk.check == sources.check_hash(data[:at])
    assert lines == [x for x in records(data) if x[1] != long]
    assert skipped == [(9, 150), (175, 150), (326, 150)]
    assert at == len(data)


def test_an_over_long_line_without_end_waits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK", 10)
    monkeypatch.setattr(sources, "MAX_LINE", 30)
    write(file, A, b"\n", b"x" * 100)
    assert [(c.end, c.skipped) for c in sources.chunks(str(file), 0)] == [(9, 0)]


# --- compressed files -----------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl.zst"


@pytest.mark.spec("R36", "Y3")
@pytest.mark.parametrize("size", [3, 10, 4 << 20])
def test_a_compressed_file_reads_like_a_plain_one(
    packed: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK", size)
    data = b"\n".join([A, B, C])
    two_frames = zstandard.compress(data[:13]) + zstandard.compress(data[13:])
    write(packed, two_frames)
    assert read(packed) == records(data)
    assert read(packed, 9) == records(data)[1:]


@pytest.mark.spec("R37")
def test_a_compressed_file_that_is_none_is_an_error_of_its_own(packed: Path) -> None:
    write(packed, b"not compressed at all\n")
    with pytest.raises(OSError, match=r"a\.jsonl\.zst"):
        read(packed)


def test_a_compressed_file_that_is_cut_gives_its_whole_lines(packed: Path) -> None:
    data = b"".join(b'{"n": %d}\n' % n for n in range(200_000))
    write(packed, zstandard.compress(data)[:-40_000])
    found = read(packed)
    assert 0 < len(found) < 200_000
    assert found == records(data)[: len(found)]


@pytest.mark.spec("R55")
def test_a_compressed_file_that_unpacks_beyond_measure_is_stopped(packed: Path) -> None:
    write(packed, zstandard.compress((b"x" * 1023 + b"\n") * (80 << 10)))
    with pytest.raises(Bomb, match="unpacks to more than"):
        read(packed)


def test_well_compressible_text_is_no_bomb(packed: Path) -> None:
    line = b'{"text": "' + b"ab" * 500_000 + b'"}\n'
    write(packed, zstandard.compress(line * 3))
    assert len(read(packed)) == 3


def test_no_descriptor_is_left_open(packed: Path) -> None:
    write(packed, zstandard.compress(A + b"\n" + B + b"\n"))

    def count() -> int:
        before = len(os.listdir("/dev/fd"))
        for _ in range(20):
            read(packed)
            next(iter(sources.chunks(str(packed), 0)))
        return len(os.listdir("/dev/fd")) - before

    assert in_child(count) == 0


# --- what is no file ------------------------------------------------------------------------------


@pytest.mark.spec("R37")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "pipe", tmp_path / "socket", tmp_path, Path("/dev/null")):
        with pytest.raises(OSError, match=r"."):
            sources.open_regular(str(path))
        assert sources.read_small(str(path)) is None
    listener.close()


def test_a_small_file_is_read_whole_and_a_large_one_not_at_all(tmp_path: Path) -> None:
    assert sources.read_small(str(write(tmp_path / "a", A))) == A
    assert sources.read_small(str(tmp_path / "none")) is None
    with (tmp_path / "large").open("wb") as f:
        f.truncate(sources.MAX_SMALL + 1)
    assert sources.read_small(str(tmp_path / "large")) is None


# --- finding --------------------------------------------------------------------------------------


def found(root: Path, only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> list[str]:
    return [seen.relative for seen in sources.find(Root(str(root), only, skip))]


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(A)
    return root


@pytest.mark.spec("A11", "A15")
def test_files_are_found_at_any_depth_in_a_fixed_order(tmp_path: Path) -> None:
    tree(tmp_path, "b/x", "a/b/c/d", "z", "a/a", "b/skipped/x")
    assert found(tmp_path) == ["a/a", "a/b/c/d", "b/skipped/x", "b/x", "z"]
    assert found(tmp_path, skip=("skipped",)) == ["a/a", "a/b/c/d", "b/x", "z"]
    assert found(tmp_path, only=("a", "z")) == ["a/a", "a/b/c/d", "z"]
    (seen,) = sources.find(Root(str(tmp_path), only=("z",)))
    stat = (tmp_path / "z").stat()
    assert (seen.path, seen.size, seen.mtime_ns, seen.inode) == (
        str(tmp_path / "z"), len(A), stat.st_mtime_ns, stat.st_ino,
    )  # fmt: skip
    assert found(tmp_path / "none") == []


@pytest.mark.spec("R37", "AW14")
def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    root, outside = tree(tmp_path / "root", "a/x"), tree(tmp_path / "outside", "y", "deep/z")
    (root / "up").symlink_to(root)
    (root / "a/up").symlink_to(tmp_path)
    (root / "out").symlink_to(outside)
    (outside / "back").symlink_to(outside / "deep")
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    (root / "file").symlink_to(outside / "y")
    names = found(root)
    assert set(names) == {"a/x", "out/y", "out/deep/z", "out/back/z", "file", "one", "two"}
    assert len(names) == len(set(names))


@pytest.mark.spec("R37")
@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_folder_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "a/x", "b/x")
    (tmp_path / "a").chmod(0)
    try:
        assert found(tmp_path) == ["b/x"]
    finally:
        (tmp_path / "a").chmod(0o700)


@pytest.mark.spec("AW12", "R35")
def test_the_mark_of_a_survey_changes_with_every_file(tmp_path: Path) -> None:
    tree(tmp_path, "a", "b/c")
    seen = [mark(tmp_path)]
    (tmp_path / "a").write_bytes(A + A)
    seen.append(mark(tmp_path))
    os.utime(tmp_path / "a", ns=(1, 1))
    seen.append(mark(tmp_path))
    (tmp_path / "b/c").rename(tmp_path / "b/d")
    seen.append(mark(tmp_path))
    (tmp_path / "b/d").unlink()
    seen.append(mark(tmp_path))
    tree(tmp_path, "b/c")
    seen.append(mark(tmp_path))
    assert len(set(seen)) == len(seen)
    before = mark(tmp_path)
    tree(tmp_path, "data.db-shm")
    assert mark(tmp_path) == before


def mark(root: Path) -> str:
    return sources.survey([(str(root), (), ())])[1]


def test_names_that_are_no_text_are_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jsonl")
    (tmp_path / name).write_bytes(A + b"\n")
    assert found(tmp_path) == [name]
    assert read(tmp_path / name) == [(0, A)]


# --- the place of a cursor ------------------------------------------------------------------------


@pytest.mark.spec("R32")
def test_the_bytes_before_a_cursor_identify_it(file: Path) -> None:
    data = bytes(range(256)) * 40
    write(file, data)
    for offset in (0, 1, 4095, 4096, 4097, len(data)):
        check = sources.check_hash(data[:offset])
        fd = os.open(file, os.O_RDONLY)
        assert sources.matches(fd, str(file), offset, check)
        if offset:
            assert not sources.matches(fd, str(file), offset - 1, check)
            os.close(fd)
            other = bytearray(data)
            other[offset - 1] ^= 1
            write(file, bytes(other))
            fd = os.open(file, os.O_RDONLY)
            assert not sources.matches(fd, str(file), offset, check)
        os.close(fd)
        write(file, data)
