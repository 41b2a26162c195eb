"""Damaged and hostile transcripts through the whole pipeline: what is whole counts, what is not is
told with its place, and nothing takes its neighbours along."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
import zstandard

import decklog
from decklog import agents, databases, hub, reading, sources
from decklog.model import Event, Finding, ParseWarning, Session, UsageReported, UserMessage
from decklog.sync import Report
from homes import START, Claude, Codex, Line, Tokens, line, truth

NAME = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
ID = f"claude:{NAME}"


class Seen(NamedTuple):
    """What a sync made of a HOME."""

    report: Report
    sessions: dict[str, Session]
    findings: list[Finding]
    used: Tokens

    @property
    def reasons(self) -> list[str]:
        return [f.reason for f in self.findings]


def look(deck: hub.Decklog) -> Seen:
    report = deck.sync()
    rows = deck.usage("models")
    given, read, written, output = (
        sum(getattr(r, k) for r in rows) for k in ("input", "cache_read", "cache_write", "output")
    )
    return Seen(
        report,
        {s.id: s for s in deck.sessions()},
        deck.findings(),
        (given, read, written, output),
    )


def read(env: dict[str, str]) -> Seen:
    with decklog.open(env=env) as deck:
        return look(deck)


def events(env: dict[str, str], session: str = ID) -> list[Event]:
    with decklog.open(env=env) as deck:
        deck.sync()
        return list(deck.events(session))


def said(env: dict[str, str]) -> list[str]:
    return [e.content for e in events(env) if isinstance(e, UserMessage)]


WHOLE = Claude(NAME)
WHOLE.prompt("before")
WHOLE.answer("before", (1, 20, 300, 4000))
WHOLE.answer("one", (7, 0, 0, 70))
WHOLE.answer("two", (9, 0, 0, 90))
WHOLE.prompt("HERE")
WHOLE.answer("edit", (0, 0, 0, 0), tool="Edit", path="/home/me/HERE.py")
WHOLE.prompt("after")
WHOLE.answer("after", (5, 60, 700, 8000))
BEFORE, (ONE, TWO, PROMPT, *EDIT), AFTER = WHOLE.lines[:2], WHOLE.lines[2:-2], WHOLE.lines[-2:]


def joined(lines: Iterable[bytes | Line]) -> bytes:
    return b"".join(x.data if isinstance(x, Line) else x for x in lines)


def put(home: Path, middle: Iterable[bytes | Line]) -> Path:
    """A transcript with something between records that are whole."""
    path = WHOLE.write(home)
    path.write_bytes(joined([*BEFORE, *middle, *AFTER]))
    return path


def assert_neighbours(seen: Seen, *counted: Line) -> None:
    """What stands around the damage counts, and so do these records."""
    assert seen.used == truth([*BEFORE, *AFTER, *counted])
    assert seen.sessions[ID].counts.prompts >= 2
    assert seen.sessions[ID].last_at == WHOLE.now


def assert_place(finding: Finding, path: Path, data: bytes) -> None:
    """The finding leads back to just these bytes."""
    whole = path.read_bytes()
    assert whole[finding.offset : finding.offset + finding.length] == data
    assert finding.source == str(path)
    assert finding.line == whole.count(b"\n", 0, finding.offset) + 1


def bare(x: Line) -> bytes:
    return x.data.removesuffix(b"\n")


# --- R1 to R4: bytes that are no record -------------------------------------------------------


@pytest.mark.spec("R1", "A29")
@pytest.mark.parametrize(
    "junk",
    [
        b"this is no JSON",
        b'{"type":"assistant","message":{"id":"msg-torn","usage":{"output_tokens":5',
        b'"only a text"',
        b"42",
        b"null",
        b'[{"type":"user"}]',
        b"{]}",
        b"\x00\x00\x00\x00",
        b"\xff\xfe\xfd",
        b'{"a":1}}}}}',
    ],
)
def test_a_line_that_is_no_record(home: Path, env: dict[str, str], junk: bytes) -> None:
    path = put(home, [junk, b"\n"])
    seen = read(env)
    assert_neighbours(seen)
    damaged = [f for f in seen.findings if f.reason == "damaged"]
    if junk.startswith(b'{"a"'):
        assert seen.reasons == ["unknown", "damaged"]
        assert_place(damaged[0], path, b"}}}}")
    else:
        assert seen.reasons == ["damaged"]
        assert_place(damaged[0], path, junk)


@pytest.mark.spec("R1")
def test_the_digest_of_damaged_bytes(home: Path, env: dict[str, str]) -> None:
    junk = b'{"type": "assis'
    put(home, [junk, b"\n"])
    (finding,) = read(env).findings
    assert hashlib.sha256(junk).hexdigest()[:16] in finding.detail
    # and the events carry the bytes themselves
    (warning,) = [e for e in events(env) if isinstance(e, ParseWarning)]
    assert warning.raw == junk.decode()


@pytest.mark.spec("R1")
def test_blank_lines_are_nothing(home: Path, env: dict[str, str]) -> None:
    put(home, [b"\n", b"   \n", b"\r\n", ONE])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.findings == []


@pytest.mark.spec("R2")
@pytest.mark.parametrize("cut", [1, 2, 9, 60, 150, 290, -1])
def test_a_torn_record_with_a_whole_one_glued_to_it(
    home: Path, env: dict[str, str], cut: int
) -> None:
    torn = bare(ONE)[:cut]
    path = put(home, [torn, TWO])
    seen = read(env)
    assert_neighbours(seen, TWO)
    assert seen.reasons == ["damaged"]
    assert_place(seen.findings[0], path, torn)


@pytest.mark.spec("R2")
@pytest.mark.parametrize("end", [b"}}", b"}", b'}},"sessionId":"x', b"}},", b"}}\0\0"])
def test_objects_inside_a_torn_record_are_no_records(
    home: Path, env: dict[str, str], end: bytes
) -> None:
    message = b'{"id":"m","type":"message","role":"assistant","usage":{"output_tokens":5'
    torn = b'{"type":"assistant","sessionId":"x","message":' + message + end
    path = put(home, [torn, b"\n", torn, ONE])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.reasons == ["damaged", "damaged"]
    for finding in seen.findings:
        assert_place(finding, path, torn)


@pytest.mark.spec("R2")
def test_a_record_torn_where_a_value_would_begin(home: Path, env: dict[str, str]) -> None:
    torn = b'{"type":"user","message":'
    path = put(home, [torn, ONE])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.reasons == ["damaged"]
    assert_place(seen.findings[0], path, torn)


@pytest.mark.spec("R3")
def test_two_records_on_one_line(home: Path, env: dict[str, str]) -> None:
    put(home, [bare(ONE), TWO])
    seen = read(env)
    assert_neighbours(seen, ONE, TWO)
    assert seen.findings == []
    keys = [e.key for e in events(env) if isinstance(e, UsageReported)]
    assert keys == [x.key for x in (BEFORE[1], ONE, TWO, AFTER[1])]


@pytest.mark.spec("R4")
@pytest.mark.parametrize("junk", [b"\0" * 4096, b"\0", b"#!", b"\xef\xbf\xbe", b"}]"])
@pytest.mark.parametrize("behind", [False, True])
def test_junk_beside_a_record(home: Path, env: dict[str, str], junk: bytes, behind: bool) -> None:
    path = put(home, [bare(ONE), junk, b"\n"] if behind else [junk, ONE])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.reasons == ["damaged"]
    assert_place(seen.findings[0], path, junk)


# --- R5: numbers ------------------------------------------------------------------------------

ODD_NUMBERS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "-5", "12.5", "9" * 17, "9" * 25,
    "-" + "9" * 25, "9" * 5000, '"12"', "true", "[12]", '{"n": 12}',
]  # fmt: skip


@pytest.mark.spec("R5", "A9")
@pytest.mark.parametrize("number", ODD_NUMBERS, ids=lambda n: n[:10])
def test_a_number_that_is_none(home: Path, env: dict[str, str], number: str) -> None:
    odd = ONE.data.replace(b'"output_tokens":70', b'"output_tokens":' + number.encode())
    assert odd != ONE.data
    put(home, [odd])
    seen = read(env)
    assert_neighbours(seen, ONE._replace(tokens=(*ONE.tokens[:3], 0)))
    assert seen.sessions[ID].counts.responses == 3
    assert seen.reasons == ["bad_field"]
    assert seen.findings[0].detail == "message.usage.output_tokens"


@pytest.mark.spec("R5", "R46")
@pytest.mark.parametrize(
    "moment",
    [
        "0",
        "-1",
        "1e999",
        '"1970-01-01T00:00:00.000Z"',
        '"9999-12-31T23:59:59.999Z"',
        '"soon"',
        '""',
    ],
)
def test_a_time_that_is_none(home: Path, env: dict[str, str], moment: str) -> None:
    record = {**json.loads(ONE.data), "timestamp": "HERE"}
    odd = json.dumps(record).replace('"HERE"', moment).encode()
    put(home, [odd, b"\n"])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.sessions[ID].started_at == START + 1000


# --- R6: what is not known --------------------------------------------------------------------


@pytest.mark.spec("R6", "AW25")
def test_what_is_not_known_is_counted_and_kept(home: Path, env: dict[str, str]) -> None:
    new = line({"type": "hologram", "sessionId": NAME, "beam": {"x": [1, 2, {"y": None}]}})
    block = json.loads(ONE.data)
    block["message"]["content"].insert(0, {"type": "smell", "odour": "pine"})
    block["message"]["aura"] = block["unheard"] = {"of": True}
    path = put(home, [new, line(block), new])
    with decklog.open(env=env) as deck:
        seen = look(deck)
        raw = b"".join(deck.raw(ID))
    assert_neighbours(seen, ONE)
    found = {f.detail: f for f in seen.findings}
    assert found.keys() == {"record type 'hologram'", "content block 'smell'"}
    assert found["record type 'hologram'"].count == 2
    assert_place(found["record type 'hologram'"], path, bare(new))
    assert raw == path.read_bytes()


# --- R7: records of another session -----------------------------------------------------------


@pytest.mark.spec("R7")
def test_records_of_another_session(home: Path, env: dict[str, str]) -> None:
    stray = Claude(OTHER)
    stray.prompt("lost")
    stray.answer("lost", (2, 2, 2, 2))
    path = put(home, stray.lines)
    seen = read(env)
    assert_neighbours(seen, *stray.lines)
    theirs = seen.sessions[f"claude:{OTHER}"]
    assert (theirs.prompt, theirs.usage.output, theirs.counts.prompts) == ("lost", 2, 1)
    assert seen.sessions[ID].counts.prompts == 2
    assert seen.reasons == ["misfiled"]
    assert OTHER in seen.findings[0].detail
    assert_place(seen.findings[0], path, bare(stray.lines[0]))


# --- R8: bytes and characters -----------------------------------------------------------------


def prompt(text: bytes) -> bytes:
    """A prompt whose JSON string has just these bytes."""
    return PROMPT.data.replace(b"HERE", text)


@pytest.mark.spec("R8", "AW13")
@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        (b"caf\xe9 au lait", "caf\ufffd au lait"),
        (b"\xff\xfe\x00\x80".replace(b"\x00", b""), "\ufffd\ufffd\ufffd"),
        (rb"half \ud83d a pair", "half \ufffd a pair"),
        (rb"other \ude00 half", "other \ufffd half"),
        (rb"both \ud83d\ude00", "both \U0001f600"),
        ("line\u2028para\u2029next\u0085end".encode(), "line\u2028para\u2029next\u0085end"),
        (b"nul \x00 inside", "nul \x00 inside"),
        (rb"nul \u0000 escaped", "nul \x00 escaped"),
        (b"bell \x07 and tab \t raw", "bell \x07 and tab \t raw"),
        (b"carriage \r return", "carriage \r return"),
        (b"form \x0c feed \x0b \x1c \x1d \x1e", "form \x0c feed \x0b \x1c \x1d \x1e"),
        ("\ufeffa mark of order".encode(), "\ufeffa mark of order"),
    ],
)
def test_odd_characters(home: Path, env: dict[str, str], text: bytes, read_as: str) -> None:
    put(home, [prompt(text), ONE])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.sessions[ID].counts.prompts == 3
    assert seen.report.lines == 6
    assert said(env) == ["before", read_as, "after"]
    for event in events(env):
        msgspec.json.encode(event).decode()
    msgspec.json.encode(seen.findings + list(seen.sessions.values())).decode()


@pytest.mark.spec("R8")
def test_broken_bytes_in_parts_that_are_kept_raw(home: Path, env: dict[str, str]) -> None:
    result = line({**json.loads(EDIT[1].data), "toolUseResult": {"file": "HERE"}})
    put(home, [joined([EDIT[0], result]).replace(b"HERE", b"\xe9t\xe9")])
    assert_neighbours(read(env))
    for event in events(env):
        assert b"HERE" not in msgspec.json.encode(event)
        json.loads(msgspec.json.encode(event).decode("utf-8", "strict"))


@pytest.mark.spec("R8")
def test_marks_of_order_and_ends_of_lines(home: Path, env: dict[str, str]) -> None:
    path = put(home, [b"\xef\xbb\xbf", bare(ONE), b"\r\n", bare(TWO), b" \r\n"])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    seen = read(env)
    assert_neighbours(seen, ONE, TWO)
    assert seen.findings == []
    assert seen.sessions[ID].counts.prompts == 2


# --- R9: shape --------------------------------------------------------------------------------


@pytest.mark.spec("R9")
@pytest.mark.parametrize("depth", [300, 700, 1_500, 100_000])
@pytest.mark.parametrize("place", ["toolUseResult", "unheard", "content"])
@pytest.mark.parametrize("broken", [b"", rb"\ud800"], ids=["whole", "broken"])
def test_nesting(home: Path, env: dict[str, str], depth: int, place: str, broken: bytes) -> None:
    record = json.loads(prompt(b"deep" + broken))
    if place == "content":
        record["message"]["content"] = [{"type": "tool_result", "content": "NEST"}]
    else:
        record[place] = "NEST"
    deep = b"[" * depth + b"]" * depth
    put(home, [json.dumps(record).encode().replace(b'"NEST"', deep), b"\n", ONE])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.reasons in (["too_deep"], [])
    if depth >= 1_500:
        assert seen.reasons == ["too_deep"]
    assert [e for e in events(env) if isinstance(e, UserMessage)]


@pytest.mark.spec("R9")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("values", [200_000, 2_000_000])
def test_very_many_values(home: Path, env: dict[str, str], values: int) -> None:
    many = json.dumps([0] * values)
    record = json.loads(prompt(b"many"))
    beside = json.dumps({**record, "unheard": "HERE"}).replace('"HERE"', many)
    record["message"]["content"] = "HERE"
    inside = json.dumps(record).replace('"HERE"', many)
    put(home, [beside.encode(), b"\n", inside.encode(), b"\n", ONE])
    began = time.monotonic()
    seen = read(env)
    assert time.monotonic() - began < 30
    assert_neighbours(seen, ONE)
    refused = values > 250_000
    assert seen.sessions[ID].counts.prompts == (2 if refused else 3)
    assert seen.reasons == (["too_big", "too_big"] if refused else ["bad_field"])


@pytest.mark.spec("R9")
def test_of_keys_that_stand_twice_the_last_counts(home: Path, env: dict[str, str]) -> None:
    twice = ONE.data.replace(b'"output_tokens":70', b'"output_tokens":1,"output_tokens":70')
    assert twice != ONE.data
    put(home, [twice])
    assert_neighbours(read(env), ONE)


# --- R10, R11: files --------------------------------------------------------------------------


@pytest.mark.spec("R10")
@pytest.mark.parametrize(
    "name",
    [
        f"{OTHER}.jsonl.xz", f"{OTHER}.jsonl.gz", f"{OTHER}.jsonl.bak", f"{OTHER}.ndjson",
        f"{OTHER}.json", "sessions.db", "sessions.sqlite", "deeper/still/transcript.parquet",
    ],
)  # fmt: skip
def test_a_file_that_no_rule_knows(home: Path, env: dict[str, str], name: str) -> None:
    path = put(home, []).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(joined(BEFORE))
    seen = read(env)
    assert_neighbours(seen)
    assert [(f.reason, f.source) for f in seen.findings] == [("unrecognized", str(path))]


@pytest.mark.spec("R10")
@pytest.mark.parametrize(
    "name",
    [
        "sessions-index.json", ".DS_Store", "notes.md", f"{NAME}/tool-results/toolu_01.txt",
        f"{NAME}/tool-results/deeper/x.jsonl", "memory/MEMORY.md",
        f"{NAME}/subagents/agent-a1.meta.json", f"{NAME}/subagents/workflows/wf_1/journal.jsonl",
    ],
)  # fmt: skip
def test_files_that_are_known_to_hold_no_session(
    home: Path, env: dict[str, str], name: str
) -> None:
    path = put(home, []).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(joined([ONE, TWO]))
    seen = read(env)
    assert_neighbours(seen)
    assert seen.findings == []


@pytest.mark.spec("R37", "R11")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "socket", "dangling", "loop"])
def test_what_is_no_regular_file(
    home: Path,
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    path = put(home, []).parent / f"{OTHER}.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path.name)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere.jsonl")
    else:
        path.symlink_to(path)
    seen = read(env)
    assert_neighbours(seen)
    assert [(f.reason, f.source) for f in seen.findings] == [("unreadable", str(path))]
    assert seen.report.problems == 1


@pytest.mark.spec("R37")
def test_a_folder_named_like_a_transcript(home: Path, env: dict[str, str]) -> None:
    folder = put(home, []).parent / f"{OTHER}.jsonl"
    folder.mkdir()
    (folder / "link").symlink_to(folder.parent, target_is_directory=True)
    seen = read(env)
    assert_neighbours(seen)
    assert seen.findings == []


@pytest.mark.spec("R37", "R11", "R42")
def test_a_file_that_may_not_be_read(
    home: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every file may be read, so opening this one is refused here."""
    put(home, [])
    theirs = Claude(OTHER)
    theirs.answer("theirs", (7, 7, 7, 7))
    secret = theirs.write(home)
    opened = sources.open_regular

    def refuse(path: str) -> int:
        if path == str(secret):
            raise PermissionError(13, "Permission denied", path)
        return opened(path)

    monkeypatch.setattr(sources, "open_regular", refuse)
    seen = read(env)
    assert_neighbours(seen)
    assert [(f.reason, f.source) for f in seen.findings] == [("unreadable", str(secret))]
    assert seen.report.problems == 1
    monkeypatch.undo()
    seen = read(env)
    assert (seen.findings, seen.report.problems) == ([], 0)
    assert_neighbours(seen, *theirs.lines)


