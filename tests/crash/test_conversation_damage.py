"""Files of conversations in which bytes flip, lines vanish, change places or stand twice: every
sound record is read, nothing is made up, and what is said next is said."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from chats import Clock, texts
from decklog.conversations import Conversations

CASES = 150 * (50 if os.environ.get("DECKLOG_LONG") else 1)
SAID = {
    "afterwards",
    *(f"message {i}" for i in range(5)),
    "message of the fork",
    "another of the fork",
    "message of its fork",
}
"""All that was ever said; what was gone back behind is seen again where that is damaged."""


def furnish(folder: Path) -> Conversations:
    """A conversation with a sealed file, a compaction and a way back, and two forks of it."""
    chats = Conversations(str(folder / "chats"), now=Clock())
    chat = chats.new(title="t", cwd="/w")
    for i in range(4):
        chat.append("user", f"message {i}")
    chat.rotate()
    chat.compact(lambda messages, before: "sum", threshold=0, keep=1)
    chat.append("assistant", "message 4")
    fork = chats.fork(chat.id, at=3)
    fork.append("user", "message of the fork")
    fork.rewind(2)
    fork.append("user", "another of the fork")
    chats.fork(fork.id).append("user", "message of its fork")
    return chats


def flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data))
    return data[:start] + data[start + random.randint(1, 300) :]


def insert(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + random.choice([b"\0" * 512, b"\n", b"{}\n", b'"', b"\xff"]) + data[at:]


def shuffle(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    random.shuffle(lines)
    return b"".join(lines)


def repeat(data: bytes, random: Random) -> bytes:
    lines = data.splitlines(keepends=True)
    lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    return b"".join(lines)


@pytest.mark.spec("CW1", "R14", "R15", "R16")
@pytest.mark.parametrize("damage", [flip, cut, insert, shuffle, repeat])
def test_damage(damage: Callable[[bytes, Random], bytes], disk: Path) -> None:
    random = Random(damage.__name__)
    furnish(disk)
    sound = {p: p.read_bytes() for p in (disk / "chats").iterdir()}
    for _ in range(CASES):
        for leftover in set((disk / "chats").iterdir()) - sound.keys():
            leftover.unlink()
        for path, data in sound.items():
            path.write_bytes(data)
        path = random.choice(list(sound))
        damaged = damage(sound[path], random)
        path.write_bytes(damaged)
        chats = Conversations(str(disk / "chats"), now=Clock())
        for name in chats.ids():
            before, findings = chats.open(name).examine()
            assert set(texts(before)) <= SAID
            if damaged == sound[path]:
                assert findings == []
            chat = chats.open(name)
            chat.context()
            chat.append("user", "afterwards")
            after = chats.open(name)
            if damage in (flip, cut, insert):  # no record stands in another's place
                assert texts(after.read()) == [*texts(before), "afterwards"]
            assert texts(after.read())[-1] == "afterwards"
            assert texts(after.tail(2))[-1:] == ["afterwards"]


@pytest.mark.spec("CW1")
def test_each_flipped_byte_costs_one_record(disk: Path) -> None:
    """Of a conversation in one file all messages but the damaged one are read, whichever byte."""
    chats = Conversations(str(disk / "chats"), now=Clock())
    chat = chats.new()
    for i in range(4):
        chat.append("user", f"message {i}")
    path = Path(chat.path)
    sound = path.read_bytes()
    whole = texts(chat.read())
    lines = sound.splitlines(keepends=True)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        line = max(i for i, start in enumerate(starts) if start <= at)
        read, findings = chats.open(chat.id).examine()
        hit = {line - 1} if sound[at : at + 1] != b"\n" else {line - 1, line}
        kept = [t for i, t in enumerate(whole) if i not in hit]
        assert texts(read) in (kept, whole)  # a newline that is missing at the end costs nothing
        assert findings or texts(read) == whole
