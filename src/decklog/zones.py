"""Calendar days of moments, in one time zone. Imports nothing heavy for the system's own zone."""

from __future__ import annotations

import os
import time

from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

QUARTER = 900_000
"""Milliseconds: clocks are changed at whole quarters of an hour, to whole quarters of an offset
(since 2012: until then Newfoundland changed its clocks a minute after midnight)."""
DAY = 86_400
WIDEST = 16 * 3600
"""Seconds; no zone has ever been farther from UTC."""


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
        self.name = name or local_name(env)
        self._days: dict[int, str] = {}
        self._zone = None
        if self.name != local_name(os.environ):
            import zoneinfo

            try:
                self._zone = zoneinfo.ZoneInfo(self.name)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise UsageError(
                    f"no time zone {self.name!r}",
                    hint="use an IANA name such as Europe/Berlin or UTC",
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

    def moment(
        self, year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0
    ) -> int:
        """First moment, in milliseconds, at which clocks show this time, or one that comes after
        it where they skip it. Raises ValueError for a day that no calendar has.

        Days that begin at one o'clock, begin twice, or are left out altogether need no rules of
        their own: the moment is searched for among those that have the date anywhere on earth.
        """
        days = _days(year, month, day)
        if not 1 <= year <= 9999 or time.gmtime(days * DAY)[:3] != (year, month, day):
            raise ValueError(f"no day {year:04d}-{month:02d}-{day:02d}")
        wanted = (year, month, day, hour, minute, second)
        low, high = days * DAY - WIDEST, (days + 1) * DAY + WIDEST
        while low < high:
            middle = (low + high) // 2
            if self.parts(middle * 1000) < wanted:
                low = middle + 1
            else:
                high = middle
        return low * 1000

    def midnight(self, year: int, month: int, day: int) -> int:
        """First moment of a calendar day, in milliseconds. Raises ValueError for no such day."""
        return self.moment(year, month, day)

    def days_before(self, ms: int, days: int) -> int:
        """First moment of the calendar day so many days before the one of a moment."""
        day = max(0, _days(*self.parts(ms)[:3]) - days)
        return self.midnight(*time.gmtime(day * DAY)[:3])


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a calendar day."""
    # counted in years that begin in March, so that the odd day is their last
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    leaps = year // 4 - year // 100 + year // 400
    return 365 * year + leaps + (153 * month + 2) // 5 + day - 719_469


_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DAYS = {"d": 1, "w": 7}


def moment(text: str, now_ms: int, zone: Zone) -> int:
    """A moment as people write it: ``7d``, ``2h``, ``today``, ``yesterday``, ``2026-11-01``,
    or a full RFC 3339 time. ``7d`` and ``2w`` begin at midnight.

    Raises UsageError when it is none of these.
    """
    word = text.strip().lower()
    if word in ("today", "yesterday"):
        return zone.days_before(now_ms, int(word == "yesterday"))
    number, unit = word[:-1], word[-1:]
    if number.isdecimal() and unit in _DAYS:
        return zone.days_before(now_ms, int(number) * _DAYS[unit])
    if number.isdecimal() and unit in _SECONDS:
        return max(0, now_ms - int(number) * _SECONDS[unit] * 1000)
    try:
        if len(word) == 10:
            y, m, d = (int(x) for x in word.split("-"))
            return zone.midnight(y, m, d)
        import datetime

        at = datetime.datetime.fromisoformat(text.strip())
        if at.tzinfo is not None:
            return round(at.timestamp() * 1000)
        return zone.moment(at.year, at.month, at.day, at.hour, at.minute, at.second)
    except (ValueError, OverflowError):
        raise UsageError(
            f"not a time: {text!r}", hint="write 7d, 2h, today, yesterday or 2026-11-01"
        ) from None
