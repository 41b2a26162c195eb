"""Search by regular expressions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import zstandard

from decklog import hub
from decklog.errors import UsageError
from decklog.search.patterns import Pattern
from homes import Claude, Synced

Texts = dict[tuple[str, int], str]


@pytest.mark.spec("R57")
@pytest.mark.parametrize(
    "pattern", [r"(a+)+b", r"(a*)*", r"(a)\1", r"(?=a)b", r"(?<!a)b", r".*" * 11 + "x", r"a{5000}"]
)
def test_patterns_that_may_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="may take for ever"):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["[", "(", "a**", "", "x" * 2_000, "(?P<a>", "[[:alpha:]]"])
def test_what_is_no_pattern_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError):
        Pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"hello world", b"hello world"),
        (r"hel+o wor", b"o wor"),
        (r"(?i)Hello", b"hello"),
        (r"(abc|def)x", b"x"),
        (r"a\d+longest\w*", b"longest"),
        (r"(begin)end", b"begin"),
        (r"x?y*", b""),
        (r'say "hi"', b"say "),
    ],
)
def test_what_every_match_has_to_hold(pattern: str, literal: bytes) -> None:
    assert Pattern(pattern).literal == literal


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        (r"hello, world", b"hello"),
        (r"(?i)An Error: 404", b"error"),
        (r"took 1500", b"took"),
        (r"1e\+22", b""),
        (r"3 \d* 15", b""),
    ],
)
def test_the_word_of_it_that_a_document_has_to_hold(pattern: str, word: bytes) -> None:
    assert Pattern(pattern).word == word


def test_a_scan_finds_what_the_pattern_matches(everything: hub.Decklog, texts: Texts) -> None:
    for pattern in (r"fi[lx]e", r"(?i)HELLO", r"note\w*\.txt", r"\bthe\b"):
        found = everything.scan_rows(pattern, limit=1_000)
        assert found["slow"] == 0
        ids = {(h["session"], h["seq"]) for h in found["hits"]}
        expected = {p for p, t in texts.items() if re.search(pattern, t)}
        assert expected, pattern
        sessions = {s for s, _ in expected}
        assert sessions <= {s for s, _ in ids}, pattern
        for hit in found["hits"]:
            for a, b in hit["marks"]:
                assert re.search(pattern, hit["snippet"][a:b])
    times = [h["at"] or -1 for h in everything.scan_rows("the", limit=50)["hits"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.spec("R57")
def test_a_match_that_takes_too_long_is_given_up_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    talk = Claude("talk")
    talk.prompt("needle " + "a" * 60_000 + "!")
    talk.prompt("needle b")
    talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        found = deck.deck.scan_rows(r"needle a*[ab]*a*c|needle b", limit=5)
        assert found["slow"] == 1
        assert [h["snippet"] for h in found["hits"]] == ["needle b"]


@pytest.mark.spec("R57")
def test_a_scan_of_what_is_too_slow_everywhere_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.search.scanning.MAX_SLOW", 2)
    home = tmp_path / "home"
    talk = Claude("talk")
    for _ in range(4):
        talk.prompt("needle " + "a" * 60_000 + "!")
    talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        found = deck.deck.scan_rows(r"needle a*[ab]*a*c", limit=5)
        assert (found["slow"], found["ended"], found["hits"]) == (2, True, [])


def test_a_scan_finds_each_place_and_only_what_was_said(tmp_path: Path) -> None:
    home = tmp_path / "home"
    talk = Claude("talk")
    talk.prompt("登录页面 at 192.168.10.254 half a \\ud800 character")
    talk.write(home)
    (path,) = home.rglob("*.jsonl")
    record = json.loads(path.read_bytes().splitlines()[-1])
    calls = [
        {"type": "tool_use", "id": f"t{i}", "name": name, "input": {"command": f"marmalade {i}"}}
        for i, name in enumerate(("Bash", "Grep"))
    ]
    record |= {"type": "assistant", "uuid": "two-calls"}
    record["message"] = {
        "id": "msg_two_calls", "role": "assistant", "model": "claude-sonnet-4-5", "content": calls,
    }  # fmt: skip
    whole = path.read_bytes().replace(rb"\\ud800", rb"\ud800") + json.dumps(record).encode() + b"\n"
    with Synced(home, tmp_path / "own") as deck:
        for packed in (False, True):
            if packed:
                path.unlink()
                path = path.with_suffix(".jsonl.zst")
            path.write_bytes(zstandard.compress(whole) if packed else whole)
            deck.sync()

            def hits(pattern: str) -> list[tuple[str, str]]:
                rows = deck.deck.scan_rows(pattern, limit=10)["hits"]
                return [(r["tool"] or r["role"], r["snippet"][slice(*r["marks"][0])]) for r in rows]

            assert sorted(hits("marmalade .")) == [("Bash", "marmalade 0"), ("Grep", "marmalade 1")]
            assert hits(r"\d+\.\d+\.\d+\.\d+") == [("user", "192.168.10.254")]
            assert hits("half a . char") == [("user", "half a \ufffd char")]
            assert hits("录页") == [("user", "录页")]
            assert hits("msg_two|two-calls|sonnet") == []
            (hit,) = deck.deck.search("录页").hits
            assert hit.snippet.startswith("登录页面 at"), "as it was said"
