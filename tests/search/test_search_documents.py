"""Hits within a document: found by the place of their message, without the agent's reader."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from decklog import transcripts
from decklog.search import answering, scanning
from decklog.search.patterns import Pattern
from decklog.store.text.documents import Documents
from homes import Synced
from shell import decklog
from test_imports import imported

PLACE = ".gemini/tmp/abc/chats/session-2026-01-01T00-00-aaaa.json"
READ = {"decklog.transcripts", "decklog.agents", "decklog.model", "msgspec", "json"}
"""Modules that the agent's reader would bring."""


def message(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"m{number}", "timestamp": f"2026-01-01T00:00:0{number}.000Z", **fields}


def call(number: int, given: str, result: str) -> dict[str, Any]:
    reply = {"functionResponse": {"response": {"output": result}}}
    return {"id": f"c{number}", "name": f"tool_{number}", "args": {"command": given},
            "status": "success", "result": [reply], "resultDisplay": result}  # fmt: skip


TALK = [
    message(1, type="user", content="Where is the marmalade {of}, [\"Dundee\"]?"),
    message(2, type="gemini", content="märchen marmalade", model="gemini-2.5-pro",
            thoughts=[{"subject": "Toast", "description": "burnt"}],
            toolCalls=[call(1, "look under toast", "one kipper"),
                       call(2, "look again", "two kippers")]),
    message(3, type="gemini", content="A porridge", toolCalls=[call(3, "stir", "porridge, hot")]),
]  # fmt: skip


def write(home: Path, messages: list[dict[str, Any]] = TALK, indent: int | None = None) -> Path:
    path = home / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"sessionId": "aaaa", "directories": ["{}"], "messages": messages, "summary": "Tea"}
    path.write_text(json.dumps(whole, indent=indent, ensure_ascii=indent is None))
    return path


def shown(deck: Synced, query: str) -> list[tuple[str, str, str]]:
    return [(h.kind, h.snippet, h.stale) for h in deck.deck.search(query).hits]


@pytest.mark.parametrize("indent", [None, 2])
def test_each_event_of_a_document_knows_where_its_message_is(home: Path, indent: int) -> None:
    path = write(home, indent=indent)
    data = path.read_bytes()
    found = [
        json.loads(data[e.ref.offset : e.ref.offset + e.ref.length])
        for e in transcripts.read(path, "gemini")
        if e.ref.offset
    ]
    assert [m["id"] for m in found] == ["m1"] * 2 + ["m2"] * 6 + ["m3"] * 3
    assert all(m in TALK for m in found)


def test_a_hit_in_a_document_needs_no_reader(home: Path, env: dict[str, str]) -> None:
    write(home)
    assert decklog(env, "sync").code == 0
    for query in ("kipper", "marchen"):
        assert imported(env, "search", "--json", query) & READ == set(), query
    assert imported(env, "search", "--json", "porridge") >= READ - {"json"}  # in two texts of one


def test_what_is_shown_is_what_the_reader_would_show(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home)
    deck.sync()
    queries = {
        "Dundee": [("user_message", 'Where is the marmalade {of}, ["Dundee"]?', "")],
        "kipper": [("tool_result", "one kipper", "")],
        "kippers": [("tool_result", "two kippers", "")],
        "toast": [("tool_call", "look under toast", ""), ("reasoning", "Toast: burnt", "")],
        "marmalade": [
            ("assistant_message", "märchen marmalade", ""),
            ("user_message", 'Where is the marmalade {of}, ["Dundee"]?', ""),
        ],
        "porridge": [
            ("tool_result", "porridge, hot", ""),
            ("assistant_message", "A porridge", ""),
        ],
        '"look again"': [("tool_call", "look again", "")],
        "Tea": [("title", "Tea", "")],
    }
    for query, expected in queries.items():
        assert shown(deck, query) == expected, query
    for query, tool in {"kipper": "tool_1", "kippers": "tool_2", '"look again"': "tool_2"}.items():
        assert [h.tool for h in deck.deck.search(query).hits] == [tool]
    monkeypatch.setattr(answering.Readback, "_sole", lambda *_: "")
    deck.deck._pages = None
    for query, expected in queries.items():
        assert shown(deck, query) == expected, query


@pytest.mark.parametrize("archive", [True, False])
def test_a_document_that_changed_meanwhile(tmp_path: Path, archive: bool) -> None:
    home = tmp_path / "home"
    path = write(home)
    with Synced(home, tmp_path / "own", archive=archive) as deck:
        deck.sync()
        before = shown(deck, "kippers")
        assert before == [("tool_result", "two kippers", "")]
        path.write_bytes(path.read_bytes().replace(b"two kippers", b"six herring"))
        assert shown(deck, "kippers") == [("tool_result", "", answering.CHANGED)]
        write(home, [message(0, type="user", content="Good morning"), *TALK])  # all moved on
        assert [h[1:] for h in shown(deck, "kippers")] in (
            [("two kippers", "")], [("", answering.CHANGED)]
        )  # fmt: skip
        deck.sync()
        assert shown(deck, "kippers") == before
        moved = path.with_name("session-2026-01-01T00-00-bbbb.json")
        path.rename(moved)
        deck.sync()
        assert shown(deck, "kippers") == before
        moved.unlink()
        deck.sync()
        gone = [("tool_result", "", answering.GONE)]
        assert shown(deck, "kippers") == (before if archive else gone)


# --- by regular expression ------------------------------------------------------------------------

NOTED = [
    *TALK,
    message(4, type="error", content="quota\n  of   jam is 1.50e3"),
    message(5, type="gemini", content="", toolCalls=[call(4, "ünder", "x" * 70)]),
    message(6, type="user", content="Say \"no\" to C:\\jam\tand/or tea"),
]  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    [
        "marmalade", "Toast: burnt", "error quota of jam", r"k.pper", "(?i)TOAST", "ünder",
        r"[jt]am|porridge", r"\.50", "x{60}", r'"no" to', r"C:\\jam", "and/or", r"\d", "nowhere",
    ],
)  # fmt: skip
def test_a_scan_finds_all_that_is_said_in_documents(tmp_path: Path, pattern: str) -> None:
    home = tmp_path / "home"
    path = write(home, NOTED)
    said = Documents(verbatim=True)
    said.add(list(transcripts.read(path, "gemini")))
    expected = {(d.seq, d.text) for d in said.taken() if re.search(pattern, d.text)}
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        found = deck.deck.scan_rows(pattern, limit=100)["hits"]
    assert {h["seq"] for h in found} == {seq for seq, _ in expected}
    texts = {seq: " ".join(text.split()) for seq, text in expected}
    assert all(h["snippet"] == texts[h["seq"]] for h in found)


def test_a_scan_decodes_no_document_that_cannot_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "BLOCK", 50)
    decoded: list[str] = []
    source = transcripts.of_source

    def counted(part: dict[str, Any]) -> Any:
        decoded.append(part["uri"])
        return source(part)

    monkeypatch.setattr(transcripts, "of_source", counted)
    path = write(tmp_path)
    for pattern, looked in {
        "nowhere": 0, "(?i)NOWHERE else": 0, "kippers": 1, "(?i)KIPPERS": 1, "mar.*lade": 1,
        r"\d{3}": 1, "12345": 1, "m3.*Tea": 1,
    }.items():  # fmt: skip
        decoded.clear()
        worker = scanning.Worker(Pattern(pattern), 200)
        worker.scan((0, 1, str(path), "json", "gemini", None))
        assert len(decoded) == looked, pattern
