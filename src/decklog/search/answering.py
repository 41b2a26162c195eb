"""A query answered from the text index: the places, and what stands there.

Texts are read back from their sources by the places that the store knows. A record of a transcript
is JSON, so its texts are found in it without knowing the agent; so is a message within a document.
What that does not settle (documents that are not on disk as such, compressed transcripts, records
that say things in a roundabout way) is read by the agent's reader; only then anything heavy is
imported.
"""

from __future__ import annotations

import binascii
import os
import time

import apsw

from decklog import swift
from decklog.errors import UsageError
from decklog.search import grammar
from decklog.standing import Copies
from decklog.store import REWRITTEN
from decklog.store.events import KIND_NAMES, NOWHEN, Places
from decklog.store.text import TOKENIZER
from decklog.store.text.finding import Finder
from decklog.store.text.marks import plain
from decklog.store.text.matching import Matcher, expression, snippet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from decklog.archive import CopyReader
    from decklog.search.grammar import Query
    from decklog.store.text.finding import Found

SNIPPET = 200
"""Characters of a snippet."""
SETTLED = 1_000_000_000
"""Nanoseconds for which a file has to have stood before a page of it is kept."""
REMEMBERED = 64
"""Pages that a process which goes on keeps."""
ENCODED = 4_096
"""Longer texts without any white space are images and the like."""
NO_JSON = (apsw.SQLError, UnicodeDecodeError)
TITLE = "title"
CHANGED = "the source does not say this any more"
GONE = "the source is gone from disk"
_ROLES = {
    "assistant_message": "assistant",
    "reasoning": "assistant",
    "tool_call": "tool",
    "tool_result": "tool",
    TITLE: TITLE,
}


class Searched:
    """What a search found: plain rows with the fields of `decklog.model.Hit`."""

    def __init__(
        self, hits: list[dict[str, Any]], next_page: str | None, files: list[str] | None
    ) -> None:
        self.hits = hits
        self.files = files
        """What the hits were read from; None where that was not all on disk, one file each."""
        self.next_page = next_page
        """To be given as ``after`` for the page that follows; None: there is none."""


class Remembered:
    """The pages that were asked for last, in a process that goes on: each is given again as long
    as neither the store and its index nor any file that it was read from has changed."""

    def __init__(self) -> None:
        self.pages: dict[Any, tuple[Any, Searched]] = {}

    def page(self, store: Any, asked: Any, answer: Callable[[], Searched]) -> Searched:
        """The page for ``asked`` (a key that says all), of ``answer`` where it is not known."""
        known = self.pages.pop(asked, None)
        if known is None or known[0] != _standing(store, known[1].files):
            began = time.time_ns() - SETTLED
            before = _standing(store, ())
            found = answer()
            stands = _standing(store, found.files)
            late = any(max(times, default=0) >= began for _, _, *times in stands[1])
            if found.files is None or stands[0] != before[0] or late:
                return found  # or something may have been written meanwhile
            known = (stands, found)
        self.pages[asked] = known
        if len(self.pages) > REMEMBERED:
            del self.pages[next(iter(self.pages))]
        return known[1]


def _standing(store: Any, files: Iterable[str] | None) -> tuple[list[Any], list[Any]]:
    """What is another thing after any change to the store, its text index or these files."""
    databases = [store.db, *(shard.db for shard in store.shards())]
    return (
        [(db, db.pragma("data_version"), db.total_changes()) for db in databases],
        [_stat(path) for path in files or ()],
    )


def _stat(path: str) -> tuple[int, ...]:
    try:
        st = os.stat(path)
    except OSError:
        return (0, 0)
    return st.st_size, st.st_ino, st.st_mtime_ns, st.st_ctime_ns


