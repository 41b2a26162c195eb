"""When a usage limit ends, and what is kept of going on after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from decklog.errors import Busy, NotFound
from decklog.running.limits import CAP_MS, FALLBACK_MS, JITTER_MS, Limits, Pending, resume_at
from decklog.running.resets import reset_time

NOW = int(datetime(2026, 11, 20, 22, 29, 51, tzinfo=UTC).timestamp() * 1000)


def moment(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("1767225600", 1_767_225_600_000),
        ("2026-11-25T01:00:00Z", moment(2026, 11, 25, 1)),
        ("2026-11-25T01:00:00", moment(2026, 11, 25, 1)),
        ("1am (UTC)", moment(2026, 11, 21, 1)),
        ("11pm", moment(2026, 11, 20, 23)),
        ("5pm", moment(2026, 11, 21, 17)),
        ("12am", moment(2026, 11, 21, 0)),
        ("12:30", moment(2026, 11, 21, 12, 30)),
        ("Jul 27 at 11pm (Europe/Zurich)", moment(2027, 7, 27, 21)),
        ("Nov 25th, 2026 3:04 PM", moment(2026, 11, 25, 15, 4)),
        ("in 2 hours", NOW + 7_200_000),
        ("2 hours and 5 minutes", NOW + 7_500_000),
        ("3600s", NOW + 3_600_000),
        ("1h30m", NOW + 5_400_000),
        ("5pm (Nowhere/Land)", moment(2026, 11, 21, 17)),
        ("99pm", None),
        ("Feb 31 at 3pm", None),
        ("later", None),
        ("17", None),
        ("", None),
        (None, None),
    ],
)
def test_reset_times(said: str | None, expected: int | None) -> None:
    assert reset_time(said, NOW, UTC) == expected


def test_a_time_of_day_is_of_the_local_zone() -> None:
    zone = timezone(timedelta(hours=2))
    assert reset_time("5pm", NOW, zone) == moment(2026, 11, 21, 15)


@pytest.mark.parametrize(
    ("reset", "jitter", "expected"),
    [
        (None, 0, NOW + FALLBACK_MS),
        (NOW + 5_000, 0, NOW + 5_000),
        (NOW + 5_000, 1, NOW + 5_000 + JITTER_MS),
        (NOW - 5_000, 1, NOW + JITTER_MS),
        (NOW + 10 * CAP_MS, 1, NOW + CAP_MS),
    ],
)
def test_when_to_go_on(reset: int | None, jitter: float, expected: int) -> None:
    assert resume_at(reset, NOW, jitter) == expected


def test_what_is_scheduled_is_kept(tmp_path: Path) -> None:
    limits = Limits(str(tmp_path / "own"))
    assert limits.all() == []
    one = Pending(id="one", log="l", agent="claude", native="n", args=("--x",), scheduled_at=1)
    two = Pending(id="two", log="l", agent="claude", native="n", scheduled_at=2)
    limits.put(one)
    with open(limits.path, "ab") as f:
        f.write(b'{"id": "torn')
    limits.put(two)
    assert limits.all() == [two, one]
    assert limits.cancel("on").state == "cancelled"
    assert [p.state for p in limits.all()] == ["scheduled", "cancelled"]
    with pytest.raises(NotFound):
        limits.get("three")


def test_two_never_wait_for_the_same(tmp_path: Path) -> None:
    limits = Limits(str(tmp_path / "own"))
    one = Pending(id="one", log="l", agent="claude", native="n")
    limits.put(one)
    with limits.waiting(one):
        assert limits.get("one").waiting
        with pytest.raises(Busy), limits.waiting(one):
            pass
    assert not limits.get("one").waiting
