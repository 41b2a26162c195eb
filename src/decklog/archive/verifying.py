"""Every checksum of an archive looked at, and a torn end cut off on request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from decklog import durable
from decklog.archive import Archive, Block, Damaged, packs, records


class Damage(NamedTuple):
    """Bytes that are not what was written."""

    file: str
    """Path of the pack or dictionary."""
    offset: int
    length: int
    uri: str
    """Source whose bytes these were; empty where that cannot be told."""
    start: int
    """Offset in that source."""
    detail: str
    repaired: str = ""
    """Where the bytes were saved that stood there, or the file that was made anew."""


class Checked(NamedTuple):
    """What was looked at."""

    packs: int
    blocks: int
    copies: int
    bytes: int
    """Packed bytes read."""
    raw: int
    """Bytes of sources that were unpacked and compared with their checksums."""


def verify(archive: Archive, *, repair: bool = False) -> Iterator[Damage | Checked]:
    """Look at every byte; last comes what was looked at.

    With ``repair`` a torn end of a pack is saved beside it and cut off, and a dictionary that is
    damaged is made anew from its other files; nothing else is ever changed. Raises StoreError.
    """
    if not archive.exists():
        yield Checked(0, 0, 0, 0, 0)
        return
    for name in archive.missing():
        path = os.path.join(archive.folder, name)
        yield Damage(path, 0, 0, "", 0, "the pack is missing, with all that was in it")
    yield from _dictionaries(archive, repair=repair)
    names = packs.names(archive.folder)
    owners = {(b.pack, b.at): (c.uri, b) for c in archive.copies(superseded=True)
              for b in archive.index.blocks(c.id)}  # fmt: skip
    blocks = size = raw = 0
    for name in names:
        path = os.path.join(archive.folder, name)
        try:
            size += os.stat(path).st_size
            if not packs.begins_well(path):
                yield Damage(path, 0, records.LEAD_SIZE, "", 0, "does not begin as a pack does")
            met = packs.scan(path)
            for found in met:
                if found.head is None:
                    yield _hole(path, found, owners, repair=repair)
                elif found.head.kind == records.BLOCK:
                    blocks += 1
                    uri, block = owners.get((name, found.at), ("", None))
                    try:
                        raw += len(archive.raw(found.head, found.body, name, found.at))
                    except Damaged as error:
                        start = block.offset if block else found.head.offset
                        yield Damage(path, found.at, found.size, uri, start, str(error))
        except OSError as error:
            yield Damage(path, 0, 0, "", 0, error.strerror or "cannot be read")
    copies = archive.copies(superseded=True)
    for copy in copies:
        at = 0
        for b in archive.index.blocks(copy.id):
            if b.offset > at:
                yield _lost(archive, copy.uri, at, b.offset)
            at = b.offset + b.raw
        if at < copy.stop:
            yield _lost(archive, copy.uri, at, copy.stop)
    yield Checked(len(names), blocks, len(copies), size, raw)


def _lost(archive: Archive, uri: str, start: int, stop: int) -> Damage:
    detail = f"bytes {start:,} to {stop:,} of the source are lost"
    return Damage(archive.folder, 0, stop - start, uri, start, detail)


def _hole(
    path: str,
    met: records.Met,
    owners: dict[tuple[str, int], tuple[str, Block]],
    *,
    repair: bool,
) -> Damage:
    name = os.path.basename(path)
    inside = sorted(at for pack, at in owners if pack == name and met.at <= at < met.at + met.size)
    uri, start = "", 0
    if inside:
        uri, block = owners[name, inside[0]]
        start = block.offset
    if met.torn and not inside:
        saved = ""
        if repair:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                saved = durable.cut(fd, path, met.at)
            finally:
                os.close(fd)
        return Damage(path, met.at, met.size, "", 0, "a torn end, as a crash leaves it", saved)
    return Damage(path, met.at, met.size, uri, start, "no sound record")


def _dictionaries(archive: Archive, *, repair: bool) -> Iterator[Damage]:
    for number in archive.dictionaries():
        dictionary = archive.dictionary(number)
        try:
            dictionary.read()
        except ValueError as error:
            if number in archive.used_dictionaries():
                detail = f"{error}: what was packed with it is lost"
                yield Damage(dictionary.files[0], 0, 0, "", 0, detail)
            continue
        wrong = dictionary.wrong()
        kept = dictionary.mend() if repair and wrong else [""] * len(wrong)
        for path, saved in zip(wrong, kept, strict=True):
            detail = "a part of a dictionary is damaged; the others make up for it"
            yield Damage(path, 0, 0, "", 0, detail, saved)
