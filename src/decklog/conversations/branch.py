"""One conversation, open: what is said next is appended to its leaf.

Nothing but the two ends of its file is read to open it, append to it and fork it. Each append is
one write under the lock of the file, and durable when it returns; where it fails, file and branch
are as they were before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import msgspec

from decklog import durable
from decklog.conversations import compaction as rules
from decklog.conversations.diffing import diff
from decklog.conversations.records import (
    DAMAGE,
    VERSION,
    BadRecordError,
    Meta,
    Place,
    Said,
    Sealed,
    Summed,
    parse,
)
from decklog.conversations.shelf import Shelf, Tail, total
from decklog.conversations.tails import backwards
from decklog.conversations.tree import Tree, lineage, upto
from decklog.conversations.writing import compaction_line, message_line, meta_line
from decklog.durable import Appender, new_id
from decklog.errors import Busy, SourceError, UsageError, WriteError
from decklog.model import (
    Compaction,
    Conversation,
    Divergence,
    Finding,
    Fork,
    Message,
    Outline,
    Text,
    Usage,
)
from decklog.model.turns import AnyBlock

ROTATE_AT = 256 * 1024
"""Bytes from which the file of a conversation is sealed and gone on from in a new one."""


class Branch:
    """A conversation of a `decklog.conversations.Conversations`, which makes these."""

    def __init__(
        self,
        shelf: Shelf,
        name: str,
        now: Callable[[], int],
        rotate_at: int,
        made: tuple[Meta, Tail] | None = None,
    ) -> None:
        """``made``: the two ends of its file, where they are known without reading it."""
        self.shelf, self.id, self.now, self.rotate_at = shelf, name, now, rotate_at
        self.path = shelf.path(name)
        self.meta: Meta = made[0] if made else shelf.head(name)
        """The head of its file: its times are those of then."""
        if self.meta.version > VERSION:
            raise SourceError(
                f"{self.path}: version {self.meta.version} is newer than {VERSION}, the last known"
                " one",
                hint="upgrade decklog",
            )
        self._named = 0
        """The file (inode) whose name is known to be durable."""
        self._tail: Tail | None = made[1] if made else None
        if not made:
            self.refresh()

    @property
    def place(self) -> Place:
        """Where the branch ends, as far as is known here: `refresh` looks again."""
        assert self._tail is not None
        return self._tail.place

    @property
    def messages(self) -> int:
        """Messages from the first of its oldest ancestor on."""
        return self.place.n

    def refresh(self) -> None:
        """Take note of what other processes have appended."""
        with self.shelf.reading(self.path) as (fd, end):
            if not (self._tail and self._tail.still(fd, end)):
                self._tail = self.shelf.tail(self.id, fd, end)

    def outline(self) -> Outline:
        """What a list shows of it."""
        assert self._tail is not None
        meta, fork = self.meta, self.meta.fork
        match self._tail.record:
            case Said(message=m):
                last = m.at
            case Summed(compaction=c):
                last = c.at
            case Meta(updated_at=at):
                last = at
            case _:
                last = None
        return Outline(
            id=self.id,
            parent=fork.parent if fork else None,
            branch=fork.branch if fork else None,
            created_at=meta.created_at,
            updated_at=max(meta.updated_at, last or 0),
            messages=self.messages,
            title=meta.title,
            cwd=meta.cwd,
            origin=meta.origin,
            bytes=self._tail.end,
        )

    # -- reading -----------------------------------------------------------------------------------

    def read(self) -> Conversation:
        """All of it, with what it has from its ancestors. Raises SourceError."""
        return self.examine()[0]

    def examine(self) -> tuple[Conversation, list[Finding]]:
        """All of it, and everything that was not read as it stood: lines that are damaged or not
        known, records and files that are missing."""
        tree = self.shelf.tree(self.id)
        entries, findings = lineage(tree, self.shelf.tree)
        return _conversation(tree, entries), findings

    def tail(self, n: int) -> tuple[Message, ...]:
        """The last messages, read from the end of its files backwards. Raises SourceError."""
        found: list[Message] = []
        want = self.place.leaf
        for path in chain((self.path,), self.shelf.seals(self.id)):
            with self.shelf.reading(path) as (fd, end):
                for _, line in backwards(fd, end):
                    if len(found) == n or want is None:
                        return tuple(found[::-1])
                    try:
                        record = parse(line.strip() or b"{}")
                    except BadRecordError:
                        continue
                    match record:
                        case Said(message=m) if m.id == want:
                            found.append(m)
                            want = m.parent
                        case Summed(compaction=c) if c.id == want:
                            want = c.parent
        if len(found) < n and want is not None:  # from here on it is its ancestors', or damaged
            return self.read().entries[-n:]
        return tuple(found[::-1])

    def context(self) -> tuple[Message, ...]:
        """What a model is shown: the last summary and all that it does not stand for."""
        return rules.context(self.read())

    def diff(self, other: Branch) -> Divergence:
        """What this branch and another have in common, and what each has of its own."""
        return diff(self.read(), other.read())

    # -- appending ---------------------------------------------------------------------------------

    def append(
        self,
        role: str,
        content: str | Sequence[AnyBlock],
        *,
        usage: Usage | None = None,
        model: str = "",
        at: int | None = None,
        durable: bool = True,
    ) -> Message:
        """Say something: a text, or blocks. Gives the message as it was written.

        ``at`` is when it was said, if not now. Without ``durable`` it does not wait for the disk.
        Raises UsageError for a role that is none, WriteError, and then nothing has changed.
        """
        blocks = (Text(text=content),) if isinstance(content, str) else tuple(content)
        said = Message(id="", role=role, blocks=blocks, usage=usage, model=model, at=at)
        return self.extend([said], durable=durable)[0]

    def extend(self, messages: Iterable[Message], *, durable: bool = True) -> tuple[Message, ...]:
        """Append messages by one write; those without id or time are given one.

        Their parents are the messages before them. Where it fails none is there; where the machine
        fails in the middle of it, the first of them may be.
        """
        said: list[Message] = []
        with self._writing() as (file, place):
            lines = []
            for m in messages:
                m = msgspec.structs.replace(
                    m,
                    id=m.id or new_id(self.now()),
                    parent=place.leaf,
                    at=self.now() if m.at is None else m.at,
                )
                place = Place(leaf=m.id, n=place.n + 1, seq=place.seq + 1)
                lines.append(message_line(m, place))
                said.append(m)
            if said:
                self._put(file, b"".join(lines), place, Said(message=said[-1]), durable)
        return tuple(said)

    def rewind(self, n: int) -> None:
        """Go back to the first ``n`` messages: what is said next follows these.

        What came after them stays in the file and is no longer part of the branch. Raises
        UsageError when there are fewer.
        """
        with self._writing() as (file, place):
            if n == place.n:
                return
            leaf = self._entry(n, self._lineage_held())
            now = self.now()
            place = Place(leaf=leaf, n=n, seq=place.seq + 1)
            moved = msgspec.structs.replace(self.meta, id=self.id, updated_at=now, place=place)
            moved = msgspec.structs.replace(moved, sealed=None)
            self._put(file, meta_line(moved), place, moved, True)

    def _lineage_held(self) -> list[Message | Compaction]:
        return lineage(self.shelf.tree(self.id, held=True), self.shelf.tree)[0]

    @staticmethod
    def _entry(n: int, entries: list[Message | Compaction]) -> str | None:
        """Id of the n-th message, as `read` counts them."""
        there = sum(isinstance(e, Message) for e in entries)
        if not 0 <= n <= there:
            raise UsageError(f"there is no message {n}", hint=f"the conversation has {there}")
        shared = upto(entries, n)
        return shared[-1].id if shared else None

    # -- forking -----------------------------------------------------------------------------------

    def forked(self, at: int | None = None, branch: str | None = None) -> Fork:
        """The fork that begins after message ``at`` (the last one, when not given)."""
        self.refresh()
        place = self.place
        leaf = place.leaf
        if at is not None and at != place.n:
            leaf = self._entry(at, lineage(self.shelf.tree(self.id), self.shelf.tree)[0])
        n = place.n if at is None else at
        return Fork(parent=self.id, branch=(branch or "").strip() or None, entry=leaf, at=n)

    # -- compacting --------------------------------------------------------------------------------

    def compact(
        self,
        summarise: rules.Summariser = rules.summarise,
        *,
        keep: int = rules.KEEP,
        threshold: int = rules.THRESHOLD,
    ) -> Compaction | None:
        """Put a summary in place of all but the last messages, in what a model is shown.

        ``summarise`` is given the messages to sum up and the summary of those before; it may be
        async, but then only where no event loop runs (`compact_async` is for there). None: there
        are no more than ``keep`` messages, or fewer than ``threshold`` estimated tokens. Raises
        Busy when another process went back or compacted meanwhile.
        """
        import asyncio
        import inspect

        plan, place = self._plan(keep, threshold)
        if plan is None:
            return None
        summary: Any = summarise(plan.removed, plan.before)
        if inspect.isawaitable(summary):
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                summary = asyncio.run(_awaited(summary))
            else:
                if inspect.iscoroutine(summary):
                    summary.close()
                raise UsageError(
                    "an async summariser, called from an event loop", hint="await compact_async()"
                )
        return self._compacted(plan, place, summary)

    async def compact_async(
        self,
        summarise: rules.Summariser = rules.summarise,
        *,
        keep: int = rules.KEEP,
        threshold: int = rules.THRESHOLD,
    ) -> Compaction | None:
        """`compact`, awaiting the summariser."""
        import inspect

        plan, place = self._plan(keep, threshold)
        if plan is None:
            return None
        summary: Any = summarise(plan.removed, plan.before)
        summary = await summary if inspect.isawaitable(summary) else summary
        return self._compacted(plan, place, summary)

    def _plan(self, keep: int, threshold: int) -> tuple[rules.Plan | None, Place]:
        tree = self.shelf.tree(self.id)
        whole = _conversation(tree, lineage(tree, self.shelf.tree)[0])
        return rules.plan(whole, keep, threshold), tree.place

    def _compacted(self, plan: rules.Plan, planned: Place, summary: object) -> Compaction:
        if not isinstance(summary, str) or not summary.strip():
            raise UsageError("the summariser gave no text")
        with self._writing() as (file, place):
            if place.leaf != planned.leaf:
                entries = self._lineage_held()
                at = next((i for i, e in enumerate(entries) if e.id == planned.leaf), None)
                if at is None or any(isinstance(e, Compaction) for e in entries[at + 1 :]):
                    raise Busy(
                        f"{self.id} went back or was compacted meanwhile", hint="compact it again"
                    )
            made = Compaction(
                id=new_id(self.now()),
                parent=place.leaf,
                at=self.now(),
                count=plan.compactions + 1,
                removed=len(plan.removed),
                kept=plan.kept + place.n - planned.n,
                summary=rules.unwrapped(summary),
                first=plan.removed[0].id,
                last=plan.removed[-1].id,
            )
            place = Place(leaf=made.id, n=place.n, seq=place.seq + 1)
            self._put(file, compaction_line(made, place), place, Summed(compaction=made), True)
        return made

    # -- rotating ----------------------------------------------------------------------------------

    def rotate(self) -> str:
        """Seal the file and go on in a new one; gives the path of what is sealed.

        The sealed file keeps every record and stays part of the conversation. At each moment the
        conversation has its file. Empty text: there is nothing to seal.
        """
        with self._writing(rotate=False) as (file, place):
            return self._rotated(file, place) if file.size() else ""

    def _rotated(self, file: Appender, place: Place) -> str:
        file.sync()
        sealed = self.shelf.seal(self.id, file.fd)
        place = msgspec.structs.replace(place, seq=place.seq + 1)
        size, crc = total(file.fd)
        self.meta = msgspec.structs.replace(
            self.meta,
            id=self.id,
            updated_at=self.outline().updated_at,
            place=place,
            sealed=Sealed(file=os.path.basename(sealed), bytes=size, crc=crc),
        )
        durable.replace(self.path, meta_line(self.meta))
        return sealed

    # -- writing -----------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, *, rotate: bool = True) -> Iterator[tuple[Appender, Place]]:
        """Be the one process that writes to it: its file, whole to the last byte, and its place."""
        while True:
            with Appender(self.path, create=False) as file, file.locked() as end:
                if not self._is(file):
                    continue  # it was rotated while we waited
                file.named = self._named == os.fstat(file.fd).st_ino
                if not (self._tail and self._tail.still(file.fd, end)):
                    self._tail = self.shelf.tail(self.id, file.fd, self._mended(file, end))
                if rotate and self._tail.end >= self.rotate_at:
                    with suppress(WriteError):  # then it goes on growing
                        self._rotated(file, self.place)
                    rotate = False
                    continue
                yield file, self.place if end else Place(seq=1)
                return

    def _is(self, file: Appender) -> bool:
        try:
            return os.stat(self.path).st_ino == os.fstat(file.fd).st_ino
        except OSError as error:
            raise durable.failed(self.path, error) from None

    def _mended(self, file: Appender, end: int) -> int:
        """The end of the file once what is damaged there, by a crash most likely, is set aside."""
        whole = end
        for start, line in backwards(file.fd, end):
            head = start == 0 and len(line) < end
            if head or not _is_damaged(line):
                break  # a file never loses its first line
            whole = start
        if whole < end:
            durable.cut(file.fd, self.path, whole)
        return whole

    def _put(self, file: Appender, lines: bytes, place: Place, record: Any, durable: bool) -> None:
        """Append lines by one write; the place that they lead to is known once they are there."""
        tail = self._tail
        assert tail is not None
        if not tail.end:
            head = msgspec.structs.replace(self.meta, id=self.id, place=Place(seq=1))
            lines = meta_line(head) + lines
        elif not tail.whole:
            lines = b"\n" + lines
        start = file.append(lines)
        if durable:
            try:
                file.sync()
            except WriteError:
                file.cut_back(start)
                raise
            self._named = tail.inode
        self._tail = tail.grown(lines, place, record)


def _is_damaged(line: bytes) -> bool:
    try:
        parse(line.strip())
    except BadRecordError as error:
        return error.reason in DAMAGE
    return False


def _conversation(tree: Tree, entries: Sequence[Message | Compaction]) -> Conversation:
    meta = tree.meta or Meta(id=tree.id)
    return Conversation(
        id=tree.id,
        parent=meta.fork.parent if meta.fork else None,
        branch=meta.fork.branch if meta.fork else None,
        forked_at=meta.fork.at if meta.fork and meta.fork.entry else None,
        created_at=meta.created_at,
        updated_at=tree.updated_at,
        title=meta.title,
        cwd=meta.cwd,
        origin=meta.origin,
        entries=tuple(e for e in entries if isinstance(e, Message)),
        compactions=tuple(e for e in entries if isinstance(e, Compaction)),
    )


async def _awaited(value: Any) -> Any:
    return await value
