"""Writers of our log that are killed, or that crowd one log: nothing acknowledged is lost."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

import pytest

import plain_log
from decklog.log import Log
from forked import start

KILLS = 500 * (10 if os.environ.get("DECKLOG_LONG") else 1)
"""For each number of writers."""
SEGMENT = 40_000


def write_on(folder: str, name: str, ledger: int) -> None:
    """Append until killed; each acknowledged record goes into the ledger, which is outside."""
    log = Log(folder, segment_bytes=SEGMENT)
    n = 0
    while True:
        names = [f"{name}.{n + i}" for i in range(1 + n % 3)]
        bodies = [b'{"id":"%s","text":"%s"}' % (i.encode(), b"x" * (n % 90)) for i in names]
        seqs = log.append_all(bodies, durable=n % 4 == 0)
        for i, seq in zip(names, seqs, strict=True):
            os.write(ledger, f"{seq} {i}\n".encode())
        if n % 50 == 0:
            log.tidy()
        n += len(names)


@pytest.mark.spec("R13", "R14", "R17", "R61")
@pytest.mark.parametrize("writers", [1, 4])
def test_killed_at_random_moments(writers: int, disk: Path) -> None:
    """What a writer was told is in the log once, under the number it was told; the log is whole."""
    random = Random(writers)
    folder = disk / "log"
    acknowledged: dict[int, str] = {}
    for turn in range(KILLS // writers):
        reading, ledger = os.pipe()
        work = [partial(write_on, str(folder), f"{turn}.{w}", ledger) for w in range(writers)]
        pids = [start(w) for w in work]
        os.close(ledger)
        if turn % 2:  # on a busy machine they might never come to write
            select.select([reading], [], [])
        for pid in pids:
            time.sleep(random.uniform(0, 0.008 / writers))
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(reading, "rb") as pipe:
            said = [line.split() for line in pipe.read().decode().splitlines()]
        acknowledged |= {int(seq): name for seq, name in (s for s in said if len(s) == 2)}
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [signal.SIGKILL] * writers
        if turn % 25 == 24:  # keep it short: what is sealed has been looked at
            _check(folder, acknowledged)
    assert _check(folder, acknowledged) >= len(acknowledged) >= KILLS // writers // 2


def _check(folder: Path, acknowledged: dict[int, str]) -> int:
    Log(str(folder)).open()
    records, problems = plain_log.read(folder)
    assert problems == []
    found = {r["seq"]: r.get("id") for r in records}
    assert acknowledged.items() <= found.items()
    counted = Counter(name for name in found.values() if name)
    assert not counted or max(counted.values()) == 1
    return len(found)


@pytest.mark.spec("R16", "R61")
def test_many_writers_crowd_one_log(disk: Path) -> None:
    """Eight processes, records from ten bytes to a megabyte, rotation and compression."""
    writers, records = 8, 5_000 * (4 if os.environ.get("DECKLOG_LONG") else 1)
    folder = str(disk / "log")

    def write(who: int) -> None:
        random = Random(who)
        with Log(folder, segment_bytes=1 << 20) as log:
            for i in range(records):
                size = 1 << 20 if i % 2500 == 17 else int(10 ** random.uniform(1, 3.3))
                log.append(
                    b'{"who":%d,"i":%d,"size":%d,"text":"%s"}' % (who, i, size, b"x" * size),
                    durable=False,
                )
                if i % 500 == 0:
                    log.tidy()

    pids = [start(partial(write, w)) for w in range(writers)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * writers
    found, problems = plain_log.read(Path(folder))
    assert problems == []
    assert [r["seq"] for r in found] == list(range(1, writers * records + 1))
    assert all(len(r["text"]) == r["size"] for r in found)
    for who in range(writers):
        assert [r["i"] for r in found if r["who"] == who] == list(range(records))
