"""Events as lines and lines as events, both ways without loss. Pure.

A line has the keys of the first programs that wrote such logs, so that those can read ours:
``seq``, ``ts`` (RFC 3339, UTC), ``provider`` (our agent), ``wrapper_session_id``,
``provider_session_id``, ``source_kind``, ``completeness``, ``type``, and the fields of that kind
beside them. Our own keys have names of their own and are left out where they say nothing.

Kinds that those programs do not know go under the nearest one they do know, and ``kind`` tells
which they are (`NEAREST`). Keys and kinds that *we* do not know survive in `Entry.extra`.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from decklog import model
from decklog.errors import UsageError
from decklog.log.lines import FORMAT
from decklog.model import Event, ParseWarning, Ref, Usage, UsageReported

KNOWN = {
    "session_started": "command model cwd resumed backfilled",
    "user_message": "role content message_id",
    "assistant_message": "content message_id",
    "reasoning": "content message_id",
    "tool_call": "tool_name tool_kind? tool_id input",
    "tool_result": "tool_name tool_kind? tool_id success output error data",
    "permission": "tool_name description granted",
    "provider_status": "message data",
    "stderr": "message",
    "parse_warning": "message raw",
    "session_cleared": "old_session_id new_session_id",
    "session_ended": "success error",
    "session_result": "result",
    "heartbeat": "interval_secs",
    "usage": "",
    "user_event": "level message data?",
    "usage_limit_hit": "scope reset_at? scheduled_resume_at? fallback_used incident_id raw?",
    "usage_limit_resumed": "incident_id resume_message attempt",
    "usage_limit_resume_failed": "incident_id error attempt",
}
"""The kinds that any reader of the format knows, and those of their fields that are always written
(with ``?``: unless they are null)."""

NEAREST = {
    "compacted": "provider_status",
    "forked": "provider_status",
    "state_changed": "provider_status",
}
"""Kinds of ours, and what they are to readers that do not know them."""

RENAMED = {
    "usage_limit_hit": {"provider": "limit_provider"},
    "usage": {"provider": "usage_provider"},
}
"""Fields whose name the envelope has taken already."""

USAGE = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_creation_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "reasoning_tokens": "reasoning",
}
TOO_LONG = 8 << 20
"""Bytes of a line from which on its longest texts are cut; ``cut`` then holds their full lengths.
The whole of it stands where ``ref`` points to."""
KEPT = 64 << 10
"""Characters that are kept of a text that is cut."""

_ENVELOPE = frozenset(
    ("seq", "v", "ts", "at", "at_text", "provider", "wrapper_session_id", "provider_session_id",
     "session", "source_kind", "completeness", "type", "kind", "uid", "ref", "crc")
)  # fmt: skip
_BASE = frozenset(model.EventBase.__struct_fields__)
_KINDS: dict[str, type[model.EventBase]] = {
    str(kind.__struct_config__.tag): kind for kind in model.EventBase.__subclasses__()
}
_encoder = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, Raw])


class Entry(Struct, frozen=True, kw_only=True):
    """One record of a log as an event."""

    seq: int
    """Number within the log, from 1, without gaps."""
    ts: str
    """Time of the event; where it states none (``event.at`` is None), time of writing."""
    wrapper_session_id: str
    """Name of the log."""
    kind: str
    """Wire name of the kind, also of one that we do not know."""
    event: Event
    """A kind that is not known is a ParseWarning with the line in ``raw``."""
    extra: dict[str, Raw] = {}
    """Keys that are not known, as raw JSON."""
    line: bytes = b""
    """The record itself, without its newline."""

    @property
    def at(self) -> int:
        """``ts`` in milliseconds since the epoch."""
        return at(self.ts) or 0


# --- events to lines --------------------------------------------------------------------------


def kind_of(event: Event) -> str:
    """Wire name of an event's kind."""
    return str(type(event).__struct_config__.tag)


def key_of(event: Event) -> str:
    """What tells whether two events are the same one: equal for every copy of a record.

    Its uid; for the few records that have none, the place they stand at and what they say.
    """
    if event.uid:
        return f"{kind_of(event)} {event.uid}"
    if not event.ref.source:
        return ""
    from zlib import crc32

    said = crc32(_encoder.encode(_payload(event)))
    name = event.ref.source.rpartition("/")[2].removesuffix(".zst")
    return f"{kind_of(event)} {name}:{event.ref.offset}:{said:08x}"


