"""From a session of any agent to a conversation, and from there to what an agent resumes."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from chats import START, texts
from decklog import agents, transcripts
from decklog.config import load
from decklog.conversations.bridge import Said
from decklog.errors import FormatError, NotFound, UsageError, WriteError
from decklog.hub.conversations import Conversations
from decklog.model import (
    AssistantMessage,
    Compacted,
    Conversation,
    Event,
    Image,
    Message,
    Opaque,
    ParseWarning,
    Reasoning,
    Text,
    Thinking,
    ToolCalled,
    ToolResult,
    ToolReturned,
    ToolUse,
    Usage,
    UsageReported,
    UserMessage,
)
from decklog.model.turns import AnyBlock

AGENTS = ("claude", "codex", "pi")


def said(*events: Event) -> Said:
    numbers = count(1)
    return Said(events, lambda at: f"m{next(numbers)}")


def told(made: Said) -> list[tuple[str, list[str]]]:
    return [(m.role, [type(b).__name__ for b in m.blocks]) for m in made.messages]


def test_events_become_messages() -> None:
    made = said(
        UserMessage(content="<reminder>", injected=True),
        UserMessage(content="Hello?", at=1, images=1),
        Reasoning(content="hm", at=2),
        AssistantMessage(content="I look.", model="m", at=3),
        ToolCalled(tool_id="1", tool_name="bash", input=Raw(b'{"a": 1}')),
        UsageReported(key="r1", usage=Usage(output=1), model="m"),
        ToolCalled(tool_id="2", tool_name="read"),
        UsageReported(key="r1", usage=Usage(output=2), model="m"),
        ToolReturned(tool_id="1", output="out", success=True, at=4),
        ToolReturned(tool_id="2", error="no", output="no", success=False, at=5),
        ToolReturned(tool_id="1", output="late"),
        Reasoning(content=""),
        AssistantMessage(content="Done.", at=6),
        ParseWarning(message="?"),
    )
    assert made.messages == [
        Message(id="m1", role="user", at=1, blocks=(Text(text="Hello?"), Image())),
        Message(
            id="m2",
            parent="m1",
            role="assistant",
            model="m",
            at=2,
            usage=Usage(output=2),
            blocks=(
                Thinking(text="hm"),
                Text(text="I look."),
                ToolUse(id="1", name="bash", input=Raw(b'{"a": 1}')),
                ToolUse(id="2", name="read"),
            ),
        ),
        Message(
            id="m3",
            parent="m2",
            role="tool",
            at=4,
            blocks=(ToolResult(id="1", name="bash", ok=True, output="out"),),
        ),
        Message(
            id="m4",
            parent="m3",
            role="tool",
            at=5,
            blocks=(ToolResult(id="2", name="read", ok=False, output="no"),),
        ),
        Message(id="m5", parent="m4", role="assistant", at=6, blocks=(Text(text="Done."),)),
    ]
    assert made.lost == (
        "1 texts that the agent put in by itself",
        "1 images whose data is not in the transcript",
        "1 later outputs of commands that went on in the background",
        "1 thoughts that were recorded without their text",
        "1 records that were not understood",
    )


def test_two_responses_in_a_row_stay_two() -> None:
    made = said(
        AssistantMessage(content="a"),
        UsageReported(key="r1", usage=Usage(output=1)),
        AssistantMessage(content="b"),
        UsageReported(key="r2", usage=Usage(output=2)),
        AssistantMessage(content="c"),
    )
    assert [([b.text for b in m.blocks], m.usage) for m in made.messages] == [  # type: ignore[union-attr]
        (["a"], Usage(output=1)),
        (["b", "c"], Usage(output=2)),
    ]


def test_usage_that_comes_after_the_results() -> None:
    made = said(
        ToolCalled(tool_id="1", tool_name="bash"),
        ToolReturned(tool_id="1", output="x"),
        UsageReported(key="r1", usage=Usage(output=1), model="m"),
    )
    assert (made.messages[0].usage, made.messages[0].model) == (Usage(output=1), "m")


def test_a_compaction_of_the_agent() -> None:
    made = said(
        UserMessage(content="one"),
        Compacted(trigger="manual", at=5),
        UserMessage(content="The summary.", injected=True),
        UserMessage(content="two"),
        Compacted(summary="All of it."),
        UserMessage(content="three"),
    )
    assert [(c.parent, c.count, c.removed, c.kept, c.summary) for c in made.compactions] == [
        ("m1", 1, 1, 0, "The summary."),
        ("m3", 2, 1, 0, "All of it."),
    ]
    assert [m.id for m in made.messages] == ["m1", "m3", "m5"]
    assert made.lost == ()


# --- writing what an agent resumes ----------------------------------------------------------------

TALK = (
    ("user", (Text(text="The first question?\nWith two lines."),)),
    (
        "assistant",
        (
            Text(text="I look."),
            ToolUse(id="toolu_1", name="bash", input=Raw(b'{"command":"ls"}')),
            ToolUse(id="toolu_2", name="read", input=Raw(b'{"path":"/x"}')),
        ),
    ),
    ("tool", (ToolResult(id="toolu_1", name="bash", ok=True, output="a\nb"),)),
    ("tool", (ToolResult(id="toolu_2", name="read", ok=False, output="no such file"),)),
    ("assistant", (Text(text="Done \u2028 😀."),)),
)


def conversation(
    *messages: tuple[str, tuple[AnyBlock, ...]], cwd: str = "/home/dev/a b.c"
) -> Conversation:
    made = tuple(
        Message(
            id=f"m{i}",
            role=role,
            at=START + i,
            model="claude-opus-4-5" if role == "assistant" else "",
            usage=Usage(input=1, output=2) if role == "assistant" else None,
            blocks=blocks,
        )
        for i, (role, blocks) in enumerate(messages)
    )
    return Conversation(id="x", created_at=START, updated_at=START, cwd=cwd, entries=made)


def written(agent: str, c: Conversation) -> Any:
    made = agents.get(agent).transcript(c, "01a1fb14-e8f1-7e51-802a-6362d96adbe7", START + 99)
    assert made is not None
    return made


def read_back(agent: str, made: Any, folder: Path) -> Said:
    path = folder / Path(made.path).name
    path.write_bytes(made.data)
    events = list(transcripts.read(path, agent))
    assert {e.session for e in events} == {f"{agent}:{made.native}"}
    assert not [e for e in events if isinstance(e, ParseWarning)]
    return said(*events)


@pytest.mark.parametrize("agent", AGENTS)
def test_what_is_written_is_read_back_the_same(agent: str, tmp_path: Path) -> None:
    c = conversation(*TALK)
    made = written(agent, c)
    assert made.lost == ()
    again = read_back(agent, made, tmp_path)
    assert [(m.role, m.at) for m in again.messages] == [(m.role, m.at) for m in c.entries]
    for was, now in zip(c.entries, again.messages, strict=True):
        if agent == "codex" and was.role == "tool":  # it keeps no word on how a call went
            assert [b.output for b in now.blocks] == [b.output for b in was.blocks]  # type: ignore[union-attr]
        else:
            assert now.blocks == was.blocks


@pytest.mark.parametrize(
    ("agent", "path"),
    [
        ("claude", "-home-dev-a-b-c/01a1fb14-e8f1-7e51-802a-6362d96adbe7.jsonl"),
        (
            "codex",
            "2027/01/15/rollout-2027-01-15T08-00-00-01a1fb14-e8f1-7e51-802a-6362d96adbe7.jsonl",
        ),
        (
            "pi",
            "--home-dev-a b.c--/"
            "2027-01-15T08-00-00-099Z_01a1fb14-e8f1-7e51-802a-6362d96adbe7.jsonl",
        ),
    ],
)
def test_where_the_agent_looks_for_it(agent: str, path: str) -> None:
    assert written(agent, conversation(*TALK)).path == path
    with pytest.raises(UsageError, match="has no folder"):
        written(agent, conversation(*TALK, cwd=""))


def test_a_folder_that_claude_would_hash() -> None:
    with pytest.raises(UsageError, match="more than 200 characters"):
        written("claude", conversation(*TALK, cwd="/" + "x" * 200))


HARD: tuple[tuple[str, tuple[AnyBlock, ...]], ...] = (
    ("system", (Text(text="Be brief."),)),
    ("user", (Text(text="Look."), Image(media_type="image/png", data="AAAA"), Image(uri="/x.png"))),
    (
        "assistant",
        (
            Thinking(text="signed", signature="c2ln"),
            Thinking(text="unsigned"),
            Text(text="I call."),
            ToolUse(id="a|b/c", name="bash", input=Raw(b'"just text"')),
            ToolUse(id="a.b/c", name="bash", input=Raw(b"null")),
            Opaque(raw=Raw(b"{}")),
        ),
    ),
    ("user", (Text(text="Never mind."),)),
    ("tool", (ToolResult(id="a|b/c", ok=None, output="late"),)),
    ("tool", (ToolResult(id="lost", name="grep", output="orphan"),)),
)


@pytest.mark.parametrize(
    ("agent", "lost"),
    [
        (
            "claude",
            (
                "1 parts that are not understood: left out",
                "1 tool calls without a result: one that says so stands for it",
                "1 tool results without their call: told as text",
                "1 system messages: told as notes of the user",
                "1 images whose data is not here: a note stands for each",
                "1 thoughts: Claude takes back only those with its own signature",
                "1 inputs of tools that are no objects: put into one",
            ),
        ),
        (
            "codex",
            (
                "1 parts that are not understood: left out",
                "1 tool calls without a result: one that says so stands for it",
                "1 tool results without their call: told as text",
                "1 images whose data is not here, or in answers: a note stands for each",
                "2 thoughts: Codex takes back only what OpenAI encrypted",
            ),
        ),
        (
            "pi",
            (
                "1 parts that are not understood: left out",
                "1 tool calls without a result: one that says so stands for it",
                "1 tool results without their call: told as text",
                "1 system messages: told as messages of the user",
                "1 images whose data is not here: a note stands for each",
                "1 thoughts without a signature: left out",
            ),
        ),
    ],
)
def test_what_is_lost_is_told(agent: str, lost: tuple[str, ...], tmp_path: Path) -> None:
    made = written(agent, conversation(*HARD))
    assert made.lost == lost
    again = read_back(agent, made, tmp_path)
    calls = [b for m in again.messages for b in m.blocks if isinstance(b, ToolUse)]
    results = [b for m in again.messages for b in m.blocks if isinstance(b, ToolResult)]
    assert [c.id for c in calls] == ["a_b_c", "a_b_c_1"]
    assert [(r.id, r.output) for r in results] == [
        ("a_b_c", "late"),
        ("a_b_c_1", "No result of this call was recorded."),
    ]
    order = [m.role for m in again.messages]
    assert order.index("tool") == order.index("assistant") + 1
    assert "[result of grep]\norphan" in texts(tuple(again.messages))


def test_a_signed_thought_of_claude_goes_back_to_claude() -> None:
    records = [
        json.loads(line) for line in written("claude", conversation(*HARD)).data.split(b"\n")[:-1]
    ]
    blocks = [b for r in records if r["type"] == "assistant" for b in r["message"]["content"]]
    assert {"type": "thinking", "thinking": "signed", "signature": "c2ln"} in blocks
    foreign = conversation(*HARD)
    entries = tuple(replace(m, model="gpt-5" if m.model else "") for m in foreign.entries)
    data = written("claude", replace(foreign, entries=entries)).data
    assert b"c2ln" not in data


# --- by way of the hub ----------------------------------------------------------------------------


def hub(tmp_path: Path) -> Conversations:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Conversations(load({"HOME": str(home), "DECKLOG_HOME": str(tmp_path / "own")}))


@pytest.mark.parametrize("agent", AGENTS)
def test_there_and_back_through_a_home(agent: str, tmp_path: Path) -> None:
    chats = hub(tmp_path)
    chat = chats.new(cwd=str(tmp_path))
    for role, blocks in TALK:
        chat.append(role, blocks)
    made = chats.transcript(chat.id, agent)
    path = chats.install(made)
    assert os.path.exists(path)
    with pytest.raises(WriteError, match="is there already"):
        chats.install(made)

    session = f"{agent}:{made.native}"
    brought = chats.bring(session)
    again = chats.open(brought.id).read()
    assert (again.origin, again.cwd) == (session, str(tmp_path))
    assert texts(again) == texts(chat.read())
    from_file = chats.bring(path)
    assert texts(chats.open(from_file.id).read()) == texts(again)

    found = chats.resume(session)
    argv = {"claude": "claude --resume", "codex": "codex resume", "pi": "pi --session"}[agent]
    assert found == ((*argv.split(), made.native), str(tmp_path), "", ())
    for other in AGENTS:
        if other != agent:
            moved = hub(tmp_path).resume(session, other)
            assert moved.argv[0] == other
            assert moved.argv[-1] in moved.written
            assert moved.cwd == str(tmp_path)


@pytest.mark.spec("CW11")
@pytest.mark.parametrize(
    ("agent", "model"), [("claude", "claude-opus-4-5"), ("codex", "gpt-5.2-codex"), ("pi", "m")]
)
def test_images_and_signed_thoughts_come_along(agent: str, model: str, tmp_path: Path) -> None:
    image = Image(media_type="image/png", size=3, data="AAAA")
    chats = hub(tmp_path)
    chat = chats.new(cwd=str(tmp_path))
    chat.append("user", (Text(text="Look."), image))
    chat.append(
        "assistant", (Thinking(text="hm", signature="c2ln"), Text(text="Yes.")), model=model
    )
    made = chats.transcript(chat.id, agent)
    assert made.lost == ()
    brought = chats.bring(chats.install(made))
    assert brought.lost == ()
    blocks = [m.blocks for m in chats.open(brought.id).read().entries]
    assert blocks == [m.blocks for m in chat.read().entries]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "record", [b"", b"\xff", b"[]", b"[" * 100_000, b'{"message":1,"payload":[]}']
)
def test_parts_of_what_is_no_record(agent: str, record: bytes) -> None:
    assert agents.get(agent).parts(record) == ()


def test_a_fork_that_only_refers_to_its_parent(tmp_path: Path) -> None:
    """Codex forks by reference: what was said before stands in the parent's transcript alone."""
    chats = hub(tmp_path)
    chat = chats.new(cwd=str(tmp_path))
    chat.append("user", "one", at=START)
    chat.append("assistant", "two", at=START + 1000)
    parent = chats.transcript(chat.id, "codex")
    path = Path(chats.install(parent))
    with path.open("ab") as file:  # what was said there after the fork
        file.write(path.read_bytes().split(b"\n")[1].replace(b"one", b"later") + b"\n")
    lines = [json.loads(x) for x in path.read_bytes().split(b"\n")[:-1]]
    lines[-1]["timestamp"] = "2027-02-01T00:00:00.000Z"
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    other = "01a1fb14-0000-7e51-802a-6362d96adbe7"
    head = lines[0] | {"timestamp": "2027-01-20T00:00:00.000Z"}
    head["payload"] = lines[0]["payload"] | {"id": other, "forked_from_id": parent.native}
    said = lines[1] | {"timestamp": "2027-01-20T00:00:01.000Z"}
    text = json.dumps(said).replace('"one"', '"three"')
    path.with_name(f"rollout-2027-01-20T00-00-00-{other}.jsonl").write_text(
        f"{json.dumps(head)}\n{text}\n"
    )
    brought = hub(tmp_path).bring(f"codex:{other}")
    assert texts(chats.open(brought.id).read()) == ["one", "two", "three"]


