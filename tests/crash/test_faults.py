"""The fault injection finds what it is there to find: writers with one known flaw each.

A harness that finds nothing proves nothing, so every flaw has to be caught, and the writer without
any must pass.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import pytest

import powerloss
from faults import Fault, Outcome, Tell, die_everywhere, fail_everywhere, run


@dataclass(frozen=True)
class Writer:
    """A small log of numbered lines and a file that is replaced; each False is a flaw."""

    syncs: bool = True
    syncs_folder: bool = True
    one_write: bool = True
    syncs_before_rename: bool = True
    cuts_short_writes: bool = True

    def append(self, folder: Path, tell: Tell) -> None:
        path = folder / "log"
        _cut_torn(path)
        for i in range(4):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                start = os.fstat(fd).st_size
                for part in self._parts(_line(i)):
                    done = os.write(fd, part)
                    if done < len(part):
                        if self.cuts_short_writes:
                            os.ftruncate(fd, start)
                        raise OSError("short")
                if self.syncs:
                    os.fsync(fd)
            finally:
                os.close(fd)
            if self.syncs_folder and not i:
                _sync_folder(folder)
            tell(i)

    def _parts(self, line: bytes) -> tuple[bytes, ...]:
        return (line,) if self.one_write else (line[:-1], line[-1:])

    def replace(self, folder: Path, tell: Tell) -> None:
        for i in range(3):
            fd = os.open(folder / "new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, _line(i) * 100)
            if self.syncs_before_rename:
                os.fsync(fd)
            os.close(fd)
            os.rename(folder / "new", folder / "file")
            if self.syncs_folder:
                _sync_folder(folder)
            tell(i)


def _line(i: int) -> bytes:
    body = b"%d %s" % (i, b"x" * 40)
    return b"%s %08x\n" % (body, crc32(body))


def _good(line: bytes) -> bool:
    body, _, crc = line.rpartition(b" ")
    return crc == b"%08x" % crc32(body)


def _cut_torn(path: Path) -> None:
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _told_is_logged(folder: Path, outcome: Outcome | powerloss.State) -> None:
    lines = (folder / "log").read_bytes().split(b"\n") if (folder / "log").exists() else []
    numbers = [int(line.split()[0]) for line in lines if _good(line)]
    assert numbers[: len(outcome.told)] == outcome.told


def _whole_lines_only(folder: Path, outcome: Outcome) -> None:
    data = (folder / "log").read_bytes() if (folder / "log").exists() else b""
    assert all(map(_good, data.split(b"\n")[:-1]))
    assert data.endswith(b"\n") or not data


def _told_is_in_place(folder: Path, state: powerloss.State) -> None:
    path = folder / "file"
    if not state.told and not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 101
    assert int(lines[0].split()[0]) >= max(state.told, default=0)
    assert all(map(_good, lines[:-1]))


def _after_power_losses(folder: Path, work: object, check: object, seed: int = 1) -> int:
    recorded = folder / "recorded"
    recorded.mkdir()
    history = powerloss.record(recorded, work)  # type: ignore[arg-type]
    n = 0
    for n, state in enumerate(powerloss.states(history, seed=seed, most=400), 1):
        place = folder / f"state{n}"
        place.mkdir()
        state.put(place)
        check(place, state)  # type: ignore[operator]
    return n


def test_a_sound_writer_passes(tmp_path: Path) -> None:
    sound = Writer()
    assert die_everywhere(tmp_path / "die", sound.append, _told_is_logged) > 30
    assert fail_everywhere(tmp_path / "fail", sound.append, _whole_lines_only) > 100
    assert _after_power_losses(tmp_path, sound.append, _told_is_logged) > 30
    (tmp_path / "replaced").mkdir()
    assert _after_power_losses(tmp_path / "replaced", sound.replace, _told_is_in_place) > 30


@pytest.mark.parametrize("flaw", ["syncs", "syncs_folder"])
def test_power_loss_catches_an_appender_that(flaw: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, FileNotFoundError)):
        _after_power_losses(tmp_path, Writer(**{flaw: False}).append, _told_is_logged)


@pytest.mark.parametrize("flaw", ["syncs_before_rename", "syncs_folder"])
def test_power_loss_catches_a_replacer_that(flaw: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, FileNotFoundError)):
        _after_power_losses(tmp_path, Writer(**{flaw: False}).replace, _told_is_in_place)


@pytest.mark.parametrize("flaw", ["one_write", "cuts_short_writes"])
def test_failing_writes_catch_an_appender_that(flaw: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        fail_everywhere(tmp_path, Writer(**{flaw: False}).append, _whole_lines_only)


def test_death_is_met_at_every_operation(tmp_path: Path) -> None:
    """14 operations for 4 lines (open, write, fsync, and once the folder), 4 of them writes."""
    assert die_everywhere(tmp_path, Writer().append, lambda *_: None) == 14 + 4 + 14


def test_a_killed_child_has_told_what_it_had_told(tmp_path: Path) -> None:
    outcome = run(tmp_path, Writer().append, Fault(7, "before"))
    assert (outcome.told, outcome.met, outcome.killed) == ([0], True, True)


def test_a_file_written_past_os_open_is_refused(tmp_path: Path) -> None:
    def work(folder: Path, tell: Tell) -> None:
        (folder / "x").write_bytes(b"not counted")

    with pytest.raises(AssertionError, match="ended with status"):
        run(tmp_path, work)
