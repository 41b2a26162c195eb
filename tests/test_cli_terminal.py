"""No transcript drives a terminal; pipes and files get what was written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest

from decklog.cli import output, tables
from homes import Claude
from shell import DECKLOG, MAIN, called, decklog, environment, furnish, on_terminal, returned, said

pytestmark = pytest.mark.spec("R104")

NASTY = (
    # CSI: colour, conceal, clear, move, alternate screen, mouse, scroll region, report, insert
    "\x1b[31mred", "\x1b[8mhidden", "\x1b[2J", "\x1b[H", "\x1b[1;1H", "\x1b[?1049h", "\x1b[?1000h",
    "\x1b[1;5r", "\x1b[6n", "\x1b[c", "\x1b[4h", "\x1b[20t", "\x1b[?25l", "\x1b[999D", "\x1b[1A",
    # OSC: title, colour, folder, link, notification, clipboard, marks, iTerm2
    "\x1b]0;owned\x07", "\x1b]2;owned\x1b\\", "\x1b]4;1;rgb:ff/00/00\x07", "\x1b]7;file:///\x07",
    "\x1b]8;;https://x.test\x07link\x1b]8;;\x07", "\x1b]9;4;1;50\x07", "\x1b]52;c;b3duZWQ=\x07",
    "\x1b]133;C\x07", "\x1b]777;notify;a;b\x07", "\x1b]1337;SetMark\x07",
    # DCS, APC, PM, SOS, single shifts, charsets, reset, keypad, locking
    "\x1bP$q\"p\x1b\\", "\x1bPtmux;\x1b\x1b[2J\x1b\\", "\x1b_Gf=100;AAAA\x1b\\", "\x1b^pm\x1b\\",
    "\x1bXsos\x1b\\", "\x1bN", "\x1bO", "\x1b(0", "\x1bc", "\x1b=", "\x1b>", "\x1b7", "\x1b8",
    "\x1bM", "\x1bZ",
    # C1, as characters
    "\x9b31m", "\x9d0;owned\x9c", "\x90q\x9c", "\x9f\x9c", "\x84", "\x85", "\x8d",
    # single controls
    "\x07", "\x08\x08\x08", "over\rwritten", "\x0b", "\x0c", "\x0e", "\x0f", "\x00", "\x7f", "\x05",
    # left open
    "\x1b", "\x1b[", "\x1b[31", "\x1b]0;never ends", "\x1bPnever ends", "\x9b", "\x9d",
    # order and width of text
    "\u202eevil\u202c", "\u2066a\u2069", "\u200f", "\u061c", "\u200b", "\ufeff", "\u2028", "\u2029",
    "\U000e0041\U000e007f", "\u2060", "\ufff9",
)  # fmt: skip
ALL = "".join(f"<{i}{text}>" for i, text in enumerate(NASTY))
FEW = "\x1b]0;own\x07\x9b2J\u202e\x08\x1b["
FILE_NAME = "-home-\x1b]52;c;b3du\x07\x9b2J\u202e\x08\n-\udcff"
NAME = "0000-\x1b]0;own\x07-\x9b2J"
PLAIN_NAME = "0000-plain"

OURS = re.compile(r"\x1b\[(?:0|1|2|31|32|33|36)m")


def problems(shown: str) -> list[str]:
    """Active characters in what a terminal was sent, our own colours and line ends aside."""
    rest = OURS.sub("", shown).replace("\r\n", "\n").replace("\n", "").replace("\t", "")
    return [f"{c!r} in {rest[max(0, i - 30) : i + 30]!r}" for i, c in enumerate(rest) if active(c)]


def active(c: str) -> bool:
    return unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or (
        unicodedata.category(c) == "Cf" and c not in "\u200c\u200d\u00ad"
    )


@pytest.fixture
def nasty(home: Path, env: dict[str, str]) -> dict[str, str]:
    """A HOME with everything nasty, everywhere a transcript can say something."""
    talk = Claude(NAME, folder=FILE_NAME, model=f"model-{FEW}", version=f"1.0{FEW}")
    own = {"cwd": f"/home/me/{ALL}", "gitBranch": f"branch-{FEW}"}
    talk._put("user", "u1", message={"role": "user", "content": ALL}, **own)
    said(
        talk, "k", (1, 2, 3, 4), {"type": "thinking", "thinking": ALL}, ALL,
        called("t1", f"Bash{FEW}", command=ALL, description=ALL),
        called("t2", "Edit", file_path=f"/x/{ALL}", old_string=ALL, new_string=f"{ALL}!"),
        called("t3", "Task", description=ALL, prompt=ALL),
        called("t4", "Write", file_path=FEW, content=f"{ALL}\n{ALL}"),
        called(f"t5{FEW}", f"mcp{FEW}", **{FEW: [ALL]}),
    )  # fmt: skip
    returned(talk, "t1", ALL, failed=True, data={"stdout": ALL})
    returned(talk, "t2", ALL, data={"structuredPatch": [
        {"oldStart": FEW, "oldLines": 1, "newStart": 1, "newLines": 1, "lines": [f"+{ALL}"]}
    ]})  # fmt: skip
    returned(talk, "t3", ALL, data={"agentId": f"child{FEW}"})
    talk._put("summary", "u3", summary=ALL, leafUuid="u1")
    talk._put(f"type-{FEW}", "u4")
    talk._put("system", "u5", subtype="compact_boundary", compactMetadata={"trigger": FEW})
    place = (
        home / ".claude" / "projects" / os.fsencode(FILE_NAME).decode("utf-8", "surrogateescape")
    )
    place.mkdir(parents=True)
    body = talk.data + b'{"torn": "' + ALL.encode() + b'\n{"type":"user","sessionId":"\x1b\xff"}\n'
    (place / f"{NAME}.jsonl").write_bytes(body)
    (place / f"unknown{FEW}.bin").write_bytes(b"?")
    titled = Claude(PLAIN_NAME)
    titled.prompt(ALL)
    titled.write(home)
    furnish(home)
    return env


COMMANDS = [
    *((), ("ls",), ("ls", "--all", "--json"), ("doctor", "--all"), ("doctor", "--json")),
    *(("agents",), ("agents", "--json"), ("config",), ("config", "--json"), ("store", "dump")),
    *(("usage", by) for by in "daily sessions blocks models projects tools".split()),
    *(("usage", by, "--json") for by in "daily sessions models tools".split()),
    *(("show", NAME, "--no-pager", *more) for more in (
        (), ("--full",), ("--events",), ("--events", "--full"), ("--events", "--json"),
        ("--json",), ("--raw",),
    )),
    *(("why", NAME, *more) for more in ((), ("--all",), ("--json",))),
    *(("why", "2026-01-01", *more) for more in ((), ("--all",))),
    *(("show", f"none{FEW}"), ("show", ""), ("ls", "--agent", FEW), ("ls", "--since", FEW)),
    *((FEW,), ("usage", FEW), ("ls", f"--{FEW}"), ("show", "0000", "--json"), ("ls", "--tz", FEW)),
]  # fmt: skip


@pytest.mark.parametrize("columns", [200, 40])
def test_nothing_active_reaches_a_terminal(nasty: dict[str, str], columns: int) -> None:
    assert decklog(nasty, "sync").code == 0
    shown = ""
    found = []
    codes: dict[int, int] = {}
    for words in COMMANDS:
        code, sent = on_terminal(nasty, *words, columns=columns)
        codes[code] = codes.get(code, 0) + 1
        shown += sent
        found += [f"{' '.join(words)!r}: {p}" for p in problems(sent)]
    assert found == []
    # what could not be sent is there to be seen
    assert r"\x1b]52;c;b3duZWQ=\x07" in shown
    assert r"\u202eevil\u202c" in shown
    assert "Traceback" not in shown
    assert codes == {0: 30, 1: 2, 2: 6, 3: 3}


def test_the_gate_can_fail(nasty: dict[str, str]) -> None:
    unguarded = ("python3", "-c", f"print({ALL!r})")
    found = problems(on_terminal(nasty, command=unguarded)[1])
    assert len(found) > len(NASTY)


def test_the_pager_gets_safe_text(nasty: dict[str, str]) -> None:
    code, sent = on_terminal({**nasty, "PAGER": "cat"}, "show", NAME, "--full")
    assert (code, problems(sent)) == (0, [])
    assert r"\x1b]52;c;b3duZWQ=\x07" in sent


def test_completion_is_plain(nasty: dict[str, str]) -> None:
    assert decklog(nasty, "sync").code == 0
    for shell, place in (("bash", "2"), ("zsh", "2"), ("fish", "0")):
        asked = {"COMP_WORDS": "decklog show 0", "COMP_CWORD": place}
        ran = decklog({**nasty, **asked, "_DECKLOG_COMPLETE": f"{shell}_complete"})
        assert (ran.code, ran.err, problems(ran.text)) == (0, "", [])
        assert PLAIN_NAME in ran.text
        assert "own" not in ran.text


def test_pipes_get_texts_unchanged(nasty: dict[str, str]) -> None:
    text = decklog(nasty, "show", NAME, "--full").text
    assert "> " + ALL.partition("\n")[0] in text
    assert json.loads(decklog(nasty, "ls", "--json").out)
    rows = decklog(nasty, "show", NAME, "--events", "--json").json
    assert next(r for r in rows if r["type"] == "user_message")["content"] == ALL
    turns = decklog(nasty, "show", NAME, "--json").json["turns"]
    assert turns[0]["prompt"] == ALL
    assert turns[0]["tool_calls"][0]["input"]["command"] == ALL


def test_raw_is_byte_exact_in_a_pipe(nasty: dict[str, str], home: Path) -> None:
    for name, ran in (
        (NAME, decklog(nasty, "show", NAME, "--raw")),
        (MAIN, None),
    ):
        ran = ran or decklog(nasty, "show", name, "--raw")
        (path,) = (p for p in home.rglob("*.jsonl") if p.stem == name)
        assert ran.out == path.read_bytes()


def test_json_is_utf_8_in_any_locale(nasty: dict[str, str]) -> None:
    for locale in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}):
        for words in (("ls", "--json"), ("show", NAME, "--json"), ("show", NAME), ("doctor",)):
            ran = decklog({**nasty, **locale}, *words)
            assert ran.out.decode("utf-8")
            assert "Traceback" not in ran.err


# -- colour --------------------------------------------------------------------------------------

DIFF = ("show", MAIN, "--no-pager")


def test_colour_is_for_terminals_only(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    assert "\x1b[32m+print('hello, world')\x1b[0m" in on_terminal(env, *DIFF)[1]
    assert b"\x1b" not in decklog(env, *DIFF).out


@pytest.mark.parametrize("off", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colour_can_be_switched_off(home: Path, env: dict[str, str], off: dict[str, str]) -> None:
    furnish(home)
    code, sent = on_terminal({**env, **off}, *DIFF)
    assert code == 0
    assert "\x1b" not in sent
    assert "+print('hello, world')" in sent


def test_an_empty_no_color_is_none(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    assert "\x1b[1m" in on_terminal({**env, "NO_COLOR": ""}, *DIFF)[1]


# -- width ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
def test_tables_fit_the_terminal(home: Path, env: dict[str, str], columns: int) -> None:
    wide = Claude("cccccccc-0000-4000-8000-000000000001", folder="-w")
    wide.prompt("世界 שלום 👩‍👩‍👧‍👦 e\u0301 " * 20)
    wide.answer("1", (123_456_789, 2_345_678_901, 12_345, 67_890))
    wide.write(home)
    furnish(home)
    for words in (("ls",), ("usage",), ("usage", "sessions"), ("usage", "tools"), ()):
        _, sent = on_terminal(env, *words, columns=columns)
        lines = [OURS.sub("", line) for line in sent.split("\r\n")]
        if words:
            assert max(tables.width(line) for line in lines if not line.startswith("(")) <= columns
        assert "Traceback" not in sent


def test_wide_characters_stay_in_their_columns() -> None:
    rows = [("世界", "1"), ("e\u0301a", "22"), ("ab", "333")]
    assert tables.table(("NAME", "N"), rows, right=(1,)) == [
        "NAME    N",
        "世界    1",
        "e\u0301a     22",
        "ab    333",
    ]


def test_a_table_gives_way_in_steps() -> None:
    head = ("MODEL", "AGENT", "TOKENS")
    rows = [("claude-sonnet-4-5", "claude", "12,345,678")]

    def at(limit: int) -> str:
        return tables.table(head, rows, right=(2,), drop=(1,), shrink=(0,), limit=limit)[1]

    assert at(37) == "claude-sonnet-4-5  claude  12,345,678"
    assert at(33) == "claude-sonnet-4-5  claude   12.3M"
    assert at(30) == "claude-sonnet-4-5   12.3M"
    assert at(20) == "claude-sonn…   12.3M"
    assert at(12) == "claude-…   …"


def test_cut_counts_columns() -> None:
    assert tables.cut("abc", 3) == "abc"
    assert tables.cut("abcd", 3) == "ab…"
    assert tables.cut("世界世界", 5) == "世界…"
    assert tables.cut_front("/home/me/file.py:12", 10) == "…ile.py:12"
    assert tables.cut("abc", 0) == ""


# -- the far end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("ls",), DIFF, (*DIFF, "--events", "--json"), ("store", "dump")])
def test_a_reader_that_goes_away_is_no_error(
    home: Path, env: dict[str, str], words: tuple[str, ...]
) -> None:
    furnish(home)
    long = Claude("dddddddd-0000-4000-8000-000000000001")
    for i in range(400):
        long.prompt(f"prompt {i} " + "x" * 500)
    long.write(home)
    assert decklog(env, "sync").code == 0
    process = subprocess.Popen(
        [*DECKLOG, *words], env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_a_full_disk_is_said_once(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    assert decklog(env, "sync").code == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*DECKLOG, "ls", "--json"], env=environment(env), stdout=full,
            stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    said_so = json.loads(done.stderr)
    assert done.returncode == 1
    assert said_so["message"] == "the output could not be written: No space left on device"


def test_output_may_be_closed(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    line = " ".join(DECKLOG) + " ls >&- 2>&-"
    done = subprocess.run(["sh", "-c", line], env=environment(env), timeout=60, check=False)
    assert done.returncode == 0


def test_safe_leaves_plain_text_alone() -> None:
    text = "Grüße, 世界! שלום مرحبا 👩‍👩‍👧‍👦 é \t tab\nline"
    assert output.safe(text) == text
    assert output.safe("a\x1b[31mb\x7f\x85\u202e\udcff") == r"a\x1b[31mb\x7f\x85\u202e\udcff"
    assert output.one_line("a\r\nb\tc\nd") == "a b c d"
