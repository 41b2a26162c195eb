"""Conversations on disk: append, fork, go back, rotate, damage, several writers."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

import strict
from chats import START, Clock, lines, shelf, talk, texts
from decklog import durable
from decklog.conversations import Conversations
from decklog.errors import Denied, NotFound, SourceError, UsageError, WriteError
from decklog.model import Conversation, Message, Outline, Text, Usage

# --- saying -----------------------------------------------------------------------------------


@pytest.mark.spec("C3", "C5", "C6")
def test_a_new_conversation_is_empty(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new(title="A parser", cwd="/w")
    made = chat.read()
    assert made == Conversation(
        id=chat.id, created_at=START + 1, updated_at=START + 1, title="A parser", cwd="/w"
    )
    assert chats.ids() == [chat.id]
    assert os.stat(chat.path).st_mode & 0o777 == 0o600
    assert os.stat(chats.shelf.folder).st_mode & 0o777 == 0o700


@pytest.mark.spec("C18", "CW4", "R17")
def test_what_is_said_is_read_back(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    first = chat.append("user", "Hello.")
    second = chat.append("assistant", [Text(text="Hi.")], usage=Usage(input=3, output=1), model="m")
    assert first == Message(id=first.id, role="user", at=START + 3, blocks=(Text(text="Hello."),))
    assert second.parent == first.id
    again = chats.open(chat.id)
    assert again.read().entries == (first, second)
    assert again.messages == 2
    assert again.outline() == Outline(
        id=chat.id,
        created_at=START + 1,
        updated_at=second.at or 0,
        messages=2,
        bytes=os.path.getsize(chat.path),
    )


@pytest.mark.spec("C19")
def test_an_empty_file_gets_its_head_with_the_first_message(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    os.makedirs(chats.shelf.folder)
    Path(chats.shelf.path("mine")).touch()
    chat = chats.open("mine")
    talk(chat, "one", "two")
    assert texts(chats.open("mine").read()) == ["one", "two"]
    assert chat.examine()[1] == []
    read = strict.load(Path(chat.path).read_text())
    assert (read["session_id"], len(read["messages"])) == ("mine", 2)


@pytest.mark.spec("CW9")
def test_a_missing_newline_merges_nothing(tmp_path: Path) -> None:
    chat = shelf(tmp_path).new()
    talk(chat, "one", "two")
    whole = Path(chat.path).read_bytes()
    Path(chat.path).write_bytes(whole[:-1])
    chat.append("user", "three")
    assert texts(chat.read()) == ["one", "two", "three"]
    assert Path(chat.path).read_bytes().startswith(whole)


@pytest.mark.spec("CW1", "R14")
@pytest.mark.parametrize("cut", [1, 10, 60, 120])
def test_a_torn_record_is_set_aside(tmp_path: Path, cut: int) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two", "three")
    *kept, torn = lines(chat)
    Path(chat.path).write_bytes(b"".join(kept) + torn[:cut])
    read, findings = chats.open(chat.id).examine()
    assert texts(read) == ["one", "two"]
    assert [(f.line, f.reason) for f in findings] == [(4, "damaged")]
    for branch in (chats.open(chat.id), chat):  # the second knew it as it was before
        branch.append("user", "again")
    read, findings = chat.examine()
    assert texts(read) == ["one", "two", "again", "again"]
    assert findings == []
    assert Path(f"{chat.path}.torn-1").read_bytes() == torn[:cut]
    assert lines(chat)[: len(kept)] == kept


@pytest.mark.spec("CW1", "R16")
def test_damage_in_the_middle_costs_that_record_only(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two", "three", "four")
    before = lines(chat)
    damaged = before[2].replace(b"two", b"twO")
    Path(chat.path).write_bytes(b"".join([*before[:2], damaged, *before[3:]]))
    again = chats.open(chat.id)
    again.append("user", "five")
    read, findings = again.examine()
    assert texts(read) == ["one", "three", "four", "five"]
    assert [(f.line, f.reason, f.detail) for f in findings] == [
        (3, "damaged", "its checksum does not match")
    ]
    assert read.entries[1].parent == read.entries[0].id

    Path(chat.path).write_bytes(b"".join([*before[:2], *before[3:]]))  # a line that is gone
    assert [(f.line, f.reason, f.detail) for f in chat.examine()[1]] == [
        (3, "gap", "1 records are missing before it")
    ]
    Path(chat.path).write_bytes(b"".join([*before, before[2], before[3]]))
    read, findings = chat.examine()
    assert texts(read) == ["one", "two", "three", "four"]
    assert [f.detail for f in findings] == ["it stands twice", "it stands twice"]


@pytest.mark.spec("CW1", "R14")
def test_damage_at_the_end_is_set_aside(tmp_path: Path) -> None:
    """What a power loss leaves has its newline at times; records that are only not known stay."""
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two")
    unknown, zeros = b'{"type":"later"}\n', b"\0" * 512 + b"\n"
    with open(chat.path, "ab") as file:
        file.write(unknown + zeros + b"\0" * 10)
    again = chats.open(chat.id)
    assert [(f.line, f.reason) for f in again.examine()[1]] == [
        (4, "unknown"), (5, "damaged"), (6, "damaged"),
    ]  # fmt: skip
    again.append("user", "three")
    read, findings = chats.open(chat.id).examine()
    assert texts(read) == ["one", "two", "three"]
    assert [(f.line, f.reason) for f in findings] == [(4, "unknown")]
    assert Path(f"{chat.path}.torn-1").read_bytes() == zeros + b"\0" * 10


@pytest.mark.spec("CW10")
def test_a_file_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    Path(chat.path).write_bytes(
        b'{"created_at_ms":1,"session_id":"x","type":"session_meta","updated_at_ms":1,"version":2}\n'
    )
    with pytest.raises(SourceError, match="version 2 is newer than 1"):
        chats.open(chat.id)


@pytest.mark.spec("C16", "C18")
def test_another_program_goes_on_in_our_file(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two")
    chat.rewind(1)
    with open(chat.path, "ab") as file:
        for text in ("theirs", "theirs too"):
            body = {"role": "user", "blocks": [{"type": "text", "text": text}]}
            file.write(json.dumps({"type": "message", "message": body}).encode() + b"\n")
    again = chats.open(chat.id)
    assert again.messages == 3
    again.append("user", "ours")
    chat.append("user", "ours too")
    read, findings = chats.open(chat.id).examine()
    assert texts(read) == ["one", "theirs", "theirs too", "ours", "ours too"]
    assert findings == []
    fork = chats.fork(chat.id, at=2)
    assert texts(fork.read()) == ["one", "theirs"]


@pytest.mark.spec("CW5", "R20")
def test_a_failed_append_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = shelf(tmp_path).new()
    talk(chat, "one")
    before = Path(chat.path).read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "flush", full)
    with pytest.raises(WriteError, match="No space left"):
        chat.append("user", "two")
    assert (chat.messages, Path(chat.path).read_bytes()) == (1, before)
    monkeypatch.undo()
    chat.append("user", "two")
    assert texts(chat.read()) == ["one", "two"]


def _say(folder: str, name: str, who: str, count: int) -> None:
    chat = Conversations(folder, rotate_at=4096).open(name)
    for i in range(count):
        chat.append("user", f"{who} {i}", durable=False)


@pytest.mark.spec("CW2", "R13", "R16")
def test_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Four processes append to one conversation that rotates under their hands all the time."""
    chats = shelf(tmp_path)
    chat = chats.new()
    context = multiprocessing.get_context("spawn")
    crowd = [
        context.Process(target=_say, args=(chats.shelf.folder, chat.id, str(who), 60))
        for who in range(4)
    ]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(60)
        assert one.exitcode == 0
    read, findings = chat.examine()
    assert findings == []
    assert len(list(chat.shelf.seals(chat.id))) > 10
    said = texts(read)
    assert len(said) == 240
    for who in range(4):
        assert [t for t in said if t.startswith(f"{who} ")] == [f"{who} {i}" for i in range(60)]


