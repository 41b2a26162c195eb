"""What becomes of a text: fake agents of every habit, on a real tmux server.

    DECKLOG_SENDS=10000 python -m pytest tests/test_delivery.py -k every

sends that many texts; the gate a few dozen.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from crew import Crew, crews
from decklog.errors import UsageError
from decklog.supervisor import Request
from decklog.supervisor.delivery import LINE_MOST, Input, checked, terminal_input
from tmux_server import needs_tmux
from waiting import until

SENDS = int(os.environ.get("DECKLOG_SENDS", "48"))


@pytest.fixture
def crew() -> Iterator[Crew]:
    yield from crews()


@pytest.mark.spec("R85")
@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("plain", "plain"),
        ("ends with newlines\n\n", "ends with newlines"),
        ("one\r\ntwo", "one\ntwo"),
        ("tab\there", "tab\there"),
        (" kept ", " kept "),
        ("-l", "-l"),
        ("日本\u2028🙂", "日本\u2028🙂"),
    ],
)
def test_texts_that_may_be_sent(text: str, sent: str) -> None:
    assert checked(text) == sent


@pytest.mark.spec("R85")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "  ",
        "\x1b[201~rm -rf",
        "a\x00b",
        "bell\a",
        "\x9b2J",
        "x" * ((1 << 20) + 1),
        "\ud800",
    ],
)
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        checked(text)


def test_the_place_of_a_control_character_is_named() -> None:
    with pytest.raises(UsageError, match=r"U\+001B, line 3"):
        checked("one\ntwo\nthr\x1bee")


# -- every habit -----------------------------------------------------------------------------------

HABITS: dict[str, dict[str, object]] = {
    "usual": {"busy": 0.1},
    "slow to start": {"busy": 0.1, "start": 1.5},
    "swallows the first Enter": {"busy": 0.1, "swallows": 1},
    "works long": {"busy": 2.0},
    "no bracketed paste": {"busy": 0.1, "plain_paste": 1},
    "writes no transcript": {"busy": 0.1, "silent": 1},
}
SIZES = (1, 10, 100, 1_000, 10_000, 200_000, 1 << 20)
ALPHABETS = ("abc xyz", "äöü é", "日本語 漢字", "🙂 👩‍👩‍👧 x", "'\"`$(){}[];&|<>\\ -N5")


def texts(seed: int, *, lines: bool) -> Iterator[str]:
    dice = random.Random(seed)
    number = 0
    while True:
        number += 1
        size = dice.choice(SIZES[:5] if dice.random() < 0.9 else SIZES)
        body = "".join(dice.choices(dice.choice(ALPHABETS), k=min(size, 4000)))
        if lines and dice.random() < 0.4:
            body = body.replace(" ", "\n")
        text = f"{seed}.{number} {body}"
        while len(text.encode()) < size:
            text += f" {text}"
        yield text.encode()[: 1 << 20].decode(errors="ignore").rstrip()


@pytest.mark.spec("D5", "D34", "DW10", "R85", "R86")
@pytest.mark.timeout(100 + 5 * SENDS)
@needs_tmux
def test_every_habit(crew: Crew) -> None:
    """Nothing twice, nothing in the wrong pane, nothing called submitted that was not. What is
    left in an input box a person clears."""
    told: list[tuple[str, str, str]] = []
    panes = {}
    for name, habit in HABITS.items():
        crew.fake(**habit)
        panes[name] = crew.boss.create(Request("claude", name=name, cwd=str(crew.project)))[0]

    def talk(name: str, seed: int) -> None:
        boss = crew.supervisor()
        for text in texts(seed, lines=True):
            delivery = boss.send(name, text, ready=8.0)
            told.append((panes[name].id, text, delivery.outcome))
            if delivery.outcome in ("typed", "unknown"):
                crew.room.tmux("decklog", "send-keys", "-t", panes[name].pane, "C-u")
            if sum(t[0] == panes[name].id for t in told) >= SENDS // len(HABITS):
                return

    threads = [threading.Thread(target=talk, args=(name, seed)) for seed, name in enumerate(HABITS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == SENDS // len(HABITS) * len(HABITS)
    given = Counter((e["pane"], e["text"]) for e in crew.entries())
    assert max(given.values()) == 1  # nothing twice
    assert set(given) <= {(pane, text) for pane, text, _ in told}  # nothing else, nowhere else
    outcomes = Counter(outcome for _, _, outcome in told)
    assert [t for t in told if t[2] in ("submitted", "queued") and t[:2] not in given] == []
    assert [t for t in told if t[2] in ("not_sent", "typed") and t[:2] in given] == []
    assert outcomes["unknown"] <= SENDS // 20, outcomes  # an honest answer; rare on a quiet machine
    assert outcomes["submitted"] + outcomes["queued"] >= SENDS * 0.95, outcomes


# -- single ones -----------------------------------------------------------------------------------


def fake(crew: Crew, **habits: object) -> str:
    crew.fake(**habits)
    one, _ = crew.boss.create(Request("claude", name="it", cwd=str(crew.project)))
    until(lambda: "❯" in crew.boss.rows(screen=True)[0].screen)
    return one.id


@pytest.mark.spec("R87")
@needs_tmux
def test_the_text_of_somebody_else_is_left_alone(crew: Crew) -> None:
    name = fake(crew)
    crew.room.tmux("decklog", "send-keys", "-t", "%0", "-l", "half a thou")
    until(lambda: "half a thou" in crew.boss.rows(screen=True)[0].screen)
    delivery = crew.boss.send(name, "Mine", ready=0.3)
    assert (delivery.outcome, delivery.enters) == ("not_sent", 0)
    assert delivery.why == "somebody's text stands in its input box: 'half a thou'"
    crew.room.tmux("decklog", "send-keys", "-t", "%0", "Enter")
    until(lambda: crew.given() == ["half a thou"])


@pytest.mark.spec("R87")
@needs_tmux
def test_senders_take_turns(crew: Crew) -> None:
    name = fake(crew)
    outcomes: list[str] = []

    def send(i: int) -> None:
        outcomes.append(crew.supervisor().send(name, f"text {i}").outcome)

    threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {"submitted", "queued"}
    until(lambda: sorted(crew.given()) == [f"text {i}" for i in range(4)])


@pytest.mark.spec("R86")
@needs_tmux
def test_queued(crew: Crew) -> None:
    name = fake(crew, busy=30)
    assert crew.boss.send(name, "first").outcome == "submitted"
    assert crew.boss.send(name, "second").outcome == "queued"
    assert crew.given() == ["first", "second"]


@pytest.mark.spec("R85")
@needs_tmux
def test_copy_mode_is_left_first(crew: Crew) -> None:
    name = fake(crew)
    crew.room.tmux("decklog", "copy-mode", "-t", "%0")
    assert crew.boss.send(name, "Hello").outcome == "submitted"
    assert crew.given() == ["Hello"]


@pytest.mark.spec("R86")
@needs_tmux
def test_a_program_that_ends_while_it_is_sent_to(crew: Crew) -> None:
    name = fake(crew, dies=1, silent=1)
    delivery = crew.boss.send(name, "Die")
    assert (delivery.outcome, delivery.enters) == ("unknown", 1)
    assert crew.given() == ["Die"]
    assert crew.boss.send(name, "Again").outcome == "not_sent"


# -- programs of which nothing is known ------------------------------------------------------------


def plain(crew: Crew, *command: str) -> None:
    crew.room.tmux("t", "new-session", "-d", "-s", "plain", "-x", "80", "-y", "24", "--", *command)
    running = ("t", "display", "-p", "-t", "%0", "#{pane_current_command}")
    until(lambda: crew.room.tmux(*running) == command[0])  # it is a copy of tmux for a moment


@pytest.mark.spec("R85", "R86")
@needs_tmux
def test_a_program_that_reads_lines(crew: Crew, tmp_path: Path) -> None:
    out = tmp_path / "lines"
    plain(crew, "sh", "-c", f'while read -r line; do printf "%s\\n" "$line" >> {out}; done')
    until(lambda: crew.boss.rows(everything=True)[0].pane)
    delivery = crew.boss.send("plain", "-l 'hello' \\n")
    assert (delivery.outcome, delivery.why) == ("submitted", "its program read the line")
    until(lambda: out.exists() and out.read_text() == "-l 'hello' \\n\n")
    assert crew.boss.send("plain", "x" * LINE_MOST).outcome == "submitted"
    until(lambda: out.read_text().endswith(f"\n{'x' * LINE_MOST}\n"))
    long = crew.boss.send("plain", "x" * (LINE_MOST + 1))
    assert (long.outcome, long.enters) == ("not_sent", 0)
    assert "at most 4,095 bytes" in long.why
    lines = crew.boss.send("plain", "one\ntwo")
    assert (lines.outcome, lines.enters) == ("not_sent", 0)


@pytest.mark.spec("R86")
@needs_tmux
def test_a_program_that_does_not_read(crew: Crew) -> None:
    plain(crew, "sleep", "600")
    delivery = crew.boss.send("plain", "hello")
    assert (delivery.outcome, delivery.why) == ("typed", "its program does not read it")
    second = crew.boss.send("plain", "again")
    assert second.outcome == "not_sent"


@needs_tmux
def test_what_the_kernel_says_of_a_terminal(crew: Crew) -> None:
    plain(crew, "sleep", "600")
    tty = crew.room.tmux("t", "display", "-p", "-t", "%0", "#{pane_tty}")
    assert terminal_input(tty) == Input(canonical=True, echoes=True, pending=0)
    assert terminal_input("/nowhere") is None
    assert terminal_input("/dev/null") is None
