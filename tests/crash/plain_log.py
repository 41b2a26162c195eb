"""A reader of decklog's log that knows nothing but docs/formats/log.md.

It shares no code with decklog, so that what both read alike is what the page says.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

NAME = re.compile(r"(\d{16})\.jsonl(\.zst)?")
BEGIN = re.compile(rb'\{"(seq|sealed|lost)":(\d+)')
END = re.compile(rb',"crc":"([0-9a-f]{8})"\}')


def read(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """(records in order, what was not as it should be) of the log in a folder."""
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True) if folder.exists() else ():
        if m := NAME.fullmatch(path.name):
            files[int(m[1])] = path  # the plain one comes last
    records: list[dict[str, Any]] = []
    problems: list[str] = []
    firsts = sorted(files)
    last = 0
    for i, first in enumerate(firsts):
        following = firsts[i + 1] if i + 1 < len(firsts) else None
        data, whole = contents(files[first])
        if not whole:
            problems.append(f"{first}: a frame cannot be unpacked")
        for line in lines(data):
            if line is None:
                problems.append(f"damaged after {last}")
                continue
            m = BEGIN.match(line)
            assert m
            head, number = m[1], int(m[2])
            if head == b"lost":
                problems.append(f"{number} was lost")
                last = max(last, json.loads(line)["until"])
            if head != b"seq" or (following is not None and number >= following):
                continue
            if number <= last:
                problems.append(f"{number} came again")
                continue
            if number > last + 1:
                problems.append(f"{last + 1} to {number - 1} are missing")
            last = number
            records.append(json.loads(line))
    return records, problems


def contents(path: Path) -> tuple[bytes, bool]:
    data = path.read_bytes()
    if path.suffix != ".zst":
        return data, True
    out = io.BytesIO()
    at, whole = 0, True
    while at < len(data):
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            plain = frame.decompress(data[at:])
            if not frame.eof:
                raise zstandard.ZstdError("cut")
        except zstandard.ZstdError:
            whole = False
            at = data.find(b"\x28\xb5\x2f\xfd", at + 1)
            if at < 0:
                break
        else:
            out.write(plain)
            at = len(data) - len(frame.unused_data)
    return out.getvalue(), whole


def sound(line: bytes) -> bool:
    return bool(
        len(line) > 18
        and END.fullmatch(line[-18:])
        and b"%08x" % zlib.crc32(line[:-18]) == line[-10:-2]
        and BEGIN.match(line)
    )


def lines(data: bytes) -> Iterator[bytes | None]:
    """The sound lines, also those inside of damaged ones; None for damage."""
    *whole, rest = data.split(b"\n")
    for line in [*whole, rest] if rest else whole:
        if sound(line):
            yield line
            continue
        yield None
        at = 0
        for begin in (m.start() for m in BEGIN.finditer(line)):
            for end in (m.end() for m in END.finditer(line, begin) if begin >= at):
                if sound(line[begin:end]):
                    yield line[begin:end]
                    at = end
                    break
