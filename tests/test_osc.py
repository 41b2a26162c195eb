"""What programs tell their terminal, taken out of a stream."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decklog import spool
from decklog.osc import ANSWER, DEPTH, FRAME, RECORDS, STRING, Records, Stream, parse


def taken(*pieces: bytes) -> tuple[bytes, list[Any]]:
    """(what was passed on and is still held, what was told)."""
    stream = Stream()
    passed, told = b"", []
    for piece in pieces:
        out, heard = stream.take(piece)
        passed += out
        told += heard
    return passed + stream.held, told


def frame(body: str, end: bytes = b"\x1b\\") -> bytes:
    return b"\x1b]7501;" + body.encode() + end


IDLE = ("report", {"state": "idle"})


@pytest.mark.spec("Y6")
@pytest.mark.parametrize(
    ("data", "passed", "told"),
    [
        (b"a" + frame("state=idle") + b"b", b"ab", [IDLE]),
        (frame("state=idle", b"\x07"), b"", [IDLE]),
        (frame("?", b"\x07") + b"\x1b[c", b"\x1b[c", [("query", {})]),
        (ANSWER, b"", [("query", {})]),
        (b"\x1b" + frame("state=idle"), b"\x1b", [IDLE]),
        (b"\x1b[1m" * 3 + frame("state=idle"), b"\x1b[1m" * 3, [IDLE]),
        # what says nothing is taken out, what is no whole frame is passed on
        (frame("state=nonsense") + frame(""), b"", []),
        (frame("state=idle")[:-1], frame("state=idle")[:-1], []),
        (frame("state=idle", b"\x1b[1mx"), frame("state=idle", b"\x1b[1mx"), []),
        (frame("state=idle", b"\x18x"), frame("state=idle", b"\x18x"), []),
        (frame("state=busy", b"") + frame("state=idle"), frame("state=busy", b""), [IDLE]),
        (frame("x" * FRAME), frame("x" * FRAME), []),
        # other sequences are none of ours
        (b"\x1b]0;title\x07\x1b]75010;state=idle\x07\x1b]7;x\x07", None, []),
        (b"\x1b]0;7501;state=idle\x07\x1b]9;4;1\x1b\\", None, []),
        (b"\x1bPtmux;\x1b" + frame("state=idle", b"\x07") + b"\x1b\\", None, []),
        (b"\x1bPq\x1b\x1b\\" + frame("state=idle", b"\x07") + b"\x1b\\", None, []),
        # marks and resets are passed on
        (b"\x1b]133;A\x07\x1b]133;C;x\x1b\\", None, [("mark", {"mark": m}) for m in "AC"]),
        (b"\x1b]133;D;1\x07\x1b]133;Z\x07\x1bc", None, [("mark", {"mark": "D"}), ("reset", {})]),
    ],
)
def test_a_stream(data: bytes, passed: bytes | None, told: list[Any]) -> None:
    assert taken(data) == (data if passed is None else passed, told)
    assert taken(*(data[i : i + 1] for i in range(len(data)))) == taken(data)


PIECES = (
    b"\x1b", b"]", b"7501;", b"state=idle", b":", b"id=a/b", b"?", b"\x07", b"\\", b"P", b"133;A",
    b"c", b"[", b"text \n", b"\x18", b"\xff",
)  # fmt: skip


@pytest.mark.spec("Y6")
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.lists(st.integers(1, 9)))
def test_cuts_change_nothing(parts: list[bytes], cuts: list[int]) -> None:
    data, pieces, at = b"".join(parts), [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    assert taken(*pieces, data[at:]) == taken(data)


def test_what_is_held_has_a_limit() -> None:
    stream = Stream()
    begun = frame("msg=" + "A" * 3 * FRAME, b"")
    assert sum(len(stream.take(begun[i : i + 100])[0]) for i in range(0, len(begun), 100)) > FRAME
    assert len(stream.held) < FRAME
    # a string that never ends is given up
    assert taken(b"\x1bP" + b"q" * STRING, b"q", frame("state=idle"))[1] == [IDLE]


def text(words: str) -> str:
    return b64encode(words.encode()).decode()


@pytest.mark.spec("Y6")
@pytest.mark.parametrize(
    ("body", "report"),
    [
        ("state=idle", {"state": "idle"}),
        (
            "state=blocked:kind=permission:progress=40:app=claude-code:id=a/b:msg=" + text("rm?"),
            {
                "state": "blocked",
                "kind": "permission",
                "progress": "40",
                "app": "claude-code",
                "id": "a/b",
            },
        ),
        # what is malformed or unknown is passed over, of one key the last counts
        ("x:=y:STATE=done:state=id le:new=1:state=done", {"state": "done"}),
        ("state=working:state=done", {"state": "done"}),
        ("state=working:kind=permission:progress=101", {"state": "working"}),
        ("state=done:progress=5:app=a=b", {"state": "done"}),
        ("state=blocked:kind=lunch:progress=x", {"state": "blocked"}),
        # nothing at all
        ("", None),
        ("app=x", None),
        ("state=dreaming", None),
        ("state=idle:id=", None),
        ("state=idle:id=a//b", None),
        ("state=idle:id=a=b", None),
        # a limit that is broken drops it all, also where a later pair would count
        ("state=idle:" + "k" * 17 + "=1", None),
        ("state=idle:app=" + "a" * 33, None),
        ("state=idle:id=" + "a" * 33, None),
        ("state=idle:id=" + "/".join("a" * (DEPTH + 1)), None),
        ("state=idle:id=" + "/".join(["a" * 31] * 5), None),
        ("state=idle:title=" + text("x" * 193), None),
        ("state=idle:title=" + text("x" * 193) + ":title=" + text("x"), None),
        ("state=idle:msg=" + text("x" * 2049), None),
        ("state=idle:msg=A", None),
        ("state=idle:msg=A===", None),
        ("state=idle:msg=AA=A", None),
        ("state=idle:msg=" + b64encode(b"\xff").decode(), None),
        ("state=idle:msg=" + text("a\x1b[1m"), None),
        ("state=idle:msg=" + text("a\x9bb"), None),
        ("state=idle:msg=" + text("größer"), {"state": "idle"}),
        ("state=idle:msg=" + text("x").rstrip("="), {"state": "idle"}),
    ],
)
def test_a_report(body: str, report: dict[str, str] | None) -> None:
    assert parse(body.encode()) == report


@pytest.mark.spec("Y6")
def test_records() -> None:
    records = Records()
    assert records.status() == {}

    def told(**report: str) -> dict[str, str]:
        records.apply(report)
        return records.status()

    assert told(state="working") == {"state": "working"}
    assert told(state="working", id="t/1") == {"state": "working", "below": "1"}
    blocked = told(state="blocked", kind="permission", id="t/2")
    assert blocked == {"state": "blocked", "kind": "permission", "below": "1"}
    assert told(state="done") == {"state": "blocked", "kind": "permission", "below": "1"}
    assert told(state="done", id="t/2") == {"state": "done", "below": "1"}
    assert told(state="clear", id="t") == {"state": "done", "below_over": "1"}
    assert told(state="working", id="u") == {"state": "done", "below": "2"}
    records.prompt()  # what is finished stays
    assert records.status() == {"state": "done", "below_over": "2"}
    assert told(state="clear") == {}
    for n in range(RECORDS + 5):
        told(state="idle", id=str(n))
    assert len(records._records) == RECORDS
    records.reset()
    assert records.status() == {}


@pytest.mark.parametrize(
    ("event", "said", "expected"),
    [
        ("osc7501", {"state": "working"}, [("osc7501", "busy", "")]),
        ("osc7501", {"state": "blocked", "kind": "question"}, [("osc7501", "waiting_answer", "")]),
        (
            "osc7501",
            {"state": "done", "below": "3"},
            [("osc7501", "background_started", "below:3"), ("osc7501", "idle", "")],
        ),
        (
            "osc7501",
            {"state": "done", "below_over": "3"},
            [("osc7501", "background_ended", "below:3"), ("osc7501", "idle", "")],
        ),
        ("osc7501", {"state": "nonsense", "kind": 5}, []),
        ("osc133", {"mark": "C"}, [("osc133", "busy", "")]),
        ("osc133", {"mark": "Z"}, []),
    ],
)
def test_what_notes_of_it_say(event: str, said: dict[str, Any], expected: list[Any]) -> None:
    from decklog import agents

    note = spool.Note("there:0", 5, "claude", event, 1, 2, "", said)
    found = spool.evidence(note, agents.get("claude"))
    assert [(e.kind, e.says, e.ref) for e in found] == expected
    assert len({e.id for e in found}) == len(found)
