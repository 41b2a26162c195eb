"""Forks of our own conversations, and going back in them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from chats import lines, shelf, talk, texts
from decklog.errors import NotFound, UsageError
from decklog.model import Text


@pytest.mark.spec("C21", "CW12")
def test_a_fork_shares_what_came_before(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new(title="t", cwd="/w")
    talk(chat, "one", "two", "three", "four")
    fork = chats.fork(chat.id, at=2, branch="  aside ")
    assert os.path.getsize(fork.path) < 500
    talk(fork, "x", "y")
    chat.append("user", "five")
    child = chats.fork(fork.id, at=3)
    child.append("assistant", "z")
    older = chats.fork(fork.id, at=1)  # within what the fork itself has from its parent
    older.append("assistant", "w")

    assert texts(chat.read()) == ["one", "two", "three", "four", "five"]
    made = fork.read()
    assert (made.parent, made.branch, made.forked_at) == (chat.id, "aside", 2)
    assert (made.title, made.cwd) == ("t", "/w")
    assert texts(made) == ["one", "two", "x", "y"]
    assert made.entries[:2] == chat.read().entries[:2]
    assert texts(child.read()) == ["one", "two", "x", "z"]
    assert texts(older.read()) == ["one", "w"]
    assert [chats.open(c.id).messages for c in (chat, fork, child, older)] == [5, 4, 4, 2]
    assert all(m.parent == p.id for p, m in zip(made.entries, made.entries[1:], strict=False))
    assert texts(chats.fork(chat.id).read()) == texts(chat.read())
    assert texts(chats.fork(chat.id, at=0).read()) == []


@pytest.mark.spec("C21")
def test_a_fork_of_a_message_that_is_not_there(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one")
    for at in (2, -1):
        with pytest.raises(UsageError, match=f"there is no message {at}"):
            chats.fork(chat.id, at=at)
    with pytest.raises(NotFound):
        chats.fork("nobody")
    assert chats.ids() == [chat.id]


@pytest.mark.spec("CW12")
def test_going_back_leaves_everything_in_the_file(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two", "three")
    fork = chats.fork(chat.id)
    before = Path(chat.path).read_bytes()
    chat.rewind(1)
    assert chat.messages == 1
    chat.append("assistant", "other")
    assert Path(chat.path).read_bytes().startswith(before)
    assert texts(chats.open(chat.id).read()) == ["one", "other"]
    assert texts(fork.read()) == ["one", "two", "three"]
    fork.rewind(2)  # into what it has from its parent
    fork.append("user", "again")
    fork.rewind(2)
    fork.rewind(0)
    assert texts(fork.read()) == []
    fork.append("user", "anew")
    assert texts(chats.open(fork.id).read()) == ["anew"]
    with pytest.raises(UsageError, match="there is no message 2"):
        fork.rewind(2)


@pytest.mark.spec("CW12")
def test_a_fork_whose_parent_lost_the_entry(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two", "three")
    fork = chats.fork(chat.id, at=2)
    fork.append("user", "x")
    all_lines = lines(chat)
    Path(chat.path).write_bytes(b"".join([*all_lines[:2], b"{}\n", *all_lines[3:]]))
    read, findings = fork.examine()
    assert texts(read) == ["one", "three", "x"]  # as many as it shared, the nearest there are
    assert {f.reason for f in findings} == {"bad_field", "gap"}
    os.unlink(chat.path)
    read, findings = fork.examine()
    assert texts(read) == ["x"]
    assert "is not here" in findings[0].detail


@pytest.mark.spec("CW1")
def test_entries_of_the_same_name_in_parent_and_fork(tmp_path: Path) -> None:
    """Another program wrote in both, on the same line; and an id stands in both."""
    chats = shelf(tmp_path)
    body = {"role": "user", "blocks": [{"type": "text", "text": "theirs"}]}
    theirs = json.dumps({"type": "message", "message": body}).encode() + b"\n"
    chat = chats.new()
    with open(chat.path, "ab") as file:
        file.write(theirs)
    fork = chats.fork(chat.id)
    with open(fork.path, "ab") as file:
        file.write(theirs)
    fork.append("user", "ours")
    assert texts(chats.open(fork.id).read()) == ["theirs", "theirs", "ours"]
    assert fork.examine()[1] == []

    first = chat.append("user", "one")
    child = chats.fork(chat.id)
    child.extend([replace(first, blocks=(Text(text="of the same id"),))])
    child.append("user", "two")
    assert texts(chats.open(child.id).read()) == ["theirs", "one", "of the same id", "two"]


def test_a_conversation_that_claims_to_be_its_own_ancestor(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one")
    a, b = chats.fork(chat.id), chats.fork(chat.id)
    for one, other in ((a, b), (b, a)):
        head = replace(one.meta, fork=replace(one.meta.fork, parent=other.id))  # type: ignore[type-var]
        from decklog.conversations.writing import meta_line

        Path(one.path).write_bytes(meta_line(head))
    read, findings = chats.open(a.id).examine()
    assert read.entries == ()
    assert "is its own ancestor" in findings[0].detail
