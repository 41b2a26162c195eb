"""Aligned columns that fit the terminal, whatever characters are in them."""

from __future__ import annotations

import os
import sys

from decklog.cli import output
from decklog.cli.figures import short_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TITLE = 80
"""Columns of a title at most, however wide the terminal."""


def width(text: str) -> int:
    """Columns of a terminal that a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(c) in ("Mn", "Me", "Cf") else 2 if east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, limit: int) -> str:
    """The beginning of a text, with a mark when it is longer than so many columns."""
    if limit <= 0:
        return ""
    if len(text) <= limit and width(text) <= limit:
        return text
    taken = text[:limit]
    while width(taken) > limit - 1:
        taken = taken[:-1]
    return taken + "…"


def cut_front(text: str, limit: int) -> str:
    """The end of a text, with a mark when it is longer than so many columns: for paths."""
    return cut(text[::-1], limit)[::-1]


def columns() -> int | None:
    """Width of the terminal; None where there is none."""
    if not output.is_terminal():
        return None
    stated = os.environ.get("COLUMNS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[int] = (),
    *,
    shrink: Iterable[int] = (),
    front: Iterable[int] = (),
    drop: Iterable[int] = (),
    limit: int | None = None,
) -> list[str]:
    """Rows as lines of aligned columns.

    ``right`` names the columns aligned right. Where the table is wider than ``limit`` numbers are
    abbreviated, then columns of ``drop`` left out, then those of ``shrink`` cut (those of
    ``front`` at their beginning), then lines.
    """
    cells = [[output.one_line(c) for c in r] for r in (head, *rows)]
    rights = set(right)
    kept = list(range(len(head)))
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]

    def excess() -> int:
        return sum(widths[i] for i in kept) + 2 * (len(kept) - 1) - (limit or 0)

    if limit is not None and excess() > 0:
        for i in rights:
            for r in cells[1:]:
                r[i] = short_number(r[i])
            widths[i] = max(width(r[i]) for r in cells)
        for i in drop:
            if excess() > 0:
                kept.remove(i)
        fronts = set(front)
        for i in sorted({*shrink, *fronts} & set(kept), key=lambda i: -widths[i]):
            widths[i] = min(widths[i], max(8, widths[i] - max(0, excess())))
            for r in cells:
                r[i] = (cut_front if i in fronts else cut)(r[i], widths[i])
    lines = []
    for r in cells:
        parts = []
        for i in kept:
            space = " " * (widths[i] - width(r[i]))
            parts.append(space + r[i] if i in rights else r[i] + space)
        line = "  ".join(parts).rstrip()
        lines.append(line if limit is None else cut(line, limit))
    return lines


def show(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[int] = (),
    *,
    shrink: Iterable[int] = (),
    front: Iterable[int] = (),
    drop: Iterable[int] = (),
) -> None:
    first, *rest = table(head, rows, right, shrink=shrink, front=front, drop=drop, limit=columns())
    output.emit("\n".join([output.bold(first), *rest]))
