"""Arguments and outputs of tool calls, looked at without decoding more than needed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from decklog.agents._salvage import loads
from decklog.agents._shared import duration, patch_paths, paths_in
from decklog.agents.codex.records import Elapsed, Item

PATH_KEYS = ("path", "file_path", "dir_path")
PATCH = "*** Begin Patch"

_header = re.compile(
    rb"""(?:"|\[\{(?:"type":\s?"input_text",\s?)?"text":\s?")   # a string, or the first part
    (?:Chunk\ ID:\ \w+\\n)?
    (?:Exit\ code:\ (-?\d+)\\n | Script\ (completed|failed|running)[^\\"]*\\n)?
    (?:Wall\ time:?\ ([\d.]+)\ seconds)?(?:\\n)?
    (?:Process\ exited\ with\ code\ (-?\d+)|(Process\ running))?""",
    re.X,
)
_footer = re.compile(rb'\\"exit_code\\":\s?(-?\d+)(?:,\s?\\"duration_seconds\\":\s?([\d.]+))?')
_refused = re.compile(
    rb'"(?:apply_patch verification failed|execution error|failed |exec_command failed|'
    rb"write_stdin failed|exec command rejected|unsupported call|command timed out|aborted|"
    rb"error:|Error:|err: )"
)
_agent = re.compile(rb'\\?"agent_id\\?":\s?\\?"([\w-]+)')


Outcome: TypeAlias = tuple[bool | None, int | None, int | None]
"""Success (None while a command goes on), exit code, milliseconds."""


class Note(Struct):
    """What other records say of a call whose output is still to come."""

    ok: bool | None = None
    ms: int | None = None
    paths: list[str] = []
    child: str = ""

    def add(self, other: Note) -> None:
        self.ok = other.ok if other.ok is not None else self.ok
        self.ms = other.ms if other.ms is not None else self.ms
        self.paths += other.paths
        self.child = other.child or self.child


def outcome(output: Raw) -> Outcome:
    """Exit code, duration and success, from the first and last bytes of a raw JSON output.

    Codex gives the model the exit code in front of the output (as text, or as the first of
    several parts), older versions behind it (JSON within the string).
    """
    data = memoryview(output)
    found = _header.match(data)
    if found is None:
        return True, None, None
    code, script, wall, exited, running = found.groups()
    code = code or exited
    if code is None and bytes(data[:3]) == b'"{\\':
        tail = _footer.search(bytes(data[-120:])) or _footer.search(bytes(data[:120]))
        if tail is not None:
            code, wall = tail.groups()
    ms = _milliseconds(wall)
    if code is not None:
        number = int(code[:18])  # a longer one is none, and none that is nought
        return number == 0, number, ms
    if running or script == b"running":
        return None, None, ms
    ok = script == b"completed" if script else _refused.match(data) is None
    return ok, None, ms


def _milliseconds(seconds: bytes | None) -> int | None:
    try:
        return None if seconds is None else duration(float(seconds) * 1000 + 0.5)
    except ValueError:
        return None


def elapsed(value: Elapsed | str | None) -> int | None:
    """Milliseconds of a duration as Rust writes them."""
    if isinstance(value, Elapsed):
        return duration((value.secs or 0) * 1000 + (value.nanos or 0) // 1_000_000)
    return None


def touched(arguments: Raw) -> tuple[tuple[str, ...], bool]:
    """Paths that a call names, and whether it patches them.

    A patch stands in the input itself, in an argument, or in a script given to a shell.
    """
    data = bytes(arguments)
    if b"path" not in data and b"*** Begin Patch" not in data:
        return (), False
    value = opened(arguments)
    patched = tuple(dict.fromkeys(p for s in _strings(value) for p in patch_paths(s)))
    if patched:
        return patched, True
    if isinstance(value, dict):
        flat = {k: v for k, v in value.items() if isinstance(v, str)}
        return paths_in(flat, PATH_KEYS), False
    return (), False


def _strings(value: Any) -> Iterable[str]:
    """The strings in a decoded value that hold a patch."""
    todo = [value]
    while todo:
        v = todo.pop()
        if isinstance(v, str):
            if PATCH in v:
                yield v
        elif isinstance(v, dict):
            todo += reversed(v.values())
        elif isinstance(v, list):
            todo += reversed(v)


def opened(raw: Raw) -> Any:
    """The decoded value; of a string that holds JSON, what it holds."""
    value = loads(raw)
    if isinstance(value, str) and value[:1] in ("{", "["):
        inner = loads(value.encode())
        return value if inner is None else inner
    return value


def input_of(raw: Raw) -> Raw:
    """The arguments as JSON: those of functions are recorded as a string that holds it."""
    data = bytes(raw)
    if data.startswith((b'"{', b'"[')):
        text = loads(data)
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, TypeError):
            return Raw(data)
        return Raw(text)
    return Raw(data)


def output_of(raw: Raw) -> str:
    """The text of an output: a string, JSON within a string, or a list of parts."""
    value = loads(raw)
    if isinstance(value, str):
        inner = loads(value.encode()) if value.startswith("{") else None
        text = inner.get("output") if isinstance(inner, dict) else None
        return text if isinstance(text, str) else value
    if isinstance(value, list):
        texts = [v.get("text") for v in value if isinstance(v, dict)]
        return "\n".join(t for t in texts if isinstance(t, str))
    return "" if value is None else msgspec.json.encode(value).decode()


def agent_id(output: Raw) -> str:
    """Id of the subagent that the output of ``spawn_agent`` names."""
    found = _agent.search(memoryview(output))
    return found[1].decode() if found else ""


def beyond(paths: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """The paths that are not among the known ones: those may be given relative to a folder."""
    endings = tuple(k if k.startswith("/") else f"/{k.removeprefix('./')}" for k in known)
    found = dict.fromkeys(paths)
    return tuple(p for p in found if not endings or not p.endswith(endings))


def changed(changes: dict[str, Any] | None) -> list[str]:
    """Paths in a table of changes, a new name after the old one."""
    paths: list[str] = []
    for path, change in (changes or {}).items():
        paths.append(path)
        moved = change.get("move_path") if isinstance(change, dict) else None
        if isinstance(moved, str) and moved:
            paths.append(moved)
    return paths


def went_well(item: Item) -> bool | None:
    if item.exit_code is not None:
        return item.exit_code == 0
    return None if item.status is None else item.status == "completed"
