"""Questions about tokens and money, and the ledger behind each number."""

from __future__ import annotations

from decklog.errors import UsageError
from decklog.hub.sessions import Sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from decklog.model import LedgerEntry, UsageRow
    from decklog.zones import Zone

REPORTS = ("daily", "weekly", "monthly", "sessions", "blocks", "models", "projects", "tools")


class Numbers(Sessions):
    """Part of `decklog.hub.Decklog`."""

    zone: Zone

    def usage_rows(self, by: str = "daily", **where: Any) -> list[dict[str, Any]]:
        """A usage report as plain rows; see `usage`."""
        from decklog import analytics

        if by not in REPORTS:
            raise UsageError(f"no report {by!r}", hint=f"one of: {', '.join(REPORTS)}")
        return analytics.report(self.store, self.zone, by, where)

    def daily_json(self, **where: Any) -> Iterator[str] | None:
        """Daily `usage_rows` as JSON objects; None where that is no quicker."""
        from decklog import analytics

        objects: Iterator[str] | None = analytics.daily_json(self.store, self.zone, where)
        return objects

    def usage(self, by: str = "daily", **where: Any) -> list[UsageRow]:
        """Usage ``daily``, ``weekly`` or ``monthly``: one row for each date, agent and model.

        Keywords: agents, projects, models, since and until (milliseconds, UTC).
        """
        from decklog.decoding import convert
        from decklog.model import UsageRow

        if by not in ("daily", "weekly", "monthly", "models"):
            raise UsageError(f"{by!r} has rows of its own", hint="use usage_rows")
        return convert(self.usage_rows(by, **where), list[UsageRow])

    def why_rows(self, what: str, **where: Any) -> list[dict[str, Any]]:
        """The ledger behind a number, as plain rows; see `why`. Raises NotFound, UsageError."""
        if not is_day(what):
            return list(self.store.ledger({**where, "ids": self._family(self.find(what))}))
        if self.store.get("tz") in (None, self.zone.name):
            return list(self.store.ledger({**where, "day": what}))
        rows = (r for r in self.store.ledger(where) if r["at"] is not None)
        return [{**r, "date": what} for r in rows if self.zone.day(r["at"]) == what]

    def _family(self, name: str) -> list[str]:
        """A session and all subagents below it."""
        below: dict[str, list[str]] = {}
        for found in self.store.sessions({"ids": [name]}):
            for r in self.store.sessions({"root": found["root"]}):
                if r["relation"] == "subagent":
                    below.setdefault(r["parent"], []).append(r["id"])
        family = [name]
        for member in family:
            family += below.get(member, [])
        return family

    def why(self, what: str, **where: Any) -> list[LedgerEntry]:
        """The recorded facts behind a session (with its subagents) or a date, and the verdict
        on each: whether it counted, where else it counts, and why."""
        from decklog.decoding import convert
        from decklog.model import LedgerEntry

        return convert(self.why_rows(what, **where), list[LedgerEntry])


def is_day(text: str) -> bool:
    """True for a date as `why` takes it: YYYY-MM-DD. Raises UsageError for one that no calendar
    has."""
    if len(text) != 10 or text[4] + text[7] != "--" or not text.replace("-", "").isdigit():
        return False
    import datetime

    try:
        datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"no day {text!r}: {error}", hint="write YYYY-MM-DD") from None
    return True
