"""Waiting for what happens in folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from decklog.live.alarm import Alarm
from decklog.live.hints import Inotify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify")


def test_it_wakes_for_its_folders_and_no_others(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with Alarm(Inotify()) as alarm:
        alarm.attend([str(tmp_path / "one")])
        assert alarm.sure
        (tmp_path / "two" / "file").write_text("x")
        assert not alarm.wait(0)
        (tmp_path / "one" / "file").write_text("x")
        assert alarm.wait(10)
        assert not alarm.wait(0)
        alarm.attend([str(tmp_path / "two")])
        alarm.wait(0)
        (tmp_path / "one" / "file").write_text("y")
        assert not alarm.wait(0)
        (tmp_path / "two" / "file").write_text("y")
        assert alarm.wait(10)


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    later = tmp_path / "later"
    with Alarm(Inotify()) as alarm:
        alarm.attend([str(later / "folder")])
        later.mkdir()
        assert alarm.wait(10)
        (later / "folder").mkdir()
        alarm.attend([str(later / "folder")])
        (later / "folder" / "file").write_text("x")
        assert alarm.wait(10)


def test_without_hints_it_sleeps_and_is_never_sure(tmp_path: Path) -> None:
    with Alarm(None) as alarm:
        alarm.attend([str(tmp_path)])
        assert not alarm.sure
        (tmp_path / "file").write_text("x")
        assert not alarm.wait(0.01)
