"""Days of moments, and moments as people write them, also where clocks change."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decklog.errors import UsageError
from decklog.zones import Zone, local_name, moment

NAMES = [
    "UTC",
    "America/St_Johns",  # half an hour off
    "Australia/Lord_Howe",  # changes by half an hour
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Apia",  # left out a day
    "Pacific/Kiritimati",  # the earliest
    "Pacific/Pago_Pago",  # the latest
    "America/Havana",  # changes at midnight, so a day begins at one and another begins twice
    "Africa/Cairo",
    "America/New_York",
    "Europe/Berlin",
]


@pytest.fixture(params=["by name", "of the system"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Zones are read from the zone database, or asked of the C library where they are its own."""
    yield request.param
    time.tzset()


def zone(name: str, way: str = "by name") -> Zone:
    if way == "by name":
        return Zone(name, {"TZ": "UTC"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        return Zone("", {"TZ": name})


@pytest.fixture(autouse=True)
def system_is_utc() -> Iterator[None]:
    yield
    time.tzset()


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


MOMENTS = st.integers(ms("2012-01-01T00:00:00Z"), ms("2037-12-31T00:00:00Z"))


@pytest.mark.spec("R46")
@settings(deadline=None, derandomize=True, max_examples=60)
@given(at=MOMENTS, name=st.sampled_from(NAMES))
def test_the_day_of_a_moment_is_that_of_the_zone(at: int, name: str) -> None:
    expected = datetime.fromtimestamp(at / 1000, ZoneInfo(name)).date().isoformat()
    for way in ("by name", "of the system"):
        found = zone(name, way)
        for _ in range(2):  # computed, then remembered
            assert found.day(at) == expected
            assert found.day(at + 1) >= expected
        assert found.text(at).startswith(expected)
        time.tzset()


@pytest.mark.spec("R46")
@pytest.mark.parametrize("name", NAMES)
def test_days_change_at_their_first_moment(name: str, way: str) -> None:
    """Around every change of the clocks in two years, and on ordinary days."""
    here, found = ZoneInfo(name), zone(name, way)
    day = date(2026, 1, 1)
    before = None
    while day < date(2028, 1, 1):
        start = found.midnight(day.year, day.month, day.day)
        assert found.day(start) == day.isoformat() == found.day(start + 1)
        assert found.day(start - 1) < day.isoformat()
        first = datetime.fromtimestamp(start / 1000, here)
        assert first.date() == day
        assert (datetime.fromtimestamp(start / 1000 - 1, here)).date() == day - timedelta(1)
        if before is not None:
            assert (start - before) / 3_600_000 in (23, 23.5, 24, 24.5, 25)
        day, before = day + timedelta(1), start


LENGTHS = [
    ("America/New_York", "2026-03-08", 23),
    ("America/New_York", "2026-11-01", 25),
    ("America/New_York", "2026-07-04", 24),
    ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ("Australia/Lord_Howe", "2026-10-04", 23.5),
    ("America/Havana", "2026-03-08", 23),
    ("America/Havana", "2026-11-01", 25),
    ("America/St_Johns", "2026-11-01", 25),
    ("Asia/Kolkata", "2026-03-08", 24),
]


@pytest.mark.spec("R46")
@pytest.mark.parametrize(("name", "text", "hours"), LENGTHS)
def test_a_day_is_as_long_as_it_is(name: str, text: str, hours: float, way: str) -> None:
    found, day = zone(name, way), date.fromisoformat(text)
    after = day + timedelta(1)
    start = found.midnight(day.year, day.month, day.day)
    end = found.midnight(after.year, after.month, after.day)
    assert (end - start) / 3_600_000 == hours
    quarters = range(start, end, 900_000)
    assert {found.day(at) for at in quarters} == {text}


def test_a_day_that_was_left_out_begins_with_the_next(way: str) -> None:
    apia = zone("Pacific/Apia", way)
    assert apia.midnight(2011, 12, 30) == apia.midnight(2011, 12, 31) == ms("2011-12-30T10:00Z")
    assert apia.midnight(2011, 12, 29) == ms("2011-12-29T10:00Z")


# --- words ----------------------------------------------------------------------------------------

WORDS = [
    # now, in New York; what is written; what it means there
    ("2026-11-01 23:30-05:00", "today", "2026-11-01 00:00-04:00"),
    ("2026-11-01 23:30-05:00", "yesterday", "2026-10-31 00:00-04:00"),  # 24 hours ago it was today
    ("2026-11-02 00:30-05:00", "yesterday", "2026-11-01 00:00-04:00"),
    ("2026-03-09 00:30-04:00", "yesterday", "2026-03-08 00:00-05:00"),  # ... and here Saturday
    ("2026-03-09 00:30-04:00", "1d", "2026-03-08 00:00-05:00"),
    ("2026-11-05 23:30-05:00", "7d", "2026-10-29 00:00-04:00"),
    ("2026-11-05 23:30-05:00", "1w", "2026-10-29 00:00-04:00"),
    ("2026-11-05 23:30-05:00", "0d", "2026-11-05 00:00-05:00"),
    ("2026-11-01 01:30-05:00", "2h", "2026-11-01 00:30-04:00"),
    ("2026-11-01 01:30-05:00", "90m", "2026-11-01 01:00-04:00"),
    ("2026-11-01 01:30-05:00", "15s", "2026-11-01 01:29:45-05:00"),
    ("2026-11-05 12:00-05:00", "2026-11-01", "2026-11-01 00:00-04:00"),
    ("2026-11-05 12:00-05:00", " TODAY ", "2026-11-05 00:00-05:00"),
    ("2026-11-05 12:00-05:00", "2026-11-01T12:00", "2026-11-01 12:00-05:00"),
    ("2026-11-05 12:00-05:00", "2026-03-08 02:30", "2026-03-08 03:00-04:00"),  # clocks skip it
    ("2026-11-05 12:00-05:00", "2026-11-01T12:00:01Z", "2026-11-01 12:00:01+00:00"),
    ("2026-11-05 12:00-05:00", "2026-11-01T12:00:00.250+02:00", "2026-11-01 12:00:00.250+02:00"),
    ("2026-11-05 12:00-05:00", "999999d", "1970-01-01 00:00-05:00"),
    ("2026-11-05 12:00-05:00", "99999999999999999999d", "1970-01-01 00:00-05:00"),
    ("2026-11-05 12:00-05:00", "99999999999999999999h", "1970-01-01 00:00+00:00"),
]


@pytest.mark.parametrize(("now", "word", "meant"), WORDS)
def test_moments_as_people_write_them(now: str, word: str, meant: str, way: str) -> None:
    assert moment(word, ms(now), zone("America/New_York", way)) == ms(meant)


@pytest.mark.spec("R12")
@pytest.mark.parametrize(
    "word",
    ["", "d", "7", "7y", "-7d", "1.5d", "²d", "tomorrow", "2026", "2026-13-01", "2026-02-30",
     "2026-11-1", "11/01/2026", "2026-11-01T25:00", "2026-11-01T12:00+99:00", "0000-01-01",
     "next week", "\x00", "2026-11-0x", "99999999999-1"],
)  # fmt: skip
def test_what_is_no_moment_is_refused(word: str, way: str) -> None:
    with pytest.raises(UsageError, match="not a time") as caught:
        moment(word, ms("2026-11-05 12:00Z"), zone("America/New_York", way))
    assert "yesterday" in caught.value.hint


# --- which zone -----------------------------------------------------------------------------------


def test_the_zone_of_an_environment_counts_and_not_that_of_the_process() -> None:
    noon = ms("2026-11-05 12:00Z")
    assert Zone("", {"TZ": "Pacific/Kiritimati"}).day(noon) == "2026-11-06"
    assert Zone("", {"TZ": "UTC"}).day(noon) == "2026-11-05"
    assert Zone("Pacific/Kiritimati", {"TZ": "UTC"}).day(noon) == "2026-11-06"
    assert Zone("Pacific/Kiritimati", {"TZ": "Pacific/Kiritimati"}).day(noon) == "2026-11-06"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        (":/usr/share/zoneinfo/posix/Europe/Berlin", "Europe/Berlin"),
        ("EST5EDT,M3.2.0,M11.1.0", "EST5EDT,M3.2.0,M11.1.0"),
    ],
)
def test_names_of_the_systems_zone(text: str, name: str) -> None:
    assert local_name({"TZ": text}) == name