def test_a_writer_that_stands_still_keeps_no_reader(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one")
    with durable.Appender(chat.path) as file, file.locked():
        assert texts(chats.open(chat.id).read()) == ["one"]


# --- rotation ---------------------------------------------------------------------------------


@pytest.mark.spec("C1", "C22", "C23", "CW3", "R26")
def test_rotation_seals_and_deletes_nothing(tmp_path: Path) -> None:
    chats = shelf(tmp_path, rotate_at=2000)
    chat = chats.new()
    said = [f"message {i} {'x' * 100}" for i in range(60)]
    for text in said:
        chat.append("user", text)
        assert os.path.exists(chat.path)
    names = sorted(os.listdir(chats.shelf.folder))
    sealed = list(chats.shelf.seals(chat.id))
    assert len(sealed) > 3
    assert len(names) == len(sealed) + 1
    assert all(2000 <= os.path.getsize(path) < 3000 for path in sealed)
    again = chats.open(chat.id)
    assert texts(again.read()) == said
    assert again.examine()[1] == []
    assert texts(again.tail(40)) == said[-40:]
    assert texts(chats.fork(chat.id, at=3).read()) == said[:3]
    assert again.outline().created_at == START + 1


@pytest.mark.spec("C22", "CW3", "R26")
def test_a_rotation_that_did_not_end_is_taken_up_again(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two")
    os.link(chat.path, chats.shelf.sealed(chat.id, 1))  # as it stands just before the new file
    assert texts(chats.open(chat.id).read()) == ["one", "two"]
    chat.append("user", "three")
    sealed = chat.rotate()
    assert sealed == chats.shelf.sealed(chat.id, 1)
    chat.append("user", "four")
    read, findings = chats.open(chat.id).examine()
    assert (texts(read), findings) == (["one", "two", "three", "four"], [])


@pytest.mark.spec("CW8", "C23")
def test_a_foreign_file_in_the_way_of_a_rotation(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one")
    Path(chats.shelf.sealed(chat.id, 1)).write_text("someone's\n")
    assert chat.rotate() == chats.shelf.sealed(chat.id, 2)
    assert Path(chats.shelf.sealed(chat.id, 1)).read_text() == "someone's\n"
    read, findings = chat.examine()
    assert texts(read) == ["one"]
    assert findings == []


@pytest.mark.spec("CW3")
def test_a_sealed_file_that_is_missing_is_told(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    talk(chat, "one", "two")
    os.unlink(chat.rotate())
    chat.append("user", "three")
    read, findings = chats.open(chat.id).examine()
    assert texts(read) == ["three"]
    assert "unreadable" in [f.reason for f in findings]
    empty = chats.new()
    Path(empty.path).write_bytes(b"")
    assert chats.open(empty.id).rotate() == ""


# --- the folder -------------------------------------------------------------------------------


def test_finding(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    with pytest.raises(NotFound, match="there are no conversations"):
        chats.find("latest")
    one, two = chats.new(), chats.new()
    talk(one, "later than the other")
    assert chats.find("latest") == one.id
    assert chats.find(one.id) == one.id
    assert chats.find(two.id[:35]) == two.id
    with pytest.raises(UsageError, match="may mean 2 conversations"):
        chats.find(one.id[:6])
    for text in ("", "nobody", "../x", "*"):
        with pytest.raises(NotFound):
            chats.find(text)
    assert [o.id for o in chats.outlines()] == [one.id, two.id]


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "x" * 200, "con", "a\0b"])
def test_a_name_that_is_no_id_reaches_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no id"):
        shelf(tmp_path).open(name)


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    chat = chats.new()
    target = tmp_path / "elsewhere"
    target.write_bytes(Path(chat.path).read_bytes())
    os.unlink(chat.path)
    os.symlink(target, chat.path)
    before = target.read_bytes()
    with pytest.raises(WriteError):
        chat.append("user", "x")
    assert target.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a folder of someone else")
def test_a_folder_of_someone_else_is_tightened_or_refused(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    os.makedirs(chats.shelf.folder, mode=0o755)
    try:
        chats.new()
    except Denied:
        pytest.fail("root may use any folder")
    assert os.stat(chats.shelf.folder).st_mode & 0o777 == 0o700


@pytest.mark.spec("C16", "C17", "C20")
def test_a_conversation_from_elsewhere_is_kept_once(tmp_path: Path) -> None:
    chats = shelf(tmp_path)
    source = chats.new(title="t")
    talk(source, "one", "two", "three", "four", "five")
    source.compact(lambda messages, before: "the beginning", threshold=0, keep=2)
    source.append("user", "six")
    whole = source.read()
    other = Conversations(str(tmp_path / "other"), now=Clock())
    kept = other.add(whole)
    assert kept.read() == whole
    assert kept.examine()[1] == []
    assert other.add(whole).id == kept.id
    longer = replace(whole, entries=whole.entries[:2], compactions=())
    assert other.add(longer).id != kept.id
    strange = other.add(replace(whole, id="../../etc/passwd"))
    assert other.shelf.path(strange.id).startswith(str(tmp_path / "other"))
    assert len(other.ids()) == 3


@pytest.mark.spec("CW7")
def test_a_bare_name_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decklog.hub.conversations import save

    monkeypatch.chdir(tmp_path)
    save("bare.jsonl", b"x\n")
    assert Path("bare.jsonl").read_bytes() == b"x\n"
    with pytest.raises(WriteError, match="is there already"):
        save("bare.jsonl", b"y\n")
    chat = Conversations("chats", now=Clock()).new()
    chat.append("user", "one")
    chat.rotate()
    monkeypatch.chdir("/")
    assert texts(chat.read()) == ["one"]
