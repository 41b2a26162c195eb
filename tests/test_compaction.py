"""What a compaction keeps, how it sums up the rest, and what a model is shown afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from chats import shelf, texts
from decklog.conversations import Branch
from decklog.conversations.compaction import (
    PREAMBLE,
    RECENT,
    RESUME,
    boundary,
    due,
    estimate,
    plan,
    summarise,
    told_before,
    unwrapped,
)
from decklog.errors import Busy, UsageError
from decklog.model import Conversation, Image, Message, Text, ToolResult, ToolUse
from decklog.model.turns import AnyBlock


def message(role: str, *blocks: AnyBlock | str) -> Message:
    made = tuple(Text(text=b) if isinstance(b, str) else b for b in blocks)
    return Message(id=f"{role}{id(made)}", role=role, blocks=made)


def call(id: str, name: str = "bash", given: bytes = b'{"command":"ls"}') -> ToolUse:
    return ToolUse(id=id, name=name, input=Raw(given))


def result(id: str, output: str = "ok", ok: bool = True, name: str = "bash") -> ToolResult:
    return ToolResult(id=id, name=name, output=output, ok=ok)


# --- what is kept -----------------------------------------------------------------------------


def test_tokens_are_estimated_by_length() -> None:
    assert estimate(message("user", "")) == 1
    assert estimate(message("user", "abcdefg")) == 2
    assert estimate(message("user", "ä" * 8, "abcd")) == 5 + 2
    assert estimate(message("assistant", call("1", "bash", b'{"a":1}'))) == (4 + 7) // 4 + 1
    assert estimate(message("tool", result("1", "12345678"))) == (4 + 8) // 4 + 1
    assert estimate(message("user", Image(data="A" * 100_000))) == 1500


@pytest.mark.parametrize(
    ("messages", "tokens", "answer"), [(4, 99_999, False), (5, 2_000, True), (5, 1_999, False)]
)
def test_it_takes_many_messages_and_many_tokens(messages: int, tokens: int, answer: bool) -> None:
    given = [message("user", "x" * 4 * (tokens - 1)) for _ in range(messages)]
    assert due(given, 4, 10_000) is answer


def test_a_result_never_loses_its_call() -> None:
    talk = [
        message("user", "a"),
        message("assistant", call("1"), call("2")),
        message("tool", result("1")),
        message("tool", result("2")),
        message("assistant", "b"),
    ]
    assert boundary(talk, 1) == 4
    assert boundary(talk, 2) == 1  # the result of 2 is kept, so its call is, and the result of 1
    assert boundary(talk, 3) == 1
    assert boundary(talk, 4) == 1
    assert boundary(talk, 9) == 0
    assert boundary(talk, 0) == 5
    chained = [
        message("assistant", call("1")),
        message("assistant", call("2")),
        message("tool", result("1")),
        message("user", "x"),
        message("tool", result("2")),
    ]
    assert boundary(chained, 1) == 0  # 2 is called before 1 returns
    orphan = [message("user", "a"), message("tool", result("9")), message("user", "b")]
    assert boundary(orphan, 2) == 1


# --- the summary ------------------------------------------------------------------------------


def test_the_built_in_summary() -> None:
    talk = [
        message("user", "Look at src/decklog/hub.py, please."),
        message("assistant", "I look.", call("1", "read", b'{"path":"src/decklog/hub.py"}')),
        message("tool", result("1", "x" * 300, name="read")),
        message("user", "TODO: the tests in tests/test_hub.py."),
        message("user", "third"),
        message("tool", result("2", "no such file", ok=False)),
        message("user", "fourth"),
        message("assistant", "Next: more\nthan one line, see https://example.com/a.html."),
    ]
    assert summarise(talk) == "\n".join(
        [
            "Summary:",
            "Conversation summary:",
            "- Scope: 8 earlier messages compacted (user=4, assistant=2, tool=2).",
            "- Tools mentioned: bash, read.",
            "- Recent user requests:",
            "  - TODO: the tests in tests/test_hub.py.",
            "  - third",
            "  - fourth",
            "- Pending work:",
            "  - TODO: the tests in tests/test_hub.py.",
            "  - Next: more than one line, see https://example.com/a.html.",
            "- Key files referenced: src/decklog/hub.py, tests/test_hub.py.",
            "- Current work: Next: more than one line, see https://example.com/a.html.",
            "- Key timeline:",
            "  - user: Look at src/decklog/hub.py, please.",
            '  - assistant: I look. | tool_use read({"path":"src/decklog/hub.py"})',
            f"  - tool: tool_result read: {'x' * 142}…",
            "  - user: TODO: the tests in tests/test_hub.py.",
            "  - user: third",
            "  - tool: tool_result bash: error no such file",
            "  - user: fourth",
            "  - assistant: Next: more than one line, see https://example.com/a.html.",
        ]
    )


def test_earlier_summaries_are_merged_flat() -> None:
    one = summarise([message("user", "one")])
    two = summarise([message("user", "two")], one)
    three = summarise([message("user", "three")], two)
    assert [line for line in three.split("\n") if "compacted context" in line] == [
        "- Previously compacted context:",
        "- Newly compacted context:",
    ]
    assert three.count("- Scope: 1 earlier messages") == 3
    assert three.endswith("- Key timeline:\n  - user: three")
    assert "    - one" in three


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("<analysis>scratch</analysis>\n<summary>Kept work</summary>", "Summary:\nKept work"),
        ("plain", "plain"),
        ("a\n\n\n \n\nb", "a\n\nb"),
        ("<summary>open", "<summary>open"),
        ("<analysis>x", "<analysis>x"),
    ],
)
def test_a_summary_is_unwrapped(given: str, told: str) -> None:
    assert unwrapped(given) == told


@pytest.mark.parametrize("text", ["<analysis>" * 100_000, "<summary>" * 100_000, "\n " * 200_000])
def test_unwrapping_is_linear(text: str) -> None:
    unwrapped(text)
    summarise([message("user", text), message("user", "a/" * 100_000)])


# --- in a conversation --------------------------------------------------------------------------


def filled(tmp_path: Path, *said: str) -> Branch:
    chat = shelf(tmp_path).new()
    for i, text in enumerate(said):
        chat.append("user" if i % 2 == 0 else "assistant", text)
    return chat


@pytest.mark.spec("C20", "CW12", "R25")
def test_compacting_adds_an_entry_and_removes_nothing(tmp_path: Path) -> None:
    chat = filled(tmp_path, "one", "two", "three", "four", "five", "six")
    before = Path(chat.path).read_bytes()
    assert chat.compact() is None  # short as it is
    assert Path(chat.path).read_bytes() == before
    made = chat.compact(threshold=0)
    assert made is not None
    read = chat.read()
    assert Path(chat.path).read_bytes().startswith(before)
    assert texts(read) == ["one", "two", "three", "four", "five", "six"]
    assert read.compactions == (made,)
    assert (made.count, made.removed, made.kept) == (1, 2, 4)
    assert (made.first, made.last) == (read.entries[0].id, read.entries[1].id)
    assert made.parent == read.entries[-1].id

    summary, *kept = chat.context()
    assert summary.role == "system"
    assert texts((summary,))[0] == f"{PREAMBLE}{made.summary}\n\n{RECENT}\n{RESUME}"
    assert told_before(summary) == made.summary
    assert texts(tuple(kept)) == ["three", "four", "five", "six"]

    chat.append("user", "seven")
    assert chat.compact(threshold=0, keep=5) is None  # five messages have no summary yet
    again = chat.compact(threshold=0, keep=1)
    assert again is not None
    assert (again.count, again.removed, again.kept) == (2, 4, 1)
    assert "Previously compacted context" in again.summary
    assert texts(chat.context())[1:] == ["seven"]
    assert [c.count for c in chat.read().compactions] == [1, 2]
    assert texts(chat.read())[-1] == "seven"


@pytest.mark.spec("C20")
def test_keeping_nothing(tmp_path: Path) -> None:
    chat = filled(tmp_path, "one", "two")
    made = chat.compact(threshold=0, keep=0)
    assert made is not None
    assert (made.removed, made.kept) == (2, 0)
    assert RECENT not in texts(chat.context())[0]
    chat.append("user", "three")
    assert texts(chat.context())[1:] == ["three"]
    for keep, threshold in ((-1, 0), (0, -1)):
        with pytest.raises(UsageError, match="cannot be negative"):
            chat.compact(keep=keep, threshold=threshold)


@pytest.mark.spec("CW12")
def test_a_fork_before_a_compaction_knows_nothing_of_it(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    for text in ("one", "two", "three", "four"):
        chat.append("user", text)
    chat.compact(threshold=0, keep=1)
    assert len(chats.fork(chat.id).read().compactions) == 1
    assert chats.fork(chat.id, at=2).read().compactions == ()
    chat.rewind(3)
    assert texts(chat.context()) == ["one", "two", "three"]


def test_any_callable_may_sum_up(tmp_path: Path) -> None:
    chat = filled(tmp_path, "one", "two", "three")
    seen: list[tuple[list[str], str]] = []

    def mine(messages: Sequence[Message], before: str) -> str:
        seen.append((texts(tuple(messages)), before))
        return "<analysis>hm</analysis><summary>Mine.</summary>"

    async def slow(messages: Sequence[Message], before: str) -> str:
        await asyncio.sleep(0)
        return mine(messages, before)

    made = chat.compact(mine, threshold=0, keep=1)
    assert made is not None
    assert made.summary == "Summary:\nMine."
    chat.append("user", "four")
    assert chat.compact(slow, threshold=0, keep=1) is not None
    chat.append("user", "five")

    async def within_a_loop() -> None:
        with pytest.raises(UsageError, match="from an event loop") as caught:
            chat.compact(slow, threshold=0, keep=1)
        assert caught.value.hint == "await compact_async()"
        assert await chat.compact_async(slow, threshold=0, keep=1) is not None
        assert await chat.compact_async(mine, threshold=0, keep=1) is None

    asyncio.run(within_a_loop())
    assert seen == [
        (["one", "two"], ""),
        (["three"], "Summary:\nMine."),
        (["four"], "Summary:\nMine."),
    ]
    with pytest.raises(UsageError, match="gave no text"):
        chat.compact(lambda messages, before: " ", threshold=0, keep=0)
    assert len(chat.read().compactions) == 3


def test_what_is_said_while_a_summary_is_made_is_kept(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = filled(tmp_path, "one", "two", "three")
    other = chats.open(chat.id)

    def interrupted(messages: Sequence[Message], before: str) -> str:
        other.append("user", "four")
        return "All of it."

    made = chat.compact(interrupted, threshold=0, keep=1)
    assert made is not None
    assert (made.removed, made.kept) == (2, 2)
    assert texts(chat.context())[1:] == ["three", "four"]

    for change in (lambda: other.rewind(1), lambda: other.compact(threshold=0, keep=0)):
        chat.append("user", "more")
        before = len(chat.read().compactions)

        def meanwhile(messages: Sequence[Message], before: str, change=change) -> str:  # type: ignore[no-untyped-def]
            change()
            return "Too late."

        with pytest.raises(Busy, match="meanwhile"):
            chat.compact(meanwhile, threshold=0, keep=0)
        assert "Too late." not in [c.summary for c in chat.read().compactions]
        assert len(chat.read().compactions) - before in (-1, 0, 1)


def test_a_summary_that_another_program_left_is_gone_on_from() -> None:
    told = f"{PREAMBLE}Summary:\n- Scope: old.\n\n{RECENT}\n{RESUME}"
    talk = (message("system", told), *(message("user", f"m{i}") for i in range(5)))
    talk = tuple(replace(m, id=f"m{i}") for i, m in enumerate(talk))
    made = plan(Conversation(id="x", entries=talk), keep=4, threshold=0)
    assert made is not None
    assert texts(tuple(made.removed)) == ["m0"]
    assert (made.before, made.kept) == ("Summary:\n- Scope: old.", 4)
    short = Conversation(id="x", entries=talk[:3])
    assert plan(short, keep=2, threshold=0) is None
