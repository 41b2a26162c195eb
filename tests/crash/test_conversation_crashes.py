"""Conversations through death, failing disks and power losses, at every operation.

A scenario of steps is run undisturbed once, to know what the folder says after each of them. Then
it is disturbed: what is found must be what as many steps make as were acknowledged, or one more.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pytest

from chats import Clock, texts
from decklog.conversations import Branch, Conversations
from decklog.model import Conversation, Message, Text
from faults import Fault, Outcome, Tell, die_everywhere, fail_everywhere
from forked import start
from powerloss import record, states

Said: TypeAlias = list[tuple[list[str], list[str], int | None]]
"""Of each conversation, in the order they were made: messages, summaries, whose fork it is."""
LONG = bool(os.environ.get("DECKLOG_LONG"))
"""Every error, and many more power losses: `just crash-long`."""
ERRORS = (
    ("ENOSPC", "EIO", "EROFS", "EINTR", "EDQUOT", "EMFILE", "short")
    if LONG
    else ("ENOSPC", "short")
)
LOSSES = 40_000 if LONG else 700


def chats_in(folder: Path) -> Conversations:
    return Conversations(str(folder / "chats"), now=Clock(), rotate_at=1500)


def steps(chats: Conversations) -> Iterator[Callable[[], Any]]:
    """What is done, a step at a time: each makes one promise."""
    made: list[Branch] = []

    def sum_up(messages: Any, before: str) -> str:
        return f"{before}|{len(messages)}"

    elsewhere = Conversation(
        id="brought",
        created_at=1,
        updated_at=2,
        entries=tuple(
            Message(id=f"b{i}", role="user", at=i, blocks=(Text(text=f"brought {i}"),))
            for i in range(3)
        ),
    )
    yield lambda: made.append(chats.new())
    yield lambda: made[0].append("user", "one")
    yield lambda: made[0].append("assistant", "two " + "x" * 400)
    yield lambda: made.append(chats.fork(made[0].id, at=1))
    yield lambda: made[1].append("user", "two of the fork")
    yield lambda: made[0].compact(sum_up, threshold=0, keep=1)
    yield made[0].rotate
    yield lambda: made[0].append("user", "three")
    yield lambda: made.append(chats.add(elsewhere))
    yield lambda: made[1].rewind(1)
    yield lambda: made[1].append("user", "again")
    yield lambda: made[2].append("user", "long " + "y" * 1500)
    yield lambda: made[2].append("user", "after a rotation")
    yield lambda: made[0].compact(sum_up, threshold=0, keep=0)
    yield lambda: made[0].append("user", "last")


def work(folder: Path, tell: Tell) -> None:
    for number, step in enumerate(steps(chats_in(folder)), 1):
        step()
        tell(number)


def said(folder: Path) -> Said:
    chats = chats_in(folder)
    names = sorted(chats.ids(), key=lambda name: (name == "brought", name))
    found = [chats.open(name).read() for name in names]
    parents = [None if c.parent is None else names.index(c.parent) for c in found]
    return [
        (texts(c), [x.summary for x in c.compactions], parent)
        for c, parent in zip(found, parents, strict=True)
    ]


@cache
def expected() -> list[Said]:
    """What the folder says after none, one, two ... of the steps."""
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        folder = Path(place)
        found = [said(folder)]
        for step in steps(chats_in(folder)):
            step()
            found.append(said(folder))
        return found


def check(folder: Path, outcome: Outcome) -> None:
    done = len(outcome.told)
    assert outcome.told == list(range(1, done + 1))
    if outcome.killed or outcome.fault.lasting:
        assert said(folder) in expected()[done : done + 2]
    else:
        assert said(folder) == expected()[done]
    goes_on(folder)


def goes_on(folder: Path) -> None:
    """All of them can be written to as if nothing had happened, and are whole then."""
    chats = chats_in(folder)
    for name in chats.ids():
        before = texts(chats.open(name).read())
        chat = chats.open(name)
        chat.append("user", "afterwards")
        read, findings = chat.examine()
        assert texts(read) == [*before, "afterwards"]
        assert findings == []


def test_the_scenario_itself(tmp_path: Path) -> None:
    work(tmp_path, lambda value: None)
    assert said(tmp_path) == expected()[-1]
    assert len(expected()) == 16
    assert all(a != b for a, b in zip(expected()[:6], expected()[1:7], strict=False))
    sealed = [n for n in os.listdir(tmp_path / "chats") if ".rot-" in n]
    assert len(sealed) == 2
    goes_on(tmp_path)


@pytest.mark.spec("CW1", "CW2", "CW3", "CW5", "R13", "R14", "R26")
def test_death_at_every_operation(disk: Path) -> None:
    assert die_everywhere(disk, work, check) > 150


@pytest.mark.spec("CW5", "R19", "R20")
@pytest.mark.parametrize("error", ERRORS)
def test_failure_of_every_operation(disk: Path, error: str) -> None:
    assert fail_everywhere(disk, work, check, errors=(error,)) > 20


@pytest.mark.spec("CW2", "R17", "R21")
def test_power_loss_at_any_moment(disk: Path) -> None:
    source = disk / "source"
    source.mkdir()
    history = record(source, work)
    for state in states(history, seed=1, most=LOSSES):
        with TemporaryDirectory(dir=disk) as name:
            place = Path(name)
            state.put(place)
            done = len(state.told)
            assert said(place) in expected()[done : done + 2], state
            goes_on(place)


KILLS = 100 * (100 if LONG else 1)


def write_on(folder: Path, name: str, who: str, ledger: int) -> None:
    """Say something, fork, go on in the fork, until killed; what is acknowledged goes into the
    ledger, which is outside."""
    chats = Conversations(str(folder), rotate_at=4000)
    chat = chats.open(name)
    for n in count():
        durable = n % 3 == 0
        chat.append("user", f"{who}.{n}", durable=durable)
        os.write(ledger, f"{chat.id} {who}.{n}\n".encode())
        if n % 50 == 49:
            chat = chats.fork(name)


@pytest.mark.spec("CW2", "R13", "R14", "R16", "R17")
@pytest.mark.parametrize("writers", [1, 3])
def test_killed_at_random_moments(writers: int, disk: Path) -> None:
    """What was acknowledged is there, once and in its order, wherever the writers were killed."""
    random = Random(writers)
    chats = Conversations(str(disk))
    name = chats.new().id
    told: dict[str, list[str]] = {}
    for turn in range(KILLS // writers):
        reading, ledger = os.pipe()
        pids = [start(partial(write_on, disk, name, f"{turn}.{w}", ledger)) for w in range(writers)]
        os.close(ledger)
        if turn % 2:  # on a busy machine they might never come to write
            select.select([reading], [], [])
        for pid in pids:
            time.sleep(random.uniform(0, 0.01 / writers))
            os.kill(pid, signal.SIGKILL)
        with os.fdopen(reading, "rb") as pipe:
            for line in pipe.read().decode().splitlines():
                chat, _, text = line.partition(" ")
                told.setdefault(chat, []).append(text)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [signal.SIGKILL] * writers
    for chat in chats.ids():
        chats.open(chat).append("user", "afterwards")
        read, findings = chats.open(chat).examine()
        assert findings == []
        said = texts(read)
        assert len(set(said)) == len(said) - said.count("afterwards") + 1
        for who in {text.rpartition(".")[0] for text in told.get(chat, [])}:
            of = [text for text in said if text.startswith(f"{who}.")]
            acknowledged = [t for t in told[chat] if t.startswith(f"{who}.")]
            assert [t for t in of if t in set(acknowledged)] == acknowledged
    assert sum(map(len, told.values())) >= KILLS // writers // 2


def test_the_checks_can_fail(tmp_path: Path) -> None:
    """An acknowledged message that is not there, and one that nobody acknowledged twice over."""
    work(tmp_path, lambda value: None)
    outcome = Outcome(Fault(), told=list(range(1, 16)))
    check(tmp_path, outcome)
    with pytest.raises(AssertionError):
        check(tmp_path, outcome)  # `goes_on` has said more