@pytest.mark.spec("R37")
def test_a_file_that_vanishes_before_it_is_read(home: Path, env: dict[str, str]) -> None:
    path = put(home, [])
    task = reading.Task("claude", 1, str(path), "jsonl", (99, 0, 0, 0), 0, 0, b"", b"")
    path.unlink()
    (batch,) = reading.batches(task, lambda at: "")
    assert [row[1] for row in batch.findings] == ["unreadable"]
    assert batch.stat == reading.TRY_AGAIN


@pytest.mark.spec("R50", "R51", "AW13", "R11")
@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_line_beyond_all_measure(home: Path, env: dict[str, str]) -> None:
    path = put(home, [])
    with path.open("wb") as f:
        f.write(joined(BEFORE))
        f.write(b'{"type":"user","message":{"content":"')
        for _ in range(66):
            f.write(b"x" * (1 << 20))
        f.write(b'"}}\n' + joined(AFTER))
    began = time.monotonic()
    seen = read(env)
    assert time.monotonic() - began < 10
    assert_neighbours(seen)
    assert seen.reasons == ["too_long"]
    (finding,) = seen.findings
    assert (finding.offset, finding.line) == (len(joined(BEFORE)), 3)
    assert finding.length == path.stat().st_size - len(joined([*BEFORE, *AFTER])) - 1
    assert seen.report.problems == 1


