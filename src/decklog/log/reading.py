"""Reading a log: its records in order, and the holes where records should be.

A reader takes no lock and holds up no writer. It checks every line, goes on behind whatever is
damaged, and says what it had to leave out.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from zlib import crc32

import msgspec
from msgspec import Struct

from decklog.errors import SourceError
from decklog.log import lines, segments
from decklog.log.segments import Piece, Segment


class Record(Struct, frozen=True):
    """One record as it stands in the log."""

    seq: int
    line: bytes
    """Without the newline. `decklog.log.wire.decode` makes an event of it."""
    path: str
    """Its segment."""
    offset: int
    """In the uncompressed segment."""


class Hole(Struct, frozen=True, kw_only=True):
    """Something that is not there as it was written.

    ``reason``: ``damaged`` (bytes that are no record), ``torn`` (an unfinished last line), ``gap``
    (numbers are missing), ``repeated`` (a number came again), ``unsealed`` (the footer does not fit
    what stands before it), ``lost`` (records of which `decklog log repair` found nothing left; the
    bytes that held them are kept).
    """

    path: str
    offset: int = 0
    length: int = 0
    reason: str = "damaged"
    detail: str = ""
    after: int = 0
    """Number of the last record before it."""


def read(folder: str, after: int = 0) -> Iterator[Record | Hole]:
    """The records of a log with numbers above ``after``, and the holes between them, up to now.

    ``folder`` is that of one log; where there is none, nothing is read. Raises SourceError for what
    cannot be opened.
    """
    yield from Tail(folder, after).read()


class Tail:
    """A place in a log that moves on as the log grows.

    >>> tail = Tail(folder, after=41)
    >>> for item in tail.poll():      # what came since, a Record or a Hole each; never waits
    ...     print(item)
    """

    def __init__(self, folder: str, after: int = 0) -> None:
        self.folder = folder
        self.seq = after
        """Number of the last record given; one made with ``after=tail.seq`` goes on from here."""
        self._walk: Walk | None = None

    @property
    def path(self) -> str:
        """The segment that is read now; empty before there is one. It grows when there is news."""
        return self._walk.segment.path if self._walk else ""

    @property
    def offset(self) -> int:
        """How far that segment has been read."""
        return self._walk.offset if self._walk else 0

    def poll(self) -> Iterator[Record | Hole]:
        """What has been written since, whole lines only. Looks at one file size when there is
        nothing new. Raises SourceError."""
        yield from self._go(final=False)

    def read(self) -> Iterator[Record | Hole]:
        """`poll`, and what stands behind the last newline."""
        yield from self._go(final=True)

    def _go(self, *, final: bool) -> Iterator[Record | Hole]:
        walk = self._walk = self._walk or self._begin()
        while walk:
            for item in walk.items(final=final):
                if isinstance(item, Hole):
                    yield item
                elif item.seq > self.seq:
                    self.seq = item.seq
                    yield item
            following = self._next(walk, final)
            if following is None:
                return
            walk = self._walk = following

    def _begin(self) -> Walk | None:
        found = segments.listed(self.folder)
        if not found:
            return None
        i = max((i for i, s in enumerate(found) if s.first <= self.seq + 1), default=0)
        return Walk(found[i], found[i].first if i else 1, _first(found, i + 1))

    def _next(self, walk: Walk, final: bool) -> Walk | None:
        """The segment behind one that is read to its end: its footer is there, or its successor."""
        if not (walk.sealed or walk.limit or final):
            return None
        found = segments.listed(self.folder)
        later = [i for i, s in enumerate(found) if s.first > walk.segment.first]
        if not later:
            return None
        segment = found[later[0]]
        expected = min(walk.expected, segment.first)  # what the disk refused stands there once more
        return Walk(segment, expected, _first(found, later[0] + 1))


def _first(found: list[Segment], i: int) -> int:
    return found[i].first if i < len(found) else 0


class Walk:
    """One pass through one segment, which goes on where it stopped."""

    def __init__(self, segment: Segment, expected: int, limit: int = 0) -> None:
        self.segment = segment
        self.expected = expected
        """The number that has to come next."""
        self.limit = limit
        """The next segment's first number, if there is one: from there on that one counts."""
        self.offset = 0
        """Just past the last line that was looked at."""
        self.sealed = False
        self._records = self._body = self._holes = 0
        self._broken = False
        """Whether a hole has been told of since the last record."""

    def items(self, *, final: bool) -> Iterator[Record | Hole]:
        """What stands from ``offset`` on; with ``final`` also behind the last newline."""
        if self.sealed or not (self.segment.packed or self._grown()):
            return
        rest = b""
        for piece in segments.pieces(self.segment, self.offset):
            if piece.damaged:
                yield from self._bad_piece(piece)
                rest = b""
                continue
            data = rest + piece.data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if cut:
                yield from self._lines(data[:cut])
        if rest and final:
            yield from self._rest(rest)

    def _grown(self) -> bool:
        try:
            return os.stat(self.segment.path).st_size > self.offset
        except FileNotFoundError:
            return True  # compressed meanwhile
        except OSError as error:
            raise SourceError(f"{self.segment.path}: {error.strerror}") from None

    def _lines(self, data: bytes) -> Iterator[Record | Hole]:
        last = data.rfind(b"\n", 0, -1) + 1
        body = data[:last] if data.startswith(b'{"sealed":', last) else data
        self._body = crc32(body, self._body)
        for line in data[:-1].split(b"\n"):
            offset = self.offset
            self.offset += len(line) + 1
            sound = lines.sound(line)
            if sound and line.startswith(b'{"seq":%d,' % self.expected) and not self.limit:
                self.expected += 1  # as it nearly always is
                self._records += 1
                self._broken = False
                yield Record(self.expected - 1, line, self.segment.path, offset)
            elif sound:
                yield from self._sound(line, offset)
            else:
                yield from self._damaged(line, offset, len(line) + 1)

    def _sound(self, line: bytes, offset: int) -> Iterator[Record | Hole]:
        head, number = lines.number(line)
        if head == "seq":
            self._records += 1
            yield from self._record(number, line, offset)
        elif head == "lost":
            mark = msgspec.json.decode(line, type=lines.Lost)
            detail = f"{mark.lost} to {mark.until}; what was there is kept in {mark.kept}"
            yield self._hole(offset, len(line) + 1, "lost", detail)
            self.expected = max(self.expected, mark.until + 1)
        elif head == "sealed":
            yield from self._footer(msgspec.json.decode(line, type=lines.Footer), offset)
        else:
            yield self._hole(offset, len(line) + 1, "damaged", "whole, but of no known form")

    def _footer(self, said: lines.Footer, offset: int) -> Iterator[Hole]:
        self.sealed = True
        if self.limit and said.sealed >= self.limit:
            return  # the last that it sealed was written again, in the next segment
        mine = (self.expected - 1, self._records, offset, f"{self._body:08x}")
        if (said.sealed, said.records, said.bytes, said.body) != mine and not self._holes:
            detail = f"{said.records} records up to {said.sealed} were sealed"
            yield self._hole(offset, self.offset - offset, "unsealed", detail)
        self.expected = max(self.expected, said.sealed + 1)

    def _record(self, seq: int, line: bytes, offset: int) -> Iterator[Record | Hole]:
        if self.limit and seq >= self.limit:
            return
        if seq < self.expected:
            yield self._hole(offset, len(line) + 1, "repeated", str(seq))
            return
        if seq > self.expected and not self._broken:
            yield self._hole(offset, 0, "gap", f"{self.expected} to {seq - 1}")
        self.expected, self._broken = seq + 1, False
        yield Record(seq, line, self.segment.path, offset)

    def _damaged(self, line: bytes, offset: int, size: int) -> Iterator[Record | Hole]:
        """Whole records inside of a damaged line, and what is around them."""
        at = yield from self._saved(line, offset)
        if at < len(line):
            yield self._bad(offset + at, size - at)

    def _saved(self, line: bytes, offset: int) -> Generator[Record | Hole, None, int]:
        """What is whole inside of a damaged line, and what stands before it; gives its end."""
        at = 0
        for start, end in lines.saved(line):
            if start > at or at:  # bytes came between, or the newline is missing
                yield self._bad(offset + at, start - at)
            yield from self._sound(line[start:end], offset + start)
            at = end
        return at

    def _rest(self, line: bytes) -> Iterator[Record | Hole]:
        if lines.sound(line):  # all of it is there but the newline
            yield from self._sound(line, self.offset)
        elif self.limit:
            yield from self._damaged(line, self.offset, len(line))
        else:
            at = yield from self._saved(line, self.offset)
            yield self._hole(self.offset + at, len(line) - at, "torn")
        self.offset += len(line)

    def _bad_piece(self, piece: Piece) -> Iterator[Hole]:
        self._broken = True
        yield self._hole(piece.offset, piece.length, "damaged", piece.damaged)

    def _bad(self, offset: int, length: int) -> Hole:
        self._broken = True
        return self._hole(offset, length, "damaged")

    def _hole(self, offset: int, length: int, reason: str, detail: str = "") -> Hole:
        self._holes += 1
        return Hole(
            path=self.segment.path, offset=offset, length=length, reason=reason, detail=detail,
            after=self.expected - 1,
        )  # fmt: skip
