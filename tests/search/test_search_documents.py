"""Hits within a document: found by the place of their message, without the agent's reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from decklog import transcripts
from decklog.search import answering
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
    monkeypatch.setattr(answering.Readback, "_sole", lambda *_: "")
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
