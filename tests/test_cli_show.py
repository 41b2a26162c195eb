"""How a session is told: diffs from whatever was recorded, texts cut with a mark, odd orders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import decklog as library
from decklog.cli import diffs, figures
from decklog.cli.story import headline
from decklog.model import ToolCall, ToolKind
from homes import Claude
from shell import MAIN, called, decklog, furnish, returned, said


def call(
    kind: ToolKind = "file_edit", given: Any = None, data: Any = None, path: str = "/w/a.py"
) -> ToolCall:
    return ToolCall(
        id="t",
        session="x:y",
        name="Edit",
        kind=kind,
        input=msgspec.Raw(msgspec.json.encode(given)),
        data=msgspec.Raw(msgspec.json.encode(data)),
        paths=(path,) if path else (),
    )


HUNK = {"oldStart": 3, "oldLines": 1, "newStart": 3, "newLines": 2, "lines": ["-a", "+b", "+c"]}
NAMES = ["--- a/w/a.py", "+++ b/w/a.py"]
NEW = ["--- /dev/null", "+++ b/w/a.py"]
INDEXED = """Index: a.py
===================================================================
--- a.py\tOriginal
+++ a.py\tWritten
@@ -1,2 +1,2 @@
-a

+b
"""
GIT = "\ndiff --git a/a.py b/a.py\nindex 0..0 100644\n--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-a\n+b\n"
PATCH = """*** Begin Patch
*** Add File: new.py
+one
+two
*** Update File: old.py
*** Move to: moved.py
@@ def f():
 x
