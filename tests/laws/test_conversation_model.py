"""Conversations against a model in memory: whatever two processes do to them in turn, and whatever
a crash or another program leaves at the end of their files, they say what the model says."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from chats import texts
from decklog.conversations import Branch, Conversations
from decklog.model import Message, Text

PROGRAMS = int(os.environ.get("DECKLOG_PROGRAMS", "300"))
STEPS = 20
ROTATE_AT = 1200


# --- the processes ------------------------------------------------------------------------------


class Process:
    """Does to conversations what it is told, and keeps those open that it has opened."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Branch] = {}

    def __call__(self, folder: str, what: str, name: str, *given: Any) -> Any:
        if what == "reload":
            self.open.clear()
            return None
        chats = Conversations(folder, rotate_at=ROTATE_AT)
        if what == "new":
            return chats.new().id
        if what == "fork":
            return chats.fork(name, *given).id
        key = (folder, name)
        if key not in self.open:
            self.open[key] = chats.open(name)
        return getattr(self, f"_{what}")(self.open[key], *given)

    def _say(self, chat: Branch, said: list[str]) -> None:
        chat.extend(
            [Message(id="", role="user", blocks=(Text(text=text),)) for text in said],
            durable=False,
        )

    def _rewind(self, chat: Branch, n: int) -> None:
        chat.rewind(n)

    def _rotate(self, chat: Branch) -> None:
        chat.rotate()

    def _compact(self, chat: Branch, keep: int) -> bool:
        made = chat.compact(
            lambda messages, before: f"{before}|{len(messages)}", keep=keep, threshold=0
        )
        return made is not None

    def _look(self, chat: Branch) -> Any:
        read, findings = chat.examine()
        chat.refresh()
        return (
            texts(read),
            [(c.count, c.removed, c.kept, c.summary) for c in read.compactions],
            texts(chat.context()),
            texts(chat.tail(3)),
            chat.messages,
            [f.detail for f in findings],
        )


def serve(pipe: Connection) -> None:
    process = Process()
    while (asked := pipe.recv()) is not None:
        pipe.send(process(*asked))


class Worker:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, its = context.Pipe()
        self.process = context.Process(target=serve, args=(its,), daemon=True)
        self.process.start()

    def __call__(self, *asked: Any) -> Any:
        self.pipe.send(asked)
        assert self.pipe.poll(60), f"no answer to {asked}"
        return self.pipe.recv()

    def close(self) -> None:
        self.process.kill()
        self.process.join(10)


# --- the model ----------------------------------------------------------------------------------


class Summed(NamedTuple):
    count: int
    removed: int
    kept: int
    summary: str


class Model:
    """One conversation: messages are texts, compactions stand between them."""

    def __init__(self, entries: tuple[str | Summed, ...] = ()) -> None:
        self.entries = entries

    @property
    def messages(self) -> list[str]:
        return [e for e in self.entries if isinstance(e, str)]

    @property
    def compactions(self) -> list[Summed]:
        return [e for e in self.entries if isinstance(e, Summed)]

    def upto(self, n: int) -> tuple[str | Summed, ...]:
        """What is left when it goes back to the n-th message; as it is when that is the last."""
        if n == len(self.messages):
            return self.entries
        kept: list[str | Summed] = []
        for e in self.entries:
            if n == 0:
                break
            kept.append(e)
            n -= isinstance(e, str)
        return tuple(kept)

    def window(self) -> tuple[int, str, int]:
        """The first message without a summary, the last summary, and the number of those."""
        for i in range(len(self.entries) - 1, -1, -1):
            e = self.entries[i]
            if isinstance(e, Summed):
                before = sum(isinstance(x, str) for x in self.entries[:i])
                return before - e.kept, e.summary, e.count
        return 0, "", 0

    def compact(self, keep: int) -> bool:
        start, before, count = self.window()
        removed = len(self.messages) - start - keep
        if removed <= 0:
            return False
        made = Summed(count + 1, removed, keep, f"{before}|{removed}")
        self.entries = (*self.entries, made)
        return True

    def look(self) -> Any:
        start, summary, _ = self.window()
        shown = self.messages[start:]
        return (
            self.messages,
            [tuple(c) for c in self.compactions],
            ([f"summary {summary}"] if summary else []) + shown,
            self.messages[-3:],
            len(self.messages),
            [],
        )


