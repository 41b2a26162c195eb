"""``decklog log``, as it is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from decklog.log import Logs
from decklog.model import SessionStarted, UserMessage
from shell import decklog, furnish, on_terminal


@pytest.fixture
def logged(env: dict[str, str]) -> dict[str, str]:
    """An environment with one logged session ``s1`` of four events."""
    logs = Logs(env["DECKLOG_HOME"])
    with logs.open("s1", agent="claude", provider_session_id="n1") as writer:
        writer.emit(SessionStarted(command="claude -p", cwd="/src/proj", origin="wrapper"))
        writer.emit(UserMessage(agent="claude", content="hello \x1b[31mred", at=1_764_000_000_000))
        writer.emit(UserMessage(agent="claude", content="again", at=1_764_000_001_000))
        writer.finish(exit_code=3)
    return env


def segment(env: dict[str, str]) -> Path:
    (found,) = Path(env["DECKLOG_HOME"]).glob("log/sessions/s1/*.jsonl")
    return found


def test_sessions_are_listed(logged: dict[str, str]) -> None:
    assert decklog(logged, "log", "ls").text.splitlines()[1].split()[-4:] == [
        "exit", "3", "4", "proj",
    ]  # fmt: skip
    (row,) = decklog(logged, "log", "ls", "--json").json
    assert {k: row[k] for k in ("wrapper_session_id", "session", "running", "exit_code")} == {
        "wrapper_session_id": "s1", "session": "claude:n1", "running": False, "exit_code": 3,
    }  # fmt: skip
    assert decklog(logged, "log", "ls", "--agent", "codex").text.startswith("No sessions")


def test_events_are_shown_and_chosen(logged: dict[str, str]) -> None:
    lines = segment(logged).read_text().splitlines()
    assert decklog(logged, "log", "show", "s1", "--json").text.splitlines() == lines
    assert decklog(logged, "log", "show", "latest", "--json", "--after-seq", "3").text == (
        lines[3] + "\n"
    )
    assert (
        decklog(logged, "log", "show", "claude:n1", "--json", "-n", "2").text.splitlines()
        == (lines[2:])
    )
    for words in (("--type", "user_message", "--last", "1"), ("--since", "2025-11-24T16:00:01Z",
                  "--until", "2025-11-24T16:00:02Z")):  # fmt: skip
        assert decklog(logged, "log", "show", "s", "--json", *words).text == lines[2] + "\n"
    assert decklog(logged, "log", "show", "nothing").code == 3


@pytest.mark.spec("R104")
def test_a_terminal_sees_no_control_sequences(logged: dict[str, str]) -> None:
    code, out = on_terminal(logged, "log", "show", "s1", "--no-pager")
    assert code == 0
    assert "\\x1b[31mred" in out
    assert "\x1b[31mred" not in out


@pytest.mark.spec("B33")
def test_an_event_is_written(logged: dict[str, str]) -> None:
    assert decklog(logged, "log", "emit", "s1", "-m", "note", "--data", '{"a": [1]}').text == (
        "s1 5\n"
    )
    words = ("--type", "tool_call", "--data", '{"tool_name": "x", "input": {"b": 2}}', "--json")
    assert decklog(logged, "log", "emit", "s1", *words).json == {"log": "s1", "seq": 6}
    assert decklog(logged, "log", "emit", "new", "--agent", "codex", "-m", "first").text == (
        "new 1\n"
    )
    said = [json.loads(x) for x in segment(logged).read_text().splitlines()[4:]]
    assert [(x["type"], x["provider"], x["provider_session_id"]) for x in said] == [
        ("user_event", "claude", "n1"), ("tool_call", "claude", "n1"),
    ]  # fmt: skip
    assert (said[0]["level"], said[0]["message"], said[0]["data"]) == ("info", "note", {"a": [1]})
    assert said[1]["input"] == {"b": 2}


@pytest.mark.parametrize(
    "words",
    [
        ("s1",),
        ("s1", "--type", "heartbeat"),
        ("s1", "--type", "unheard_of", "-m", "x"),
        ("s1", "-m", "x", "--data", "{"),
        ("s1", "--type", "tool_call", "--data", "[]"),
        ("s1", "--type", "tool_call", "--data", '{"tool_name": 5}'),
        ("s1", "--type", "tool_call", "--data", '{"nonsense": 5}'),
        ("../s2", "-m", "x"),
        ("s1", "-m", "x", "--level", "loud"),
    ],
)
def test_what_is_no_event_is_refused(logged: dict[str, str], words: tuple[str, ...]) -> None:
    before = segment(logged).read_bytes()
    ran = decklog(logged, "log", "emit", *words, "--json")
    assert (ran.code, ran.error["error"]) == (2, "UsageError")
    assert segment(logged).read_bytes() == before


@pytest.mark.spec("R30", "R14")
def test_damage_is_found_and_mended(logged: dict[str, str]) -> None:
    whole = decklog(logged, "log", "verify")
    assert (whole.code, whole.text) == (0, "1 log looked at. Nothing is damaged.\n")
    path = segment(logged)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"again", b"AGAIN") + b'{"seq":')
    ran = decklog(logged, "log", "verify", "--json")
    assert ran.code == 1
    place = data.index(b'{"seq":3')
    found = [json.loads(line) for line in ran.text.splitlines()]
    assert [(h["log"], h["reason"], h["path"], h["offset"]) for h in found] == [
        ("s1", "damaged", str(path), place), ("s1", "torn", str(path), len(data)),
    ]  # fmt: skip
    assert f"damaged   {path} at {place:,}" in decklog(logged, "log", "verify").text
    shown = decklog(logged, "log", "show", "s1")
    assert (shown.code, len(shown.text.splitlines())) == (1, 3)
    mended = decklog(logged, "log", "repair", "--json").json["repaired"]["s1"]
    assert [Path(p).name.rpartition(".")[2] for p in mended] == ["damaged-1", "torn-1"]
    again = decklog(logged, "log", "verify")
    assert (again.code, again.text.splitlines()[-1]) == (
        0, "1 log looked at. Nothing is damaged; 1 mark of records lost before.",
    )  # fmt: skip
    assert decklog(logged, "log", "repair").text == "Nothing to mend.\n"


@pytest.mark.spec("BW10")
def test_old_logs_are_removed_when_asked_to(logged: dict[str, str]) -> None:
    logs = Logs(logged["DECKLOG_HOME"])
    with logs.open("open", agent="claude") as unfinished, logs.open("on", agent="claude") as on:
        unfinished.emit(UserMessage(agent="claude", content="x"))
        on.heartbeat(10)
        assert decklog(logged, "log", "gc").text.startswith("0 logs")
        ran = decklog(logged, "log", "gc", "--older-than", "0h", "--json").json
        assert [x["wrapper_session_id"] for x in ran["logs"]] == ["s1"]
        assert (ran["removed"], segment(logged).exists()) == (False, True)
        decklog(logged, "log", "gc", "--older-than", "0h", "--yes")
        assert {s.wrapper_session_id for s in logs.sessions()} == {"open", "on"}
        assert not (Path(logged["DECKLOG_HOME"]) / "log" / "sessions" / "s1").exists()


@pytest.mark.spec("BW5", "BW6")
def test_past_sessions_are_written(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    report = decklog(env, "log", "backfill", "--json").json
    assert report["written"] == report["sessions"] > 0
    assert decklog(env, "log", "backfill").text.startswith("Wrote 0 events of 0 sessions;")
    assert len(decklog(env, "log", "ls", "--json").json) == report["sessions"]
    assert decklog(env, "log", "backfill", "--session", "nothing").code == 3
