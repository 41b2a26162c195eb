"""Counts, money, sizes and lengths of time, as people write them."""

from __future__ import annotations


def number(n: int | None) -> str:
    return "" if n is None else f"{n:,}"


def short_number(text: str) -> str:
    """``12,345,678`` as ``12.3M``; anything that is no such number stays."""
    digits = text.replace(",", "")
    if len(digits) < 5 or not digits.isdigit():
        return text
    step = min((len(digits) - 1) // 3, 4)
    value = int(digits) / 1000**step
    return f"{value:.1f}{' kMGT'[step]}" if value < 100 else f"{value:.0f}{' kMGT'[step]}"


def money(micro_usd: int | None) -> str:
    """US dollars; a question mark where no price is known."""
    return "?" if micro_usd is None else f"${micro_usd / 1_000_000:,.2f}"


def cents(micro_usd: int | None) -> str:
    """`money`, with four decimals where two would say nothing."""
    if micro_usd is None or not 0 < micro_usd < 100_000:
        return money(micro_usd)
    return f"${micro_usd / 1_000_000:.4f}"


def size(n: int) -> str:
    """Bytes, as people write them."""
    step = min((len(str(n)) - 1) // 3, 4)
    unit = ("B", "kB", "MB", "GB", "TB")[step]
    return f"{n / 1000**step:.1f} {unit}" if step else f"{n} B"


def span(ms: int | None) -> str:
    """A length of time, as people write it."""
    if ms is None:
        return ""
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def count(n: int, noun: str, plural: str = "") -> str:
    """``1 session``, ``2 sessions``."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
