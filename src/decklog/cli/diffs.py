"""What a tool call changed, as a unified diff, from whatever its agent recorded of it.

In order of trust: hunks or a diff that the agent recorded beside the result, the patch that the
call carried, the old and new text that it named, the text that it wrote. Only where the agent
recorded them do hunks have the line numbers of the file.
"""

from __future__ import annotations

import difflib
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from decklog.model import ToolCall

PAIRS = (
    ("old_string", "new_string"),
    ("oldString", "newString"),
    ("old_str", "new_str"),
    ("oldText", "newText"),
    ("old_text", "new_text"),
    ("old_source", "new_source"),
)
"""How tools name the text to be replaced and what replaces it."""
WRITTEN = ("content", "file_text", "new_source")
"""How tools name the whole new text of a file (or notebook cell)."""
PATCH = "*** Begin Patch"
DEEP = 6


def diff(call: ToolCall, folder: str = "") -> list[str]:
    """Lines of a unified diff, without line ends; empty for a call that changed no text.

    Files below ``folder`` (with its slash) are named from there.
    """
    given, data = _json(call.input), _json(call.data)
    patch = next((t for t in _texts(given) if PATCH in t), "")
    if call.kind not in ("file_edit", "file_write", "notebook") and not patch:
        return []
    path = call.paths[0].removeprefix(folder) if call.paths else ""
    return (
        _from_hunks(data, path)
        or _from_diff(data)
        or _from_patch(patch)
        or _from_pairs(given, path)
        or _from_text(given, path)
    )


def _json(raw: Any) -> Any:
    try:
        return json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return None


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Every text in a JSON value; a text that is JSON itself is looked into as well."""
    if isinstance(value, str):
        yield value
    elif depth < DEEP and isinstance(value, dict):
        for v in value.values():
            yield from _texts(v, depth + 1)
    elif depth < DEEP and isinstance(value, list):
        for v in value:
            yield from _texts(v, depth + 1)


def _names(path: str, *, created: bool = False) -> list[str]:
    name = path.lstrip("/")
    return ["--- /dev/null" if created else f"--- a/{name}", f"+++ b/{name}"]


def _from_hunks(data: Any, path: str) -> list[str]:
    """``structuredPatch``: hunks with their numbers and marked lines."""
    if not isinstance(data, dict) or not isinstance(data.get("structuredPatch"), list):
        return []
    lines: list[str] = []
    for hunk in data["structuredPatch"]:
        if not isinstance(hunk, dict) or not isinstance(hunk.get("lines"), list):
            continue
        old, new = (_range(hunk, side) for side in ("old", "new"))
        lines.append(f"@@ -{old} +{new} @@")
        lines += [line for line in hunk["lines"] if isinstance(line, str)]
    return [*_names(path), *lines] if lines else []


def _range(hunk: dict[str, Any], side: str) -> str:
    start, length = (hunk.get(f"{side}{what}") for what in ("Start", "Lines"))
    return f"{start}" if length == 1 else f"{start},{length}"


def _from_diff(data: Any) -> list[str]:
    """A diff in unified form, somewhere in what was recorded; the lines around it are left out."""
    for text in _texts(data):
        lines = text.split("\n") if "@@ -" in text else []
        found = [x or " " for x in lines[:-1] if x[:1] in ("", "+", "-", " ", "\\", "@")]
        found += [x for x in lines[-1:] if x[:1] in ("+", "-", " ", "\\")]
        while found and not found[0].strip():
            del found[0]
        if any(x.startswith("@@ -") for x in found):
            return found
    return []


def _from_patch(text: str) -> list[str]:
    """The body of an ``apply_patch`` call. Its hunks are found by their context and have no
    line numbers, so none are made up."""
    lines: list[str] = []
    head = -1  # where the hunk header of an added file belongs
    for line in text.partition(PATCH)[2].split("\n")[1:]:
        what, _, path = line.removeprefix("*** ").partition(": ")
        if not line.startswith("*** "):
            lines.append(f"{line} @@" if line.startswith("@@ ") else line)
            continue
        _number(lines, head)
        head = -1
        if what == "End Patch":
            return lines
        if what == "Add File":
            lines += [*_names(path, created=True), ""]
            head = len(lines) - 1
        elif what == "Update File":
            lines += _names(path)
        elif what == "Delete File":
            lines += [f"--- a/{path.lstrip('/')}", "+++ /dev/null"]
        elif what == "Move to" and lines:
            lines[-1] = _names(path)[1]
    _number(lines, head)
    return lines


def _number(lines: list[str], head: int) -> None:
    if head >= 0:
        lines[head] = _all_new(len(lines) - head - 1)


def _all_new(n: int) -> str:
    return "@@ -0,0 +1 @@" if n == 1 else f"@@ -0,0 +1,{n} @@"


def _from_pairs(given: Any, path: str) -> list[str]:
    if not isinstance(given, dict):
        return []
    edits = given.get("edits")
    lines: list[str] = []
    for edit in edits if isinstance(edits, list) else [given]:
        for old_name, new_name in PAIRS if isinstance(edit, dict) else ():
            old, new = edit.get(old_name), edit.get(new_name)
            if isinstance(old, str) and isinstance(new, str):
                lines += _unified(old, new)
                break
    return [*_names(path), *lines] if lines else []


def _unified(old: str, new: str) -> list[str]:
    """Hunks of the change from one text to another, numbered from the beginning of the text."""
    before, after = (t.split("\n") if t else [] for t in (old, new))
    return list(difflib.unified_diff(before, after, lineterm=""))[2:]


def _from_text(given: Any, path: str) -> list[str]:
    if not isinstance(given, dict):
        return []
    for name in WRITTEN:
        text = given.get(name)
        if isinstance(text, str) and text:
            lines = text.removesuffix("\n").split("\n")
            added = [f"+{line}" for line in lines]
            return [*_names(path, created=True), _all_new(len(added)), *added]
    return []
