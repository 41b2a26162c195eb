"""Search by regular expression: the bytes of the sources themselves, without an index.

What every match has to hold is looked for in the raw bytes first; only records that hold it are
decoded, and the pattern is tried on their texts. Processes of their own do it, each with an alarm
that ends a match which takes too long; the newest sessions come first, and it ends when nothing
newer can come.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

import apsw

from decklog import sources, swift
from decklog.errors import DecklogError, SourceError
from decklog.search.answering import NO_JSON, Readback, strings
from decklog.search.patterns import Pattern
from decklog.standing import Copies
from decklog.store.events import KIND_NAMES, NOWHEN, unpack
from decklog.store.sql import SEARCHED, session_conditions
from decklog.store.text.finding import Found
from decklog.store.text.matching import snippet
from decklog.unpacking import Bomb

if TYPE_CHECKING:
    from decklog.archive import CopyReader
    from decklog.store.text.documents import Document

JOBS = 2
BUDGET = 0.1
"""Seconds that the pattern may take for the texts of one record."""
MAX_TEXT = 1 << 20
"""Characters of one text that it is tried on."""
MAX_SLOW = 100
"""Records that are given up on before the search ends."""
BLOCK = 16 << 20
TEXTS = frozenset(
    """user_message assistant_message reasoning tool_call tool_result compacted provider_status
    user_event stderr session_result session_ended usage_limit_hit session_started""".split()
)
"""Kinds of event that hold text."""


class Slow(Exception):
    """The alarm rang."""


Spot = tuple[int, str, int]
"""Where a match is: offset of the record, kind of the event, and which one of that kind in the
record. Kind "": the first event with text. Number -1: what stands first is the event's number."""
Match = tuple[Spot, str, list[tuple[int, int]]]
"""Where, snippet, marks."""
Told = tuple[str, list[tuple[int, int]]]
"""Snippet, marks."""
Source = tuple[Any, int, str, str, str, Any]
"""last_at of its session, id, uri, kind, agent, and the archived copy to be read in its place"""


class Scan:
    """One pattern over the sources of a store."""

    def __init__(self, store: Any, pattern: str, where: dict[str, Any]) -> None:
        """Raises UsageError for a pattern that is none, or might never end."""
        self.store, self.db = store, store.db
        self.pattern = Pattern(pattern)
        self.where = where
        self.slow = 0
        """Records that were given up on."""

    def hits(self, limit: int, width: int) -> list[dict[str, Any]]:
        """The newest places, as rows of `decklog.model.Hit`."""
        back = Readback(self.store, None, width)
        best: list[tuple[Found, Match]] = []
        found: list[Source] = self._sources()
        with contextlib.closing(self._scanned(found, width)) as scanned:
            for (last_at, source, *_), (matches, slow) in zip(found, scanned, strict=False):
                if len(best) == limit and (last_at is None or last_at < best[-1][0].at):
                    break
                self.slow += slow
                if matches:
                    best += self._placed(source, matches)
                    best = nsmallest(limit, best, key=lambda b: b[0].key)
                if self.slow >= MAX_SLOW:
                    break
        return [back.row(f, told, marks, "", None) for f, (_, told, marks) in best]

    def _sources(self) -> list[Source]:
        conditions, values = session_conditions(self.where)
        sql = f"""select max(s.last_at), src.id, src.uri, src.kind, src.agent, src.gone,
            src.offset from session s
            join part p on p.session = s.name join source src on src.id = p.source
            where {SEARCHED.replace("s.uri", "src.uri")} and {conditions} group by src.id
            order by 1 desc, src.id"""
        found: list[Source] = []
        with Copies(self.store.folder) as copies:
            for last_at, source, uri, kind, agent, gone, offset in self.db.execute(sql, values):
                place = {"uri": os.fsdecode(uri), "kind": kind, "gone": gone, "offset": offset}
                copy = copies.find(place)
                found.append((last_at, source, place["uri"], kind, agent, copy))
        return found

    def _placed(self, source: int, matches: list[Match]) -> Iterator[tuple[Found, Match]]:
        """The events that hold the matches, those that are wanted."""
        sql = f"""select p.part, p.session from part p join source s on s.id = p.source
            where p.source = ? and {SEARCHED}"""
        parts = dict(self.db.execute(sql, (source,)))
        wanted = {m[0]: m for m in matches}
        counts: Counter[tuple[int, str]] = Counter()
        since, until = self.where.get("since"), self.where.get("until")
        sql = "select first, events, body from event where source = ? order by first"
        for row in self.db.execute(sql, (source,)):
            for seq, at, offset, _, part, kind in unpack(*row):
                name = KIND_NAMES[kind]
                nth = counts[offset, name]
                counts[offset, name] += 1
                if name not in TEXTS or part not in parts:
                    continue
                match = (
                    wanted.get((offset, name, nth))
                    or wanted.get((seq, "", -1))
                    or wanted.pop((offset, "", 0), None)
                )
                if match is None:
                    continue
                when = NOWHEN if at is None else at
                if (since is None or when >= since) and (until is None or when < until):
                    yield Found(when, parts[part], seq, source, part), match

    def _scanned(
        self, found: list[Source], width: int
    ) -> Generator[tuple[list[Match], int], None, None]:
        """Matches of each source in turn, and how many records were given up on."""
        pipes: list[Any] = []
        children: list[int] = []
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            for job in range(JOBS):
                reading, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    _work(found[job::JOBS], self.pattern, width, reading, writing)
                os.close(writing)
                pipes.append(open(reading, "rb"))  # noqa: SIM115 - closed below
                children.append(pid)
            for i in range(len(found)):
                try:
                    yield marshal.load(pipes[i % JOBS])
                except EOFError:
                    raise SourceError("a searching process ended early") from None
        finally:
            for pipe in pipes:
                pipe.close()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _work(found: list[Source], pattern: Pattern, width: int, reading: int, writing: int) -> None:
    """What a child does; never returns."""
    code = 1
    try:
        os.closerange(3, writing)
        os.closerange(writing + 1, os.sysconf("SC_OPEN_MAX"))
        signal.signal(signal.SIGALRM, _ring)
        with open(writing, "wb") as pipe:
            worker = Worker(pattern, width)
            for source in found:
                worker.matches, worker.slow = [], 0
                with contextlib.suppress(OSError, DecklogError, Bomb):
                    worker.scan(source)
                marshal.dump((worker.matches, worker.slow), pipe)
                pipe.flush()
        code = 0
    except (BrokenPipeError, KeyboardInterrupt):
        code = 0
    finally:
        os._exit(code)


