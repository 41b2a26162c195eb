"""The archive: verbatim, compressed, append-only copies of what was read.

It outlives the agents' clean-up. A source that is deleted, cut, rewritten or replaced keeps its
copy, and is read from it like from any other source.

- `records` says what a pack is made of; `packs` are the files; `index` finds a block in them and
  can be made anew from them; `dictionary` packs blocks, `dictionaries` are the files of what it
  learned; `copier` makes records of what is read; `verifying`, `pruning` and `restoring` are what
  the face asks for.
- A **copy** is one generation of a source that is appended to, or one version of a document. It
  carries the uri by which the store knows it; the copy of what was read before a rewrite is renamed
  when the store renames its rows.
- One process writes, under the lock of the archive. What is committed here is durable before the
  cursor in the store that relies on it. Only one who follows has others wait for the disk
  (`unflushed`): no end of a process loses what it wrote, and of a machine that ends in the moment
  until then the next sync copies again what it misses.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter

import apsw

from decklog import durable
from decklog.archive import packs, records
from decklog.archive.dictionaries import Dictionary, numbers
from decklog.archive.dictionary import SAMPLE, Packing, learn
from decklog.archive.index import FILE as INDEX
from decklog.archive.index import Block, Copy, Index
from decklog.archive.unflushed import Unflushed
from decklog.connection import failure
from decklog.errors import StoreError

__all__ = ["Archive", "Block", "Copy", "CopyReader", "Damaged"]

FOLDER = "archive"
LOCK = "write.lock"
LEAST = 8 << 20
"""Raw bytes from which on a dictionary is worth its room."""
GROWTH = 8
"""A dictionary that was learned from little is followed by another when there is so many times as
much."""
FULL_SAMPLE = 400 << 20
"""A dictionary that was learned with so much in sight stays."""
GROUP = 4 << 20
"""Packed bytes that are written at once."""
KEPT = 4
"""Unpacked blocks that a reader keeps."""


class Damaged(StoreError):
    """Bytes of the archive are not what was written."""

    hint = "decklog archive verify"

    def __init__(self, message: str, pack: str, at: int) -> None:
        super().__init__(f"{pack}, byte {at:,}: {message}")
        self.pack, self.at = pack, at


class Archive:
    """The archive of one data folder. Reading makes nothing that is not there.

    Raises StoreError where its files cannot be opened.
    """

    def __init__(self, data_dir: str, *, later: bool = False) -> None:
        """With ``later``, `commit` does not wait for the disk: `flush` has to follow soon."""
        self.folder = os.path.join(data_dir, FOLDER)
        self.index_path = os.path.join(self.folder, INDEX)
        self._later = later
        self._unflushed = Unflushed(self.folder)
        self._index: Index | None = None
        self._writer: packs.Writer | None = None
        self._packings: dict[int, Packing] = {}
        self._last = 0
        self._pending: list[bytes] = []
        self._written: list[tuple[str, int, records.Head, bytes]] = []

    def close(self) -> None:
        self._unflushed.close()
        if self._index is not None:
            self._index.close()
            self._index = None

    def flush(self) -> None:
        """Wait until what was committed is on disk. May be called from any thread."""
        self._unflushed.flush()

    def exists(self) -> bool:
        return os.path.isdir(self.folder)

    # -- reading -------------------------------------------------------------------------------

    @property
    def index(self) -> Index:
        """The index, brought up to the packs if a crash left it behind. Raises StoreError."""
        if self._index is None:
            if not self.exists():
                durable.private_folder(self.folder)
            self._index = self._opened()
            if self._writer is None and self._behind():
                with self.writing():
                    pass
        return self._index

    def _opened(self) -> Index:
        try:
            return Index(self.folder)
        except apsw.Error as error:
            raise failure(self.index_path, error) from None

    def _behind(self) -> bool:
        assert self._index is not None
        known = self._index.packs()
        found = packs.names(self.folder)
        if set(found) != set(known) or self._unflushed.foreign():
            return True
        for name in found:
            st = os.stat(os.path.join(self.folder, name))
            if (st.st_ino, True) != (known[name][0], st.st_size <= known[name][1]):
                return True
        return False

    def missing(self) -> list[str]:
        """Packs that are indexed and not there any more. The index is brought up to those that are
        when it is next asked."""
        if self._index is None:
            if not os.path.exists(self.index_path):
                return []
            self._index = self._opened()
        there = set(packs.names(self.folder))
        lost = [name for name in self._index.packs() if name not in there]
        if self._writer is None:
            self.close()
        return lost

    def copies(self, *, superseded: bool = False) -> list[Copy]:
        """What is archived, by uri. Empty where there is no archive."""
        return list(self.index.copies(superseded=superseded)) if self.exists() else []

    def copy(self, uri: str) -> Copy | None:
        """The copy of a source, under the uri by which the store knows it."""
        return self.index.copy(uri) if self.exists() else None

    def open(self, copy: Copy) -> CopyReader:
        return CopyReader(self, copy)

    def unpacked(self, block: Block) -> bytes:
        """The bytes of a block, checked. Raises Damaged."""
        path = os.path.join(self.folder, block.pack)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                data = os.pread(fd, block.packed, block.at)
            finally:
                os.close(fd)
        except OSError as error:
            raise Damaged(error.strerror or "cannot be read", block.pack, block.at) from None
        head = records.head(data)
        body = data[records.HEAD_SIZE :]
        if head is None or not records.sound(head, body):
            raise Damaged("a block is damaged", block.pack, block.at)
        if (head.kind, head.raw, head.raw_crc) != (records.BLOCK, block.raw, block.crc):
            raise Damaged("another block stands here", block.pack, block.at)
        return self.raw(head, body, block.pack, block.at)

    def raw(self, head: records.Head, body: bytes, pack: str, at: int) -> bytes:
        """What a sound block record stands for. Raises Damaged."""
        from zlib import crc32

        try:
            raw = self.packing(head.dictionary).unpack(head.codec, body, head.raw)
        except ValueError as error:
            raise Damaged(f"a block does not unpack: {error}", pack, at) from None
        if len(raw) != head.raw or crc32(raw) != head.raw_crc:
            raise Damaged("a block unpacks to other bytes", pack, at)
        return raw

    # -- dictionaries --------------------------------------------------------------------------

    def packing(self, number: int) -> Packing:
        """Packs and unpacks with a dictionary. Raises ValueError when that is lost."""
        if number not in self._packings:
            content = self.dictionary(number).read()[0] if number else b""
            self._packings[number] = Packing(number, content)
        return self._packings[number]

    def current(self) -> Packing:
        """The packing of new blocks: with the newest dictionary that is sound."""
        for number in reversed(self.dictionaries()):
            with suppress(ValueError):
                return self.packing(number)
        return self.packing(0)

    def dictionary(self, number: int) -> Dictionary:
        return Dictionary(self.folder, number)

    def dictionaries(self) -> list[int]:
        """Numbers of the dictionaries there are, oldest first."""
        return numbers(self.folder)

    def wants_dictionary(self, pending: int) -> int:
        """Bytes of sample that a better dictionary is to be learned from; 0: none is needed."""
        total = self.index.total() + pending
        known = self.dictionaries()
        with suppress(ValueError):
            if known:
                seen = self.dictionary(known[-1]).read()[1]
                if seen >= FULL_SAMPLE or total < seen * GROWTH:
                    return 0
        return min(SAMPLE, total) if total >= LEAST else 0

    def learn(self, sample: Iterable[bytes], in_sight: int) -> None:
        """Learn a dictionary for the blocks to come. Only inside `writing`."""
        content = learn(sample)
        if len(content) < 64 << 10:
            return
        number = max(self.dictionaries(), default=0) + 1
        self.dictionary(number).write(content, in_sight)
        self._packings[number] = Packing(number, content)

    # -- writing -------------------------------------------------------------------------------

    @contextmanager
    def writing(self, wait: float = 30.0) -> Iterator[None]:
        """Be the one writer of the archive; the index is brought up to the packs first.

        Raises Busy when another process stays it for ``wait`` seconds, WriteError, StoreError.
        """
        if self._writer is not None:
            yield
            return
        durable.private_folder(self.folder)
        with durable.Lock(os.path.join(self.folder, LOCK)).held(wait):
            self._writer = packs.Writer(self.folder)
            try:
                durable.sweep(self.folder, time.time())
                self._catch_up()
                yield
            finally:
                self._pending, self._written = [], []
                self._writer.close()
                self._writer = None

    def _catch_up(self) -> None:
        """Index what a crash left out. The torn tail of the last pack is cut off, and saved."""
        index = self.index
        self._unflushed.take_back()
        foreign = self._unflushed.foreign()
        known = index.packs()
        found = {n: os.stat(os.path.join(self.folder, n)) for n in packs.names(self.folder)}
        changed = [n for n, (i, end) in known.items()
                   if n not in found or found[n].st_ino != i or found[n].st_size < end]  # fmt: skip
        if changed or foreign:
            index.clear()  # a pack was replaced or taken away, or lost what was indexed
            known = {}
        last = max(found, default="")
        for name, st in found.items():
            start = known[name][1] if name in known else records.LEAD_SIZE
            if st.st_size > start or name not in known:
                self._index_pack(name, st.st_ino, start, last=name == last)
        if foreign:
            self._unflushed.unmark()
        assert self._writer is not None
        self._writer.sound = index.packs().keys()

    def _index_pack(self, name: str, inode: int, start: int, *, last: bool) -> None:
        path = os.path.join(self.folder, name)
        try:
            if not packs.begins_well(path):
                return  # `verify` says so
            group = []
            end = start
            for met in packs.scan(path, start):
                end = met.at + met.size
                if met.head is not None:
                    body = met.body if met.head.kind != records.BLOCK else b""
                    group.append((met.at, met.head, body))
                elif met.torn and last:
                    end = met.at
                    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                    try:
                        durable.cut(fd, path, met.at)
                    finally:
                        os.close(fd)
        except OSError as error:
            raise durable.failed(path, error) from None
        self.index.apply(name, inode, group, end)

    def refresh(self) -> None:
        """Make the index anew from the packs. Only inside `writing`."""
        self.index.clear()
        self._catch_up()

    def used_dictionaries(self) -> set[int]:
        """Numbers of the dictionaries that some block was packed with."""
        used = set()
        for name in packs.names(self.folder):
            for met in packs.scan(os.path.join(self.folder, name)):
                if met.head is not None:
                    used.add(met.head.dictionary)
        return used

    def add(self, made: Iterable[bytes]) -> None:
        """Take records that the next `commit` makes durable. Only inside `writing`.

        Raises WriteError.
        """
        self._pending += made
        if sum(map(len, self._pending)) >= GROUP:
            self._write()

    def _write(self) -> None:
        if not self._pending:
            return
        assert self._writer is not None
        name, place = self._writer.append(self._pending)
        for made in self._pending:
            head = records.head(made)
            assert head is not None
            body = b"" if head.kind == records.BLOCK else made[records.HEAD_SIZE :]
            self._written.append((name, place, head, body))
            place += len(made)
        self._pending = []

    def commit(self) -> None:
        """Make durable (unless that is for `flush` to do) and index what was added.

        Raises WriteError or StoreError: then none of it counts, and the cursors that rely on it
        must not be kept.
        """
        self._write()
        if not self._written:
            return
        assert self._writer is not None
        if self._later and self._unflushed.mark():
            self._unflushed.add(self._writer.name, self._writer.durable)
        else:
            self._writer.sync()
        for name, group in groupby(self._written, itemgetter(0)):
            found = [(at, head, body) for _, at, head, body in group]
            at, head, _ = found[-1]
            inode = os.stat(os.path.join(self.folder, name)).st_ino
            self.index.apply(name, inode, found, at + records.HEAD_SIZE + head.packed)
        self._written = []

    @property
    def written(self) -> int:
        """Bytes written to packs since `writing` began."""
        return self._writer.bytes if self._writer is not None else 0

    def new_id(self) -> int:
        """An id of a copy, larger than all before it, also when the clock was set back."""
        self._last = max(time.time_ns(), (self._last or self.index.last()) + 1)
        return self._last


class CopyReader:
    """The bytes of one copy, from any offset; unpacks only the blocks that are asked for.

    Knows its blocks from the beginning, so that another process may read on.
    """

    def __init__(self, archive: Archive, copy: Copy) -> None:
        self.archive, self.copy = archive, copy
        self.size = copy.stop
        self.blocks = archive.index.blocks(copy.id)
        self._starts = [b.offset for b in self.blocks]
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def read(self, at: int, size: int, /) -> bytes:
        """Up to ``size`` bytes from an offset, fewer at the end or before a gap. Raises Damaged."""
        parts = []
        i = max(0, bisect_right(self._starts, at) - 1)
        stop = at + size
        while i < len(self.blocks) and at < stop:
            block = self.blocks[i]
            if not block.offset <= at < block.offset + block.raw:
                break
            piece = self._block(i)[at - block.offset : stop - block.offset]
            parts.append(piece)
            at += len(piece)
            i += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _block(self, i: int) -> bytes:
        raw = self._kept.get(i)
        if raw is None:
            raw = self.archive.unpacked(self.blocks[i])
            while len(self._kept) >= KEPT:
                self._kept.popitem(last=False)
            self._kept[i] = raw
        else:
            self._kept.move_to_end(i)
        return raw

    def everything(self) -> Iterator[bytes]:
        """All bytes, a block at a time. Raises Damaged, also where a block is missing."""
        at = 0
        for block in self.blocks:
            if block.offset != at:
                raise Damaged(f"bytes {at:,} to {block.offset:,} of the copy are lost", "index", 0)
            yield self.archive.unpacked(block)
            at += block.raw
        if at != self.size:
            raise Damaged(f"bytes {at:,} to {self.size:,} of the copy are lost", "index", 0)
