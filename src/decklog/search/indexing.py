"""Keeping the text index up with the store: what it lacks, and the projection that fills it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw

from decklog import sources
from decklog.errors import DecklogError, StoreCorrupt
from decklog.reading import Mark, Projection, Task
from decklog.store import REWRITTEN
from decklog.store.text import SHARDS, shard_of
from decklog.store.text.documents import Documents
from decklog.store.text.writing import TextCursor, Writer
from decklog.unpacking import Bomb

if TYPE_CHECKING:
    from decklog.model import Event, Facts
    from decklog.store import SourceRow

NAME = "text"
ADD_CHARS = 1 << 20
"""Characters that are collected of one source before they go to the index."""
COMMIT_CHARS = 24 << 20
"""Characters in one transaction: about what the index holds in memory before it writes."""


class Shards:
    """Writers of the index, each opened when it is first needed. Those who write again and again
    keep it: opening costs more than writing a line."""

    def __init__(self, folder: str, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self.opened: dict[int, Writer] = {}

    def __getitem__(self, number: int) -> Writer:
        if number not in self.opened:
            self.opened[number] = Writer(self.folder, number, self.identity)
        return self.opened[number]

    def close(self) -> None:
        for shard in self.opened.values():
            shard.close()
        self.opened.clear()


class Texts(Projection):
    """Feeds the shards of the text index that this process writes to."""

    name = NAME
    bodies = True

    def __init__(self, shards: Shards, *, keep: bool = False) -> None:
        """With ``keep`` the shards stay open at the end, for the next time."""
        self.shards, self.keep = shards, keep
        self.counts = {"documents": 0, "shortened": 0, "unfinished": 0}
        """``unfinished``: sources that were not read to their end."""
        self.documents = Documents()
        self.source = 0
        self.anew = False

    def begin(self, task: Task, start: int) -> None:
        self.source, self.anew = task.source, start == 0
        self.counts["unfinished"] += 1
        carried = b""
        with self._trying():
            if start and (shard := self._shard()) is not None:
                cursor = shard.cursor(task.source)
                carried = cursor.carried if cursor else b""
        self.documents = Documents(carried)

    def events(self, events: Sequence[Event]) -> None:
        self.documents.add(events)

    def reached(self, mark: Mark, facts: Mapping[str, Facts]) -> None:
        whole = mark.stat[0] >= 0
        if not whole and self.documents.size < ADD_CHARS:
            return
        with self._trying():
            shard = self._shard()
            if shard is not None:
                self.documents.entitle(facts)
                self._add(shard, mark, whole)

    def _add(self, shard: Writer, mark: Mark, whole: bool) -> None:
        if self.anew:
            shard.forget(self.source)
            self.anew = False
        taken = self.documents
        dropped = sum(shard.drop(self.source, seq) for seq in taken.stale)
        shortened = taken.shortened
        found = taken.taken()
        shard.add(self.source, found)
        state = b"" if whole else mark.state
        cursor = TextCursor(*mark[:4], mark.version, state, taken.carried())
        shard.reach(self.source, cursor, len(found) - dropped, shortened)
        self.counts["unfinished"] -= whole
        self.counts["documents"] += len(found)
        self.counts["shortened"] += shortened
        if shard.unsaved >= COMMIT_CHARS:
            shard.commit()

    def _shard(self) -> Writer | None:
        return None if self.failed else self.shards[shard_of(self.source)]

    @contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except DecklogError as error:
            self.failed = error
        except apsw.CorruptError as error:  # met between two rows
            self.failed = StoreCorrupt(f"{self.shards.folder}: {error}")

    def close(self) -> None:
        for shard in self.shards.opened.values():
            with self._trying():
                if not self.failed:
                    shard.commit()
        if self.failed or not self.keep:
            self.shards.close()


# --- what is lacking --------------------------------------------------------------------------


class Lacking:
    """What the index lacks of the sources in the store."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self.cursors: dict[int, TextCursor] = {}
        """As they were when `behind` asked for them."""

    def behind(self, known: Mapping[str, SourceRow]) -> dict[str, int]:
        """Sources on disk of which the store has rows that the index has no documents of, and the
        bytes to be read for them."""
        if not known:
            return {}
        for n in range(SHARDS):
            self.cursors.update(self.shards[n].cursors())
        found = {}
        for uri, row in known.items():
            cursor = self.cursors.get(row[0])
            if _readable(uri, row) and (cursor is None or not _is_at(cursor, row)):
                found[uri] = max(1, row[3] - (cursor.offset if cursor else 0))
        return found

    def lost(self, known: Mapping[str, SourceRow]) -> list[str]:
        """Sources that are not on disk (any more) and have no documents, or others than the store
        has events of: a sync was stopped between the two. Documents of those that the store has
        nothing of are dropped."""
        found = []
        for uri, row in known.items():
            cursor = self.cursors.get(row[0])
            if not (row[11] or REWRITTEN in uri) or (cursor and cursor.offset == row[7]):
                continue
            if _whole(row):
                found.append(uri)
            elif cursor and not row[7]:
                shard = self.shards[shard_of(row[0])]
                shard.forget(row[0])
                shard.commit()
        return found

    def aimed(self, task: Task) -> Task:
        """The task with the text of its source wanted too, from where the index lacks it."""
        if task.version == "anchor":
            return task
        cursor = None
        if task.kind == "jsonl" and task.offset:
            cursor = self.shards[shard_of(task.source)].cursor(task.source)
        offset, line, check, state = task[5:9]
        before = (task.offset, task.check)
        if cursor is None or not _goes_on(cursor, task):
            start = offset = line = 0
            check = state = b""
        else:
            start = cursor.offset
            if start < offset and cursor.state:
                offset, line, check, state = start, cursor.line, cursor.check, cursor.state
            elif start < offset:  # only from the beginning on do we know how the reader stands
                offset, line, check, state = 0, 0, b"", b""
        return task._replace(
            offset=offset, line=line, check=check, state=state, before=before,
            others=(*task.others, (NAME, start)), share=shard_of(task.source),
        )  # fmt: skip


def _goes_on(cursor: TextCursor, task: Task) -> bool:
    """True when what the cursor says was read still stands before it."""
    if not cursor.offset or cursor.version != task.version:
        return False
    if (cursor.offset, cursor.check) == (task.offset, task.check):
        return True
    try:
        fd = sources.open_regular(task.uri)
    except OSError:
        return True  # reading will say what is wrong
    try:
        return sources.matches(fd, task.uri, cursor.offset, cursor.check)
    except (OSError, Bomb):
        return True
    finally:
        os.close(fd)


def _readable(uri: str, row: SourceRow) -> bool:
    """True for sources that are on disk and were read to their end."""
    return _whole(row) and not (row[11] or REWRITTEN in uri)


def _whole(row: SourceRow) -> bool:
    return row[3] >= 0 and row[7] > 0 and row[2] in ("jsonl", "json", "sqlite", "dir")


def _is_at(cursor: TextCursor, row: SourceRow) -> bool:
    return (*cursor.stat, cursor.offset, cursor.version) == (*row[3:8], row[10])
