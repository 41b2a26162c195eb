"""Sums of money out of the store, and how they came about."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def cost_fields(
    cost: int | None,
    reported: int | None,
    priced: int | None,
    stated: int | None,
    unpriced: int | None,
) -> dict[str, Any]:
    """Computed where there is a price; else what the agent said; else unknown, never zero."""
    return {
        "cost_micro_usd": cost,
        "reported_micro_usd": reported,
        "basis": basis(priced, stated, unpriced),
    }


def basis(priced: int | None, stated: int | None, unpriced: int | None) -> str:
    """How a sum of money came about, from the responses behind it."""
    kinds = ("computed", "reported", "unknown")
    found = [k for k, n in zip(kinds, (priced, stated, unpriced), strict=True) if n]
    return "unknown" if not found else found[0] if len(found) == 1 else "mixed"


def basis_case(prefix: str) -> str:
    """SQL for `basis` of the columns priced, stated and unpriced."""
    kinds = " + ".join(
        f"{bit} * (coalesce({prefix}{c}, 0) > 0)"
        for bit, c in ((1, "priced"), (2, "stated"), (4, "unpriced"))
    )
    return f"""case {kinds} when 0 then 'unknown' when 1 then 'computed'
        when 2 then 'reported' when 4 then 'unknown' else 'mixed' end"""