def test_a_system_zone_that_only_the_c_library_knows_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule = "XST-13:45"
    monkeypatch.setenv("TZ", rule)
    time.tzset()
    found = Zone("", {"TZ": rule})
    assert found.day(ms("2026-11-05 10:14Z")) == "2026-11-05"
    assert found.day(ms("2026-11-05 10:15Z")) == "2026-11-06"
    assert found.midnight(2026, 11, 6) == ms("2026-11-05 10:15Z")


@pytest.mark.spec("R12")
@pytest.mark.parametrize("name", ["Europe/Nowhere", "../../etc/passwd", "", "utc\x00", "a" * 300])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    if not name:
        assert Zone(name, {"TZ": "UTC"}).name == "UTC"
        return
    with pytest.raises(UsageError, match="no time zone") as caught:
        Zone(name, {"TZ": "UTC"})
    assert "Europe/Berlin" in caught.value.hint


def test_every_moment_has_the_parts_of_the_zone(way: str) -> None:
    at = datetime(2026, 10, 4, 1, 59, 59, tzinfo=UTC)
    parts = zone("Australia/Lord_Howe", way).parts(round(at.timestamp() * 1000) + 999)
    assert parts == (2026, 10, 4, 12, 59, 59)
    assert zone("Asia/Kathmandu", way).text(ms("2026-01-01T00:00Z")) == "2026-01-01 05:45"
    assert zone("Asia/Kathmandu", way).text(None) == ""
