"""Copies taken out of the archive, on request only.

Packs are rewritten one after the other: what is kept of one is written beside it, unchanged byte
for byte, and takes its name once it is on disk. Killed anywhere, the archive holds all that is to
be kept, and a further run takes out the rest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from decklog import durable
from decklog.archive import Archive, Copy, packs, records


def prune(archive: Archive, copies: Iterable[Copy]) -> int:
    """Take copies out; gives the bytes that the files are smaller by. Only inside
    `Archive.writing`.

    A block of theirs that a kept copy shares stays. A dictionary that no kept block needs goes;
    one that is needed stays, with the passages that were learned for it.
    """
    out = {c.id for c in copies}
    kept = [c for c in archive.copies(superseded=True) if c.id not in out]
    needed = {(b.pack, b.at) for c in kept for b in archive.index.blocks(c.id)}
    freed = 0
    for name in packs.names(archive.folder):
        path = os.path.join(archive.folder, name)

        def keep(met: records.Met, name: str = name) -> bool:
            head = met.head
            if head is None:
                return not met.torn  # damage is for `verify`; it may yet be read by other means
            if head.kind == records.BLOCK:
                return (name, met.at) in needed
            return head.copy not in out or head.kind == records.SAME  # others may refer to it

        try:
            freed += _rewrite(path, keep)
        except OSError as error:
            raise durable.failed(path, error) from None
    archive.refresh()
    used = archive.used_dictionaries()
    current = archive.dictionaries()[-1:]
    for number in archive.dictionaries():
        if number not in used and (number not in current or not kept):
            made = archive.dictionary(number)
            for path in (*made.files, *made.copies):
                with suppress(OSError):
                    freed += os.stat(path).st_size
                    os.unlink(path)
    durable.sync_folder(archive.folder)
    return freed


def _rewrite(path: str, keep: Callable[[records.Met], bool]) -> int:
    """Keep some records of a pack; a pack of which nothing is kept is removed."""
    found = list(packs.scan(path))
    kept = [m for m in found if keep(m)]
    if len(kept) == len(found):
        return 0
    size = os.stat(path).st_size
    if not any(m.head is not None for m in kept):
        os.unlink(path)
        return size
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:

        def fill(out: int) -> None:
            durable.write_all(out, records.LEAD)
            for m in kept:
                durable.write_all(out, os.pread(fd, m.size, m.at))

        durable.replace_with(path, fill)
    finally:
        os.close(fd)
    return size - os.stat(path).st_size
