"""Conversations through death, failing disks and power losses, at every operation.

A scenario of steps is run undisturbed once, to know what the folder says after each of them. Then
it is disturbed: what is found must be what as many steps make as were acknowledged, or one more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import pytest

from chats import Clock, texts
from decklog.conversations import Branch, Conversations
from decklog.model import Conversation, Message, Text
from faults import Fault, Outcome, Tell, die_everywhere, fail_everywhere
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
LOSSES = 40_000 if LONG else 2_000


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: thousands of runs wait for no disk."""
    if not os.path.isdir("/dev/shm"):
        yield tmp_path
        return
    with TemporaryDirectory(dir="/dev/shm") as place:
        yield Path(place)


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
def test_death_at_every_operation(fast: Path) -> None:
    assert die_everywhere(fast, work, check) > 150


@pytest.mark.spec("CW5", "R19", "R20")
@pytest.mark.parametrize("error", ERRORS)
def test_failure_of_every_operation(fast: Path, error: str) -> None:
    assert fail_everywhere(fast, work, check, errors=(error,)) > 20


@pytest.mark.spec("CW2", "R17", "R21")
def test_power_loss_at_any_moment(fast: Path) -> None:
    source = fast / "source"
    source.mkdir()
    history = record(source, work)
    for state in states(history, seed=1, most=LOSSES):
        with TemporaryDirectory(dir=fast) as name:
            place = Path(name)
            state.put(place)
            done = len(state.told)
            assert said(place) in expected()[done : done + 2], state
            goes_on(place)


def test_the_checks_can_fail(tmp_path: Path) -> None:
    """An acknowledged message that is not there, and one that nobody acknowledged twice over."""
    work(tmp_path, lambda value: None)
    outcome = Outcome(Fault(), told=list(range(1, 16)))
    check(tmp_path, outcome)
    with pytest.raises(AssertionError):
        check(tmp_path, outcome)  # `goes_on` has said more