def _ring(*_: object) -> None:
    raise Slow


class Worker:
    """Scans sources, one after the other."""

    def __init__(self, pattern: Pattern, width: int) -> None:
        self.db = apsw.Connection(":memory:")
        self.pattern, self.width = pattern, width
        self.matches: list[Match] = []
        self.slow = 0

    def scan(self, source: Source) -> None:
        _, _, uri, kind, agent, copy = source
        part = {"agent": agent, "uri": uri, "kind": kind, "copy": copy}
        if kind == "jsonl" and not uri.endswith(".zst"):
            for offset, record in _records(uri, copy, self.pattern):
                self._record(part, offset, record)
                if self.slow >= MAX_SLOW:
                    return
            return
        if kind == "json" and not _holds(uri, copy, self.pattern):
            return
        swift.import_msgspec()
        from decklog import transcripts

        for d in _said(transcripts.of_source(part)):
            self.matches += [((d.seq, "", -1), *m) for _, m in self._tried([d.text])]
            if self.slow >= MAX_SLOW:
                return

    def _record(self, part: dict[str, Any], offset: int, record: bytes) -> None:
        """The matches of a record: first tried on all texts in it, then on those of its events."""
        first: list[tuple[int, Told]] = []
        try:
            texts = list(strings(self.db, record.decode("utf-8", "replace")))
        except NO_JSON:
            pass
        else:
            first = self._tried(texts, once=True)
            if not first:
                return
        swift.import_msgspec()
        from decklog import transcripts

        events = transcripts.of_record(part, record, offset)
        said = _said(events)
        if not said:
            self.matches += [((offset, "", 0), *m) for _, m in first]
            return
        spots: dict[int, Spot] = {}
        counts: Counter[str] = Counter()
        for event in events:
            name = str(event.__struct_config__.tag)
            spots[event.seq] = (offset, name, counts[name])
            counts[name] += 1
        for i, match in self._tried([d.text for d in said]):
            self.matches.append((spots[said[i].seq], *match))

    def _tried(self, texts: Sequence[str], once: bool = False) -> list[tuple[int, Told]]:
        """What the pattern matches first in each text, or in the first of them, by its number."""
        found: list[tuple[int, Told]] = []
        signal.setitimer(signal.ITIMER_REAL, BUDGET)
        try:
            for i, text in enumerate(texts):
                match = self.pattern.compiled.search(text, 0, MAX_TEXT)
                if match is not None:
                    found.append((i, snippet(text, [match.span()], self.width)))
                    if once:
                        break
        except Slow:
            self.slow += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return found


def _said(events: Iterable[Any]) -> list[Document]:
    """What was said by some events, each text as it stands."""
    from decklog.store.text.documents import Documents

    taken = Documents(verbatim=True)
    taken.add(list(events))
    return taken.taken()


@contextlib.contextmanager
def _opened(uri: str, copy: CopyReader | None) -> Iterator[sources.Opened]:
    if copy is not None:
        yield copy
        return
    fd = sources.open_regular(uri)
    try:
        yield sources.Descriptor(fd)
    finally:
        os.close(fd)


def _holds(uri: str, copy: CopyReader | None, pattern: Pattern) -> bool:
    """Whether a document holds the word that each of its texts has which the pattern matches."""
    word = pattern.word
    with _opened(uri, copy) as opened:
        at = 0
        kept = b""
        while data := opened.read(at, BLOCK):
            block = kept + data
            if (block.lower() if pattern.ignore_case else block).find(word) >= 0:
                return True
            kept = block[len(block) - len(word) + 1 :] if word else b""
            at += len(data)
    return False


def _records(uri: str, copy: CopyReader | None, pattern: Pattern) -> Iterator[tuple[int, bytes]]:
    """(offset, record) of those that hold what the pattern has to find."""
    literal = pattern.literal
    with _opened(uri, copy) as opened:
        start = 0
        kept = b""
        while data := opened.read(start + len(kept), BLOCK):
            block = kept + data
            last = len(data) < BLOCK
            end = len(block) if last else block.rfind(b"\n") + 1
            if not end and len(block) > sources.MAX_LINE:
                return
            looked = block.lower() if pattern.ignore_case else block
            at = 0
            while at < end and (found := looked.find(literal, at, end)) >= 0:
                begin = block.rfind(b"\n", 0, found) + 1
                stop = block.find(b"\n", found, end)
                stop = end if stop < 0 else stop
                yield start + begin, block[begin:stop]
                at = stop + 1
            start += end
            kept = block[end:]
