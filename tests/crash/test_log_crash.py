"""Our log under death, failure and power loss at every operation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import plain_log
import powerloss
from decklog import durable
from decklog.errors import WriteError
from decklog.log import Log, Logs, Unsynced, read_log
from decklog.log import Record as LogRecord
from decklog.model import UserEvent, UserMessage
from faults import Outcome, Tell, die_everywhere, fail_everywhere

LONG = 20 if os.environ.get("DECKLOG_LONG") else 1


# --- what is done -----------------------------------------------------------------------------


def body(n: int, size: int = 100) -> bytes:
    return b'{"n":%d,"text":"%s"}' % (n, b"x" * size)


class Appending:
    """Appends numbered records one way or another, and tells which are acknowledged as what.

    What failed is tried again until it is in.
    """

    def __init__(self, segment_bytes: int, *, tidies: bool = False, patience: int = 1) -> None:
        self.segment_bytes, self.tidies, self.patience = segment_bytes, tidies, patience

    def __call__(self, folder: Path, tell: Tell) -> None:
        log = Log(str(folder / "log"), segment_bytes=self.segment_bytes)
        for n in range(0, 12, 2):
            self._append(log, tell, [n, n + 1] if n % 4 else [n], durable=n % 6 != 2)
            if n % 4 == 0:
                self._append(log, tell, [n + 1], durable=False)
            if self.tidies and n % 4:
                log.tidy()
        for _ in range(self.patience + 1):
            try:
                log.close()
                tell(["synced", log.last])
                break
            except WriteError:
                continue

    def _append(self, log: Log, tell: Tell, which: list[int], durable: bool) -> None:
        for _ in range(self.patience + 1):
            try:
                seqs = log.append_all(map(body, which), durable=durable)
            except Unsynced as error:
                tell(["written", which, error.numbers])
                return
            except WriteError:
                continue
            tell(["durable" if durable else "written", which, seqs])
            return
        tell(["failed", which])


def nothing(folder: Path) -> None:
    pass


def torn(folder: Path) -> None:
    """Some records, and half of one."""
    with Log(str(folder / "log"), segment_bytes=700) as log:
        for n in range(100, 110):
            log.append(body(n), durable=False)
        log.tidy()
    with Path(log.path).open("ab") as file:
        file.write(b'{"seq":11,"n":')


# --- what must hold ---------------------------------------------------------------------------


def holds(folder: Path, told: list[Any], *, whole: bool = True) -> list[int]:
    """All that was acknowledged is there once, under its number; the log goes on and is ``whole``.

    Looked at with the independent reader before and after our own recovery.
    """
    promised = {
        seq: n for kind, which, *seqs in told if kind in ("written", "durable")
        for n, seq in zip(which, seqs[0], strict=True)
    }  # fmt: skip
    found: dict[int, Any] = {}
    next_one = 0
    for again in range(2):
        records, problems = plain_log.read(folder / "log")
        found = {r["seq"]: r.get("n") for r in records}
        assert promised.items() <= found.items()
        numbers = [n for n in found.values() if n is not None]
        assert len(numbers) == len(set(numbers))
        if again:
            ours = list(read_log(str(folder / "log")))
            assert [i.seq for i in ours if isinstance(i, LogRecord)] == list(found)
            assert (problems == []) == (len(ours) == len(found))
            assert found[next_one] == -1
            if whole:
                assert problems == []
                assert list(found) == list(range(1, len(found) + 1))
        else:
            with Log(str(folder / "log"), segment_bytes=700) as log:
                next_one = log.append(body(-1))
                log.tidy()
    return list(found.values())


def survives_death(folder: Path, outcome: Outcome) -> None:
    holds(folder, _acks(outcome))


def survives_failure(folder: Path, outcome: Outcome) -> None:
    assert outcome.error is None
    acks = _acks(outcome)
    found = holds(folder, acks)
    failed = {n for kind, which, *_ in acks if kind == "failed" for n in which}
    if not outcome.fault.lasting:
        assert failed == set()
    if outcome.fault.how in ("ENOSPC", "EDQUOT", "short"):  # else cutting back may fail as well
        assert failed & set(found) == set()


def _acks(outcome: Outcome | powerloss.State) -> list[Any]:
    return [t for t in outcome.told if t[0] != "synced"]


SCENARIOS = {
    "append": (Appending(1 << 20), nothing),
    "rotate": (Appending(400), nothing),
    "seal": (Appending(600, tidies=True), nothing),
    "recover": (Appending(1 << 20), torn),
}


@pytest.mark.spec("R13", "R14", "R16", "R17", "R26")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_death_at_any_operation_loses_nothing_acknowledged(scenario: str, disk: Path) -> None:
    work, prepare = SCENARIOS[scenario]
    assert die_everywhere(disk, work, survives_death, prepare=prepare) > 50


@pytest.mark.spec("R13", "R19", "R20")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_failure_of_any_operation_is_told_and_loses_nothing(scenario: str, disk: Path) -> None:
    work, prepare = SCENARIOS[scenario]
    runs = fail_everywhere(
        disk, work, survives_failure, prepare=prepare, errors=("ENOSPC", "EIO", "short")
    )
    runs += fail_everywhere(
        disk, work, survives_failure, prepare=prepare,
        errors=("EDQUOT", "EROFS", "EINTR", "EMFILE"), every=1 if LONG > 1 else 7,
    )  # fmt: skip
    assert runs > 100


class Recording:
    """A whole session: each event has a key, and one that fails is given again."""

    def __call__(self, folder: Path, tell: Tell) -> None:
        with suppress(WriteError):
            self._record(Logs(str(folder)), tell)

    def _record(self, logs: Logs, tell: Tell) -> None:
        writer = patient(lambda: logs.open("s1", agent="claude"))
        patient(writer.heartbeat)
        for n in range(6):
            event = UserMessage(agent="claude", content=str(n), uid=f"u{n}")
            receipt = patient(lambda e=event, d=n % 2 > 0: writer.emit(e, durable=d))
            tell([n, receipt.seq])
        patient(lambda: writer.finish(exit_code=0))
        tell("finished")
        writer.close()
        logs.close()


def patient(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except WriteError:
        return do()


def recorded_once(folder: Path, outcome: Outcome) -> None:
    """Each event and the end are there once, and what a crash left open is given its end."""
    assert outcome.error is None
    logs = Logs(str(folder))
    if not list(logs.index.names()):
        assert outcome.told == []
        return
    logs.append("s1", UserEvent(message="later"))
    entries = list(logs.read("s1"))
    by_seq = {e.seq: getattr(e.event, "content", e.kind) for e in entries}
    assert {seq: str(n) for n, seq in outcome.told[:6] if n != "f"}.items() <= by_seq.items()
    said = [e.event.content for e in entries if isinstance(e.event, UserMessage)]
    assert len(said) == len(set(said))
    logs.end_abandoned()
    ends = [e.kind for e in logs.read("s1")].count("session_ended")
    if "finished" in outcome.told:
        assert ends == 1
        assert logs.find("s1").success is True
    assert ends <= 1
    assert list(logs.holes("s1")) == []
    assert logs.index.rebuild()["s1"].ended_at == logs.find("s1").ended_at


@pytest.mark.spec("R17", "R20", "BW10", "BW17")
def test_a_recording_that_dies_or_fails_anywhere_says_everything_once(disk: Path) -> None:
    assert die_everywhere(disk, Recording(), recorded_once) > 60
    runs = fail_everywhere(
        disk, Recording(), recorded_once, errors=("ENOSPC", "EIO", "short"), every=2
    )
    assert runs > 40


# --- the end of the machine -------------------------------------------------------------------


class Synced(Appending):
    """Tells only what is durable, in the words of `holds`."""

    def __call__(self, folder: Path, tell: Tell) -> None:
        unsafe: list[Any] = []

        def tell_durable(said: list[Any]) -> None:
            if said[0] == "written":
                unsafe.append(said)
                return
            for kind, which, seqs in unsafe:  # the sync that made this one safe did so for all
                tell([kind, which, seqs])
            unsafe.clear()
            if said[0] == "durable":
                tell(said)

        super().__call__(folder, tell_durable)


@pytest.mark.spec("R14", "R17", "R26", "BW4")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_power_loss_at_any_moment_loses_nothing_durable(scenario: str, disk: Path) -> None:
    assert _power_losses(scenario, disk) > 540 * min(2, LONG)  # there are not many more


@pytest.mark.parametrize("flaw", ["flush", "sync_folder"])
def test_a_log_that_does_not_wait_for_the_disk_would_be_caught(
    flaw: str, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, flaw, lambda what: None)
    with pytest.raises(AssertionError):
        _power_losses("append", disk)


def _power_losses(scenario: str, disk: Path) -> int:
    """Look at states after a power loss; how many there were."""
    work, prepare = SCENARIOS[scenario]
    most = 600 * LONG
    place = disk / "work"
    place.mkdir()
    prepare(place)
    history = powerloss.record(place, Synced(work.segment_bytes, tidies=work.tidies))
    seen = 0
    for state in powerloss.states(history, seed=1, most=most):
        seen += 1
        case = disk / "case"
        case.mkdir()
        state.put(case)
        try:
            holds(case, state.told, whole=False)  # what was not durable may have come in parts
        except BaseException as error:
            error.add_note(f"after operation {state.moment} of {history}")
            raise
        shutil.rmtree(case)
    return seen
