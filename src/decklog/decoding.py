"""What msgspec has to know of a type before it decodes into it: made once, by one thread at a time.

It builds that when a type is first used. Threads that are the first at the same moment crash the
whole process (msgspec 0.22): one takes for whole what the other is still making.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_making = Lock()
_json: dict[Any, msgspec.json.Decoder[Any]] = {}
_msgpack: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of JSON into a type."""
    found = _json.get(kind)
    if found is None:
        with _making:
            found = _json[kind] = msgspec.json.Decoder(kind)
    return found


def unpacked(data: bytes, kind: type[T]) -> T:
    """A value of a type, from MessagePack."""
    found = _msgpack.get(kind)
    if found is None:
        with _making:
            found = _msgpack[kind] = msgspec.msgpack.Decoder(kind)
    value: T = found.decode(data)
    return value


def convert(value: Any, kind: type[T]) -> T:
    """Plain values as a type."""
    decoder(kind)
    return msgspec.convert(value, kind)
