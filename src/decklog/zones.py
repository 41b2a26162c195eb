"""Calendar days of moments, in one time zone. Imports nothing heavy for the system's own zone."""

from __future__ import annotations

import os
import time

from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

QUARTER = 900_000
"""Milliseconds: every zone's offset is a whole number of quarter hours (since 1972)."""


def local_name(env: Mapping[str, str]) -> str:
    """Name of the system's zone: ``TZ``, else where /etc/localtime points, else its offset."""
    name = env.get("TZ", "").lstrip(":")
    if name and "/zoneinfo/" not in name:
        return name
    try:
        target = name or os.path.realpath("/etc/localtime")
    except OSError:
        target = ""
    if "/zoneinfo/" in target:
        return target.partition("/zoneinfo/")[2].removeprefix("posix/").removeprefix("right/")
    return "UTC" if not time.timezone and not time.daylight else f"UTC{-time.timezone:+d}s"


class Zone:
    """A time zone by IANA name; empty: the system's.

    Raises UsageError for a name that is not known.
    """

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self.system = not name or name == local_name(env)
        self.name = name or local_name(env)
        self._days: dict[int, str] = {}
        self._zone = None
        if not self.system:
            import zoneinfo

            try:
                self._zone = zoneinfo.ZoneInfo(name)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise UsageError(
                    f"no time zone {name!r}", hint="use an IANA name such as Europe/Berlin or UTC"
                ) from None

    def day(self, ms: int) -> str:
        """YYYY-MM-DD of a moment."""
        quarter = ms // QUARTER
        found = self._days.get(quarter)
        if found is None:
            y, m, d = self.parts(ms)[:3]
            found = self._days[quarter] = f"{y:04d}-{m:02d}-{d:02d}"
        return found

    def parts(self, ms: int) -> tuple[int, ...]:
        """(year, month, day, hour, minute, second) of a moment."""
        if self._zone is None:
            return tuple(time.localtime(ms // 1000)[:6])
        import datetime

        at = datetime.datetime.fromtimestamp(ms // 1000, self._zone)
        return (at.year, at.month, at.day, at.hour, at.minute, at.second)

    def text(self, ms: int | None) -> str:
        """YYYY-MM-DD HH:MM of a moment; empty for None."""
        if ms is None:
            return ""
        p = self.parts(ms)
        return f"{p[0]:04d}-{p[1]:02d}-{p[2]:02d} {p[3]:02d}:{p[4]:02d}"

    def midnight(self, year: int, month: int, day: int) -> int:
        """First moment of a calendar day, in milliseconds."""
        if self._zone is None:
            return int(time.mktime((year, month, day, 0, 0, 0, 0, 0, -1)) * 1000)
        import datetime

        return int(datetime.datetime(year, month, day, tzinfo=self._zone).timestamp() * 1000)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def moment(text: str, now_ms: int, zone: Zone) -> int:
    """A moment as people write it: ``7d``, ``2h``, ``today``, ``yesterday``, ``2026-11-01``,
    or a full RFC 3339 time. ``7d`` and ``2w`` begin at midnight.

    Raises UsageError when it is none of these.
    """
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        y, m, d = zone.parts(now_ms - (86_400_000 if word == "yesterday" else 0))[:3]
        return zone.midnight(y, m, d)
    if word[:-1].isdigit() and word[-1:] in _UNITS:
        at = now_ms - int(word[:-1]) * _UNITS[word[-1]] * 1000
        if word[-1] in "dw":
            y, m, d = zone.parts(max(at, 0))[:3]
            return zone.midnight(y, m, d)
        return at
    try:
        if len(word) == 10:
            y, m, d = (int(x) for x in word.split("-"))
            return zone.midnight(y, m, d)
        import datetime

        at_time = datetime.datetime.fromisoformat(text.strip())
        if at_time.tzinfo is not None:
            return round(at_time.timestamp() * 1000)
        start = zone.midnight(at_time.year, at_time.month, at_time.day)
        return start + (at_time.hour * 3600 + at_time.minute * 60 + at_time.second) * 1000
    except (ValueError, OverflowError):
        raise UsageError(
            f"not a time: {text!r}", hint="write 7d, 2h, today, yesterday or 2026-11-01"
        ) from None