class Search:
    """One query to one store."""

    def __init__(self, store: Any, query: Query, where: dict[str, Any]) -> None:
        """Raises UsageError for a query that cannot be meant."""
        self.store = store
        self.query = query
        tokenizer = store.db.fts5_tokenizer(TOKENIZER[0], list(TOKENIZER[1:]))
        self.matcher = Matcher(query, tokenizer)
        grammar.check(query, self.matcher.words)
        self.finder = Finder(store, expression(query), where)

    def count(self) -> int:
        """How many places there are."""
        return self.finder.count()

    def page(
        self, limit: int, *, best: bool = False, after: str | None = None, width: int = SNIPPET
    ) -> Searched:
        """One page of places. Raises UsageError for an ``after`` that is none of ours."""
        skip, key = _page_of(after, best)
        if best:
            found = self.finder.best(limit + 1, skip)
        else:
            found = self.finder.newest(limit + 1, key)
        more = len(found) > limit
        found = found[:limit]
        back = Readback(self.store, self.matcher, width)
        hits = [back.hit(f, best) for f in found]
        after = _page_after(found[-1], skip + limit, best) if more else None
        return Searched(hits, after, back.files())


def _page_after(last: Found, skip: int, best: bool) -> str:
    at, session, seq = last.key
    place = f"best {skip}" if best else f"newest {at} {seq} {session}"
    text = binascii.b2a_base64(place.encode(), newline=False).decode()
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def _page_of(after: str | None, best: bool) -> tuple[int, tuple[int, str, int] | None]:
    if not after:
        return 0, None
    try:
        text = after.replace("-", "+").replace("_", "/") + "=" * (-len(after) % 4)
        order, *place = binascii.a2b_base64(text).decode().split(" ", 3)
        if order == ("best" if best else "newest"):
            return (int(place[0]), None) if best else (0, (int(place[0]), place[2], int(place[1])))
    except (ValueError, IndexError):
        pass
    raise UsageError("no page begins there", hint="use the `next` of the page before, same order")


# --- what stands there ------------------------------------------------------------------------


