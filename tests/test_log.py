"""The log itself: records in, records out, rotation, torn ends, several writers, damage."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from decklog.errors import StoreTooNew, UsageError
from decklog.log import Hole, Log, Record, Tail, lines, mending, read_log
from decklog.log.committing import Committer
from forked import in_child, start


def body(i: int, size: int = 0) -> bytes:
    return b'{"n":%d,"text":"%s"}' % (i, b"x" * size)


def fill(folder: Path, n: int, size: int = 50, segment_bytes: int = 2000) -> None:
    with Log(str(folder), segment_bytes=segment_bytes) as log:
        for i in range(n):
            log.append(body(i, size), durable=False)


def numbers(folder: Path, after: int = 0) -> list[int]:
    items = list(read_log(str(folder), after))
    assert [i for i in items if isinstance(i, Hole)] == []
    return [i.seq for i in items if isinstance(i, Record)]


@pytest.mark.spec("R15", "R16")
def test_records_are_numbered_from_one_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with Log(str(folder)) as log:
        assert log.append(body(0)) == 1
        assert log.append_all([body(1), body(2)]) == [2, 3]
        assert (log.last, log.durable) == (3, 3)
    (segment,) = folder.iterdir()
    assert segment.name == "0000000000000001.jsonl"
    assert segment.read_bytes().split(b"\n")[1] == b'{"seq":2,"n":1,"text":"","crc":"88ab7d93"}'
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [lines.sound(line) for line in segment.read_bytes().split(b"\n")] == [True] * 3 + [False]


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(read_log(str(tmp_path / "none"))) == []


@pytest.mark.spec("R26", "BW14")
def test_segments_are_sealed_and_compressed_and_read_as_one(tmp_path: Path) -> None:
    fill(tmp_path / "log", 100)
    with Log(str(tmp_path / "log"), segment_bytes=2000) as log:
        log.tidy()
    names = sorted(p.name for p in (tmp_path / "log").iterdir())
    assert len(names) > 4
    assert [n.endswith(".zst") for n in names] == [True] * (len(names) - 1) + [False]
    assert numbers(tmp_path / "log") == list(range(1, 101))
    assert numbers(tmp_path / "log", after=57) == list(range(58, 101))
    with Log(str(tmp_path / "log"), segment_bytes=2000) as log:
        assert log.append(body(0)) == 101


@pytest.mark.spec("R14", "BW4")
@pytest.mark.parametrize("tail", [b'{"seq":11,"n"', b"\0" * 600, b"x\n", b'{"seq":11}\n', b"\n"])
def test_a_torn_end_is_cut_kept_and_told_of(tmp_path: Path, tail: bytes) -> None:
    fill(tmp_path / "log", 10, segment_bytes=9999)
    (segment,) = (tmp_path / "log").iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole + tail)
    with Log(str(tmp_path / "log")) as log:
        assert log.append(body(11)) == 12
    kept = tmp_path / "log" / f"{segment.name}.torn-1"
    assert kept.read_bytes() == tail
    records = [r for r in read_log(str(tmp_path / "log")) if isinstance(r, Record)]
    assert [r.seq for r in records] == list(range(1, 13))
    assert b'"log_recovered","bytes":%d,"saved":"%s"' % (len(tail), kept.name.encode()) in (
        records[10].line
    )
    assert segment.read_bytes().startswith(whole)


def test_a_record_that_lacks_only_its_newline_is_whole(tmp_path: Path) -> None:
    fill(tmp_path / "log", 3)
    (segment,) = (tmp_path / "log").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    assert numbers(tmp_path / "log") == [1, 2, 3]
    assert [i.seq for i in Tail(str(tmp_path / "log")).poll() if isinstance(i, Record)] == [1, 2]
    with Log(str(tmp_path / "log")) as log:
        assert log.append(body(3)) == 4
    assert numbers(tmp_path / "log") == [1, 2, 3, 4]


@pytest.mark.spec("R61", "R16", "BW3")
def test_several_processes_append_to_one_log(tmp_path: Path) -> None:
    """Rotation and compression included."""
    folder = str(tmp_path / "log")

    def append(who: int) -> None:
        with Log(folder, segment_bytes=20_000) as log:
            for i in range(200):
                log.append(b'{"who":%d,"i":%d}' % (who, i), durable=i % 10 == 0)
            log.tidy()

    children = [start(lambda who=who: append(who)) for who in range(6)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
    records = list(read_log(folder))
    assert [r.seq for r in records] == list(range(1, 1201))  # type: ignore[union-attr]
    for who in range(6):
        mine = [r.line for r in records if b'"who":%d,' % who in r.line]  # type: ignore[union-attr]
        assert [line.partition(b'"i":')[2].split(b",")[0] for line in mine] == [
            b"%d" % i for i in range(200)
        ]


@pytest.mark.spec("R60")
def test_a_tail_gives_what_came_since_across_segments(tmp_path: Path) -> None:
    folder = str(tmp_path / "log")
    tail = Tail(folder)
    assert list(tail.poll()) == []
    with Log(folder, segment_bytes=1000) as log:
        for i in range(60):
            log.append(body(i, 60), durable=False)
            if i % 7 == 0:
                log.tidy()
            assert [item.seq for item in tail.poll()] == [i + 1]  # type: ignore[union-attr]
    assert list(tail.poll()) == []
    assert [i.seq for i in Tail(folder, tail.seq - 1).poll()] == [60]  # type: ignore[union-attr]


@pytest.mark.spec("R30")
def test_damage_in_the_middle_costs_only_what_it_hit(tmp_path: Path) -> None:
    fill(tmp_path / "log", 10, segment_bytes=9999)
    (segment,) = (tmp_path / "log").iterdir()
    data = bytearray(segment.read_bytes())
    line = len(data) // 10
    data[3 * line + 20] ^= 1
    segment.write_bytes(data)
    items = list(read_log(str(tmp_path / "log")))
    assert [i.seq for i in items if isinstance(i, Record)] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert items[3] == Hole(path=str(segment), offset=3 * line, length=line, after=3)


@pytest.mark.spec("R17")
def test_what_was_written_becomes_durable_by_itself(tmp_path: Path) -> None:
    committer = Committer(delay=0.01)
    log = Log(str(tmp_path / "log"), committer=committer)
    log.append(body(0), durable=False)
    assert log.durable == 0
    committer.close()
    assert log.durable == 1


@pytest.mark.spec("R17")
def test_no_more_than_256_records_are_written_and_not_durable(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    for i in range(255):
        log.append(body(i), durable=False)
    assert log.durable == 0
    log.append(body(0), durable=False)
    assert log.durable == 256
    log.close()


def test_a_newline_between_tokens_does_not_end_a_record(tmp_path: Path) -> None:
    with Log(str(tmp_path / "log")) as log:
        log.append(b'{"a":\n1,\n"b":2}')
    (record,) = read_log(str(tmp_path / "log"))
    assert isinstance(record, Record)
    assert record.line.startswith(b'{"seq":1,"a": 1, "b":2,')


def test_logs_take_ids_only(tmp_path: Path) -> None:
    from decklog.log import Logs

    with pytest.raises(UsageError):
        Logs(str(tmp_path)).open("../x")


@pytest.mark.spec("R29")
def test_a_log_that_a_newer_decklog_wrote_to_is_read_and_left_alone(tmp_path: Path) -> None:
    fill(tmp_path / "log", 2)
    (segment,) = (tmp_path / "log").iterdir()
    newer = segment.read_bytes() + lines.framed("seq", 3, b'{"v":2,"type":"unheard_of"}')
    segment.write_bytes(newer)
    with pytest.raises(StoreTooNew):
        Log(str(tmp_path / "log")).append(body(3))
    assert segment.read_bytes() == newer
    assert numbers(tmp_path / "log") == [1, 2, 3]


@pytest.mark.spec("BW3")
def test_opening_a_long_log_reads_its_end_only(tmp_path: Path) -> None:
    """A million records; what is read is counted by standing in for the system calls."""
    with Log(str(tmp_path / "log")) as log:
        bodies = [body(n, 30) for n in range(1000)]
        for _ in range(1000):
            log.append_all(bodies, durable=False)

    def opened() -> int:
        read = 0
        pread = os.pread

        def counting(fd: int, size: int, offset: int) -> bytes:
            nonlocal read
            data = pread(fd, size, offset)
            read += len(data)
            return data

        os.pread = counting
        log = Log(str(tmp_path / "log"))
        assert log.open() == 1_000_000
        assert log.append(body(0)) == 1_000_001
        return read

    assert 100 < in_child(opened) <= 4096


@pytest.mark.spec("R19")
def test_what_a_failed_fsync_may_have_lost_is_written_again(tmp_path: Path) -> None:
    """The disk loses the pages, says so once, and calls them clean from then on."""

    def work() -> list[int]:
        log = Log(str(tmp_path / "log"))
        log.append(body(0))
        log.append(body(1), durable=False)
        fdatasync, failures = os.fdatasync, [1]

        def losing(fd: int) -> None:
            if failures.pop() if failures else 0:
                size = os.fstat(fd).st_size
                path = os.readlink(f"/proc/self/fd/{fd}")
                end = Path(path).read_bytes().index(b"\n") + 1
                other = os.open(path, os.O_WRONLY)
                os.pwrite(other, bytes(size - end), end)
                os.close(other)
                raise OSError(errno.EIO, "lost")
            fdatasync(fd)

        os.fdatasync = losing
        seqs = [log.append(body(2)), log.append(body(3))]
        assert (log.durable, log.failures) == (4, 1)
        log.close()
        return seqs

    assert in_child(work) == [3, 4]
    segment = tmp_path / "log" / "0000000000000002.jsonl"
    assert segment.read_bytes().count(b"\n") == 3
    records = [r for r in read_log(str(tmp_path / "log")) if isinstance(r, Record)]
    assert [r.seq for r in records] == [1, 2, 3, 4]
    with Log(str(tmp_path / "log")) as log:
        assert log.append(body(4)) == 5


@pytest.mark.spec("R17")
def test_threads_that_wait_for_the_disk_share_one_fsync(tmp_path: Path) -> None:
    def work() -> list[int]:
        fdatasync, calls = os.fdatasync, [0]

        def slow(fd: int) -> None:
            calls[0] += 1
            time.sleep(0.002)
            fdatasync(fd)

        os.fdatasync = slow
        log = Log(str(tmp_path / "log"))
        threads = [
            threading.Thread(target=lambda: [log.append(body(n)) for n in range(25)])
            for _ in range(16)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return [log.durable, calls[0]]

    durable, calls = in_child(work)
    assert durable == 400
    assert calls < 120


@pytest.mark.spec("R17", "R61")
def test_a_log_that_is_removed_under_its_writer_begins_anew(tmp_path: Path) -> None:
    def work() -> list[int]:
        log = Log(str(tmp_path / "log"), segment_bytes=500)
        for n in range(30):
            log.append(body(n, 50), durable=n % 7 == 0)
        mending.remove(str(tmp_path / "log"), str(tmp_path / "trash"))
        fdatasync, calls = os.fdatasync, [0]

        def counting(fd: int) -> None:
            calls[0] += 1
            fdatasync(fd)

        os.fdatasync = counting
        return [log.append(body(0)), calls[0], log.append(body(1)), log.durable]

    first, synced, second, durable = in_child(work)
    assert (first, second, durable) == (1, 2, 2)
    assert synced > 0
    assert numbers(tmp_path / "log") == [1, 2]
    assert list((tmp_path / "trash").iterdir()) == []
