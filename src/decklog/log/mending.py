"""Looking after logs that are there already: verify, repair, remove.

Repairing never loses a sound record, and keeps the bytes it replaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from decklog import durable
from decklog.durable import Appender
from decklog.errors import NotFound, SourceError
from decklog.log import lines, reading, segments
from decklog.log.appending import seal
from decklog.log.reading import Hole
from decklog.log.segments import Segment


def verify(folder: str, known: int = 0) -> Iterator[Hole]:
    """Everything in a log that is not there as it was written.

    ``known`` is the number up to which records have been seen before: what is missing of these at
    the end is a gap, too.
    """
    tail = reading.Tail(folder)
    for item in tail.read():
        if isinstance(item, Hole):
            yield item
    if tail.seq < known:
        yield Hole(
            path=tail.path, offset=tail.offset, reason="gap", after=tail.seq,
            detail=f"{tail.seq + 1} to {known}",
        )  # fmt: skip


def repair(folder: str) -> list[str]:
    """Put marks where records were lost, in every damaged segment; gives the files that keep the
    damaged bytes. A torn end is not its matter (see `Log.open`). Raises WriteError, SourceError."""
    kept = []
    expected = 1
    found = segments.listed(folder)
    for segment, following in zip(found, [*found[1:], None], strict=False):
        holes, after = _walked(segment, min(expected, segment.first), following)
        if all(h.reason == "lost" for h in holes):
            expected = max(expected, after)
        elif following or segment.packed:
            name, expected = _repair(segment, expected, following)
            kept.append(name)
        else:
            with Appender(segment.path, create=False) as file, file.locked():
                name, expected = _repair(segment, expected, None)
                kept.append(name)
    return kept


def _walked(segment: Segment, expected: int, following: Segment | None) -> tuple[list[Hole], int]:
    """The holes in a segment, and the number after it."""
    walk = reading.Walk(segment, expected, following.first if following else 0)
    holes = [item for item in walk.items(final=True) if isinstance(item, Hole)]
    return holes, walk.expected


def _repair(segment: Segment, expected: int, following: Segment | None) -> tuple[str, int]:
    """Put what is sound of a segment in its place; (file that keeps what it was, next number)."""
    kept = _free(segment.path)
    data = b"".join(piece.data or b"\n" for piece in segments.pieces(segment))
    good, expected = _sound(data, min(expected, segment.first), os.path.basename(kept))
    if following and following.first > expected:
        good += lines.lost(expected, following.first - 1, os.path.basename(kept))
        expected = following.first
    if following or segment.packed:
        good += seal(expected - 1, good)
    try:
        os.link(segment.path, kept)
    except OSError as error:
        raise durable.failed(kept, error) from None
    durable.replace(segment.path, segments.packed(good) if segment.packed else good)
    return kept, expected


def _sound(data: bytes, expected: int, kept: str) -> tuple[bytes, int]:
    """The sound lines with marks for what is missing between them, and the number after them."""
    out = []
    for line in lines.whole(data):
        head, number = lines.number(line)
        first = number + (head == "sealed")  # a footer names the last record
        if first > expected:
            out.append(lines.lost(expected, first - 1, kept))
            expected = first
        if head == "seq" and number == expected:
            out.append(line + b"\n")
            expected += 1
        elif head == "lost":
            out.append(line + b"\n")
            expected = max(expected, msgspec.json.decode(line, type=lines.Lost).until + 1)
    return b"".join(out), expected


def _free(path: str) -> str:
    """A name beside a segment that nothing has."""
    n = 1
    while os.path.lexists(f"{path}.damaged-{n}"):
        n += 1
    return f"{path}.damaged-{n}"


def remove(folder: str, trash: str) -> None:
    """Remove a log for good. ``trash`` is a folder for what is going.

    Who waits for the lock to append makes a new log. A crash leaves the log whole, or in the trash.
    """
    durable.private_folder(trash)
    empty(trash)
    found = segments.listed(folder)
    gone = f"{trash}/{os.path.basename(folder)}"
    try:
        if found and not found[-1].packed:
            with suppress(NotFound), Appender(found[-1].path, create=False) as file, file.locked():
                os.rename(folder, gone)
                os.unlink(f"{gone}/{os.path.basename(file.path)}")
        if os.path.isdir(folder):
            os.rename(folder, gone)
    except OSError as error:
        raise durable.failed(folder, error) from None
    empty(trash)


def empty(trash: str) -> None:
    """Remove what is in the trash. Raises WriteError."""
    try:
        for log in os.listdir(trash):
            for file in os.listdir(f"{trash}/{log}"):
                os.unlink(f"{trash}/{log}/{file}")
            os.rmdir(f"{trash}/{log}")
    except OSError as error:
        raise durable.failed(trash, error) from None


def size(folder: str) -> int:
    """Bytes that a log takes on disk."""
    try:
        with os.scandir(folder) as files:
            return sum(f.stat(follow_symlinks=False).st_size for f in files)
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}") from None