def encode(
    event: Event, *, log: str, now: int, session: str = "", extra: dict[str, Any] | None = None
) -> bytes:
    """The event as a JSON object, yet without number and checksum.

    ``log`` is the wrapper session id, ``now`` the time of writing (milliseconds), ``session`` the
    native session id for events that name none.
    """
    kind = kind_of(event)
    native = _native(event) or (session if not event.session else "")
    ts = rfc3339(now if event.at is None else event.at)
    line: dict[str, Any] = {
        "v": FORMAT,
        "ts": ts,
        "provider": event.agent,
        "wrapper_session_id": log,
        "provider_session_id": native or None,
        "source_kind": event.origin,
        "completeness": event.completeness,
        "type": NEAREST.get(kind, kind),
    }
    if kind in NEAREST:
        line |= {"kind": kind, "message": kind, "data": None}
    line |= _payload(event)
    if event.at is None or at(ts) != event.at:
        line["at"] = event.at
    if event.at_text != ts:
        line["at_text"] = event.at_text
    if event.session and event.session != f"{event.agent}:{native}":
        line["session"] = event.session
    if event.uid:
        line["uid"] = event.uid
    if event.ref != Ref():
        line["ref"] = event.ref
    if extra:
        line |= extra
    return _bounded(line)


def _native(event: Event) -> str:
    agent, colon, native = event.session.partition(":")
    return native if colon and agent == event.agent else ""


def _payload(event: Event) -> dict[str, Any]:
    kind = kind_of(event)
    if isinstance(event, UsageReported):
        return _usage(event)
    known = KNOWN.get(kind, "").split()
    renamed = RENAMED.get(kind, {})
    fields: dict[str, Any] = {}
    for name in known:
        value = getattr(event, name.rstrip("?"))
        if not (name.endswith("?") and (value is None or value == model.NULL)):
            fields[name.rstrip("?")] = value
    for name, default in _own(kind):
        value = getattr(event, name)
        if value != default:
            fields[renamed.get(name, name)] = value
    return fields


def _usage(event: UsageReported) -> dict[str, Any]:
    used = event.usage
    fields: dict[str, Any] = {"input_tokens": used.input, "output_tokens": used.output}
    fields |= {key: n for key, name in USAGE.items() if (n := getattr(used, name))}
    if event.reported_micro_usd is not None:
        fields["total_cost_usd"] = event.reported_micro_usd / 1e6
    for name, default in _own("usage"):
        value = getattr(event, name)
        if value != default and name != "usage":
            fields[RENAMED["usage"].get(name, name)] = value
    return fields


def _own(kind: str) -> list[tuple[str, Any]]:
    """Fields of a kind that are ours alone, with their defaults."""
    if kind not in _OWN:
        known = {name.rstrip("?") for name in KNOWN.get(kind, "").split()}
        _OWN[kind] = [
            (f.name, f.default)
            for f in msgspec.structs.fields(_KINDS[kind])
            if f.name not in _BASE and f.name not in known
        ]
    return _OWN[kind]


_OWN: dict[str, list[tuple[str, Any]]] = {}


def _bounded(line: dict[str, Any]) -> bytes:
    body = _encode(line)
    if len(body) <= TOO_LONG:
        return body
    cut: dict[str, int] = {}
    for name, value in line.items():
        if isinstance(value, str) and len(value) > KEPT:
            line[name], cut[name] = value[:KEPT], len(value)
        elif isinstance(value, Raw) and len(bytes(value)) > KEPT:
            line[name], cut[name] = None, len(bytes(value))
    return _encode({**line, "cut": cut})


def _encode(line: dict[str, Any]) -> bytes:
    try:
        return _encoder.encode(line)
    except UnicodeEncodeError:  # a lone surrogate has no place in UTF-8
        return _encoder.encode({k: _whole(v) for k, v in line.items()})


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, (tuple, list)):
        return [_whole(v) for v in value]
    if isinstance(value, Ref):
        return msgspec.structs.replace(value, source=_whole(value.source))
    return value


def made(kind: str, fields: dict[str, Any]) -> Event:
    """An event from the wire name of its kind and its fields. Raises UsageError."""
    head = {"ts": "", "at": None, "at_text": "", "provider": "", "type": kind}
    hint = "docs/formats/log.md lists the kinds of events and their fields"
    if kind not in _KINDS or kind == "heartbeat":
        raise UsageError(f"no kind of event {kind!r}", hint=hint)
    try:
        entry = decode(_encode({**fields, **head}))
    except msgspec.MsgspecError as error:
        raise UsageError(f"this is no {kind}: {error}", hint=hint) from None
    if entry.extra:
        raise UsageError(f"a {kind} has no field {next(iter(entry.extra))!r}", hint=hint)
    return entry.event


