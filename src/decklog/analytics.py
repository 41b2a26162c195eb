"""Usage reports: sums of the counted facts, by day, week, month, window, session, tool ..."""

from __future__ import annotations

from decklog.store.cost import basis
from decklog.store.schema import TOKENS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from decklog.zones import Zone

BLOCK_HOURS = 5
"""Length of the windows in which Anthropic counts a subscription's use."""


def report(store: Any, zone: Zone, by: str, where: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one report; times in ``where`` are milliseconds, made into days of the zone."""
    if by == "tools":
        rows: list[dict[str, Any]] = store.tools(where)
        return rows
    if by == "blocks":
        return blocks(store, where)
    if by in DATES and store.get("tz") not in (None, zone.name):
        rows = _in_zone(store, zone, by, where)
    else:
        rows = store.usage(by, _days(zone, where))
    for row in rows:
        row.pop("cache_write_1h", None)
    if by == "sessions":
        titles = {r["id"]: r for r in store.sessions({"ids": [r["session"] for r in rows]})}
        for row in rows:
            s = titles.get(row["session"])
            row.update(
                title=s["title"] if s else "",
                agent=s["agent"] if s else row["session"].partition(":")[0],
                model=s["model"] if s else "",
                last_at=s["last_at"] if s else None,
            )
        rows.sort(key=lambda r: (-(r["last_at"] or 0), r["session"]))
    return rows


def daily_json(store: Any, zone: Zone, where: dict[str, Any]) -> Any:
    """The daily report as JSON objects; None where the store keeps days of another zone."""
    if store.get("tz") not in (None, zone.name):
        return None
    return store.daily_json(_days(zone, where))


def _days(zone: Zone, where: dict[str, Any]) -> dict[str, Any]:
    """The filter in whole days of the zone: a day counts when its beginning lies inside."""
    found = dict(where)
    since, until = found.pop("since", None), found.pop("until", None)
    if since is not None:
        found["since_day"] = zone.day(since)
    if until is not None:
        found["until_day"] = zone.day(until)
    return found


def _in_zone(store: Any, zone: Zone, by: str, where: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows by date in a zone other than the store's, from the single facts."""
    name = DATES[by]
    groups: dict[tuple[str, str, str, str], list[Any]] = {}
    for at, agent, _, provider, model, session, *rest in store.facts(where):
        key = (name(zone.day(at)), agent, provider, model)
        sums = groups.get(key)
        if sums is None:
            sums = groups[key] = [[0] * len(TOKENS), None, None, [0, 0, 0], set()]
        _add(sums, session, rest)
    return [
        _row(dict(zip(("date", "agent", "provider", "model"), key, strict=True)), sums)
        for key, sums in sorted(groups.items())
    ]


def _add(sums: list[Any], session: str, rest: list[Any]) -> None:
    n = len(TOKENS)
    tokens = sums[0]
    for i in range(n):
        tokens[i] += rest[i]
    cost, reported = rest[n], rest[n + 1]
    used = reported if cost is None else cost
    if used is not None:
        sums[1] = (sums[1] or 0) + used
    if reported is not None:
        sums[2] = (sums[2] or 0) + reported
    sums[3][0 if cost is not None else 1 if reported is not None else 2] += 1
    sums[4].add(session)


def _row(keys: dict[str, Any], sums: list[Any]) -> dict[str, Any]:
    return {
        **keys,
        **dict(zip(TOKENS, sums[0], strict=True)),
        "cost_micro_usd": sums[1],
        "reported_micro_usd": sums[2],
        "basis": basis(*sums[3]),
        "unpriced_responses": sums[3][2],
        "responses": sum(sums[3]),
        "sessions": len(sums[4]),
    }


def _week(day: str) -> str:
    """ISO week of a day, as 2026-W45."""
    import datetime

    year, week, _ = datetime.date.fromisoformat(day).isocalendar()
    return f"{year}-W{week:02d}"


def _month(day: str) -> str:
    return day[:7]


DATES: dict[str, Callable[[str], str]] = {"daily": str, "weekly": _week, "monthly": _month}
"""Reports by date: what a day is called in each."""


def blocks(store: Any, where: dict[str, Any]) -> list[dict[str, Any]]:
    """Five-hour windows: each begins at the full hour (UTC) of its first response; a response
    after the window's end begins the next one."""
    length = BLOCK_HOURS * 3_600_000
    rows: list[dict[str, Any]] = []
    sums: list[Any] | None = None
    start = last = 0
    models: set[str] = set()

    def close() -> None:
        if sums is not None:
            keys = {"start": start, "end": start + length, "last_at": last,
                    "models": sorted(models)}  # fmt: skip
            rows.append(_row(keys, sums))

    for at, _, _, _, model, session, *rest in store.facts(where):
        if sums is None or at >= start + length:
            close()
            start = at - at % 3_600_000
            sums, models = [[0] * len(TOKENS), None, None, [0, 0, 0], set()], set()
        _add(sums, session, rest)
        models.add(model)
        last = at
    close()
    return rows
