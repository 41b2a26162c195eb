"""The everyday commands: what they print, their exit codes, their errors."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

import decklog as library
from decklog import cli
from decklog.cli.spec import REPORTS, every
from decklog.model import LedgerEntry, Session, UsageRow
from homes import Claude, Codex
from shell import CHILD, DECKLOG, FORK, MAIN, Ran, decklog, environment, furnish, on_terminal
from waiting import opens, until

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def deck(home: Path, env: dict[str, str]) -> dict[str, str]:
    """An environment with the furnished HOME."""
    furnish(home)
    return env


def told(ran: Ran, env: dict[str, str]) -> str:
    """What a command printed, free of places and of the day of the price list."""
    text = ran.text.replace(env["HOME"], "~").replace(env["DECKLOG_HOME"], "OWN")
    text = re.sub(r"(RECORD|jsonl:\d+) {3,}", r"\1  ", text)
    text = re.sub(r"(price list of|Price list of) [\d-]+", r"\1 DATE", text)
    text = re.sub(r"in [\d.]+ kB on disk", "in SIZE on disk", text)
    return re.sub(r"(SQLite|file system) [^,\s]+", r"\1 X", text) + ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("ls",),
        ("show", MAIN),
        ("show", MAIN, "--full"),
        ("show", MAIN, "--events"),
        ("show", FORK),
        ("show", f"{MAIN[:13]}.agent-{CHILD[:6]}"),
        ("why", FORK, "--all"),
        ("why", "2026-01-01"),
        ("usage",),
        ("usage", "sessions"),
        ("usage", "tools"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_text(deck: dict[str, str], words: tuple[str, ...], accept: bool) -> None:
    ran = decklog(deck, *words)
    assert ran.code == 0
    path = GOLDEN / (" ".join(words).replace(" ", "_").replace("--", "") + ".txt")
    if accept:
        path.write_text(told(ran, deck))
    assert told(ran, deck) == path.read_text()


# -- JSON ----------------------------------------------------------------------------------------


@pytest.mark.spec("AW15")
def test_ls_is_rows_of_sessions(deck: dict[str, str]) -> None:
    rows = msgspec.convert(decklog(deck, "ls", "--json").json, list[Session])
    assert [r.id for r in rows] == [f"claude:{FORK}", f"claude:{MAIN}",
                                    f"claude:{MAIN}.agent-{CHILD}"]  # fmt: skip
    with library.open(env=deck) as hub:
        assert rows == list(hub.sessions())
    first = decklog(deck, "ls", "--json", "-n", "1").json
    assert msgspec.convert(first, list[Session]) == rows[:1]
    assert decklog(deck, "ls", "--json", "-n", "0").json == []
    assert len(decklog(deck, "ls", "--json", "--no-subagents").json) == 2
    assert decklog(deck, "ls", "--json", "--until", "2026-01-01").json == []


def test_usage_is_rows_of_usage(deck: dict[str, str]) -> None:
    for by in ("daily", "weekly", "monthly"):
        (row,) = msgspec.convert(decklog(deck, "usage", by, "--json").json, list[UsageRow])
        assert (row.input, row.cache_read, row.cache_write, row.output) == (39, 1295, 110, 171)
        assert (row.responses, row.sessions, row.basis) == (9, 3, "computed")
    for by in REPORTS:
        assert decklog(deck, "usage", by, "--json").json


def test_show_is_one_object(deck: dict[str, str]) -> None:
    found = decklog(deck, "show", MAIN, "--json").json
    assert list(found) == ["session", "turns", "subagents"]
    with library.open(env=deck) as hub:
        assert msgspec.convert(found["session"], Session) == hub.session(MAIN)
        assert msgspec.json.decode(msgspec.json.encode(hub.turns(MAIN))) == found["turns"]
    assert [s["id"] for s in found["subagents"]] == [f"claude:{MAIN}.agent-{CHILD}"]
    own = found["session"]["usage"]
    for part in ("input", "cache_read", "cache_write", "output"):
        assert sum(t["usage"][part] for t in found["turns"]) == own[part]


def test_events_are_an_array(deck: dict[str, str]) -> None:
    rows = decklog(deck, "show", MAIN, "--events", "--json").json
    assert [r["seq"] for r in rows] == list(range(1, len(rows) + 1))
    assert len(decklog(deck, "show", MAIN, "--events").text.splitlines()) == len(rows)
    assert {r["type"] for r in rows} >= {"user_message", "tool_call", "tool_result", "usage"}


def test_status_is_one_object(deck: dict[str, str]) -> None:
    found = decklog(deck, "status", "--json").json
    assert [(a["agent"], a["sessions"]) for a in found["agents"]] == [("claude", 3)]
    assert [s["id"] for s in found["latest"]] == [f"claude:{FORK}", f"claude:{MAIN}"]
    assert (found["findings"], found["partial"], found["looked"]) == (0, 0, {})


def test_status_counts_today_and_a_week(home: Path, env: dict[str, str]) -> None:
    now = int(time.time() * 1000)
    for name, days in (("today", 0), ("week", 6), ("older", 8)):
        talk = Claude(name, now - days * 86_400_000)
        talk.now -= 1000 * 60 if days else 2000
        talk.prompt("x")
        talk.answer(name, (1, 0, 0, 10))
        talk.write(home)
    (row,) = decklog(env, "status", "--json").json["agents"]
    assert (row["today"]["output"], row["week"]["output"]) == (10, 20)
    assert row["week"]["cost_micro_usd"] == 2 * row["today"]["cost_micro_usd"]


# -- why -----------------------------------------------------------------------------------------


def test_the_ledger_adds_up(deck: dict[str, str]) -> None:
    rows = msgspec.convert(decklog(deck, "why", MAIN, "--json").json, list[LedgerEntry])
    session = decklog(deck, "show", MAIN, "--json").json["session"]
    for part in ("input", "cache_read", "cache_write", "output"):
        counted = sum(getattr(r.usage, part) for r in rows if r.counted)
        assert counted == session["tree_usage"][part]
    day = msgspec.convert(decklog(deck, "why", "2026-01-01", "--json").json, list[LedgerEntry])
    (used,) = decklog(deck, "usage", "daily", "--json").json
    assert sum(r.usage.output for r in day if r.counted) == used["output"]
    assert [r.records for r in day if r.key.startswith("claude:msg-2:")] == [3]


def test_a_fork_says_where_its_copies_count(deck: dict[str, str]) -> None:
    rows = decklog(deck, "why", FORK, "--json").json
    assert [(r["counted"], r["counted_in"]) for r in rows] == [
        (False, f"claude:{MAIN}"),
        (True, None),
    ]


def test_why_a_subagent_counts_it_alone(deck: dict[str, str]) -> None:
    rows = decklog(deck, "why", f"{MAIN}.agent-{CHILD}", "--json").json
    assert [r["usage"]["output"] for r in rows] == [3]


def test_a_day_is_of_the_asked_zone(home: Path, env: dict[str, str]) -> None:
    talk = Claude("late", 1_767_225_600_000 - 3_600_000)  # 2025-12-31T23:00:00Z
    talk.prompt("x")
    talk.answer("1", (1, 0, 0, 10))
    talk.write(home)

    def days(*flags: str) -> list[int]:
        return [
            len(decklog(env, "why", day, "--json", *flags).json)
            for day in ("2025-12-31", "2026-01-01")
        ]

    assert days() == [1, 0]
    assert days("--tz", "Europe/Berlin", "--no-sync") == [0, 1]
    assert days("--tz", "Europe/Berlin") == [0, 1]
    assert days() == [1, 0]


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.spec("R12")
@pytest.mark.parametrize(
    ("words", "code", "kind", "said"),
    [
        (("show", "zzz"), 3, "NotFound", "no session 'zzz'"),
        (("why", "zzz"), 3, "NotFound", "no session 'zzz'"),
        (("show", ""), 3, "NotFound", "no session ''"),
        (("show", "aaaa"), 2, "UsageError", f"claude:{FORK}"),
        (("ls", "--since", "whenever"), 2, "UsageError", "not a time: 'whenever'"),
        (("ls", "--since=whenever"), 2, "UsageError", "not a time: 'whenever'"),
        (("why", "2026-02-30"), 2, "UsageError", "no day '2026-02-30'"),
        (("ls", "--tz", "Mars/Base"), 2, "UsageError", "no time zone 'Mars/Base'"),
        (("ls", "--agent", "clade"), 3, "NotFound", "no agent 'clade'"),
        (("ls", "--limit", "many"), 2, "UsageError", "many"),
        (("ls", "--bogus"), 2, "UsageError", "--bogus"),
        (("usage", "hourly"), 2, "UsageError", "hourly"),
        (("show",), 2, "UsageError", "SESSION"),
        (("show", MAIN, "--raw"), 2, "UsageError", "--raw"),
        (("bogus",), 2, "UsageError", "bogus"),
    ],
    ids=str,
)
def test_errors(
    deck: dict[str, str], words: tuple[str, ...], code: int, kind: str, said: str
) -> None:
    ran = decklog(deck, *words, "--json")
    assert ran.code == code
    assert ran.error["error"] == kind
    assert said in ran.error["message"]
    assert ran.error["hint"]
    if "--raw" not in words:
        plain = decklog(deck, *words)
        assert (plain.code, plain.out) == (code, b"")
        assert plain.err.startswith("decklog: ")
        assert "\n  try: " in plain.err


@pytest.mark.spec("R27")
def test_a_transcript_that_is_gone_still_has_its_numbers(deck: dict[str, str], home: Path) -> None:
    assert decklog(deck, "sync").code == 0
    turns = decklog(deck, "show", MAIN, "--json").json["turns"]
    for path in home.rglob("*.jsonl"):
        path.unlink()
    ran = decklog(deck, "show", MAIN)
    assert ran.code == 0
    assert "output 161" in ran.text
    assert "(from the archive)" in ran.text
    assert decklog(deck, "show", MAIN, "--json").json["turns"] == turns
    assert decklog(deck, "archive", "prune", "--gone", "--yes").code == 0
    ran = decklog(deck, "show", MAIN)
    assert ran.code == 1
    assert "output 161" in ran.text
    assert "gone from disk" in ran.err
    assert decklog(deck, "show", MAIN, "--json").error["error"] == "SourceError"
    assert len(decklog(deck, "ls", "--json").json) == 3


@pytest.mark.spec("R11")
def test_an_answer_that_is_partial_says_so(deck: dict[str, str], home: Path) -> None:
    bad = home / ".claude/projects/-home-me-work/bad.jsonl"
    bad.symlink_to("/dev/full")
    for words in (("ls",), ("ls", "--json"), ("usage",), ("status",), ("why", MAIN)):
        ran = decklog(deck, *words)
        assert ran.code == 1
        assert ran.err == "1 source is not counted, or only in part; decklog doctor tells why\n"
    bad.unlink()
    assert (decklog(deck, "ls").code, decklog(deck, "ls").err) == (0, "")


def test_an_interrupt_is_quiet(deck: dict[str, str], home: Path) -> None:
    assert decklog(deck, "sync").code == 0
    held = os.open(f"{deck['DECKLOG_HOME']}/write.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    Claude("new").write(home)
    process = subprocess.Popen(
        [*DECKLOG, "sync"], env=environment(deck), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until(lambda: opens(process.pid, f"{deck['DECKLOG_HOME']}/write.lock"))  # it waits
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    os.close(held)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_busy_store_is_answered_from(deck: dict[str, str], home: Path) -> None:
    assert decklog(deck, "sync").code == 0
    held = os.open(f"{deck['DECKLOG_HOME']}/write.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    furnish_more = Claude("eeeeeeee-0000-4000-8000-000000000001")
    furnish_more.prompt("new")
    furnish_more.write(home)
    ran = decklog(deck, "ls", "--json")
    os.close(held)
    assert (ran.code, len(ran.json)) == (0, 3)
    assert "the newest may be missing" in ran.err
    assert len(decklog(deck, "ls", "--json").json) == 4


# -- the rest ------------------------------------------------------------------------------------


def test_nothing_found_says_where_it_looked(env: dict[str, str], home: Path) -> None:
    ran = decklog(env)
    assert ran.code == 0
    assert f"{home}/.claude/projects  (not there)" in ran.text
    assert "decklog --sample" in ran.text
    assert (
        str(home / ".claude/projects") in decklog(env, "status", "--json").json["looked"]["claude"]
    )
    assert decklog(env, "ls").text == "No sessions.\n"
    assert decklog(env, "ls", "--json").json == []
    assert decklog(env, "usage").text == "No usage recorded.\n"


def test_agents_can_be_filtered(deck: dict[str, str], home: Path) -> None:
    codex = Codex("01a1c45d-4ca8-7d72-b924-e9178d69abd8")
    codex.prompt("hello")
    codex.answer("1", (5, 0, 0, 6))
    codex.write(home)
    assert len(decklog(deck, "ls", "--json").json) == 4
    both = decklog(deck, "ls", "--json", "--agent", "codex", "--agent", "claude").json
    assert len(both) == 4
    (row,) = decklog(deck, "ls", "--json", "--agent", "codex").json
    assert row["id"] == codex.id


@pytest.mark.spec("R70")
def test_an_id_is_no_path(deck: dict[str, str], home: Path) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", f"claude:../{MAIN}", "%", "_", "*", "a%"):
        assert decklog(deck, "show", name).code == 3


def test_short_ids_lead_back(deck: dict[str, str]) -> None:
    listed = decklog(deck, "ls", "--no-sync").text
    assert listed == "No sessions.\n"
    child = f"{MAIN[:13]}.agent-{CHILD[:6]}"
    assert child in decklog(deck, "ls").text
    assert decklog(deck, "show", child, "--json").json["session"]["id"].endswith(CHILD)
    assert decklog(deck, "show", f"{MAIN[:13]}.agent-zz").code == 3


def test_both_parsers_agree(deck: dict[str, str]) -> None:
    """What `fast` parses and what click parses (an ``=`` sends the words there) is one."""
    for short, long in (
        (("ls", "--json", "-n", "2"), ("ls", "--json", "--limit=2")),
        (("usage", "models", "--json", "--agent", "claude"),
         ("usage", "--json", "--agent=claude", "models")),
        (("why", MAIN, "--json", "--tz", "UTC"), ("why", "--json", "--tz=UTC", MAIN)),
    ):  # fmt: skip
        fast, click = decklog(deck, *short), decklog(deck, *long)
        assert fast.code == 0
        assert fast == click


def test_the_sample_may_be_asked_for_anywhere(env: dict[str, str]) -> None:
    first = decklog(env, "--sample", "ls", "--json")
    assert (first.code, decklog(env, "ls", "--sample", "--json")) == (0, first)
    assert len(first.json) > 5
    click = decklog(env, "ls", "--limit=3", "--sample", "--json")
    assert click.json == first.json[:3]
    assert not (Path(env["DECKLOG_HOME"]) / "decklog.db").exists()


def test_every_command_has_help(env: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    for c in every():
        assert cli.run([*f"{c.group} {c.name}".split(), "--help"]) == 0
        said, complained = capfd.readouterr()
        assert complained == ""
        assert c.help.split("\n")[0].split(":")[0].split()[0] in said
    assert decklog(env, "--help").text.startswith("Usage: decklog")
    assert decklog(env, "--version").text == f"decklog {library.__version__}\n"


def test_a_short_text_stays_on_the_screen(deck: dict[str, str]) -> None:
    code, sent = on_terminal(deck, "show", f"{MAIN}.agent-{CHILD}", columns=120)
    assert code == 0
    assert "two files" in sent
