"""OpenCode's tree of JSON files: ``storage/{session,message,part}/<parent>/<id>.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw

from decklog.agents._shared import sane_ms
from decklog.model import NULL


def _place(relative: str) -> tuple[str, str, str]:
    """Kind, parent and id: as in OpenCode itself, the path says them, not the content."""
    kind, parent, name = relative.split("/")[-3:]
    return kind, parent, name.removesuffix(".json")


def gather(relatives: Iterable[str]) -> dict[str, list[str]]:
    """The files of each session, by its id."""
    found = sorted((_place(r), r) for r in relatives)
    owner = {name: parent for (kind, parent, name), _ in found if kind == "message"}
    sessions: dict[str, list[str]] = {}
    for (kind, parent, name), relative in found:
        ids = {"session": name, "message": parent, "part": owner.get(parent)}
        if session := ids[kind]:
            sessions.setdefault(session, []).append(relative)
    return sessions


def assemble(session: str, files: Mapping[str, bytes]) -> bytes:
    """One document of the files of a session: messages by time, parts by id."""
    info, damaged = NULL, []
    messages: list[tuple[int, str, Raw]] = []
    parts: dict[str, list[Raw]] = {}
    for relative in sorted(files):
        kind, parent, name = _place(relative)
        raw = Raw(files[relative])
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            damaged.append(relative)
            continue
        if kind == "session":
            info = raw
        elif kind == "message":
            messages.append((_created(value), name, raw))
        else:
            parts.setdefault(parent, []).append(raw)
    messages.sort(key=lambda m: m[:2])
    entries = [{"id": i, "info": raw, "parts": parts.get(i, [])} for _, i, raw in messages]
    whole = {"id": session, "info": info, "messages": entries, "damaged": damaged}
    return msgspec.json.encode(whole)


def _created(message: object) -> int:
    time = message.get("time") if isinstance(message, dict) else None
    return (sane_ms(time.get("created")) if isinstance(time, dict) else None) or 0
