"""Past sessions written into our own log: the same events, with their times, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from decklog import backfill, hub
from decklog.errors import UsageError
from decklog.log import Logs, kind_of
from decklog.model import Event, SessionStarted

FIXTURES = Path(__file__).parent / "agents"
SITUATIONS = sorted(p.parent.relative_to(FIXTURES).as_posix() for p in FIXTURES.glob("*/*/input"))


def told(event: Event) -> tuple[str, dict[str, Any]]:
    """What an event says wherever it was read: not its number, and not who wrote it down when."""
    fields = msgspec.structs.asdict(event)
    for name in ("seq", "origin", "completeness", "backfilled"):
        fields.pop(name, None)
    raw = msgspec.Raw
    return kind_of(event), {
        k: msgspec.json.decode(v) if isinstance(v, raw) else v for k, v in fields.items()
    }


def once(events: list[Event]) -> list[Event]:
    """The events without those that say again what one with the same key has said."""
    kept: dict[Any, Event] = {}
    for n, e in enumerate(events):
        kept.setdefault((kind_of(e), e.uid) if e.uid else n, e)
    return list(kept.values())


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def contents(logs: Logs) -> dict[str, list[Any]]:
    """All events of all logs."""
    return {name: [told(e.event) for e in logs.read(name)] for name in logs.index.names()}


@pytest.fixture
def claude(home: Path, env: dict[str, str]) -> hub.Decklog:
    shutil.copytree(FIXTURES / "claude" / "tools" / "input", home, dirs_exist_ok=True)
    deck = hub.open(env=env)
    deck.sync()
    return deck


def transcript(home: Path) -> Path:
    (found,) = (home / ".claude").rglob("*.jsonl")
    return found


@pytest.mark.spec("X6", "B46", "BW6")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_log_tells_what_the_transcript_tells(
    situation: str, home: Path, env: dict[str, str]
) -> None:
    shutil.copytree(FIXTURES / situation / "input", home, dirs_exist_ok=True)
    with hub.open(env=env) as deck:
        deck.sync()
        report = deck.backfill()
        rows = list(deck.session_rows())
        assert (report.sessions, report.failed, report.busy) == (len(rows), {}, [])
        for row in rows:
            log = deck.log.find(backfill.name(row["agent"], row["native"]))
            written = [e.event for e in deck.log.read(log.wrapper_session_id)]
            read = once(list(deck.events(row["id"])))
            if not isinstance(read[0], SessionStarted):
                first = written.pop(0)
                assert (kind_of(first), first.at) == ("session_started", row["started_at"])
            if len(written) > len(read):
                last = written.pop()
                assert (kind_of(last), last.at) == ("session_ended", row["last_at"])
            assert list(map(told, written)) == list(map(told, read))
            assert {e.origin for e in written} <= {"backfill"}
            assert (log.provider, log.provider_session_id, log.backfilled) == (
                row["agent"], row["native"], True,
            )  # fmt: skip
            assert set(log.source_paths) >= set(row["sources"])
            if row["last_at"] is not None:
                assert log.ended_at is not None
            assert list(deck.log.holes(log.wrapper_session_id)) == []


@pytest.mark.spec("B44", "B45", "BW5")
def test_a_second_run_writes_nothing(claude: hub.Decklog, env: dict[str, str]) -> None:
    first = claude.backfill()
    assert (first.written, first.unchanged) == (1, 0)
    before = files(Path(env["DECKLOG_HOME"]) / "log" / "sessions")
    second = claude.backfill()
    assert (second.written, second.events, second.unchanged) == (0, 0, 1)
    (Path(env["DECKLOG_HOME"]) / "log" / "backfill.json").unlink()
    third = claude.backfill()
    assert (third.written, third.events, third.unchanged) == (0, 0, 0)
    assert files(Path(env["DECKLOG_HOME"]) / "log" / "sessions") == before
    assert len(claude.log.sessions()) == 1


@pytest.mark.spec("BW5", "B47")
def test_a_session_that_grew_is_gone_on_with(home: Path, env: dict[str, str]) -> None:
    shutil.copytree(FIXTURES / "claude" / "tools" / "input", home, dirs_exist_ok=True)
    path = transcript(home)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    claude = hub.open(env=env)
    claude.sync()
    half = claude.backfill().events
    path.write_bytes(whole)
    claude.sync()
    rest = claude.backfill().events
    assert half > 0
    assert rest > 0
    (log,) = claude.log.sessions()
    (row,) = claude.session_rows()
    events = [e.event for e in claude.log.read(log.wrapper_session_id)]
    read = [e for e in events if e.ref.source]
    assert list(map(told, read)) == list(map(told, once(list(claude.events(row["id"])))))
    ends = [e.at for e in events if kind_of(e) == "session_ended"]
    assert ends == sorted(ends)  # type: ignore[type-var]
    assert log.ended_at == list(claude.log.read(log.wrapper_session_id))[-1].ts


@pytest.mark.spec("B45", "BW5", "BW17")
def test_what_was_recorded_live_is_not_written_again(claude: hub.Decklog) -> None:
    (row,) = claude.session_rows()
    events = list(claude.events(row["id"]))
    with claude.log.open("live", agent="claude", provider_session_id=row["native"]) as writer:
        writer.heartbeat(10)
        writer.emit_all(events[:5])
        busy = claude.backfill()
        assert (busy.busy, busy.events) == ([row["id"]], 0)
        writer.finish()
    report = claude.backfill()
    assert report.events == len(once(events)) - 5
    every = [e.event for s in claude.log.sessions() for e in claude.log.read(s.wrapper_session_id)]
    read = sorted((e for e in every if e.ref.source), key=lambda e: (e.ref.offset, e.uid))
    wanted = sorted(once(events), key=lambda e: (e.ref.offset, e.uid))
    assert list(map(told, read)) == list(map(told, wanted))


@pytest.mark.spec("B47", "R42")
def test_a_session_that_cannot_be_read_holds_up_no_other(home: Path, env: dict[str, str]) -> None:
    for situation in ("claude/tools", "codex/tools"):
        shutil.copytree(FIXTURES / situation / "input", home, dirs_exist_ok=True)
    with hub.open(env={**env, "DECKLOG_ARCHIVE": "false"}) as deck:
        deck.sync()
        transcript(home).unlink()
        report = deck.backfill()
        assert list(report.failed) == [r["id"] for r in deck.session_rows(agents=["claude"])]
        assert report.written == len(list(deck.session_rows(agents=["codex"])))


@pytest.mark.spec("R27")
def test_a_session_whose_transcript_is_gone_is_read_from_the_archive(
    claude: hub.Decklog, home: Path
) -> None:
    (row,) = claude.session_rows()
    events = once(list(claude.events(row["id"])))
    transcript(home).unlink()
    claude.sync()
    report = claude.backfill()
    assert (report.failed, report.events) == ({}, len(events))


@pytest.mark.spec("B13")
def test_progress_is_in_a_file_of_its_own_that_may_be_damaged(
    claude: hub.Decklog, env: dict[str, str]
) -> None:
    claude.backfill()
    path = Path(env["DECKLOG_HOME"]) / "log" / "backfill.json"
    (row,) = claude.session_rows()
    said = json.loads(path.read_text())
    assert (said["version"], said["imported_session_keys"]) == (1, [row["id"]])
    path.write_bytes(b"{")
    assert claude.backfill().events == 0
    assert json.loads(path.read_text()) == said
    assert len(list(path.parent.glob("backfill.json.corrupt-*"))) == 1


def test_some_sessions_only(home: Path, env: dict[str, str]) -> None:
    for situation in ("claude/tools", "codex/tools"):
        shutil.copytree(FIXTURES / situation / "input", home, dirs_exist_ok=True)
    with hub.open(env=env) as deck:
        deck.sync()
        assert deck.backfill(agents=["codex"]).sessions == 1
        (row,) = deck.session_rows(agents=["claude"])
        assert deck.backfill([row["id"]]).written == 1


@pytest.mark.spec("R70")
def test_a_native_id_that_is_no_file_name_gets_one() -> None:
    names = [backfill.name("claude", n) for n in ("../../x", "a/b", "\0", "x" * 500, "ok.1")]
    assert names[-1] == "claude-ok.1"
    assert len(set(names)) == 5
    for name in names:
        assert name.replace("-", "").replace(".", "").isalnum()
    with pytest.raises(UsageError):
        Logs("/nowhere").tail("../../x")
