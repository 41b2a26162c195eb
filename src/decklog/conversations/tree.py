"""The entries of one conversation's files, and the way from any of them back to the first. Pure.

A record that cannot be read costs itself and no more: the entry after it, whose parent it was,
goes on from the entry that stood before it.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

import msgspec

from decklog.conversations.records import BadRecordError, Meta, Place, Said, Summed, parse
from decklog.errors import NotFound, UsageError
from decklog.model import Compaction, Finding, Message


class Node(NamedTuple):
    entry: Message | Compaction
    parent: str | None
    order: int
    """Which entry of its conversation it is: parents come before their children."""


class Tree:
    """Fed with the lines of a conversation's files in their order, oldest file first."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.meta: Meta | None = None
        """The last head; its place and fork are those of the conversation."""
        self.nodes: dict[str, Node] = {}
        self.place = Place()
        self.findings: list[Finding] = []
        self.updated_at = 0
        self.foreign = False
        """Whether the last record was written by another program."""

    def feed(self, line: bytes, source: str, offset: int, number: int, file: int = 0) -> None:
        """Take the next line in; ``number`` counts from 1 in its file, ``file`` from 0."""
        data = line.strip()
        if not data:
            return
        where = Finding(
            agent="decklog", source=source, offset=offset, length=len(line), line=number
        )
        seq = self.place.seq + 1
        try:
            record = parse(data)
        except BadRecordError as error:
            self.place = msgspec.structs.replace(self.place, seq=seq)
            self._found(where, error.reason, str(error), sha256(line).hexdigest())
            return
        if record.place is not None and record.place.seq != seq:
            missing = record.place.seq - seq
            gap = f"{missing} records are missing before it" if missing > 0 else "it stands twice"
            self._found(where, "gap", gap)
        self.foreign = record.place is None
        name = f"line-{number}" if file == 0 else f"line-{file}.{number}"
        if self.id:  # a fork may begin at one of its parent's that was called so too
            name = f"{name}:{self.id}"
        match record:
            case Meta():
                self._headed(record, seq)
            case Said(message=m):
                self._entered(m, m.id or name, record.place, seq, 1)
            case Summed(compaction=c):
                self._entered(c, c.id or name, record.place, seq, 0)

    def _found(self, where: Finding, reason: str, detail: str, digest: str = "") -> None:
        self.findings.append(
            msgspec.structs.replace(where, reason=reason, detail=detail, sha256=digest)
        )

    def _headed(self, meta: Meta, seq: int) -> None:
        first = self.meta is None and not self.nodes
        if self.meta is not None:  # what rotation sealed is asked of the last head that says so
            meta = msgspec.structs.replace(meta, sealed=meta.sealed or self.meta.sealed)
        self.meta = meta
        self.updated_at = max(self.updated_at, meta.updated_at)
        if meta.place is not None:
            self.place = msgspec.structs.replace(meta.place, seq=max(seq, meta.place.seq))
        elif first and meta.fork is not None and meta.fork.entry:
            self.place = Place(leaf=meta.fork.entry, n=meta.fork.at, seq=seq)
        else:
            self.place = msgspec.structs.replace(self.place, seq=seq)

    def _entered(
        self, entry: Message | Compaction, name: str, place: Place | None, seq: int, more: int
    ) -> None:
        before = self.place
        self.updated_at = max(self.updated_at, entry.at or 0)
        if name in self.nodes:  # said twice: the first stands
            return
        known = place is not None and (entry.parent in self.nodes or entry.parent == before.leaf)
        known = known or (place is not None and entry.parent is None and before.leaf is None)
        parent = entry.parent if known else before.leaf
        entry = msgspec.structs.replace(entry, id=name, parent=parent)
        self.nodes[name] = Node(entry, parent, len(self.nodes))
        n = before.n + more if place is None else place.n
        self.place = Place(leaf=name, n=n, seq=max(seq, place.seq if place else 0))

    def back(self, leaf: str | None) -> tuple[list[Message | Compaction], str | None]:
        """Entries from a leaf back to the first of this conversation, newest first, and the entry
        of another conversation that they go on from (None: they are all there is)."""
        found: list[Message | Compaction] = []
        order = len(self.nodes)
        while leaf is not None and (node := self.nodes.get(leaf)) is not None:
            if node.order >= order:  # another entry of the same name, of an ancestor
                break
            found.append(node.entry)
            leaf, order = node.parent, node.order
        return found, leaf


def lineage(
    tree: Tree, load: Callable[[str], Tree]
) -> tuple[list[Message | Compaction], list[Finding]]:
    """The entries of a conversation and of those it was forked from, oldest first, and what was
    not read as it stood. ``load`` gives the tree of an ancestor, or raises NotFound."""
    findings = list(tree.findings)
    entries: list[Message | Compaction] = []
    above = [tree]
    leaf = tree.place.leaf
    while True:
        found, leaf = above[-1].back(leaf)
        entries += found
        if leaf is None:
            break
        known = len(above)
        problem = _climb(above, leaf, load)
        for t in above[known:]:
            findings += t.findings
        if problem:
            findings.append(Finding(agent="decklog", source=tree.id, reason="gap", detail=problem))
            entries += _instead(above[known - 1 :])
            break
    return entries[::-1], findings


def _climb(above: list[Tree], leaf: str, load: Callable[[str], Tree]) -> str:
    """Go up to the ancestor that has the entry; what is in the way of that, or nothing."""
    while True:
        meta = above[-1].meta
        if meta is None or meta.fork is None:
            return f"entry {leaf} is in none of its ancestors"
        parent = meta.fork.parent
        if parent in (t.id for t in above):
            return f"conversation {parent} is its own ancestor"
        try:
            above.append(load(parent))
        except (NotFound, UsageError):
            return f"conversation {parent}, which it was forked from, is not here"
        if leaf in above[-1].nodes:
            return ""


def _instead(above: list[Tree]) -> list[Message | Compaction]:
    """As many messages of the nearest ancestor as the fork shared, newest first: what stands
    nearest where the entry that it began at is lost."""
    child, *ancestors = above
    fork = child.meta.fork if child.meta else None
    if not ancestors or fork is None:
        return []
    entries = ancestors[0].back(ancestors[0].place.leaf)[0][::-1]
    return upto(entries, fork.at)[::-1]


def upto(entries: list[Message | Compaction], n: int) -> list[Message | Compaction]:
    """Entries up to and with the n-th message."""
    for i, entry in enumerate(entries):
        if n == 0:
            return entries[:i]
        n -= isinstance(entry, Message)
        if n == 0:
            return entries[: i + 1]
    return entries
