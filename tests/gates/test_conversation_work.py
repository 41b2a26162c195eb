"""The work of appending, opening and forking does not grow with the conversation: counted in system
calls and bytes, at no message and at 100,000."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chats import Clock
from decklog.conversations import Branch, Conversations
from decklog.model import Message, Text

MANY = 100_000
HUGE = 1 << 40


class Counted:
    """Calls of ``os``, and the bytes they moved, while `during` runs."""

    NAMES = ("open", "read", "pread", "write", "fsync", "fdatasync", "replace", "link", "unlink")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.on = False
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._counting(name, getattr(os, name)))

    def _counting(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            if self.on:
                self.calls[name] += 1
                if name in ("read", "pread"):
                    self.bytes["read"] += len(result)
                elif name == "write":
                    self.bytes["written"] += result
            return result

        return call

    def during(self, work: Callable[[], Any]) -> tuple[dict[str, int], dict[str, int]]:
        self.calls.clear()
        self.bytes.clear()
        self.on = True
        try:
            work()
        finally:
            self.on = False
        return dict(self.calls), dict(self.bytes)


def fill(chat: Branch, messages: int) -> Branch:
    for start in range(0, messages, 10_000):
        chat.extend(
            Message(id="", role="user", blocks=(Text(text=f"message {i:06d}"),))
            for i in range(start, min(messages, start + 10_000))
        )
    return chat


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Conversations, str]]:
    """100,000 messages in one file."""
    chats = Conversations(str(tmp_path_factory.mktemp("long")), now=Clock(), rotate_at=HUGE)
    chat = fill(chats.new(), MANY)
    assert os.path.getsize(chat.path) > 20_000_000
    yield chats, chat.id
    assert chats.open(chat.id).examine()[1] == []


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def both(long: tuple[Conversations, str]) -> tuple[Conversations, Branch, Branch]:
    chats, name = long
    empty = chats.new()
    empty.append("user", "x")
    chat = chats.open(name)
    chat.append("user", "x")
    return chats, empty, chat


def test_an_append_costs_the_same(long: tuple[Conversations, str], counted: Counted) -> None:
    _, empty, chat = both(long)
    few = counted.during(lambda: empty.append("user", "Hello."))
    many = counted.during(lambda: chat.append("user", "Hello."))
    assert few[0] == many[0] == {"open": 1, "pread": 1, "write": 1, "fdatasync": 1}
    assert many[1]["written"] - few[1]["written"] == len("100002") - len("3") + len("100003") - 1
    assert many[1]["read"] <= 4096


def test_opening_reads_the_two_ends(long: tuple[Conversations, str], counted: Counted) -> None:
    chats, empty, chat = both(long)
    few = counted.during(lambda: chats.open(empty.id).outline())
    many = counted.during(lambda: chats.open(chat.id).outline())
    assert few[0] == many[0] == {"open": 2, "pread": 3}
    assert many[1] == {"read": 64 * 1024 * 2 + 4096}


def test_an_append_by_another_costs_the_tail(
    long: tuple[Conversations, str], counted: Counted
) -> None:
    """A branch that has to catch up reads from the end, however much it knew before."""
    chats, _, chat = both(long)
    chats.open(chat.id).append("user", "said by another")
    calls, moved = counted.during(lambda: chat.append("user", "Hello."))
    assert (calls["write"], calls["fdatasync"]) == (1, 1)
    assert moved["read"] < 150_000


def test_a_fork_writes_no_history(long: tuple[Conversations, str], counted: Counted) -> None:
    chats, empty, chat = both(long)
    few = counted.during(lambda: chats.fork(empty.id))
    many = counted.during(lambda: chats.fork(chat.id))
    assert few[0] == many[0]
    assert many[1]["written"] - few[1]["written"] <= 10
    assert many[1]["read"] < 300_000
    fork = chats.fork(chat.id, at=MANY // 2)
    _, moved = counted.during(lambda: chats.fork(chat.id, at=MANY // 2))
    assert moved["written"] < 500
    assert fork.append("user", "x").parent == chats.open(chat.id).read().entries[MANY // 2 - 1].id


def test_the_last_messages_are_read_from_the_end(
    long: tuple[Conversations, str], counted: Counted
) -> None:
    _, _, chat = both(long)
    _, moved = counted.during(lambda: chat.tail(20))
    assert moved["read"] < 200_000


def test_rotation_keeps_it_so(tmp_path: Path, counted: Counted) -> None:
    """With many sealed files behind it an append is still one write."""
    chats = Conversations(str(tmp_path / "chats"), now=Clock(), rotate_at=64 * 1024)
    chat = chats.new()
    for _ in range(30):
        fill(chat, 300)
    assert len(list(chat.shelf.seals(chat.id))) > 25
    calls, _ = counted.during(lambda: chat.append("user", "Hello."))
    if "replace" in calls:  # this one fell on a rotation
        calls, _ = counted.during(lambda: chat.append("user", "Hello."))
    assert calls == {"open": 1, "pread": 1, "write": 1, "fdatasync": 1}
    again = chats.open(chat.id)
    assert counted.during(again.outline) == ({}, {})