class Readback:
    """Reads the texts of places back from their sources."""

    def __init__(self, store: Any, matcher: Any, width: int) -> None:
        self.store, self.db = store, store.db
        self.matcher, self.width = matcher, width
        self.places = Places(store.db)
        self.sources: dict[int, tuple[str, str, str]] = {}
        self.copies: dict[int, CopyReader | None] = {}
        self.documents: dict[str, dict[int, str]] = {}
        self.shifts: dict[tuple[str, int], int] = {}

    def hit(self, found: Found, scored: bool) -> dict[str, Any]:
        """The place as a plain row, with what stands there."""
        uri, kind = self._source(found.source)[1:]
        place = None if found.seq < 0 else self.places(found.source, found.seq)
        texts, stale = self._texts(found, place, uri, kind)
        text, marks = self._shown(texts)
        if texts and not marks and self.matcher.groups and not stale:
            texts, stale = self._by_reader(found, place, uri, kind)
            text, marks = self._shown(texts)
            if not marks and not stale:
                stale, text = CHANGED, ""
        told, inside = snippet(text, marks, self.width)
        return self.row(found, told, inside, stale, -found.score if scored else None)

    def files(self) -> list[str] | None:
        """The files that were read; None where that is not all."""
        if any(copy is not None for copy in self.copies.values()):
            return None
        kinds = {kind for _, _, kind in self.sources.values()}
        return [uri for _, uri, _ in self.sources.values()] if kinds <= {"jsonl", "json"} else None

    def row(
        self, found: Found, told: str, marks: list[tuple[int, int]], stale: str, score: float | None
    ) -> dict[str, Any]:
        place = None if found.seq < 0 else self.places(found.source, found.seq)
        kind = KIND_NAMES[place[4]] if place else TITLE if found.seq < 0 else "unknown"
        number = self._number(found)
        return {
            "id": f"{found.session}#{number}",
            "session": found.session,
            "seq": number,
            "turn": 0 if found.seq < 0 else self._turn(found),
            "at": found.at if found.at != NOWHEN else None,
            "agent": self._source(found.source)[0],
            "kind": kind,
            "role": self._role(found, kind),
            "tool": self._tool(found, place, kind),
            "snippet": told,
            "marks": [list(m) for m in marks],
            "score": score,
            "stale": stale,
        }

    def _source(self, source: int) -> tuple[str, str, str]:
        known = self.sources.get(source)
        if known is None:
            agent, uri, kind = self.db.execute(
                "select agent, uri, kind from source where id = ?", (source,)
            ).fetchone()
            known = self.sources[source] = (agent, os.fsdecode(uri), kind)
        return known

    def _copy(self, source: int) -> CopyReader | None:
        """What to read in place of a source that is not on disk as it was read."""
        if source not in self.copies:
            kind, gone, offset = self.db.execute(
                "select kind, gone, offset from source where id = ?", (source,)
            ).fetchone()
            uri = self._source(source)[1]
            with Copies(self.store.folder) as copies:
                self.copies[source] = copies.find(
                    {"uri": uri, "kind": kind, "gone": gone, "offset": offset}
                )
        return self.copies[source]

    def _record(self, source: int, offset: int, length: int, ends: bytes = b"\n{") -> bytes | None:
        """What stands there, when one of that length still does; ``ends`` may come behind it: of
        a record its line end, or another record whose writer found none."""
        copy = self._copy(source)
        if copy is None:
            data = _read_file(self._source(source)[1], offset, length + 1)
        else:
            data = copy.read(offset, length + 1)
        whole = len(data) >= length and data[length:] in (b"", *(bytes((e,)) for e in ends))
        return data[:length] if whole else None

    def _number(self, found: Found) -> int:
        """Number of the event in its session; of a title that of the first event."""
        key = (found.session, found.source)
        shift = self.shifts.get(key)
        if shift is None:
            shift = self.shifts[key] = self.store.shift(*key)
        return max(1, found.seq) + shift

    def _turn(self, found: Found) -> int:
        sql = "select count(*) from prompt where source = ? and part = ? and seq <= ?"
        row = self.db.execute(sql, (found.source, found.part, found.seq)).fetchone()
        return int(row[0])

    def _role(self, found: Found, kind: str) -> str:
        if kind == "user_message":
            sql = "select 1 from prompt where source = ? and seq = ?"
            known = self.db.execute(sql, (found.source, found.seq)).fetchone()
            return "user" if known else "system"
        return _ROLES.get(kind, "system")

    def _tool(self, found: Found, place: Any, kind: str) -> str:
        nth = 0
        if kind == "tool_call":
            where, value = "seq = ?", found.seq
        elif kind == "tool_result" and place[2]:
            where, value = "result_offset = ?", place[1]
            nth = self._results_before(found, place)
        else:
            return ""
        sql = f"select name from tool where source = ? and {where} order by seq limit 1 offset ?"
        row = self.db.execute(sql, (found.source, value, nth)).fetchone()
        return row[0] if row else ""

    def _results_before(self, found: Found, place: Any) -> int:
        """How many results of tools stand before this one in its record."""
        before, seq = 0, found.seq - 1
        while (other := self.places(found.source, seq)) and other[1] == place[1]:
            before += other[4] == place[4]
            seq -= 1
        return before

    # -- texts ---------------------------------------------------------------------------------

    def _shown(self, texts: list[str]) -> tuple[str, list[tuple[int, int]]]:
        """The text to show and its matches: one that has all of them, else all texts together."""
        second: tuple[str, list[tuple[int, int]]] | None = None
        for text in texts:
            marks, whole = self.matcher.marks(text)
            if marks and whole:
                if len(text) >= 40 or len(texts) == 1:
                    return text, marks
                second = second or (text, marks)
        if second is not None:
            return second
        joined = "\n".join(texts)
        marks, whole = self.matcher.marks(joined) if len(texts) > 1 else ([], False)
        return (joined, marks) if whole else (texts[0] if texts else "", [])

    def _texts(self, found: Found, place: Any, uri: str, kind: str) -> tuple[list[str], str]:
        """The texts that stand at a place, and why there are none."""
        if found.seq < 0:
            sql = "select title from part where source = ? and part = ?"
            row = self.db.execute(sql, (found.source, found.part)).fetchone()
            return [row[0] or ""] if row else [], ""
        data = None
        if place is not None and kind == "json" and place[1]:
            text = self._sole(found.source, place)
            return ([text], "") if text else self._by_reader(found, place, uri, kind)
        if place is not None and kind == "jsonl" and not uri.endswith(".zst"):
            data = self._record(found.source, place[1], place[2])
        if data is not None:
            try:
                return list(strings(self.db, data.decode("utf-8", "replace"))), ""
            except NO_JSON:
                pass
        return self._by_reader(found, place, uri, kind)

    def _sole(self, source: int, place: Any) -> str:
        """The text in a part of a document that has all matches, when no other text there has any:
        several events may stand in one part, and this one's has to be shown."""
        data = self._record(source, place[1], place[2], b",] \t\r\n")
        if data is None:
            return ""
        try:
            texts = set(strings(self.db, data.decode("utf-8", "replace")))
        except NO_JSON:
            return ""
        tried = ((text, *self.matcher.marks(text)) for text in texts)
        met = [(text, whole) for text, marks, whole in tried if marks]
        return met[0][0] if len(met) == 1 and met[0][1] else ""

    def _by_reader(self, found: Found, place: Any, uri: str, kind: str) -> tuple[list[str], str]:
        """The text as the index took it: by the agent's reader of the record, or of the whole
        source where there are no records."""
        swift.import_msgspec()
        from decklog import transcripts
        from decklog.errors import SourceError
        from decklog.store.text.documents import Documents

        part = {"agent": self._source(found.source)[0], "uri": uri, "kind": kind,
                "copy": self._copy(found.source)}  # fmt: skip
        whole = place is None or kind != "jsonl" or uri.endswith(".zst")
        key = uri if whole else f"{uri}@{place[1]}"
        texts = self.documents.get(key)
        if texts is None:
            taken = Documents(verbatim=True)
            try:
                if whole:
                    taken.add(list(transcripts.of_source(part)))
                else:
                    record = self._record(found.source, *place[1:3])
                    taken.add(transcripts.of_record(part, record, place[1]))
            except SourceError:
                return [], CHANGED if os.path.exists(uri.partition(REWRITTEN)[0]) else GONE
            if len(self.documents) >= 4:
                self.documents.clear()
            texts = {d.seq: f"{d.text}\n{d.paths}".strip() for d in taken.taken()}
            self.documents[key] = texts
        if not whole:
            return list(texts.values()), "" if texts else CHANGED
        text = texts.get(found.seq)
        return ([], CHANGED) if text is None else ([text], "")


