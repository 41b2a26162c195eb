"""When a usage limit ends, and what is kept of going on after it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from decklog import agents
from decklog.errors import Busy, NotFound, UsageError
from decklog.log import Logs
from decklog.model import UsageLimitHit
from decklog.recorder import Recorder
from decklog.running.limits import (
    ATTEMPTS,
    CAP_MS,
    FALLBACK_MS,
    JITTER_MS,
    Limits,
    Pending,
    resume_at,
)
from decklog.running.resets import reset_time
from decklog.running.runner import Runner, Start

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


class Limited(Runner):
    """An agent that meets a usage limit whenever it runs, so many times."""

    def __init__(self, folder: Path, times: int, **options: Any) -> None:
        self.now = NOW
        self.times, self.starts = times, 0
        self.slept: list[float] = []
        self.notes: list[str] = []
        self.logs = Logs(str(folder))
        limits = Limits(str(folder))
        given = {"clock": lambda: self.now, "sleep": self.pass_by, "note": self.notes.append}
        super().__init__(
            self.recorder, limits, env={"HOME": str(folder)}, cwd="/", **(given | options)
        )

    def pass_by(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += int(seconds * 1000) + 1

    def recorder(self, agent: str, **options: Any) -> Recorder:
        made = Recorder(self.logs.open(agent=agent), agent=agent, started_at=self.now, cwd="/")
        made.sessions.append("claude:native")
        return made

    def _start(self, start: Start, argv: Any, recorder: Recorder) -> int:
        self.starts += 1
        if self.starts <= self.times:
            recorder.limit = UsageLimitHit(agent="claude", at=self.now, reset_at="20s")
        return int(self.starts <= self.times)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    program = tmp_path / "bin" / "claude"
    program.parent.mkdir()
    program.touch(0o700)
    monkeypatch.setenv("PATH", str(program.parent))
    return Start(agent=agents.get("claude"), prompt="work")


def test_it_goes_on_twelve_times_and_no_more(tmp_path: Path, start: Start) -> None:
    runner = Limited(tmp_path, times=99)
    ran = runner.run(start, resume_after_limit=True)
    assert (ran.code, runner.starts) == (1, 1 + ATTEMPTS)
    assert ATTEMPTS == 12
    assert sorted(p.attempt for p in runner.limits.all()) == list(range(1, 13))
    assert {p.state for p in runner.limits.all()} == {"completed"}
    assert runner.notes[-1] == "given up after 12 attempts"
    assert 12 * 20 <= sum(runner.slept) <= 12 * (20 + JITTER_MS / 1000)
    kinds = Counter(e.kind for e in runner.logs.read(ran.log))
    assert (kinds["usage_limit_hit"], kinds["usage_limit_resumed"]) == (12, 12)


def test_it_stops_as_soon_as_there_is_no_limit(tmp_path: Path, start: Start) -> None:
    runner = Limited(tmp_path, times=3)
    assert runner.run(start, resume_after_limit=True).code == 0
    assert (runner.starts, len(runner.limits.all())) == (4, 3)


class DiedError(Exception):
    """The process is gone."""


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_crash_while_it_waits_loses_neither_the_rest_nor_the_count(
    tmp_path: Path, start: Start, attempts: int
) -> None:
    def die(seconds: float) -> None:
        if len(runner.limits.all()) == attempts:
            raise DiedError
        runner.pass_by(seconds)

    runner = Limited(tmp_path, times=99, sleep=die)
    with pytest.raises(DiedError):
        runner.run(start, resume_after_limit=True)
    (left,) = [p for p in Limits(str(tmp_path)).all() if p.state == "scheduled"]
    assert (left.attempt, left.waiting) == (attempts, False)
    again = Limited(tmp_path, times=99)
    again.now = left.resume_at
    again.take_up(left, start.agent)
    assert again.starts == ATTEMPTS - attempts + 1
    assert {p.state for p in again.limits.all()} == {"completed"}
    assert max(p.attempt for p in again.limits.all()) == ATTEMPTS


@pytest.mark.parametrize("taken_up", [False, True])
def test_a_crash_while_the_agent_runs_does_not_ask_it_twice(
    tmp_path: Path, start: Start, taken_up: bool
) -> None:
    class Dying(Limited):
        def _start(self, start: Start, argv: Any, recorder: Recorder) -> int:
            if start.prompt != "work":
                raise DiedError
            return super()._start(start, argv, recorder)

    runner = Dying(tmp_path, times=1)
    if taken_up:
        pending = Pending(id="one", log="l", agent="claude", native="n")
        runner.limits.put(pending)
        with pytest.raises(DiedError):
            runner.take_up(pending, start.agent)
    else:
        with pytest.raises(DiedError):
            runner.run(start, resume_after_limit=True)
    (left,) = Limits(str(tmp_path)).all()
    assert (left.state, left.waiting) == ("started", False)
    with pytest.raises(UsageError, match="whether the agent was asked to go on is not known"):
        Limited(tmp_path, times=0).take_up(left, start.agent)


def test_a_resumption_that_was_taken_up_is_done_when_its_own_run_is(
    tmp_path: Path, start: Start
) -> None:
    def die(seconds: float) -> None:
        raise DiedError

    runner = Limited(tmp_path, times=1, sleep=die)
    pending = Pending(id="one", log="l", agent="claude", native="n")
    runner.limits.put(pending)
    with pytest.raises(DiedError):
        runner.take_up(pending, start.agent)
    assert {p.id == "one": p.state for p in runner.limits.all()} == {
        True: "completed",
        False: "scheduled",
    }


def test_who_waits_sees_within_a_second_that_it_was_cancelled(tmp_path: Path, start: Start) -> None:
    def cancel(seconds: float) -> None:
        runner.pass_by(seconds)
        if len(runner.slept) == 5:
            runner.limits.cancel(runner.limits.all()[0].id)

    runner = Limited(tmp_path, times=99, sleep=cancel)
    assert runner.run(start, resume_after_limit=True).code == 1
    assert (runner.starts, len(runner.slept)) == (1, 5)
    assert max(runner.slept) <= 1
    assert [p.state for p in runner.limits.all()] == ["cancelled"]
    assert runner.notes[-1] == "cancelled"
