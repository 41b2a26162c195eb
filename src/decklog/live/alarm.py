"""Waiting until something changes in some folders, without looking."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from decklog.live.hints import Hints


class Alarm:
    """Comes back early from a wait when a file of certain folders was touched.

    Hints may be lost, so whoever waits has to look now and then all the same; how often depends on
    whether this is `sure`. Without hints it is a sleep.
    """

    def __init__(self, hints: Hints | None) -> None:
        self._hints = hints
        self._folders: frozenset[str] = frozenset()
        self._missing: set[str] = set()
        """Those that are not there."""
        self._unsure: set[str] = set()
        """Those of which not all is told."""

    def __enter__(self) -> Alarm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sure(self) -> bool:
        """Whether all that happens in the folders is told, as far as the system can say. Of one
        that is not there it is told that it comes into being, and `attend` is to be called then."""
        return self._hints is not None and not self._unsure

    def attend(self, folders: Iterable[str]) -> None:
        """Wake for these folders from now on, and for no others."""
        wanted = frozenset(folders)
        hints = self._hints
        if hints is None:
            return
        for folder in self._folders - wanted:
            hints.drop(folder)
            self._unsure.discard(folder)
        new = (wanted - self._folders) | (self._missing & wanted)
        self._missing = {f for f in new if not os.path.isdir(f)}
        for folder in sorted(self._missing - self._folders):
            hints.expect(_above(folder))
        self._unsure |= {f for f in sorted(new - self._missing) if not hints.add(f)}
        self._folders = wanted

    def wait(self, seconds: float, *, least: float = 0.0) -> bool:
        """Until something happened there, at most so long; whether it did.

        It takes ``least`` seconds in any case, so that what happens all the time wakes seldom.
        """
        pause = seconds if self._hints is None else min(seconds, least)
        if pause > 0:
            time.sleep(pause)
        return self._hints is not None and bool(self._hints.read(seconds - pause))

    def close(self) -> None:
        if self._hints is not None:
            self._hints.close()


def _above(folder: str) -> str:
    """The folder that is there and that it would come into being in, or one of those above it."""
    above = os.path.dirname(folder)
    return above if above == folder or os.path.isdir(above) else _above(above)
