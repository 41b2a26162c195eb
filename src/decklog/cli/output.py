"""The one way out: everything printed passes here, so that no transcript can drive a terminal."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, TextIO

    from decklog.errors import DecklogError

_ACTIVE = {
    **{i: f"\\x{i:02x}" for i in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if i not in (9, 10)},
    # characters that reorder or hide what follows them
    **{i: f"\\u{i:04x}" for i in (0x061C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F),
                                  *range(0x2066, 0x206A), 0xFEFF, 0x2028, 0x2029)},
    **{i: f"\\u{i:04x}" for i in range(0xD800, 0xE000)},
}  # fmt: skip


def safe(text: str) -> str:
    """Text for a terminal: control characters, escape sequences and characters that reorder or
    hide text become visible escapes; newline and tab stay."""
    return text.translate(_ACTIVE)


def one_line(text: str) -> str:
    """`safe`, on one line."""
    return safe(text.replace("\n", " ").replace("\t", " "))


def is_terminal(stream: TextIO | None = None) -> bool:
    try:
        return os.isatty((stream or sys.stdout).fileno())
    except (OSError, ValueError):
        return False


def colour() -> bool:
    """Whether to use colour: on a terminal, unless NO_COLOR is set."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: str) -> None:
    """Print text that may hold anything; made safe."""
    emit(safe(text))


def emit(text: str) -> None:
    """Print text that is safe already (or that no terminal will see: JSON, pipes)."""
    sys.stdout.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")


def json_array(rows: Iterable[Any]) -> None:
    """Print one JSON array, one object a line."""
    import json

    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    out = [encode(r) for r in rows]
    body = "[" + ",\n".join(out) + "]"
    emit(body if not is_terminal() else body.translate(_JSON_ACTIVE))


def json_object(row: Any) -> None:
    import json

    body = json.dumps(row, ensure_ascii=False, indent=2)
    emit(body if not is_terminal() else body.translate(_JSON_ACTIVE))


_JSON_ACTIVE = {i: f"\\u{i:04x}" for i in _ACTIVE if i >= 0x7F}
"""Within JSON the control characters below 0x20 are escaped already."""


def failure(error: DecklogError, *, as_json: bool) -> None:
    """Say what went wrong on stderr; with JSON as one object."""
    if as_json:
        import json

        body = {
            "error": type(error).__name__,
            "message": str(error),
            "hint": error.hint,
            "retryable": error.retryable,
        }
        text = json.dumps(body, ensure_ascii=True)
    else:
        text = safe(f"decklog: {error}" + (f"\n  try: {error.hint}" if error.hint else ""))
    sys.stderr.write(text.encode("utf-8", "replace").decode("utf-8") + "\n")


def note(text: str) -> None:
    """A remark on stderr."""
    if text:
        sys.stderr.write(safe(text) + "\n")


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()
) -> list[str]:
    """Rows as lines of aligned columns, made safe; ``right`` names columns aligned right."""
    cells = [[one_line(c) for c in r] for r in (head, *rows)]
    widths = [max(len(r[i]) for r in cells) for i in range(len(head))]
    rights = frozenset(right)
    lines = []
    for r in cells:
        parts = [
            c.rjust(w) if i in rights else c.ljust(w)
            for i, (c, w) in enumerate(zip(r, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour() else text


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if colour() else text


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[int] = ()
) -> None:
    first, *rest = table(head, rows, right)
    emit("\n".join([bold(first), *rest]))


def number(n: int | None) -> str:
    return "" if n is None else f"{n:,}"


def money(micro_usd: int | None) -> str:
    """US dollars; a question mark where no price is known."""
    return "?" if micro_usd is None else f"${micro_usd / 1_000_000:,.2f}"


def progress(label: str) -> Any:
    """A callback for (bytes done, bytes in all) that draws on stderr when that is a terminal."""
    if not is_terminal(sys.stderr):
        return None
    import time

    began = time.monotonic()
    shown = False

    def update(done: int, total: int) -> None:
        nonlocal shown
        if done >= total:
            if shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            return
        if time.monotonic() - began > 0.5:
            shown = True
            sys.stderr.write(
                f"\r\x1b[K{label} {done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
                f" ({100 * done // max(total, 1)} %)"
            )
            sys.stderr.flush()

    return update
