"""`decklog search` and `show ID#SEQ` as their users type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from decklog.model import Covered, Hit
from homes import Claude
from shell import decklog, on_terminal
from test_imports import FOREIGN, OURS, imported


@pytest.fixture
def talked(home: Path, env: dict[str, str]) -> dict[str, str]:
    talk = Claude("4f3e2d1c-0000-4000-8000-000000000001")
    talk.prompt("Where is the marmalade?")
    talk.answer("one", (1, 0, 0, 1))
    talk.prompt("And the \x1b[31mtoast\x1b[0m with orange marmalade, don't forget foo-bar --flag")
    talk.write(home)
    other = Claude("4f3e2d1c-0000-4000-8000-000000000002")
    other.prompt("marmalade again")
    other.write(home)
    return env


def test_hits_as_text(talked: dict[str, str]) -> None:
    done = decklog(talked, "search", "orange", "marmalade")
    assert (done.code, done.err) == (0, "")
    first, second = done.text.splitlines()
    assert first.startswith("claude:4f3e2d1c-0000-4000-8000-000000000001#")
    assert first.endswith("user  turn 2")
    assert "orange marmalade, don't" in second
    place = first.split()[0]
    shown = decklog(talked, "show", place, "--no-pager")
    assert shown.code == 0
    assert "with orange marmalade, don't forget foo-bar --flag" in shown.text
    (event,) = decklog(talked, "show", place, "--json").json
    assert event["type"] == "user_message"


def test_hits_as_json_and_pages(talked: dict[str, str]) -> None:
    page = decklog(talked, "search", "--json", "-n", "2", "marmalade").json
    assert [set(h) for h in page["hits"]] == [set(Hit.__struct_fields__)] * 2
    assert page["covered"] == {"complete": True, "percent": 100.0, "behind": 0}
    assert set(page["covered"]) == set(Covered.__struct_fields__)
    rest = decklog(talked, "search", "--json", "--after", page["next"], "marmalade").json
    assert len(rest["hits"]) == 1
    assert rest["next"] is None
    assert decklog(talked, "search", "--json", "--count", "marmalade").json["count"] == 3
    assert decklog(talked, "search", "--count", "marmalade").text == "3\n"
    around = decklog(talked, "search", "--json", "-C", "1", "orange").json["hits"][0]["context"]
    assert [e["type"] for e in around][-1] == "user_message"


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("foo-bar",), 1),
        (("don't",), 1),
        (("--", "--flag"), 1),
        (("marmalade", "-orange"), 2),
        (("toast",), 1),
        (('"orange marmalade"',), 1),
        (("marm*",), 3),
        (("--role", "user", "marmalade"), 3),
        (("--role", "tool", "marmalade"), 0),
        (("--agent", "claude", "marmalade"), 3),
        (("--since", "2030-01-01", "marmalade"), 0),
        (("--regex", r"marm\w+de\b"), 3),
        (("--regex", "-n", "1", "marmalade"), 1),
    ],
)
def test_what_is_found(talked: dict[str, str], words: tuple[str, ...], count: int) -> None:
    done = decklog(talked, "search", "--json", *words)
    assert (done.code, done.err) == (0, "")
    assert len(done.json["hits"]) == count


@pytest.mark.spec("R106")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (('say "hello',), 2, "character 5: this quotation mark has no other end"),
        (("->",), 2, "holds no letter or digit"),
        (("-toast",), 2, "only says what must not be there"),
        (("--role", "nobody", "x"), 2, "no role 'nobody'"),
        (("--agent", "nobody", "x"), 3, "no agent 'nobody'"),
        (("--regex", "(a+)+"), 2, "may take for ever"),
        (("--regex", "--best", "x"), 2, "--regex does not go with --best"),
        (("--count", "-C", "1", "x"), 2, "--count goes with neither"),
        (("-n", "5000", "x"), 2, "no page of 5000 hits"),
        ((), 2, "QUERY"),
    ],
)
def test_what_cannot_be_meant(
    talked: dict[str, str], words: tuple[str, ...], code: int, message: str
) -> None:
    done = decklog(talked, "search", "--json", *words)
    assert done.code == code
    assert message in done.error["message"]


def test_nothing_found_is_said(talked: dict[str, str]) -> None:
    done = decklog(talked, "search", "pineapple")
    assert (done.code, done.text) == (0, "Nothing found.\n")


def test_an_index_that_lacks_something_is_said(talked: dict[str, str]) -> None:
    done = decklog(talked, "search", "--no-sync", "marmalade")
    assert "The text index is" in done.err
    assert "decklog sync completes it" in done.err


def test_a_damaged_index_is_said_and_made_anew(talked: dict[str, str]) -> None:
    before = decklog(talked, "search", "marmalade")
    for shard in Path(talked["DECKLOG_HOME"]).glob("text-*.db"):
        shard.write_bytes(b"garbage" * 1_000)
    after = decklog(talked, "search", "marmalade")
    assert (after.code, after.out) == (before.code, before.out)
    assert after.err.count("was damaged: it was made anew") == 2


def test_a_place_that_is_not_there(talked: dict[str, str]) -> None:
    done = decklog(talked, "show", "claude:4f3e2d1c-0000-4000-8000-000000000002#99")
    assert done.code == 3
    assert "no event 99" in done.err


@pytest.mark.spec("R104")
def test_matches_are_bold_and_transcripts_cannot_drive_the_terminal(
    talked: dict[str, str],
) -> None:
    decklog(talked, "sync")
    _, shown = on_terminal(talked, "search", "toast")
    assert "\x1b[1mtoast\x1b[0m" in shown
    assert "\x1b[31m" not in shown


def test_a_warm_search_imports_little(talked: dict[str, str]) -> None:
    assert decklog(talked, "sync").code == 0
    found = imported(talked, "search", "--json", "again")
    heavy = {"json", "re", "msgspec", "typing", "click", "dataclasses", "decklog.agents"}
    assert not found & heavy
    assert found - {*OURS, *FOREIGN} >= {"decklog.search.answering"}
