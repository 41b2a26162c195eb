"""Damaged and hostile transcripts through the whole pipeline: what is whole counts, what is not is
told with its place, and nothing takes its neighbours along."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import msgspec
import pytest

import decklog
from damaged import (
    AFTER,
    BEFORE,
    EDIT,
    ID,
    NAME,
    ONE,
    OTHER,
    PROMPT,
    TWO,
    assert_neighbours,
    assert_place,
    bare,
    events,
    joined,
    look,
    put,
    read,
    said,
)
from decklog.model import ParseWarning, UsageReported, UserMessage
from homes import START, Claude, line

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
