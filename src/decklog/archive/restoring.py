"""The bytes of archived copies written out again."""

from __future__ import annotations

import os
import stat
from zlib import crc32

from decklog import durable
from decklog.archive import Archive, Copy
from decklog.errors import Denied, UsageError

_REWRITTEN = "#rewritten-"


def in_place(copy: Copy) -> str:
    """The path that a copy was read from. Raises UsageError for one that is no file of its own."""
    if copy.kind in ("sqlite", "dir"):
        raise UsageError(
            f"{copy.uri} is part of a {'database' if copy.kind == 'sqlite' else 'folder'}, which "
            "its agent alone can write",
            hint="--to DIR writes what was read of it as a JSON file",
        )
    path = copy.uri.partition(_REWRITTEN)[0]
    if not os.path.isabs(path) or os.path.normpath(path) != path or "\0" in path:
        raise Denied(f"{path!r} is no path that is written to")
    return path


def below(folder: str, copy: Copy) -> str:
    """A path for a copy in a folder: the agent, then the path it was read from, with nothing left
    that could lead out of the folder. Parts of databases and folders become ``.json`` files."""
    path, mark, generation = copy.uri.partition(_REWRITTEN)
    base, _, document = path.partition("#") if copy.kind in ("sqlite", "dir") else (path, "", "")
    parts = [p for p in base.split("/") if p not in ("", ".", "..")]
    if document:
        parts.append(document.replace("/", "_").replace("\0", "_")[:200] + ".json")
    if mark:
        parts[-1] += f".rewritten-{generation}"
    return os.path.join(folder, copy.agent, *parts)


def restore(archive: Archive, copy: Copy, path: str, *, force: bool = False, root: str = "") -> str:
    """Write a copy to a path, whole and checked or not at all; gives ``written`` or ``same``.

    A file that is there and holds something else is left alone unless ``force``; a symbolic link
    is never followed, neither at ``path`` nor, with ``root``, between there and it. Raises
    UsageError, Denied, Damaged, WriteError.
    """
    reader = archive.open(copy)
    if _equal(reader.everything(), path):
        return "same"
    if os.path.lexists(path) and not force:
        raise UsageError(
            f"{path} is there, and holds something else",
            hint="--to DIR writes elsewhere; --force replaces it",
        )
    _folders(os.path.dirname(path), root)

    def fill(fd: int) -> None:
        for data in reader.everything():
            durable.write_all(fd, data)

    durable.replace_with(path, fill)
    return "written"


def _folders(folder: str, root: str) -> None:
    """Make the folders of a file; none of them may be a link that leads somewhere else."""
    todo = []
    while folder and not os.path.isdir(folder):
        todo.append(folder)
        folder = os.path.dirname(folder)
    if root and os.path.commonpath([os.path.realpath(folder), os.path.realpath(root)]) not in (
        os.path.realpath(root),
        os.path.realpath(folder),
    ):
        raise Denied(f"{folder} leads out of {root}")
    for made in reversed(todo):
        try:
            os.mkdir(made, 0o700)
        except OSError as error:
            raise durable.failed(made, error) from None


def _equal(pieces: object, path: str) -> bool:
    """True when a file holds these bytes and no others."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return False
        at = 0
        for data in pieces:  # type: ignore[attr-defined]
            there = os.pread(fd, len(data), at)
            if len(there) != len(data) or crc32(there) != crc32(data) or there != data:
                return False
            at += len(data)
        return os.fstat(fd).st_size == at
    finally:
        os.close(fd)