def test_whose_transcript_it_is_is_seen(tmp_path: Path) -> None:
    chats = hub(tmp_path)
    chat = chats.new(cwd=str(tmp_path))
    for role, blocks in TALK:
        chat.append(role, blocks)
    for agent in AGENTS:
        path = tmp_path / f"{agent}.jsonl"
        path.write_bytes(chats.transcript(chat.id, agent).data)
        brought = chats.open(chats.bring(str(path)).id).read()
        assert (brought.origin.partition(":")[0], texts(brought)) == (agent, texts(chat.read()))
    (tmp_path / "x.jsonl").write_text('{"neither":"nor"}\n')
    with pytest.raises(FormatError) as caught:
        chats.bring(str(tmp_path / "x.jsonl"))
    assert caught.value.hint == "--agent NAME says whose transcript it is"


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    chats = hub(tmp_path)
    chat = chats.new(cwd=str(tmp_path))
    chat.append("user", "x")
    with pytest.raises(NotFound, match="no session 'nobody'"):
        chats.resume("nobody")
    with pytest.raises(UsageError, match="no agent has it"):
        chats.resume(chat.id)
    assert chats.resume(chat.id, "claude").written
    with pytest.raises(UsageError, match="gemini cannot be written for"):
        chats.transcript(chat.id, "gemini")
    with pytest.raises(NotFound, match="no agent 'nobody'"):
        chats.transcript(chat.id, "nobody")
    with pytest.raises(NotFound, match="neither a file nor a session"):
        chats.bring("nobody")


