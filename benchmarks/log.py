"""What our log of events takes: appending, opening, reading. ``python benchmarks/log.py``

Appends are acknowledged only once they are on disk (fdatasync): figures are those of the disk as
much as ours.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from decklog.log import Log, Logs, read_log
from decklog.model import UserMessage

BODY = b'{"v":1,"ts":"2026-11-24T13:28:35.123Z","type":"user_event","message":"%s"}' % (b"x" * 300)


def rate(n: int, work: Callable[[], object]) -> str:
    began = time.perf_counter()
    work()
    return f"{n / (time.perf_counter() - began):>10,.0f} a second"


def threads(n: int, work: Callable[[], object]) -> None:
    started = [threading.Thread(target=work) for _ in range(n)]
    for t in started:
        t.start()
    for t in started:
        t.join()


def main(folder: Path) -> None:
    def log(name: str) -> Log:
        return Log(str(folder / name))

    one = log("one")
    print("append, durable, one thread      ", rate(
        2000, lambda: [one.append(BODY) for _ in range(2000)]))  # fmt: skip
    many = log("many")
    print("append, durable, 16 threads      ", rate(
        8000, lambda: threads(16, lambda: [many.append(BODY) for _ in range(500)])))  # fmt: skip
    batch = log("batch")
    print("append_all, durable, 32 at a time", rate(
        32_000, lambda: [batch.append_all([BODY] * 32) for _ in range(1000)]))  # fmt: skip
    group = log("group")
    print("append, durable every 256        ", rate(
        50_000, lambda: [group.append(BODY, durable=False) for _ in range(50_000)]))  # fmt: skip
    logs = Logs(str(folder))
    with logs.open("s1", agent="claude") as writer:
        events = [UserMessage(agent="claude", content="x" * 300, uid=str(i)) for i in range(20_000)]
        print("emit, durable every 256          ", rate(
            20_000, lambda: [writer.emit(e) for e in events]))  # fmt: skip
    print("read, checked                    ", rate(
        50_000, lambda: list(read_log(group.folder))))  # fmt: skip
    print("read, as events                  ", rate(20_000, lambda: list(logs.read("s1"))))
    long = log("long")
    for _ in range(1000):
        long.append_all([BODY] * 1000, durable=False)
    long.close()
    began = time.perf_counter()
    again = log("long")
    again.open()
    took = (time.perf_counter() - began) * 1000
    print(f"open {again.last:,} records             {took:>10,.2f} ms")


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="decklog-log-", dir=sys.argv[1] if sys.argv[1:] else None))
    try:
        main(place)
    finally:
        shutil.rmtree(place)
