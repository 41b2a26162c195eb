"""When a usage limit ends, from the words in which agents say it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_span = re.compile(
    r"(\d+(?:\.\d+)?)\s*(s|m|h|d)(?:ec(?:ond)?s?|in(?:ute)?s?|(?:ou)?rs?|ays?)?(?![a-z])", re.I
)
_wait = re.compile(
    r"\A(?:in\s+|after\s+)?((?:\d+(?:\.\d+)?\s*[a-z]+[\s,]*(?:and\s+)?)+)\.?\Z", re.I
)
_clock = re.compile(
    r"(?:(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+"
    r"(?P<day>\d{1,2})(?:st|nd|rd|th)?,?(?:\s+(?P<year>\d{4}),?)?(?:\s+at)?\s+)?"
    r"(?:at\s+)?(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s*(?P<half>[ap]\.?m\.?)?",
    re.I,
)
_zone = re.compile(r"\(([A-Za-z_]+(?:/[A-Za-z_+-]+)*)\)")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


def reset_time(text: str | None, now: int, local: tzinfo | None = None) -> int | None:
    """The moment that a text names, in milliseconds, UTC; None where it names none.

    ``now`` is when it was said. Without a zone of its own a time of day is of ``local`` (the
    machine's zone), and the next such time.

    >>> reset_time("1am (UTC)", 0)
    3600000
    """
    said = (text or "").strip()
    if re.fullmatch(r"\d{10}|\d{13}", said):
        return int(said) * (1000 if len(said) == 10 else 1)
    if re.match(r"\d{4}-\d\d-\d\d[T ]", said):
        try:
            moment = datetime.fromisoformat(said)
        except ValueError:
            return None
        return _ms(moment if moment.tzinfo else moment.replace(tzinfo=local))
    waiting = _wait.match(said)
    if waiting:
        parts = _span.findall(waiting[1])
        if parts:
            return now + int(sum(float(n) * _UNITS[unit.lower()] for n, unit in parts) * 1000)
    found = _clock.search(said)
    if found is None or not (found["half"] or found["minute"] or found["month"]):
        return None
    try:
        return _next(found, now, _named_zone(said) or local)
    except ValueError:
        return None


def _named_zone(said: str) -> tzinfo | None:
    named = _zone.search(said)
    if named is None:
        return None
    if named[1].upper() in ("UTC", "GMT"):
        return UTC
    try:
        return ZoneInfo(named[1])
    except (KeyError, ValueError, OSError):
        return None


def _next(found: re.Match[str], now: int, zone: tzinfo | None) -> int:
    today = datetime.fromtimestamp(now / 1000, UTC).astimezone(zone)
    hour, minute = int(found["hour"]), int(found["minute"] or 0)
    if found["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(found[0])
        hour = hour % 12 + (12 if found["half"].lower().startswith("p") else 0)
    at = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if not found["month"]:
        return _ms(at if at > today else at + timedelta(days=1))
    month = _MONTHS.index(found["month"].lower()) + 1
    at = at.replace(year=int(found["year"] or today.year), month=month, day=int(found["day"]))
    if not found["year"] and at < today - timedelta(days=1):
        at = at.replace(year=today.year + 1)
    return _ms(at)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