@pytest.mark.spec("C21", "C22")
def test_the_plain_form_is_whole(tmp_path: Path) -> None:
    import strict

    chats = hub(tmp_path)
    chat = chats.new()
    for role, blocks in TALK:
        chat.append(role, blocks)
    fork = chats.fork(chat.id, branch="b")
    fork.append("user", "more")
    fork.compact(lambda messages, before: "sum", threshold=0, keep=1)
    read = strict.load(chats.plain(fork.id).decode())
    assert [m["role"] for m in read["messages"]] == [
        "user", "assistant", "tool", "tool", "assistant", "user",
    ]  # fmt: skip
    assert read["fork"] == {"parent_session_id": chat.id, "branch_name": "b"}
    assert read["compaction"] == {"count": 1, "removed_message_count": 5, "summary": "sum"}
    shown = strict.load(chats.plain(fork.id, context=True).decode())
    assert [m["role"] for m in shown["messages"]] == ["system", "user"]


def test_a_rotated_file_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "s.rot-1700000000000.jsonl").write_text("")
    with pytest.raises(NotFound) as caught:
        hub(tmp_path).bring(str(tmp_path / "s.jsonl"))
    assert caught.value.hint.endswith("s.rot-1700000000000.jsonl")


def test_structs_are_whole_in_json() -> None:
    c = conversation(*HARD)
    assert msgspec.json.decode(msgspec.json.encode(c), type=Conversation) == c
