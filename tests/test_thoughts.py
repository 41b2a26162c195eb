"""The one line of what an agent does, and how it rests."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from decklog.model import (
    AssistantMessage,
    Event,
    Reasoning,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageReported,
    UserMessage,
)
from decklog.model.fleet import AgentState, State, Thought
from decklog.thoughts import (
    DROWSY,
    HIDDEN,
    LENGTH,
    SLEEPING,
    Book,
    context_limit,
    line,
    merge,
    rest,
    scrub,
    settle,
    summarised,
    think,
)

SESSION = "claude:x"


def asked(text: str, at: int = 1, **more: Any) -> UserMessage:
    return UserMessage(content=text, at=at, session=SESSION, **more)


def called(name: str, kind: str = "shell", at: int = 5, **given: Any) -> ToolCalled:
    raw = msgspec.Raw(json.dumps(given).encode())
    return ToolCalled(tool_name=name, tool_kind=kind, input=raw, at=at, session=SESSION)  # type: ignore[arg-type]


def said(text: str, at: int = 3) -> AssistantMessage:
    return AssistantMessage(content=text, at=at, session=SESSION)


@pytest.mark.parametrize(
    ("event", "text", "kind"),
    [
        (asked("Fix the\nlogin"), "Fix the", "prompt"),
        (Reasoning(content="**Looking at tests**\n\nThey fail.", at=2), "Looking at tests", "reasoning"),  # noqa: E501
        (said("\n## Done\nAll of it."), "Done", "text"),
        (called("Bash", command="make  test"), "Bash: make test", "tool"),
        (called("Bash", command="x", description="Run the tests"), "Bash: Run the tests", "tool"),
        (called("shell", command=["bash", "-lc", "ls"]), "shell: bash -lc ls", "tool"),
        (called("Read", "file_read", file_path="/w/a.py"), "Read: /w/a.py", "tool"),
        (called("Mystery", "other", depth=3), "Mystery", "tool"),
        (called("TodoWrite", "other", todos=[
            {"content": "A", "status": "completed"},
            {"content": "B", "status": "in_progress", "activeForm": "Doing B"}]),
         "Doing B", "todo"),
        (called("update_plan", "other", plan=[{"step": "Think", "status": "in_progress"}]),
         "Think", "todo"),
    ],
)  # fmt: skip
def test_the_line_is_the_last_thing_it_did(event: Event, text: str, kind: str) -> None:
    found = think(Thought(text="before", kind="text"), [event])
    assert (found.text, found.kind, found.at, found.seq) == (text, kind, event.at, 1)


@pytest.mark.parametrize(
    "event",
    [
        asked("<system-reminder>", injected=True),
        Reasoning(content="", at=9),
        said(" \n"),
        ToolReturned(output="noise", at=9),
        ToolCalled(tool_name="", at=9, input=msgspec.Raw(b"{broken")),
    ],
)
def test_what_says_nothing_leaves_the_line(event: Event) -> None:
    assert think(Thought(text="before", kind="text", at=1), [event]).text == "before"


@pytest.mark.spec("D17")
def test_a_prompt_that_is_written_late_does_not_replace_the_answer() -> None:
    one = think(Thought(), [said("One.", at=5), asked("First.", at=4)])
    assert (one.text, one.kind, one.at, one.objective) == ("One.", "text", 5, "First.")
    two = think(think(Thought(), [said("One.", at=5)]), [asked("First.", at=4)])
    assert (two.text, two.at, two.objective) == ("One.", 5, "First.")
    three = think(two, [asked("Second.", at=6), said("Slow clock.", at=3)])
    assert (three.text, three.objective) == ("Second.", "Second.")
    assert think(three, [said("It goes on.", at=3)]).text == "It goes on."


def test_the_objective_changes_when_another_thing_is_asked() -> None:
    first = think(Thought(), [asked("Fix  the login", at=1), said("ok")])
    same = think(first, [asked("Fix the   login", at=50)])
    other = think(first, [asked("Now the logout", at=60)])
    assert (first.objective, first.objective_changed_at) == ("Fix the login", 1)
    assert (same.fingerprint, same.objective_changed_at) == (first.fingerprint, 1)
    assert other.fingerprint != first.fingerprint
    assert (other.objective, other.objective_changed_at) == ("Now the logout", 60)


def test_there_is_something_to_commit_when_a_turn_is_over_and_files_were_changed() -> None:
    idle, busy = AgentState(state="idle", since=0), AgentState(state="busy", since=0)
    edited = think(Thought(), [asked("x"), called("Edit", "file_edit", file_path="a")])
    assert not settle(edited, busy, now=9).commit_candidate
    assert settle(edited, idle, now=9).commit_candidate
    for command in ("git commit -m x", "cd a && git -C b commit", ["bash", "-lc", "git commit"]):
        committed = think(edited, [called("Bash", command=command)])
        assert not settle(committed, idle, now=9).commit_candidate
    assert settle(think(edited, [called("Bash", command="git log")]), idle, now=9).commit_candidate


@pytest.mark.spec("D42")
@pytest.mark.parametrize(
    ("state", "quiet", "finished", "expected"),
    [
        ("exited", 0, True, "deep_sleep"),
        ("lost", 0, False, "deep_sleep"),
        ("busy", 9 * SLEEPING, True, "active"),
        ("waiting_approval", 9 * SLEEPING, True, "active"),
        ("error", 0, False, "active"),
        ("limited", 0, False, "active"),
        ("background", 0, False, "active"),
        ("idle", 0, True, "active"),
        ("idle", DROWSY - 1, True, "active"),
        ("idle", DROWSY, True, "drowsy"),
        ("idle", SLEEPING, True, "sleeping"),
        ("idle", 9 * SLEEPING, False, "drowsy"),  # only its transcript can say that it is done
        ("unknown", 9 * SLEEPING, True, "drowsy"),
    ],
)
def test_rest(state: State, quiet: int, finished: bool, expected: str) -> None:
    now = 10**12
    assert rest(AgentState(state=state, since=now - quiet), now=now, finished=finished) == expected


@pytest.mark.spec("D42")
def test_only_a_transcript_that_ends_in_an_answer_lets_an_agent_sleep() -> None:
    now, idle = 10**12, AgentState(state="idle", since=10**12 - SLEEPING)
    assert settle(think(Thought(), [asked("x"), said("Done.")]), idle, now=now).rest == "sleeping"
    assert settle(think(Thought(), [asked("x")]), idle, now=now).rest == "drowsy"


@pytest.mark.spec("D7")
def test_context_limits() -> None:
    assert [context_limit(a) for a in ("claude", "codex", "other")] == [200_000, 192_000, 128_000]
    used = UsageReported(usage=Usage(input=10, cache_read=70, output=5), session=SESSION)
    found = settle(think(Thought(), [used]), AgentState(), now=1, agent="claude")
    assert (found.tokens, found.context_limit) == (85, 200_000)


@pytest.mark.spec("D9")
def test_merging_into_a_row() -> None:
    t = Thought(
        text="line", kind="text", at=5, rest="sleeping", tokens=0, context_limit=0,
        objective="o", objective_changed_at=4, fingerprint="f", commit_candidate=True,
    )  # fmt: skip
    always = {
        "thought_at": 5, "thought_kind": "text", "rest": "sleeping", "commit_candidate": True,
        "objective": "o", "objective_changed_at": 4, "objective_fingerprint": "f",
    }  # fmt: skip
    own = {"thought": "own", "context_tokens": 7, "context_limit": 9}
    assert merge(own, t) == own | always
    empty = {"thought": "line", "context_tokens": 0, "context_limit": 0}
    assert merge({"rest": "active"}, t) == empty | always
    more = msgspec.structs.replace(t, tokens=50, context_limit=60)
    figures = {"thought": "own", "context_tokens": 50, "context_limit": 60}
    assert merge(own, more) == figures | always


@pytest.mark.spec("D20", "DW8")
def test_a_late_delivery_never_replaces_a_newer_thought() -> None:
    book = Book()
    at = {"session": "s", "stream": "a", "stream_at": 10}
    assert book.offer(Thought(text="2", seq=2, **at))  # type: ignore[arg-type]
    for late in (
        Thought(text="1", seq=1, **at),  # type: ignore[arg-type]
        Thought(text="2 again", seq=2, **at),  # type: ignore[arg-type]
        Thought(text="old stream", session="s", stream="z", stream_at=9, seq=99),
    ):
        assert not book.offer(late)
    assert book.offer(Thought(text="new stream", session="s", stream="b", stream_at=11, seq=1))
    kept = book.of("s")
    assert kept is not None
    assert kept.text == "new stream"


@pytest.mark.spec("D17", "DW8")
def test_the_time_of_an_objective_is_carried_forward() -> None:
    book = Book()
    book.offer(Thought(session="s", seq=1, fingerprint="f", objective_changed_at=5, at=5))
    book.offer(Thought(session="s", seq=2, fingerprint="f", objective_changed_at=None, at=9))
    found = book.of("s")
    assert found is not None
    assert (found.objective_changed_at, found.at) == (5, 9)


@pytest.mark.spec("D8")
def test_a_thought_is_found_by_its_exact_session_only() -> None:
    book = Book()
    book.offer(Thought(session="claude:abc", text="x", seq=1))
    assert book.of("claude:ab") is None
    assert book.of("") is None


@pytest.mark.spec("DW8")
def test_a_full_book_forgets_what_was_silent_longest_never_the_newest() -> None:
    book = Book(limit=3)
    for n in range(5):
        book.offer(Thought(session=f"s{n}", seq=1))
    book.offer(Thought(session="s2", seq=2))
    book.offer(Thought(session="s9", seq=1))
    assert set(book.thoughts) == {"s4", "s2", "s9"}
    book.keep(["s2", "other"])
    assert set(book.thoughts) == {"s2"}


def test_a_summariser_may_replace_the_line() -> None:
    t = think(Thought(), [said("A long story")])
    made = summarised(t, [], lambda thought, events: f"Telling: {thought.text}\nmore")
    assert (made.text, made.kind, made.seq) == ("Telling: A long story", "summary", 1)
    assert summarised(t, [], lambda thought, events: None) == t
    assert summarised(t, [], lambda thought, events: 1 / 0) == t  # type: ignore[arg-type, return-value]


SECRETS = [
    "sk-ant-api03-AbCdEf0123456789xyz",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-123456789012-abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_hidden(secret: str) -> None:
    for text in (f"curl -H 'X: {secret}'", f"Bash: export A={secret}", f"{secret}"):
        shown = think(Thought(), [called("Bash", command=text)]).text
        assert secret not in shown
        assert HIDDEN in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [hidden]"),
        ("PASSWORD=hunter2hunter2 make", "PASSWORD=[hidden] make"),
        ("psql postgres://me:s3cret@db/x", "psql postgres://[hidden]@db/x"),
        ("the token bucket is empty", "the token bucket is empty"),
        ("read secrets.py", "read secrets.py"),
    ],
)
def test_what_is_hidden_and_what_is_not(text: str, shown: str) -> None:
    assert scrub(text) == shown


def test_lines_are_short_and_made_in_little_time() -> None:
    assert line("x" * 5000) == "x" * (LENGTH - 1) + "…"
    for hostile in (
        "*" * 20_000,
        "password" * 2_500,
        "a:b@" * 5_000,
        "token=" * 3_000,
        "-" * 20_000,
    ):
        assert len(line(hostile)) <= LENGTH
