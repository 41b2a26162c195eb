"""What the hooks of agents noted: one record a line, in a spool that only grows.

The script that writes it is in `decklog.hooks`.
"""

from __future__ import annotations

import os
import re
import stat
from binascii import a2b_base64
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from decklog.agents import Agent
from decklog.match import Claim
from decklog.model.fleet import Evidence, Identity
from decklog.state import observed

LARGE = 4 << 20
"""Bytes of a spool file after which a new one is begun; the old one is kept until the next time."""
FIRST_LOOK = 256 * 1024
"""Bytes of a spool that are read at first: hooks of agents that still run are at its end."""

_decode = msgspec.json.decode


class Note(NamedTuple):
    """One record of the spool."""

    id: str
    at: int
    agent: str
    event: str
    pid: int
    start_ticks: int
    generation: str
    data: dict[str, Any]


class Spool:
    """What hooks noted since the last look."""

    def __init__(self, folder: str) -> None:
        self.folder = f"{folder}/hooks/spool"
        self.offsets: dict[str, tuple[int, int]] = {}
        """Inode and offset by file name."""

    def stamp(self) -> object:
        """Equal while there is nothing new to read."""
        with suppress(OSError), os.scandir(self.folder) as entries:
            return tuple(sorted((e.name, e.stat().st_size) for e in entries))
        return None

    def read(self) -> Iterator[Note]:
        with suppress(OSError), os.scandir(self.folder) as entries:
            for name in sorted(e.name for e in entries if e.name.endswith(".jsonl")):
                with suppress(OSError):
                    yield from self._file(name)

    def _file(self, name: str) -> Iterator[Note]:
        path = f"{self.folder}/{name}"
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            st = os.fstat(fd)
            if not stat.S_ISREG(st.st_mode):
                return
            inode, offset = self.offsets.get(name, (st.st_ino, max(0, st.st_size - FIRST_LOOK)))
            if inode != st.st_ino or offset > st.st_size:
                offset = 0
            data = os.pread(fd, st.st_size - offset, offset)
        finally:
            os.close(fd)
        end = data.rfind(b"\n") + 1
        self.offsets[name] = (st.st_ino, offset + end)
        at = offset
        for line in data[:end].split(b"\n")[:-1]:
            note = _note(line, f"{path}:{at}")
            at += len(line) + 1
            if note is not None and f"{note.agent}.jsonl" == name:
                yield note
        if st.st_size > LARGE:
            os.replace(path, f"{path}.old")


def _note(line: bytes, place: str) -> Note | None:
    try:
        r = _decode(line)
        data = a2b_base64(r["data"])
        return Note(
            place, int(r["at"]), str(r["agent"]), str(r["event"]), int(r["pid"]), int(r["start"]),
            str(r["generation"]), _fields(data.decode("utf-8", "replace")),
        )  # fmt: skip
    except (ValueError, LookupError, TypeError):
        return None  # torn, or not ours


_FIELD = r'"([a-z_]{1,40})":\s*"((?:[^"\\]|\\.){0,400})"'


def _fields(text: str) -> dict[str, Any]:
    """What the agent told its hook; of a cut-off text the plain fields that are whole."""
    try:
        found = _decode(text)
        return found if isinstance(found, dict) else {}
    except msgspec.MsgspecError:
        fields: dict[str, Any] = {}
        for name, value in re.findall(_FIELD, text):
            with suppress(msgspec.MsgspecError):
                fields.setdefault(name, _decode(f'"{value}"'))
        return fields


def claim(note: Note, agent: Agent) -> Claim | None:
    """The session that a note says its process is on."""
    native = agent.hook_session(note.data)
    if not native or not note.pid:
        return None
    who = Identity("", note.pid, note.start_ticks)
    return Claim(who, native, "hook", note.at, f"{note.event} hook")


def evidence(note: Note, agent: Agent) -> Evidence | None:
    """What a note says of the state of its agent."""
    sign = agent.hook_sign(note.event, note.data)
    if not sign.says:
        return None
    native = agent.hook_session(note.data)
    return observed(
        "hook", sign.says, note.at, id=note.id, ref=sign.ref,
        session=f"{note.agent}:{native}" if native else "", detail=sign.detail or note.event,
    )  # fmt: skip