-y
+z
*** Delete File: gone.py
*** End Patch
"""
PATCHED = [
    *("--- /dev/null", "+++ b/new.py", "@@ -0,0 +1,2 @@", "+one", "+two"),
    *("--- a/old.py", "+++ b/moved.py", "@@ def f(): @@", " x", "-y", "+z"),
    *("--- a/gone.py", "+++ /dev/null"),
]


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        # hunks that were recorded win over what was asked for
        (call(given={"old_string": "x", "new_string": "y"}, data={"structuredPatch": [HUNK]}),
         [*NAMES, "@@ -3 +3,2 @@", "-a", "+b", "+c"]),
        (call(data={"fileDiff": INDEXED}),
         ["--- a.py\tOriginal", "+++ a.py\tWritten", "@@ -1,2 +1,2 @@", "-a", " ", "+b"]),
        (call(data={"result": {"detailedContent": GIT}}),
         ["--- a/a.py", "+++ b/a.py", "@@ -1 +1 @@", "-a", "+b"]),
        (call("shell", {"command": ["apply_patch", PATCH]}), PATCHED),
        (call("shell", f"cd x && apply_patch <<'EOF'\n{PATCH}EOF"), PATCHED),
        (call("file_edit", {"input": PATCH}), PATCHED),
        (call(given={"oldString": "a\nb\nc", "newString": "a\nB\nc"}),
         [*NAMES, "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"]),
        (call(given={"edits": [{"oldText": "a", "newText": "b"}, {"oldText": "c", "newText": ""}]},
              data={"diff": "-1 a\n+1 b"}),
         [*NAMES, "@@ -1 +1 @@", "-a", "+b", "@@ -1 +0,0 @@", "-c"]),
        (call("file_write", {"content": "a\nb\n"}), [*NEW, "@@ -0,0 +1,2 @@", "+a", "+b"]),
        (call("file_write", {"file_text": "a"}), [*NEW, "@@ -0,0 +1 @@", "+a"]),
        # nothing to show
        (call("file_read", {"content": "a"}, {"structuredPatch": [HUNK]}), []),
        (call("shell", {"command": "ls"}), []),
        (call("file_edit", {"content": ""}), []),
        # nothing of what it should be
        *((call("file_edit", odd, odd), []) for odd in (
            None, 1, "x", [], {}, {"structuredPatch": 1}, {"structuredPatch": [1, {"lines": 2}]},
            {"edits": [1]}, {"old_string": 1, "new_string": "x"}, {"a": {"b": ["@@ -"]}},
        )),
    ],
)  # fmt: skip
def test_diff(made: ToolCall, lines: list[str]) -> None:
    assert diffs.diff(made) == lines


def test_a_patch_that_ends_early_is_shown_as_far_as_it_goes() -> None:
    torn = PATCH.partition("+two")[0]
    assert diffs.diff(call("file_edit", torn)) == [*PATCHED[:2], "@@ -0,0 +1,2 @@", "+one", ""]


@pytest.mark.parametrize(
    ("kind", "given", "paths", "said"),
    [
        ("shell", {"command": ["ls", "-l"], "description": "look"}, [], "ls -l"),
        ("shell", {"cmd": " ls "}, [], "ls"),
        ("file_read", {"file_path": "a"}, ["a"], "a"),
        ("search", {"pattern": "x", "path": "a"}, ["a"], "x"),
        ("other", {"n": 1}, [], '{"n": 1}'),
        ("other", "text", [], "text"),
        ("other", [1], [], ""),
        ("other", {}, [], ""),
        ("other", {"command": 5, "query": "q"}, [], "q"),
    ],
)
def test_headline(kind: str, given: Any, paths: list[str], said: str) -> None:
    assert headline(kind, msgspec.json.encode(given), paths) == said


def test_long_texts_are_cut_with_a_mark(home: Path, env: dict[str, str]) -> None:
    talk = Claude("long")
    talk.prompt("\n".join(f"line {i}" for i in range(30)))
    said(talk, "1", (1, 0, 0, 1), "y" * 1000)
    talk.write(home)
    text = decklog(env, "show", "long").text
    assert "> line 7\n> … 22 more lines (--full)\n" in text
    assert "y" * 400 + "…\n" in text
    full = decklog(env, "show", "long", "--full").text
    assert "> line 29\n" in full
    assert "y" * 1000 in full


def test_a_result_after_the_next_prompt_still_belongs_to_its_call(
    home: Path, env: dict[str, str]
) -> None:
    talk = Claude("late")
    talk.prompt("start")
    said(talk, "1", (1, 0, 0, 1), called("t1", "Bash", command="sleep 1"))
    talk.prompt("and another thing")
    returned(talk, "t1", "slept")
    said(talk, "2", (1, 0, 0, 1), "done")
    talk.write(home)
    turns = decklog(env, "show", "late", "--json").json["turns"]
    assert [[c["ok"] for c in t["tool_calls"]] for t in turns] == [[True], []]


def test_a_response_recorded_again_counts_in_one_turn(home: Path, env: dict[str, str]) -> None:
    talk = Claude("twice")
    talk.prompt("one")
    said(talk, "1", (1, 0, 0, 5), "a")
    talk.prompt("two")
    said(talk, "1", (1, 0, 0, 9), "b")
    talk.write(home)
    found = decklog(env, "show", "twice", "--json").json
    assert [t["usage"]["output"] for t in found["turns"]] == [0, 9]
    assert found["session"]["usage"]["output"] == 9


def test_what_happened_besides_is_told(home: Path, env: dict[str, str]) -> None:
    talk = Claude("odd")
    talk.prompt("one")
    said(talk, "1", (1, 0, 0, 5), called("t1", "Bash", command="sleep 99"))
    talk._put("user", "u1", message={"role": "user", "content": "[Request interrupted by user]"})
    talk._put("system", "u2", subtype="compact_boundary",
              compactMetadata={"trigger": "auto", "preTokens": 150_000})  # fmt: skip
    talk._put("strange", "u3")
    path = talk.write(home)
    path.write_bytes(path.read_bytes() + b'{"torn": \n')
    text = decklog(env, "show", "odd").text
    assert "no result" in text
    assert "interrupted\n" in text
    assert "compacted (auto" in text
    assert "not read as written: record type 'strange' (line 5)" in text
    assert "not read as written: no whole record" in text
    assert "decklog doctor" in text


def test_nothing_to_show_is_no_crash(home: Path, env: dict[str, str]) -> None:
    talk = Claude("empty")
    talk._put("system", "u1", subtype="informational", content="x")
    talk.write(home)
    assert decklog(env, "show", "empty").code in (0, 3)
    assert decklog(env, "show", "latest").code in (0, 3)


def test_the_library_tells_the_same_story(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    with library.open(env=env) as deck:
        deck.sync()
        told = list(deck.story(MAIN))
        assert [turn for turn, _ in told] == deck.turns(MAIN)
        assert sum(len(events) for _, events in told) == len(list(deck.events(MAIN))) - 1


@pytest.mark.spec("R11", "R50")
def test_a_giant_record_is_said_to_be_left_out(home: Path, env: dict[str, str]) -> None:
    talk = Claude("giant")
    talk.prompt("one")
    talk.prompt("x" * (17 << 20))
    said(talk, "1", (1, 0, 0, 5), "after")
    talk.write(home)
    for flags in ((), ("--json",), ("--events",), ("--events", "--json")):
        ran = decklog(env, "show", "giant", *flags)
        assert (ran.code, ran.err) == (1, "1 part not shown; decklog doctor tells why\n")
        assert "after" in ran.text
    assert "is not shown (line 2)" in decklog(env, "show", "giant").text
    assert decklog(env, "show", "giant", "--raw").code == 0


def test_figures() -> None:
    assert [figures.span(ms) for ms in (0, 999, 1000, 59_940, 60_000, 61_000, 3_600_000)] == [
        "0 ms", "999 ms", "1.0 s", "59.9 s", "1 min", "1 min 1 s", "1 h 0 min"
    ]  # fmt: skip
    assert [figures.span(ms) for ms in (None, 86_400_000, 3 * 86_400_000)] == [
        "", "24 h 0 min", "3 d 0 h"
    ]  # fmt: skip
    assert [figures.short_number(t) for t in ("9,999", "12,345", "999,999", "1,234,567", "x")] == [
        "9,999", "12.3k", "1000k", "1.2M", "x"
    ]  # fmt: skip
    assert [figures.money(n) for n in (None, 0, 5, 1_234_567_890)] == [
        "?", "$0.00", "$0.00", "$1,234.57"
    ]  # fmt: skip
    assert [figures.cents(n) for n in (None, 0, 50, 99_999, 100_000)] == [
        "?", "$0.00", "$0.0001", "$0.1000", "$0.10"
    ]  # fmt: skip
    assert [figures.size(n) for n in (0, 999, 1000, 1_500_000, 10**15)] == [
        "0 B", "999 B", "1.0 kB", "1.5 MB", "1000.0 TB"
    ]  # fmt: skip
    assert [figures.count(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
