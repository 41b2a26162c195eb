"""Our own conversations: append, fork, go back, compact, rotate; JSON Lines in one folder.

Nothing that was written is changed or removed. The format: docs/formats/conversations.md.

>>> from decklog.conversations import Conversations
>>> import tempfile
>>> chats = Conversations(tempfile.mkdtemp())
>>> chat = chats.new(title="A parser")
>>> chat.append("user", "Write a parser.").role
'user'
>>> other = chats.fork(chat.id, branch="by hand")
>>> other.append("assistant", "By hand, then.").blocks[0].text
'By hand, then.'
>>> chat.messages, other.messages
(1, 2)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from decklog import durable
from decklog.conversations.branch import ROTATE_AT, Branch
from decklog.conversations.compaction import position
from decklog.conversations.records import Meta, Place, Record, Said, Summed
from decklog.conversations.shelf import MARK, Shelf, Tail
from decklog.conversations.writing import compaction_line, message_line, meta_line
from decklog.errors import DecklogError, NotFound, UsageError
from decklog.model import Compaction, Conversation, Fork, Outline

__all__ = ["ROTATE_AT", "Branch", "Conversations"]


def clock() -> int:
    """Milliseconds UTC."""
    return time.time_ns() // 1_000_000


class Conversations:
    """The conversations of one folder. Any number of processes may use it at once."""

    def __init__(
        self, folder: str, *, now: Callable[[], int] = clock, rotate_at: int = ROTATE_AT
    ) -> None:
        """``rotate_at``: bytes from which a file is sealed before more is appended."""
        self.shelf, self.now, self.rotate_at = Shelf(folder), now, rotate_at

    # -- finding -------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Ids of all, the oldest first (as far as they are ours)."""
        return self.shelf.names()

    def outlines(self) -> Iterator[Outline]:
        """All conversations, the one that was last said something in first.

        Raises nothing for one that cannot be read: `open` does.
        """
        found = []
        for name in self.ids():
            try:
                found.append(self.open(name).outline())
            except DecklogError:
                continue
        yield from sorted(found, key=lambda o: (-o.updated_at, o.id))

    def find(self, text: str) -> str:
        """The full id of a conversation: an id, any unambiguous beginning of one, or ``latest``.

        Raises NotFound, or UsageError when the text may mean several.
        """
        if text == "latest":
            latest = next(self.outlines(), None)
            if latest is None:
                raise NotFound("there are no conversations", hint="decklog chat new")
            return latest.id
        names = self.ids()
        found = [text] if text in names else [n for n in names if text and n.startswith(text)]
        if not found:
            raise NotFound(f"no conversation {text!r}", hint="decklog chat ls lists them")
        if len(found) > 1:
            some = ", ".join(found[:8]) + (" ..." if len(found) > 8 else "")
            raise UsageError(
                f"{text!r} may mean {len(found)} conversations: {some}",
                hint="write more of the id",
            )
        return found[0]

    def open(self, name: str) -> Branch:
        """A conversation, by its full id. Raises NotFound, SourceError."""
        return Branch(self.shelf, name, self.now, self.rotate_at)

    # -- making --------------------------------------------------------------------------------

    def new(self, *, title: str = "", cwd: str = "", origin: str = "") -> Branch:
        """A conversation in which nothing is said yet. Raises WriteError."""
        return self._made(title, cwd, origin=origin)

    def fork(self, name: str, at: int | None = None, branch: str | None = None) -> Branch:
        """A conversation that goes on from message ``at`` of another (the last, when not given).

        What was said before is not copied: the new file names the entry it begins at. Raises
        NotFound, UsageError for a message that is not there, WriteError.
        """
        parent = self.open(name)
        fork = parent.forked(at, branch)
        return self._made(parent.meta.title, parent.meta.cwd, fork=fork)

    def _made(self, title: str, cwd: str, *, origin: str = "", fork: Fork | None = None) -> Branch:
        durable.private_folder(self.shelf.folder)
        now = self.now()
        leaf, n = (fork.entry, fork.at) if fork else (None, 0)
        while True:
            name = durable.new_id(now)
            place = Place(leaf=leaf, n=n, seq=1)
            meta = Meta(
                id=name,
                created_at=now,
                updated_at=now,
                fork=fork,
                title=title,
                cwd=cwd,
                origin=origin,
                place=place,
            )
            made = self._create(meta, [meta_line(meta)], place, meta)
            if made is not None:
                return made

    def _create(self, meta: Meta, lines: list[bytes], place: Place, last: Record) -> Branch | None:
        """A conversation with these lines; None where there is one of that name."""
        data = b"".join(lines)
        if not durable.create(self.shelf.path(meta.id), data):
            return None
        ends = (meta, Tail(0, len(data), data[-MARK:], place, last))
        return Branch(self.shelf, meta.id, self.now, self.rotate_at, ends)

    def add(self, conversation: Conversation) -> Branch:
        """Put a conversation that was read elsewhere among these, whole, with its times.

        It keeps its id where that is free (or there is an equal one: then that is given, and
        nothing is written), and gets a new one otherwise. Raises WriteError.
        """
        durable.private_folder(self.shelf.folder)
        name = conversation.id if _fits(conversation.id) else ""
        while True:
            name = name or durable.new_id(self.now())
            made = self._create(*_written(conversation, name))
            if made is not None:
                return made
            there = self.open(name)
            if _told(there.read()) == _told(conversation):
                return there
            name = ""


def _fits(name: str) -> bool:
    try:
        return bool(durable.safe_id(name)) and ".rot-" not in name
    except UsageError:
        return False


def _made_up(entry: str) -> bool:
    """Whether an entry had no id of its own where it was read."""
    return not entry or entry.startswith("line-")


def _told(conversation: Conversation) -> list[object]:
    return [(m.role, m.blocks) for m in conversation.entries]


def _written(c: Conversation, name: str) -> tuple[Meta, list[bytes], Place, Record]:
    """The file of a conversation that has no ancestors here (what it was forked from stays as a
    note): its head, its lines, and where they lead to."""
    place = Place(seq=1)
    meta = Meta(
        id=name,
        created_at=c.created_at,
        updated_at=c.updated_at,
        fork=Fork(parent=c.parent, branch=c.branch) if c.parent else None,
        title=c.title,
        cwd=c.cwd,
        origin=c.origin,
        place=place,
    )
    lines = [meta_line(meta)]
    last: Record = meta
    seen: set[str] = set()
    places = {m.id: i + 1 for i, m in enumerate(c.entries)}
    after: dict[int, list[Compaction]] = {}
    for compaction in c.compactions:
        after.setdefault(position(compaction, c, places), []).append(compaction)
    for i, m in enumerate((None, *c.entries)):
        if m is not None:
            own = durable.new_id(m.at or c.updated_at) if _made_up(m.id) or m.id in seen else m.id
            seen.add(own)
            m = msgspec.structs.replace(m, id=own, parent=place.leaf)
            place = Place(leaf=own, n=place.n + 1, seq=place.seq + 1)
            lines.append(message_line(m, place))
            last = Said(message=m)
        for x in after.get(i, ()):
            own = durable.new_id(x.at or c.updated_at) if _made_up(x.id) else x.id
            x = msgspec.structs.replace(x, id=own, parent=place.leaf)
            place = Place(leaf=own, n=place.n, seq=place.seq + 1)
            lines.append(compaction_line(x, place))
            last = Summed(compaction=x)
    return meta, lines, place, last
