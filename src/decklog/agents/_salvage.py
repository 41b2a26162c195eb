"""Records that do not decode at once: what is whole in a damaged line, fields that do not fit, and
texts that are none. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from math import isfinite
from typing import Any

import msgspec
from msgspec import Raw

from decklog.decoding import decoder

SALVAGE_WORK = 32_000_000
"""Characters that salvage may look at in one line, so that hostile lines cannot hang it."""
SCANNED = 1 << 18
"""Characters of a broken object, at most, in which the brackets are matched."""
DEEP = 500
"""Levels of an object beside damage that are looked into, once one was found to be too deep."""


class _Lenient(json.JSONDecoder):
    def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
        try:
            return super().raw_decode(s, idx)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a number of more digits than Python makes a number of
            return _LONG.raw_decode(s, idx)


LENIENT = _Lenient(strict=False)
"""Takes what strict JSON does not: control characters in strings, and numbers that are none or
beyond all bounds. `mend` makes texts of those, so that the field that wanted a number says so."""
_LONG = json.JSONDecoder(strict=False, parse_int=lambda d: int(d) if len(d) <= 20 else d)


def loads(data: bytes | Raw) -> Any:
    """Any JSON value as well as it can be read; None where it cannot."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return mend(LENIENT.decode(bytes(data).decode("utf-8", "surrogateescape")))
    except (ValueError, RecursionError):
        return None


_path = re.compile(r" - at `\$(.*)`$")
_element = re.compile(r"^(.*)\[\d+\]")
_steps = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def salvage(line: bytes) -> list[tuple[int, int, Any]]:
    """Split a damaged line into spans ``(start, end, value)`` that cover it.

    ``value`` is the decoded object for a whole JSON object that begins at the top level of the
    line, None for bytes that are part of no object. Objects that start inside an unfinished one
    (a torn record with the next one glued to it) are found too.
    """
    text = line.decode("utf-8", "surrogateescape")
    spans: list[tuple[int, int, Any]] = []
    done = at = 0  # in characters
    offset = 0  # in bytes, of ``done``
    budget = max(SALVAGE_WORK, 4 * len(text))  # characters that may be looked at

    def put(end: int, value: Any) -> None:
        nonlocal done, offset
        n = len(text[done:end].encode("utf-8", "surrogateescape"))
        if n:
            spans.append((offset, offset + n, value))
        done, offset = end, offset + n

    dated = '"timestamp"' in text or '"uuid"' in text
    hopeless: set[int] = set()
    while budget > 0 and (at := text.find('{"', at)) >= 0:
        before = _last(text, done, at)
        if at in hopeless or (before in INSIDE and not dated):
            at += 1
            continue
        try:
            value, end = LENIENT.raw_decode(text, at)
        except ValueError as error:
            hopeless |= _hopeless(text, at, getattr(error, "pos", len(text)))
            budget -= len(text) - at
            at += 1
            continue
        except RecursionError:
            hopeless |= _hopeless(text, at, len(text), DEEP)
            budget -= len(text) - at
            at += 1
            continue
        if before and _is_inner(before, value, text[end : end + 1]):
            budget -= end - at
            at += 1
            continue
        if before:
            put(at, None)
        put(end, value)
        at = end
    if text[done:].strip():
        put(len(text), None)
    return spans


_bracket = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[{}\[\]]', re.S)


def _hopeless(text: str, start: int, end: int, deepest: int = 0) -> set[int]:
    """Where objects begin within a broken one that are broken with it: they do not end before
    ``end`` either, or hold more levels than ``deepest``. To decode one after the other would take
    time by the square of their depth. Nothing is known of a long text."""
    found: set[int] = set()
    if end - start > SCANNED:
        return found
    opened: list[int] = []
    levels = [0]  # that the values opened last hold
    for token in _bracket.finditer(text, start, end):
        at = token.start()
        first = text[at]
        if first in "{[":
            opened.append(at)
            levels.append(0)
        elif first != '"' and opened:
            at, height = opened.pop(), levels.pop() + 1
            levels[-1] = max(levels[-1], height)
            if deepest and height > deepest:
                found.add(at)
    return found.union(opened)


