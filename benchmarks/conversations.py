#!/usr/bin/env python3
"""Measure conversations: append, open and fork with no message, and with 100,000.

    python benchmarks/conversations.py [--messages 100000] [--runs 400] [--json]

Each figure is the median of so many runs in one process, alternating between the short and the long
conversation. Appends wait for the disk unless it says otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from decklog.conversations import Branch, Conversations
from decklog.model import Message, Text

HUGE = 1 << 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="conversations-", dir=Path.home()) as folder:
        chats = Conversations(folder, rotate_at=HUGE)
        empty, full = chats.new(), fill(chats.new(), args.messages)
        rows = {
            name: pair(args.runs, lambda chat, work=work: work(chats, chat), empty, full)
            for name, work in WORK.items()
        }
        once = {
            "read whole": timed(full.read),
            "fork in the middle": timed(lambda: chats.fork(full.id, at=args.messages // 2)),
            "compact": timed(lambda: full.compact(threshold=0)),
        }
    if args.json:
        print(json.dumps({"microseconds": rows, "seconds": once}))
        return
    print(f"{'':<24}{'no message':>14}{args.messages:>12,} messages")
    for name, (short, long) in rows.items():
        print(f"{name:<24}{short:>11,.0f} µs{long:>18,.0f} µs")
    for name, seconds in once.items():
        print(f"{name:<24}{'':>14}{seconds * 1e3:>18,.0f} ms")


def fill(chat: Branch, messages: int) -> Branch:
    for start in range(0, messages, 10_000):
        chat.extend(
            Message(id="", role="user", blocks=(Text(text=f"message {i} " + "x" * 100),))
            for i in range(start, min(messages, start + 10_000))
        )
    return chat


WORK: dict[str, Callable[[Conversations, Branch], object]] = {
    "append": lambda chats, chat: chat.append("user", "Hello."),
    "append, not waiting": lambda chats, chat: chat.append("user", "Hello.", durable=False),
    "open": lambda chats, chat: chats.open(chat.id),
    "open and append": lambda chats, chat: chats.open(chat.id).append("user", "Hello."),
    "fork": lambda chats, chat: chats.fork(chat.id),
    "last 20 messages": lambda chats, chat: chat.tail(20),
}


def pair(
    runs: int, work: Callable[[Branch], object], short: Branch, long: Branch
) -> tuple[float, float]:
    """Median microseconds for the short and for the long conversation."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for chat, seconds in zip((short, long), took, strict=True):
            seconds.append(timed(lambda chat=chat: work(chat)))
    return statistics.median(took[0]) * 1e6, statistics.median(took[1]) * 1e6


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
