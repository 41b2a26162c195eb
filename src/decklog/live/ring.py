"""What was told last, kept for everyone who listens."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable

from decklog.model import Change, Happened

KEPT_CHANGES, KEPT_BYTES = 8_192, 32 << 20
"""Newest changes that are kept for listeners; bytes are those of the records behind them."""
LOOK = 0.5
"""Seconds of one wait at most. A signal that Python's handler takes just before a wait begins, or
in another thread, does not end that wait: a listener is interrupted between two of them."""


class Ring:
    """The newest changes, for any number of listeners in any threads."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.reached = 0
        """Number of the last change."""
        self.closed = False
        self.error: BaseException | None = None
        """What ended the telling before its time."""
        self._changes: list[Change] = []
        self._seqs: list[int] = []
        self._begins = 0
        """Everything after this number is here."""
        self._bytes = 0
        self._wakers: list[Callable[[], None]] = []

    def begin(self, reached: int) -> None:
        self.reached = self._begins = reached

    def put(self, changes: list[Change], reached: int) -> None:
        with self.condition:
            for change in changes:
                self._changes.append(change)
                self._seqs.append(change.seq)
                self._bytes += _weight(change)
            self.reached = reached
            cut = 0
            left = len(self._changes)
            while left - cut > KEPT_CHANGES or self._bytes > KEPT_BYTES:
                self._bytes -= _weight(self._changes[cut])
                self._begins = self._seqs[cut]
                cut += 1
            if cut:
                del self._changes[:cut], self._seqs[:cut]
            self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come."""
        with self.condition:
            self.closed = True
            self.error = self.error or error
            self._wake()

    def _wake(self) -> None:
        self.condition.notify_all()
        for waker in self._wakers:
            waker()

    def after(self, seq: int, timeout: float | None) -> tuple[list[Change], int] | None:
        """Changes after a number and the number they reach to, as soon as there are any, or when
        none came in time; None when the listener has fallen behind what is kept. Raises what
        ended the telling before its time."""
        end = None if timeout is None else time.monotonic() + timeout
        with self.condition:
            while seq >= self.reached and not self.closed:
                left = LOOK if end is None else end - time.monotonic()
                if left <= 0:
                    break
                self.condition.wait(min(left, LOOK))
            if seq < self._begins:
                return None
            found = self._changes[bisect_right(self._seqs, seq) :]
            if not found and self.error is not None:
                raise self.error
            return found, max(seq, self.reached)

    def listen(self, waker: Callable[[], None]) -> None:
        with self.condition:
            self._wakers.append(waker)

    def leave(self, waker: Callable[[], None]) -> None:
        with self.condition:
            self._wakers.remove(waker)


def _weight(change: Change) -> int:
    return change.event.ref.length if isinstance(change, Happened) else 0