def _last(text: str, start: int, end: int) -> str:
    """The last character there that is no white space; empty when there is none."""
    while end > start and text[end - 1].isspace():
        end -= 1
    return text[end - 1 : end] if end > start else ""


INSIDE = frozenset(":,[")
"""Behind these stands a value."""
_RECORD = {"type", "timestamp", "uuid", "id", "payload", "role", "record_type", "$set"}


def _is_inner(before: str, value: dict[str, Any], behind: str) -> bool:
    """True for an object that is a part of a torn record: it stands where a value stands, or does
    not end where a record can end. (Also a record may be torn just where a value would begin.)"""
    names = value.keys() & _RECORD
    if before in INSIDE:
        return "type" not in names or names.isdisjoint(("timestamp", "uuid"))
    return not names or (behind != "" and behind in ",]}:")


COUNTED = 1 << 20
"""Bytes of a record above which its values are counted before it is decoded."""
_string = re.compile(rb'"(?:[^"\\]+|\\.)*"?', re.S)


def values(line: bytes, most: int) -> int:
    """About how many values a JSON text holds, told by the commas outside its strings; no count
    goes much beyond ``most``."""
    if line.count(b",") <= most:
        return 0
    found = at = 0
    while found <= most:
        quote = line.find(b'"', at)
        found += line.count(b",", at, quote if quote >= 0 else len(line))
        if quote < 0:
            break
        string = _string.match(line, quote)
        at = string.end() if string else quote + 1
    return found


_surrogates = re.compile("[\ud800-\udfff]+")


def _replaced(found: re.Match[str]) -> str:
    """As many signs as `recoded` makes of broken bytes, and one for each half of a pair."""
    each = "\ufffd" * len(found[0])
    try:
        made = found[0].encode("ascii", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return each
    return each if made.strip("\ufffd") else made


def mend(value: Any) -> Any:
    """The value as JSON can hold it, changed in place: what is no character (a broken byte, half a
    pair) replaced, numbers that are infinite or take more than 64 bits as text. As deep as it may
    be: what becomes of a record must not depend on how much of it was read."""
    whole = [value]
    todo: list[Any] = [whole]
    while todo:
        inner = todo.pop()
        if isinstance(inner, dict) and not all(map(str.isascii, inner)):
            items = [(_mended(k), v) for k, v in inner.items()]
            inner.clear()
            inner.update(items)
        for k, v in inner.items() if isinstance(inner, dict) else enumerate(inner):
            if isinstance(v, (dict, list)):
                todo.append(v)
            elif (mended := _mended(v)) is not v:
                inner[k] = mended
    return whole[0]


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _surrogates.sub(_replaced, value)
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


def recoded(data: bytes | Raw) -> bytes:
    """The same JSON text in valid UTF-8: bytes that are part of no character are replaced."""
    return bytes(data).decode("utf-8", "replace").encode()


MANY = 32
"""After so many misfits in one list the list is dropped."""


def convert_lenient(value: Any, kind: Any) -> tuple[Any, list[str]]:
    """Decode a mended value as a Struct type, dropping each field that does not fit.

    Returns the Struct and the places of the dropped fields.
    """
    bad: list[str] = []
    lists: Counter[str] = Counter()
    for _ in range(64):
        try:
            return decoder(kind).decode(msgspec.json.encode(value)), bad
        except msgspec.ValidationError as error:
            found = _path.search(str(error))
            if found is None:
                raise
            path = found[1]
            if (element := _element.search(path)) is not None:
                lists[element[1]] += 1
                if lists[element[1]] > MANY:
                    path = element[1]
            if not _drop(value, path):
                raise
            bad.append(path.lstrip("."))
    raise msgspec.ValidationError("too many fields of unexpected type")


def _drop(value: Any, path: str) -> bool:
    """Remove the element at a msgspec error path; ``[...]`` stands for any element of a dict."""
    steps = [(m[1] or m[2] or "...") for m in _steps.finditer(path)]
    if not steps:
        return False
    for step in steps[:-1]:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return False
    last = steps[-1]
    if isinstance(value, list) and last.isdigit() and int(last) < len(value):
        value[int(last)] = None if value[int(last)] is not None else {}
        return True
    if isinstance(value, dict):
        if last in value:
            del value[last]
            return True
        if last == "..." and value:
            value.clear()
            return True
    return False


def is_utf8(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
