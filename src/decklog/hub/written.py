"""Whether agents wrote anything since it was looked at last: woken by the system, made sure by
looking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from decklog.live import hints
from decklog.live.alarm import Alarm

if TYPE_CHECKING:
    from decklog.hub.fleet import Fleet

LOOK = 0.15
"""Seconds between looks, where nothing wakes us: screens change without a word."""
GAP = 0.05
"""The same, at least, whatever wakes us."""


class Written:
    """The files of `Fleet.stamps`. Without ``told`` the system is not asked to wake us."""

    def __init__(self, fleet: Fleet, *, told: bool = True) -> None:
        self.fleet = fleet
        self.alarm = Alarm(hints.best() if told else None)
        self._stamps: Mapping[str, object] = {}

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self.alarm.close()

    def changed(self) -> bool:
        """Whether a file is another than when it was read last."""
        return self.fleet.stamps() != self._stamps

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around a look: what changes from its beginning on is news. What it found to be written
        wakes us from then on."""
        before = self.fleet.stamps()
        yield
        self._stamps = {path: before.get(path, s) for path, s in self.fleet.stamps().items()}
        self.attend()

    def attend(self) -> None:
        self.alarm.attend(self.fleet.folders())

    def wait(self, seconds: float, *, least: float = GAP) -> bool:
        """Until a file is touched, at most so long and not shorter than ``least``; whether one
        was."""
        return self.alarm.wait(seconds, least=least)
