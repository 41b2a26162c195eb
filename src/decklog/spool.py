"""What the hooks of agents noted, and the relays between agents and tmux: one record a line, in a
spool that only grows.

The script of the hooks is in `decklog.hooks`, the relay is `decklog.relay`.
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
from decklog.model.fleet import Evidence, EvidenceKind, Identity, Says
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


def evidence(note: Note, agent: Agent) -> list[Evidence]:
    """What a note says of the state of its agent."""
    if note.event in ("osc7501", "osc133"):
        return _of_terminal(note)
    sign = agent.hook_sign(note.event, note.data)
    if not sign.says:
        return []
    native = agent.hook_session(note.data)
    return [
        observed(
            "hook", sign.says, note.at, id=note.id, ref=sign.ref,
            session=f"{note.agent}:{native}" if native else "", detail=sign.detail or note.event,
        )
    ]  # fmt: skip


REPORTED: dict[tuple[str, str], Says] = {
    ("working", ""): "busy",
    ("idle", ""): "idle",
    ("done", ""): "idle",
    ("error", ""): "error",
    ("blocked", ""): "waiting_approval",
    ("blocked", "permission"): "waiting_approval",
    ("blocked", "auth"): "waiting_approval",
    ("blocked", "question"): "waiting_answer",
}
"""What the states and kinds of a report mean."""
MARKED: dict[str, Says] = {"A": "idle", "B": "idle", "C": "busy", "D": "idle"}
"""What the marks of a shell mean: a prompt begins, ends, a command begins, ends."""


def _of_terminal(note: Note) -> list[Evidence]:
    """What a relay heard the agent tell its terminal."""
    kind: EvidenceKind
    said = {name: value for name, value in note.data.items() if isinstance(value, str)}
    found: list[tuple[Says, str, str]] = []
    if note.event == "osc133":
        kind, mark = "osc133", said.get("mark", "")
        found = [(MARKED.get(mark, ""), "", f"mark {mark}")]
    else:
        kind, what = "osc7501", (said.get("state", ""), said.get("kind", ""))
        for name, says in _BELOW.items():
            if name in said:
                found.append((says, f"below:{said[name]}", "work below it"))
        found.append((REPORTED.get(what, ""), "", " ".join(filter(None, what))))
    return [
        observed(kind, says, note.at, id=f"{note.id}:{says}", ref=ref, detail=detail)
        for says, ref, detail in found
        if says
    ]


_BELOW: dict[str, Says] = {"below": "background_started", "below_over": "background_ended"}
