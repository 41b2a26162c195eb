"""What can happen to the bytes of a record: a seeded mutator. It knows JSON, so that most of what
it makes gets past the decoder and into a reader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

VALUES = [
    b"null", b"true", b"false", b"0", b"-0", b"-1", b"1", b"0.5", b"-2.5e-3", b"1e999", b"-1e999",
    b"NaN", b"-Infinity", b"9007199254740993", b"9223372036854775807", b"9223372036854775808",
    b"18446744073709551615", b"18446744073709551616", b"-9223372036854775809", b"1e308",
    b"9" * 5000, b"1700000000", b"1700000000000", b"00", b"0x10", b"1_000",
    b'""', b'" "', b'"x"', b'"0"', b'"1"', b'"null"', b'"NaN"', b'"\\ud800"', b'"\\udc00x"',
    b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\\uZZZZ"', b'"\x00"', b'"\xff\xfe"', b'"\xed\xa0\x80"',
    '"\u2028\u202e\x85"'.encode(), b'"' + b"long " * 3000 + b'"', b'"<session>"',
    b'"2026-01-02T03:04:05.678Z"', b'"2026-01-02T03:04:05"', b'"0001-01-01T00:00:00+14:00"',
    b'"9999-12-31T23:59:59-14:00"', b'"1970-01-01T00:00:00Z"', b'"2026-02-30T00:00:00.000Z"',
    b'"../../../etc/passwd"', b'"*** Begin Patch\\n*** Add File: a\\n*** End Patch"',
    b"[]", b"{}", b"[[]]", b"[{}]", b'{"":{}}', b'[null,1,"x",{},[]]', b'{"type":"text"}',
    b'{"type":null}', b'[{"type":"tool_use"},{"type":"tool_result"},{"type":7}]',
    b'{"input_tokens":-5,"output_tokens":1e400,"total":{"x":[]}}',
    b"[" * 40 + b"]" * 40, b'{"a":' * 40 + b"1" + b"}" * 40,
    b"[" * 600 + b"]" * 600, b"[" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b"[" + b"0," * 400 + b"{}]", b"[" + b'"x",' * 100 + b"null]",
    b"{" + b",".join(b'"k%d":[]' % n for n in range(200)) + b"}",
]  # fmt: skip
"""Values that are odd in the place of any other."""
JUNK = [
    b"\0", b"\0" * 64, b"\0" * 4096, b"\n", b"\r\n", b"\r", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff",
    b"\x80" * 9, b"{", b"}", b"}{", b"[", b"]", b'"', b"\\", b":", b",", b'{"', b'"}', b"\t",
    "\u2028".encode(), "\U0001f600".encode()[:2], b"\x1b[31m", b"{}", b'{"type":"user"}', b"null",
]  # fmt: skip
_digit = re.compile(rb"\d")
_token = re.compile(rb'"(?:[^"\\]+|\\.)*+"|-?\d[\d.eE+-]*|true|false|null|[\[\]{}]', re.S)
_colon = re.compile(rb" ?:")


Span: TypeAlias = tuple[int, int]
"""Where something begins and ends."""


class Record(NamedTuple):
    """A record to be mutated, looked at once."""

    data: bytes
    keys: list[Span]
    values: list[Span]
    """Containers after what they hold."""

    @classmethod
    def of(cls, data: bytes, most: int = -1) -> Record:
        """With the keys and values of a JSON text, or of its first bytes (``most``)."""
        keys: list[Span] = []
        values: list[Span] = []
        opened: list[int] = []
        for token in _token.finditer(data, 0, len(data) if most < 0 else most):
            start, end = span = token.span()
            first = data[start]
            if first in b"{[":
                opened.append(start)
            elif first in b"]}":
                if opened:
                    values.append((opened.pop(), end))
            elif first == ord('"') and _colon.match(data, end):
                keys.append(span)
            else:
                values.append(span)
        return cls(data, keys, values)


def _put(data: bytes, span: Span, new: bytes) -> bytes:
    return data[: span[0]] + new + data[span[1] :]


# Each takes the dice, the record, and another record of the same agent.


def flipped(r: Random, a: Record, b: Record) -> bytes:
    data = bytearray(a.data)
    for _ in range(r.choice((1, 1, 1, 2, 8))):
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return bytes(data)


def scribbled(r: Random, a: Record, b: Record) -> bytes:
    data = bytearray(a.data)
    at = r.randrange(len(data))
    data[at : at + r.randint(1, 12)] = r.randbytes(r.randint(1, 12))
    return bytes(data)


def cut(r: Random, a: Record, b: Record) -> bytes:
    return a.data[: r.randrange(len(a.data))]


def beheaded(r: Random, a: Record, b: Record) -> bytes:
    return a.data[r.randrange(len(a.data)) :]


def holed(r: Random, a: Record, b: Record) -> bytes:
    at = r.randrange(len(a.data))
    return a.data[:at] + a.data[at + r.randint(1, 60) :]


def zeroed(r: Random, a: Record, b: Record) -> bytes:
    at, n = r.randrange(len(a.data)), r.choice((1, 8, 64, 512))
    return a.data[:at] + b"\0" * n + a.data[at + n :]


def doubled(r: Random, a: Record, b: Record) -> bytes:
    at = r.randrange(len(a.data))
    end = at + r.randint(1, 200)
    return a.data[:end] + a.data[at:]


def littered(r: Random, a: Record, b: Record) -> bytes:
    at = r.choice((0, len(a.data), r.randrange(len(a.data))))
    return a.data[:at] + r.choice(JUNK) + a.data[at:]


def spliced(r: Random, a: Record, b: Record) -> bytes:
    return a.data[: r.randrange(len(a.data))] + b.data[r.randrange(len(b.data)) :]


def torn_and_glued(r: Random, a: Record, b: Record) -> bytes:
    return a.data[: r.randrange(len(a.data))] + b.data


def interrupted(r: Random, a: Record, b: Record) -> bytes:
    at = r.randrange(len(a.data))
    return a.data[:at] + b.data + a.data[at:]


def glued(r: Random, a: Record, b: Record) -> bytes:
    return a.data + b.data


def value_made_odd(r: Random, a: Record, b: Record) -> bytes:
    return _put(a.data, r.choice(a.values), r.choice(VALUES)) if a.values else a.data


def value_of_another(r: Random, a: Record, b: Record) -> bytes:
    if not a.values or not b.values:
        return a.data
    return _put(a.data, r.choice(a.values), b.data[slice(*r.choice(b.values))])


def value_moved(r: Random, a: Record, b: Record) -> bytes:
    if not a.values:
        return a.data
    return _put(a.data, r.choice(a.values), a.data[slice(*r.choice(a.values))])


def value_wrapped(r: Random, a: Record, b: Record) -> bytes:
    if not a.values:
        return a.data
    s = r.choice(a.values)
    whole = a.data[slice(*s)]
    quoted = json.dumps(whole.decode("utf-8", "replace")).encode()
    n = r.choice((1, 2, 300))
    return _put(a.data, s, r.choice((b"[" * n + whole + b"]" * n, b'{"x":' + whole + b"}", quoted)))


def key_renamed(r: Random, a: Record, b: Record) -> bytes:
    if not a.keys or not b.keys:
        return a.data
    other = b.data[slice(*r.choice(b.keys))]
    name = r.choice((other, b'""', b'"x"', b'"\\ud800"', b'"type"', b'"usage"'))
    return _put(a.data, r.choice(a.keys), name)


def key_doubled(r: Random, a: Record, b: Record) -> bytes:
    if not a.keys:
        return a.data
    start, end = r.choice(a.keys)
    pair = a.data[start:end] + b":" + r.choice(VALUES) + b","
    return a.data[:start] + pair + a.data[start:]


def text_disturbed(r: Random, a: Record, b: Record) -> bytes:
    texts = [s for s in a.values if a.data[s[0]] == ord('"') and s[1] - s[0] > 2]
    if not texts:
        return a.data
    start, end = r.choice(texts)
    at = r.randint(start + 1, end - 1)
    digit = _digit.search(a.data, at, end)
    if digit and r.random() < 0.3:
        at = digit.start()
        return a.data[:at] + b"7" * r.choice((19, 400, 4400)) + a.data[at:]
    odd = (b"\\ud800", b"\\udfff", b"\xff", b"\xc3", b"\0", b"\x1f", b"\r", b"\\", b"\\u12",
           "\u0085\u202e\ufeff".encode())  # fmt: skip
    return a.data[:at] + r.choice(odd) + a.data[at:]


def recoded(r: Random, a: Record, b: Record) -> bytes:
    text = a.data.decode("utf-8", "replace")
    return text.encode(r.choice(("utf-16", "utf-8-sig", "utf-16-be", "utf-32")))


def spaced(r: Random, a: Record, b: Record) -> bytes:
    try:
        value = json.loads(a.data)
    except (ValueError, RecursionError):
        return a.data
    return json.dumps(value, indent=None, separators=(" , ", " : ")).encode()


Mutation = Callable[[Random, Record, Record], bytes]

BREAKS: tuple[Mutation, ...] = (
    flipped, scribbled, cut, beheaded, holed, zeroed, doubled, littered, spliced, torn_and_glued,
    interrupted, glued, recoded,
)  # fmt: skip
"""These work on bytes."""
BENDS: tuple[Mutation, ...] = (
    value_made_odd, value_made_odd, value_made_odd, value_of_another, value_of_another, value_moved,
    value_wrapped, key_renamed, key_renamed, key_doubled, text_disturbed, spaced,
)  # fmt: skip
"""These mostly leave a JSON text a JSON text."""


SCANNED = 1_000
"""Bytes of a record that has been mutated already that are looked at for keys and values."""


def mutated(r: Random, a: Record, others: Sequence[Record]) -> tuple[bytes, tuple[str, ...]]:
    """The record after one to three accidents, and their names."""
    names = []
    data = a.data
    for n in range(r.choice((1, 1, 1, 1, 2, 3))):
        bends = r.random() < 0.6
        if not data:
            break
        if n:
            a = Record.of(data, SCANNED if bends else 0)
        mutation = r.choice(BENDS if bends else BREAKS)
        data = mutation(r, a, r.choice(others))
        names.append(mutation.__name__)
    return data, tuple(names)