class Machine(RuleBasedStateMachine):
    workers: tuple[Worker, Worker]
    root: str

    names = Bundle("names")
    who = st.integers(0, 1)
    said = st.sampled_from(["a", "bb", "ä\u2028\n", "long " + "x" * 500])

    def __init__(self) -> None:
        super().__init__()
        self.place = TemporaryDirectory(dir=self.root)
        self.folder = self.place.name
        self.models: dict[str, Model] = {}
        self.touched: set[str] = set()

    def teardown(self) -> None:
        for worker in self.workers:
            worker(self.folder, "reload", "")
        self.place.cleanup()

    def do(self, who: int, what: str, name: str = "", *given: Any) -> Any:
        self.touched.add(name)
        return self.workers[who](self.folder, what, name, *given)

    @initialize(target=names)
    def first(self) -> str:
        return self.new(0)

    @rule(target=names, who=who)
    def new(self, who: int) -> str:
        name: str = self.do(who, "new")
        self.models[name] = Model()
        return name

    @rule(name=names, who=who, said=st.lists(said, min_size=1, max_size=3))
    def say(self, name: str, who: int, said: list[str]) -> None:
        self.do(who, "say", name, said)
        self.models[name].entries += tuple(said)

    @rule(target=names, name=names, who=who, data=st.data())
    def fork(self, name: str, who: int, data: st.DataObject) -> Any:
        if len(self.models) > 6:
            return multiple()
        model = self.models[name]
        at = data.draw(st.none() | st.integers(0, len(model.messages)), label="at")
        made: str = self.do(who, "fork", name, at)
        self.models[made] = Model(model.entries if at is None else model.upto(at))
        return made

    @rule(name=names, who=who, data=st.data())
    def rewind(self, name: str, who: int, data: st.DataObject) -> None:
        model = self.models[name]
        n = data.draw(st.integers(0, len(model.messages)), label="n")
        self.do(who, "rewind", name, n)
        model.entries = model.upto(n)

    @rule(name=names, who=who, keep=st.integers(0, 3))
    def compact(self, name: str, who: int, keep: int) -> None:
        assert self.do(who, "compact", name, keep) == self.models[name].compact(keep)

    @rule(name=names, who=who)
    def rotate(self, name: str, who: int) -> None:
        self.do(who, "rotate", name)

    @rule(who=who)
    def reload(self, who: int) -> None:
        self.do(who, "reload")

    @rule(name=names, cut=st.integers(1, 80), who=who)
    def crash(self, name: str, cut: int, who: int) -> None:
        """A process dies in the middle of an append; what is said next sets its remains aside."""
        line = b'{"at":1,"check":"00000000","id":"x","message":{"blocks":[],"role":"user"}}\n'
        with open(Path(self.folder, f"{name}.jsonl"), "ab") as file:
            file.write(line[:cut])
        self.say(name, who, ["after a crash"])

    @rule(name=names)
    def another_program(self, name: str) -> None:
        body = {"role": "user", "blocks": [{"type": "text", "text": "theirs"}]}
        with open(Path(self.folder, f"{name}.jsonl"), "ab") as file:
            file.write(json.dumps({"type": "message", "message": body}).encode() + b"\n")
        self.touched.add(name)
        self.models[name].entries += ("theirs",)

    @invariant()
    def they_say_the_same(self) -> None:
        touched, self.touched = self.touched - {""}, set()
        for name in touched:
            self.compare(name, len(self.models) % 2)

    def compare(self, name: str, who: int) -> None:
        found = list(self.workers[who](self.folder, "look", name))
        found[2] = [_summary(text) for text in found[2]]
        assert tuple(found) == self.models[name].look()

    @rule(who=who)
    def all_of_them(self, who: int) -> None:
        for name in self.models:
            self.compare(name, who)


def _summary(text: str) -> str:
    """The summary in a text that stands for what was summed up; another text as it is."""
    if not text.startswith("This session is being continued"):
        return text
    return "summary " + text.split("\n\n")[1].split("\n", maxsplit=1)[0]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[type[Machine]]:
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as root:
        workers = (Worker(), Worker())
        yield type("Machine", (Machine,), {"workers": workers, "root": root})
        for worker in workers:
            worker.close()


@pytest.mark.spec("C17", "C20", "C21", "CW2", "CW12", "R25", "R26")
@pytest.mark.timeout(36_000 if PROGRAMS > 300 else 400)
def test_two_processes_and_a_model(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=PROGRAMS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=PROGRAMS <= 300,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
