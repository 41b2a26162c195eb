"""Our log with any byte of it gone bad: it is noticed, and costs only the records it hit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import plain_log
from decklog.log import Hole, Log, Logs, Record, mending, read_log, segments
from decklog.model import UserMessage
from faults import Outcome, Tell, die_everywhere, fail_everywhere

RECORDS = 200 if os.environ.get("DECKLOG_LONG") else 40
FRAME = 2000 if RECORDS > 40 else 400


def read(folder: Path) -> tuple[list[int], list[Hole]]:
    items = list(read_log(str(folder)))
    return [i.seq for i in items if isinstance(i, Record)], [
        i for i in items if isinstance(i, Hole)
    ]


@pytest.fixture
def sealed(disk: Path) -> Path:
    """A sealed segment of many records, and one record after it."""
    size = 0
    with Log(str(disk / "log")) as log:
        for n in range(RECORDS):
            log.append(b'{"n":%d,"text":"%s"}' % (n, b"x" * (n % 97 + 13)), durable=False)
        size = Path(log.path).stat().st_size
    with Log(str(disk / "log"), segment_bytes=size) as log:
        log.append(b'{"n":-1}')
    path = disk / "log" / "0000000000000001.jsonl"
    assert path.stat().st_size > 60 * RECORDS
    return path


@cache
def extents(data: bytes) -> list[tuple[int, int]]:
    """Where each record stands, without its newline."""
    found, at = [], 0
    for line in data.split(b"\n")[:RECORDS]:
        found.append((at, at + len(line)))
        at += len(line) + 1
    return found


def untouched(data: bytes, at: int, end: int) -> list[int]:
    """Numbers of the records of which no byte is in a range."""
    spans = enumerate(extents(data), 1)
    return [n for n, (start, stop) in spans if stop <= at or start >= end]


def damaged(path: Path, folder: Path, data: bytes) -> Iterator[tuple[list[int], list[Hole]]]:
    path.write_bytes(data)
    seqs, holes = read(folder)
    plain, problems = plain_log.read(folder)
    assert [r["seq"] for r in plain] == seqs
    assert bool(problems) == bool([h for h in holes if h.reason != "unsealed"])
    yield seqs, holes


@pytest.mark.spec("R15", "R30")
def test_a_flipped_bit_anywhere_costs_one_record(sealed: Path) -> None:
    data = sealed.read_bytes()
    for at in range(len(data)):
        flipped = data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
        sealed.write_bytes(flipped)
        seqs, holes = read(sealed.parent)
        assert holes, f"the bit at {at} is not noticed"
        assert holes[0].offset <= at <= holes[0].offset + max(1, holes[0].length)
        assert seqs == [*untouched(data, at, at + 1), RECORDS + 1]


@pytest.mark.spec("R15", "R30")
@pytest.mark.parametrize("kind", ["cut", "zeros", "insert", "remove"])
def test_other_damage_anywhere_costs_what_it_hit(sealed: Path, kind: str) -> None:
    data = sealed.read_bytes()
    # a segment without its footer, or a newline before or after it, says all the same
    footer = data.rindex(b'{"sealed":')
    unseen = {
        ("cut", footer - 1),
        ("cut", footer),
        ("cut", len(data) - 1),
        ("remove", len(data) - 1),
    }
    for at in range(len(data)):
        made, gone = {
            "cut": (data[:at], len(data)),
            "zeros": (data[:at] + bytes(len(data[at : at + 40])) + data[at + 40 :], at + 40),
            "insert": (data[:at] + b"\0junk" + data[at:], at),
            "remove": (data[:at] + data[at + 1 :], at + 1),
        }[kind]
        for seqs, holes in damaged(sealed, sealed.parent, made):
            assert holes or (kind, at) in unseen, f"{kind} at {at} is not noticed"
            split = kind == "insert" and any(s < at < e for s, e in extents(data))
            whole = untouched(data, at, at + 1 if split else gone)
            if split:
                whole = [n for n, (s, e) in enumerate(extents(data), 1) if not s < at < e]
            assert seqs == [*whole, RECORDS + 1]


@pytest.mark.spec("R30")
def test_damage_to_a_compressed_segment_costs_one_frame(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "FRAME", FRAME)
    (first, _) = segments.listed(str(sealed.parent))
    path = Path(segments.pack(first).path)
    data = path.read_bytes()
    for at in range(len(data)):
        for made in (data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :], data[:at]):
            for seqs, holes in damaged(path, path.parent, made):
                lost = RECORDS + 1 - len(seqs)
                assert bool(holes) == bool(lost)  # bits that zstd does not use are no damage
                assert seqs[-1] == RECORDS + 1
                assert len(made) < len(data) or lost < RECORDS // 4


# --- repair -----------------------------------------------------------------------------------


def hurt(folder: Path) -> None:
    """Three segments, with damage in the first, in a compressed one, and a torn end."""
    with Log(str(folder / "log"), segment_bytes=900) as log:
        for n in range(20):
            log.append(b'{"n":%d,"text":"%s"}' % (n, b"x" * 100), durable=False)
    first, second, *_, last = segments.listed(str(folder / "log"))
    packed = Path(segments.pack(second).path)
    packed.write_bytes(packed.read_bytes()[:-20])
    data = bytearray(Path(first.path).read_bytes())
    data[200] ^= 4
    Path(first.path).write_bytes(data)
    with Path(last.path).open("ab") as file:
        file.write(b'{"seq":')


def mend(folder: Path, tell: Tell) -> None:
    with Log(str(folder / "log"), segment_bytes=900) as log:
        log.open()
    mending.repair(str(folder / "log"))
    tell("repaired")


KNOWN = {*range(1, 21)} - {2, *range(7, 13)}
"""What is still readable of it."""


def nothing_lost(folder: Path, outcome: Outcome) -> None:
    """What could be read before can be read after, and can be repaired once more."""
    assert set(read(folder / "log")[0]) >= KNOWN
    mend(folder, lambda _: None)
    seqs, holes = read(folder / "log")
    assert set(seqs) >= KNOWN
    assert {h.reason for h in holes} == {"lost"}
    records, _ = plain_log.read(folder / "log")
    assert [r["seq"] for r in records] == seqs
    with Log(str(folder / "log")) as log:
        assert log.append(b'{"n":-1}') == seqs[-1] + 1


@pytest.mark.spec("R14", "R30")
def test_repair_keeps_all_that_is_sound_and_all_it_replaces(disk: Path) -> None:
    hurt(disk)
    before = {p.name: p.read_bytes() for p in (disk / "log").iterdir()}
    mend(disk, lambda _: None)
    kept = sorted(p.name for p in (disk / "log").iterdir() if "-1" in p.name)
    assert [name.rpartition(".")[2] for name in kept] == ["damaged-1", "damaged-1", "torn-1"]
    for name in kept[:2]:
        original = name.removesuffix(".damaged-1")
        data = (disk / "log" / name).read_bytes()
        assert before.get(original, b"") in (data, b"")
    nothing_lost(disk, Outcome(None))  # type: ignore[arg-type]
    assert sorted(p.name for p in (disk / "log").iterdir() if "-1" in p.name) == kept


@pytest.mark.spec("R14", "R30", "R20")
def test_repair_may_die_or_fail_at_any_operation(disk: Path) -> None:
    assert die_everywhere(disk, mend, nothing_lost, prepare=hurt) > 50
    assert fail_everywhere(disk, mend, nothing_lost, prepare=hurt, errors=("ENOSPC", "EIO")) > 50


def test_damage_is_told_and_repaired_through_the_logs(disk: Path) -> None:
    logs = Logs(str(disk))
    with logs.open("s1", agent="claude") as writer:
        for i in range(5):
            writer.emit(UserMessage(agent="claude", content=str(i)))
    path = Path(writer.log.path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'{"seq":4')])
    (hole,) = logs.holes("s1")  # the index knows that there was more
    assert (hole.reason, hole.offset, hole.detail) == ("gap", data.index(b'{"seq":4'), "4 to 5")
    path.write_bytes(data.replace(b'"content":"2"', b'"content":"X"'))
    assert [(h.reason, h.offset) for h in logs.holes("s1")] == [
        ("damaged", data.index(b'{"seq":3'))
    ]
    (kept,) = logs.repair("s1")
    assert Path(kept).read_bytes() == data.replace(b'"content":"2"', b'"content":"X"')
    assert [h.reason for h in logs.holes("s1")] == ["lost"]
    assert [e.seq for e in logs.read("s1")] == [1, 2, 4, 5]
    assert logs.repair("s1") == []
    shutil.rmtree(disk / "log")