def _read_file(uri: str, offset: int, length: int) -> bytes:
    """Bytes of a file; none where it cannot be read."""
    try:
        fd = os.open(uri, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(fd, length, offset)
    except OSError:
        return b""
    finally:
        os.close(fd)


def strings(db: Any, record: str) -> Iterator[str]:
    """All texts and numbers in a JSON text, in order; a text that is JSON itself as what is in it.

    SQLite takes it apart: a search need not load a JSON library. Raises one of NO_JSON for what is
    none, and for texts with half a character.
    """
    sql = "select atom from json_tree(?) where type in ('text', 'integer', 'real')"
    for (v,) in db.execute(sql, (record,)):
        if not isinstance(v, str):
            yield str(v)
        elif v[:1] in ("{", "[") and v[-1:] in ("}", "]"):
            try:
                yield from list(strings(db, v))
            except NO_JSON:
                yield v
        elif v and (len(v) <= ENCODED or len(v[:ENCODED].split(None, 1)) > 1):
            yield plain(v)


def hit_json(db: Any, hit: dict[str, Any]) -> str:
    """A hit as one JSON object, written by SQLite."""
    values = [_valid(v) if isinstance(v, str) else v for k, v in hit.items() if k != "marks"]
    fields = ", ".join(f"'{name}', ?" for name in hit if name != "marks")
    marks = "[" + ",".join(f"[{a},{b}]" for a, b in hit["marks"]) + "]"
    sql = f"select json_object({fields}, 'marks', json(?))"
    return str(db.execute(sql, (*values, marks)).fetchone()[0])


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


# --- how far the index is ---------------------------------------------------------------------


def covered(store: Any) -> dict[str, Any]:
    """How far the text index is, with the fields of `decklog.model.Covered`."""
    if store.texts_complete(asked=True):
        return {"complete": True, "percent": 100.0, "behind": 0}
    total, sources = store.db.execute(
        """select sum(max(size, 1)), count(*) from source
        where kind not in ('other', 'companion') and size >= 0 and offset > 0"""
    ).fetchone()
    done = indexed = 0
    for shard in store.shards():
        row = shard.db.execute(
            """select sum(case when size < 0 then offset else max(size, 1) end), sum(size >= 0)
            from cursor"""
        ).fetchone()
        done, indexed = done + (row[0] or 0), indexed + (row[1] or 0)
    percent = min(99.9, 100.0 * done / max(total or 0, 1))
    behind = max(0, sources - indexed)
    return {"complete": False, "percent": round(percent, 1), "behind": behind}
