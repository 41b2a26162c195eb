"""``decklog chat`` and ``decklog resume`` as their users type them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import strict
from shell import DECKLOG, FORK, MAIN, Ran, decklog, environment, furnish, on_terminal

MISSING = "01a20dd3-d6d7-74a5-a958-65f1eed42858"


def piped(env: Mapping[str, str], given: bytes, *words: str) -> Ran:
    done = subprocess.run(
        [*DECKLOG, *words], input=given, env=environment(env), capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def said(env: Mapping[str, str], *words: str) -> str:
    """What a command printed on its one line."""
    ran = decklog(env, *words)
    assert (ran.code, ran.out.count(b"\n")) == (0, 1), ran.err
    return ran.text[:-1]


@pytest.fixture
def talk(env: dict[str, str]) -> str:
    """A conversation of three messages."""
    chat = said(env, "chat", "new", "--title", "A parser")
    said(env, "chat", "append", chat, "--role", "user", "one")
    said(env, "chat", "append", chat, "two", "--role", "assistant", "--model", "m")
    said(env, "chat", "append", chat, "three")
    return chat


def texts(env: Mapping[str, str], chat: str) -> list[str]:
    found = decklog(env, "chat", "show", chat, "--json").json
    return [m["blocks"][0].get("text", "") for m in found["entries"]]


def test_the_way_of_a_conversation(env: dict[str, str], talk: str) -> None:
    shown = decklog(env, "chat", "show", talk, "--json").json
    assert shown["id"] == talk
    assert shown["title"] == "A parser"
    assert [(m["role"], m["model"], m["blocks"]) for m in shown["entries"]] == [
        ("user", "", [{"type": "text", "text": "one"}]),
        ("assistant", "m", [{"type": "text", "text": "two"}]),
        ("user", "", [{"type": "text", "text": "three"}]),
    ]
    fork = said(env, "chat", "fork", talk, "--at", "2", "--branch", "other")
    assert fork != talk
    said(env, "chat", "append", fork, "3b")
    assert texts(env, fork) == ["one", "two", "3b"]
    listed = decklog(env, "chat", "ls", "--json").json
    assert [(o["id"], o["parent"], o["branch"], o["messages"]) for o in listed] == [
        (fork, talk, "other", 3),
        (talk, None, None, 3),
    ]
    assert said(env, "chat", "ls", "-n", "1", "--json").startswith(f'[{{"id":"{fork}"')
    text = decklog(env, "chat", "ls").text.splitlines()
    assert text[0].split() == ["ID", "LAST", "MESSAGES", "BRANCH", "TITLE"]
    assert fork in text[1]

    assert decklog(env, "chat", "diff", talk, fork).text == (
        "2 messages in common\n- 3 user: three\n+ 3 user: 3b\n"
    )
    found = decklog(env, "chat", "diff", talk, fork, "--json").json
    assert (found["common"], found["last"]) == (2, shown["entries"][1]["id"])
    assert [m["blocks"][0]["text"] for m in found["only_right"]] == ["3b"]

    ran = decklog(env, "chat", "rewind", fork, "1")
    assert (ran.code, ran.text) == (0, f"{fork}\n")
    assert ran.err == "2 messages left behind; nothing is deleted\n"
    assert texts(env, fork) == ["one"]
    assert decklog(env, "chat", "rewind", fork, "--at", "0", "--json").json == {
        "id": fork, "messages": 0, "left_behind": 1,
    }  # fmt: skip
    ran = decklog(env, "chat", "verify")
    assert (ran.code, ran.text, ran.err) == (0, "", "2 conversations read, all whole\n")


def test_show_for_people(env: dict[str, str], talk: str) -> None:
    shown = decklog(env, "chat", "show", talk)
    assert [x for x in shown.text.splitlines() if "  " not in x or x.startswith("  t")] == [
        "A parser", "", "", "  two", "", "  three",
    ]  # fmt: skip
    tail = decklog(env, "chat", "show", talk, "--tail", "1").text.splitlines()
    assert tail[1].startswith("3 user")
    assert tail[2] == "  three"
    assert len(decklog(env, "chat", "show", talk, "--tail", "2", "--json").json) == 2


def test_text_from_a_pipe(env: dict[str, str], talk: str) -> None:
    for given, words in (
        (b"piped\n", ("-",)),
        (b"piped\n\n", ()),
        ("Grüße\n  two".encode(), ("-",)),
        (b"", ("-",)),
    ):
        assert piped(env, given, "chat", "append", talk, *words).code == 0
    assert texts(env, talk)[3:] == ["piped", "piped\n", "Grüße\n  two", ""]
    ran = piped(env, b"\xff", "chat", "append", talk, "-", "--json")
    assert (ran.code, ran.error["message"]) == (2, "the text is not UTF-8: byte 0 of stdin")
    assert decklog(env, "chat", "append", talk, "--", "--dashes").code == 0
    assert texts(env, talk)[-1] == "--dashes"


def test_blocks_and_tool_results(env: dict[str, str], talk: str) -> None:
    blocks = [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "bash", "input": {"command": "ls"}},
    ]
    for given in (blocks, {"role": "assistant", "blocks": blocks, "usage": {"input": 3}}):
        words = ("chat", "append", talk, "--blocks", "--role", "assistant", json.dumps(given))
        assert decklog(env, *words, "--json").json["blocks"] == blocks
    result = said(
        env, "chat", "append", talk, "--role", "tool", "--call", "t1", "--tool", "bash", "--failed",
        "no",
    )  # fmt: skip
    last = decklog(env, "chat", "show", talk, "--json").json["entries"][-1]
    assert last["id"] == result
    assert last["blocks"] == [
        {"type": "tool_result", "id": "t1", "name": "bash", "ok": False, "output": "no"}
    ]
    for words, told in (
        (("--role", "tool", "x"), "a tool result needs the id of its call"),
        (("--call", "t1", "x"), "--call goes with --role tool"),
        (("--blocks", "{"), "no blocks: "),
        (("--blocks", '[{"type":"hologram"}]'), "no blocks: Invalid value 'hologram'"),
        (("--blocks", '"x"'), "no blocks: Expected `object`, got `str`"),
        (("--role", "robot", "x"), "'robot' is not one of"),
    ):
        ran = decklog(env, "chat", "append", talk, *words)
        assert (ran.code, ran.out) == (2, b"")
        assert told in ran.err


def test_compaction(env: dict[str, str], talk: str) -> None:
    ran = decklog(env, "chat", "compact", talk)
    assert (ran.code, ran.out) == (0, b"")
    assert ran.err.startswith("nothing to compact: 4 messages are kept")
    assert decklog(env, "chat", "compact", talk, "--json").json == {"id": talk, "compaction": None}
    made = decklog(env, "chat", "compact", talk, "--force", "--keep", "1", "--json").json
    assert (made["compaction"]["removed"], made["compaction"]["kept"]) == (2, 1)
    said(env, "chat", "append", talk, "four")
    ran = piped(env, b"<summary>Mine.</summary>", "chat", "compact", talk, "--threshold", "1",
                "--keep", "1", "--summary", "-")  # fmt: skip
    assert (ran.code, ran.err) == (0, "1 message summed up, 1 message kept\n")
    shown = decklog(env, "chat", "show", talk, "--json").json
    assert [c["summary"] for c in shown["compactions"]][1] == "Summary:\nMine."
    assert len(shown["entries"]) == 4
    context = decklog(env, "chat", "show", talk, "--context", "--json").json
    assert [m["role"] for m in context] == ["system", "user"]
    assert (
        "--- compaction 2: 1 messages summed up, 1 kept" in decklog(env, "chat", "show", talk).text
    )


def test_what_is_not_there(env: dict[str, str], talk: str) -> None:
    for words, code in (
        (("show", MISSING), 3),
        (("append", MISSING, "x"), 3),
        (("fork", MISSING), 3),
        (("rewind", MISSING, "0"), 3),
        (("diff", talk, MISSING), 3),
        (("compact", MISSING), 3),
        (("export", MISSING, "--to", "claude"), 3),
        (("import", "nowhere.jsonl"), 3),
        (("verify", MISSING), 3),
        (("export", talk, "--to", "nobody"), 3),
        (("show", "../../etc/passwd"), 3),
        (("show",), 2),
        (("append", talk, "x", "y"), 2),
        (("fork", talk, "--at", "4"), 2),
        (("fork", talk, "--at", "x"), 2),
        (("rewind", talk), 2),
        (("rewind", talk, "9"), 2),
        (("rewind", talk, "x"), 2),
        (("rewind", talk, "1", "--at", "1"), 2),
        (("export", talk), 2),
        (("export", talk, "--to", "gemini"), 2),
        (("export", talk, "--to", "claude", "--json"), 2),
        (("show", talk, "--tail", "1", "--context"), 2),
    ):
        ran = decklog(env, "chat", *words)
        assert (words, ran.code, ran.out) == (words, code, b"")
        assert ran.err.startswith('{"error"' if "--json" in words else "decklog: ")
        assert decklog(env, "chat", *words, "--json").error["hint"]


def test_import_and_export(env: dict[str, str], talk: str, tmp_path: Path) -> None:
    plain = decklog(env, "chat", "export", talk, "--to", "jsonl").text
    assert len(strict.load(plain)["messages"]) == 3
    path = tmp_path / "session-1.jsonl"
    path.write_text(plain.replace(talk, "session-1700000000000-0") + '{"type":"mess\n')
    ran = decklog(env, "chat", "import", str(path))
    assert (ran.code, ran.text) == (1, "session-1700000000000-0\n")
    assert ran.err.startswith(f"{path}:5: invalid JSON")
    assert texts(env, "session-1700000000000-0") == ["one", "two", "three"]
    assert decklog(env, "chat", "import", str(path)).text == ran.text  # the same once more
    path.write_text(json.dumps({"version": 1, "messages": [
        {"role": "user", "blocks": [{"type": "text", "text": "legacy"}]}]}))  # fmt: skip
    legacy = said(env, "chat", "import", str(path))
    assert texts(env, legacy) == ["legacy"]

    out = tmp_path / "out.jsonl"
    words = ("chat", "export", talk, "--to", "codex", "-o", str(out))
    ran = decklog(env, *words, "--json")
    assert (ran.json["path"], ran.json["agent"]) == (str(out), "codex")
    assert ran.json["resume"] == ["codex", "resume", ran.json["native"]]
    again = decklog(env, *words)
    assert (again.code, again.err.startswith(f"decklog: {out} is there already")) == (1, True)
    brought = said(env, "chat", "import", str(out), "--agent", "codex")
    assert texts(env, brought) == ["one", "two", "three"]

    ran = decklog(env, "chat", "export", talk, "--to", "claude", "--install")
    written = Path(ran.text.strip())
    assert written.is_relative_to(Path(env["HOME"], ".claude", "projects"))
    assert f"resume it with: claude --resume {written.stem}" in ran.err
    assert said(env, "chat", "import", f"claude:{written.stem}")
    assert not list(Path(env["HOME"]).glob(".claude/projects/**/.*tmp*"))


def test_a_session_is_forked_and_resumed(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    chat = said(env, "chat", "import", MAIN)
    shown = decklog(env, "chat", "show", chat, "--json").json
    assert shown["origin"] == f"claude:{MAIN}"
    assert shown["entries"][0]["blocks"][0]["text"].startswith("Fix the greeting.")
    ran = decklog(env, "chat", "import", MAIN, "--json").json
    assert sorted(ran) == ["findings", "id", "lost"]

    command = decklog(env, "resume", FORK, "--print").text
    assert command == f"cd {shown['cwd']} && claude --resume {FORK}\n"
    moved = decklog(env, "resume", MAIN, "--in", "codex", "--json").json
    assert moved["argv"][:2] == ["codex", "resume"]
    assert moved["written"].startswith(f"{env['HOME']}/.codex/sessions/")
    assert decklog(env, "resume", MAIN, "--in", "gemini").code == 2
    assert decklog(env, "resume", "nobody").code == 3


def test_resume_runs_the_agent_in_its_folder(
    home: Path, env: dict[str, str], tmp_path: Path
) -> None:
    """Words of a foreign id reach the agent as they are: no shell stands between."""
    work = tmp_path / "it's; a $(folder)"
    work.mkdir()
    chat = said(env, "chat", "new", "--cwd", str(work))
    said(env, "chat", "append", chat, "x")
    native = decklog(env, "chat", "export", chat, "--to", "pi", "--install", "--json").json[
        "native"
    ]
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pi").write_text('#!/bin/sh\npwd\nprintf "<%s>" "$@"\nexit 7\n')
    (programs / "pi").chmod(0o755)
    ran = decklog({**env, "PATH": f"{programs}:{os.environ['PATH']}"}, "resume", native)
    assert (ran.code, ran.text) == (7, f"{work}\n<--session><{native}>")
    assert decklog({**env, "PATH": "/nowhere"}, "resume", native).code == 3
    printed = said(env, "resume", native, "--print")
    ran_by_shell = subprocess.run(
        ["bash", "-c", printed.replace("&& pi", f"&& {programs}/pi")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran_by_shell.stdout.startswith(f"{work}\n")
    work.rmdir()
    ran = decklog(env, "resume", native)
    assert (ran.code, "the folder of the session" in ran.err) == (3, True)


def test_damage_is_told_with_its_line(env: dict[str, str], talk: str) -> None:
    path = Path(env["DECKLOG_HOME"], "conversations", f"{talk}.jsonl")
    data = path.read_bytes().replace(b'"two"', b'"twO"')
    path.write_bytes(data + b'{"type":"later"}\n')
    ran = decklog(env, "chat", "verify", talk)
    assert ran.code == 1
    assert ran.text == (
        f"{path}:3: damaged: its checksum does not match\n"
        f"{path}:5: unknown: unsupported record type: later\n"
    )
    ran = decklog(env, "chat", "verify", "--json")
    assert [f["line"] for f in ran.json[0]["findings"]] == [3, 5]
    ran = decklog(env, "chat", "show", talk)
    assert (ran.code, "2 places not read as written" in ran.err) == (1, True)
    assert texts(env, talk) == ["one", "three"]


def test_nothing_drives_the_terminal(env: dict[str, str], talk: str) -> None:
    piped(env, b"\x1b]0;title\x07\x1b[2J\xe2\x80\xae", "chat", "append", talk, "-")
    for words in (("show", talk, "--no-pager"), ("diff", talk, talk), ("ls",)):
        _, sent = on_terminal({**env, "NO_COLOR": "1"}, "chat", *words)
        assert "\x1b]0" not in sent
        assert "\x1b[2J" not in sent
    code, sent = on_terminal({**env, "NO_COLOR": "1"}, "chat", "append", talk)
    assert (code, "the text is missing" in sent) == (2, True)