# --- lines to events --------------------------------------------------------------------------


def decode(line: bytes) -> Entry:
    """A record as an event. Also reads lines of other writers, without number or checksum.

    Raises msgspec.DecodeError for what is no JSON object, msgspec.ValidationError for a field of
    the wrong type.
    """
    fields = _object.decode(line)
    head = msgspec.convert(
        {k: _value(v) for k, v in fields.items() if k in _ENVELOPE}, _Head, strict=False
    )
    own = {k: v for k, v in fields.items() if k not in _ENVELOPE}
    kind = head.kind if head.kind in _KINDS else head.type
    native = head.provider_session_id
    base: dict[str, Any] = {
        "seq": head.seq,
        "at": head.at if "at" in fields else at(head.ts),
        "at_text": head.ts if head.at_text is None else head.at_text,
        "session": head.session or (f"{head.provider}:{native}" if native else ""),
        "agent": head.provider,
        "origin": head.source_kind,
        "completeness": head.completeness,
        "uid": head.uid,
        "ref": head.ref,
    }
    if kind not in _KINDS:
        text = line.decode("utf-8", "replace").rstrip("\n")
        unknown = f"a kind of event that is not known: {kind}"
        event: Any = ParseWarning(**base, message=unknown, raw=text)
        extra = own
    else:
        event, extra = _event(kind, base, own)
    if head.kind and head.kind != kind:
        extra["kind"] = Raw(_encoder.encode(head.kind))
    return Entry(
        seq=head.seq, ts=head.ts, wrapper_session_id=head.wrapper_session_id,
        kind=head.kind or head.type, event=event, extra=extra, line=line,
    )  # fmt: skip


class _Head(Struct, kw_only=True):
    provider: str
    ts: str
    type: str
    seq: int = 0
    wrapper_session_id: str = ""
    provider_session_id: str | None = None
    source_kind: model.Origin = "provider_file"
    completeness: model.Completeness = "full"
    kind: str = ""
    at: int | None = None
    at_text: str | None = None
    session: str = ""
    uid: str = ""
    ref: Ref = Ref()


def _value(raw: Raw) -> Any:
    return msgspec.json.decode(raw)


def _event(kind: str, base: dict[str, Any], own: dict[str, Raw]) -> tuple[Event, dict[str, Raw]]:
    names = {new: old for old, new in RENAMED.get(kind, {}).items()}
    if kind in NEAREST:
        own = {k: v for k, v in own.items() if k not in ("message", "data")}
    if kind == "usage":
        base["usage"] = Usage(
            **{name: _value(own.pop(key)) or 0 for key, name in USAGE.items() if key in own}
        )
        stated = own.pop("total_cost_usd", None)
        if stated is not None and "reported_micro_usd" not in own:
            dollars = _value(stated)
            base["reported_micro_usd"] = None if dollars is None else round(dollars * 1e6)
    fields: dict[str, Any] = {}
    extra: dict[str, Raw] = {}
    types = _types(kind)
    for key, raw in own.items():
        name = names.get(key, key)
        if name not in types:
            extra[key] = raw
        elif types[name] is Raw:
            fields[name] = Raw(bytes(raw))
        else:
            fields[name] = msgspec.json.decode(raw, type=types[name])
    return _KINDS[kind](**base, **fields), extra  # type: ignore[return-value]


def _types(kind: str) -> dict[str, Any]:
    if kind not in _TYPES:
        fields = msgspec.structs.fields(_KINDS[kind])
        _TYPES[kind] = {f.name: f.type for f in fields if f.name not in _BASE}
    return _TYPES[kind]


_TYPES: dict[str, dict[str, Any]] = {}


# --- times ------------------------------------------------------------------------------------

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def rfc3339(at: int) -> str:
    """Milliseconds since the epoch as text: 2026-11-24T13:28:35.123Z."""
    try:
        moment = _EPOCH + datetime.timedelta(milliseconds=at)
    except OverflowError:  # no calendar has it; ``at`` beside it says what was meant
        moment = _EPOCH
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def at(ts: str) -> int | None:
    """Milliseconds of a text with an offset or Z; None where it is no time."""
    try:
        moment = datetime.datetime.fromisoformat(ts)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)