@pytest.mark.spec("R50")
def test_a_long_line_that_is_a_record(home: Path, env: dict[str, str]) -> None:
    record = json.loads(ONE.data)
    record["message"]["content"].append({"type": "text", "text": "long " * 1_000_000})
    put(home, [line(record)])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.findings == []


@pytest.mark.spec("R55", "R42")
@pytest.mark.timeout(60)
def test_a_packed_file_that_unpacks_to_far_too_much(home: Path, env: dict[str, str]) -> None:
    put(home, [])
    codex = Codex(OTHER)
    codex.prompt("pack me")
    codex.answer("packed", (3, 0, 0, 30))
    path = codex.write(home)
    bomb = path.with_name(path.name + ".zst")
    with bomb.open("wb") as f, zstandard.ZstdCompressor().stream_writer(f) as out:
        out.write(codex.data)
        for _ in range(80):
            out.write(b"x" * (1 << 20) + b"\n")
    path.unlink()
    seen = read(env)
    assert_neighbours(seen)
    assert seen.reasons == ["bomb"]
    assert seen.report.problems == 1


@pytest.mark.spec("R34")
def test_a_database_that_is_none(home: Path, env: dict[str, str]) -> None:
    put(home, [])
    path = home / ".local/share/opencode/opencode.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    seen = read(env)
    assert_neighbours(seen)
    assert seen.reasons == ["unreadable"]
    with pytest.raises(databases.Unreadable):
        databases.versions(str(path), agents.get("opencode"))
