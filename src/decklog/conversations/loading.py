"""A conversation from the bytes of a file, whoever wrote it. Pure.

Both forms are read: JSON Lines, and the older single JSON object.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from decklog.conversations.records import VERSION, BadRecordError, Meta, decode, legacy
from decklog.conversations.tree import Tree, lineage
from decklog.errors import FormatError, NotFound
from decklog.model import Compaction, Conversation, Finding, Message

LOOKED_AT = 50
"""Lines that are looked at to tell what a file is."""


def is_conversation(data: bytes) -> bool:
    """Whether a file holds a conversation, and no agent's transcript."""
    data = _without_mark(data)
    if not data.strip():
        return True
    for line in data.split(b"\n", LOOKED_AT)[:LOOKED_AT]:
        if _is_record(_object(line)):
            return True
    whole = _object(data)
    messages = whole.get("messages")
    return isinstance(messages, list) and ("version" in whole or _are_messages(messages))


def _is_record(r: dict[str, Any]) -> bool:
    match r:
        case {"type": "session_meta", "session_id": _}:
            return True
        case {"type": "message", "message": {"blocks": _}}:
            return True
        case {"type": "compaction", "removed_message_count": _}:
            return True
    return False


def _are_messages(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[0], dict) and "blocks" in messages[0]


def _object(data: bytes) -> dict[str, Any]:
    try:
        return decode(data)
    except BadRecordError:
        return {}


def _without_mark(data: bytes) -> bytes:
    return data.removeprefix(b"\xef\xbb\xbf")


def load(data: bytes, source: str) -> tuple[Conversation, list[Finding]]:
    """The conversation in a file, and what of it was not read as it stood.

    What it does not state is left empty: its id, its times (0). Raises FormatError when nothing in
    it is a record, and for a version that is not known yet.
    """
    data = _without_mark(data)
    whole = _object(data)
    if "messages" in whole:
        try:
            meta, compaction, messages = legacy(whole)
        except BadRecordError as error:
            raise _refused(source, str(error)) from None
        _check(meta.version, source)
        numbered = [replace(m, id=f"line-{i}") for i, m in enumerate(messages, 1)]
        made = [replace(compaction, id="line-0")] if compaction else []
        return _conversation(meta, [*made, *numbered], meta.updated_at), []
    tree = Tree("")
    offset = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        tree.feed(line, source, offset, number)
        offset += len(line) + 1
    if tree.findings and tree.meta is None and not tree.nodes:
        first = tree.findings[0]
        raise _refused(source, f"line {first.line}: {first.detail}")
    entries, findings = lineage(tree, _no_ancestors)
    meta = tree.meta or Meta(id="")
    _check(meta.version, source)
    return _conversation(meta, entries, tree.updated_at), findings


def _conversation(meta: Meta, entries: list[Message | Compaction], updated_at: int) -> Conversation:
    return Conversation(
        id=meta.id,
        version=VERSION,
        parent=meta.fork.parent if meta.fork else None,
        branch=meta.fork.branch if meta.fork else None,
        created_at=meta.created_at,
        updated_at=updated_at,
        title=meta.title,
        cwd=meta.cwd,
        origin=meta.origin,
        entries=tuple(e for e in entries if isinstance(e, Message)),
        compactions=tuple(e for e in entries if isinstance(e, Compaction)),
    )


def _no_ancestors(name: str) -> Tree:
    raise NotFound(f"no conversation {name!r}")


def _check(version: int, source: str) -> None:
    if version > VERSION:
        error = _refused(source, f"version {version} is newer than {VERSION}, the last known one")
        error.hint = "upgrade decklog"
        raise error


def _refused(source: str, detail: str) -> FormatError:
    return FormatError(detail, agent="decklog", uri=source)
