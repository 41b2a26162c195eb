"""Callbacks on what is written to a log: each on a thread that reads the log itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import msgspec

from decklog.errors import DecklogError
from decklog.log import reading, wire

LOOK_S = 1.0
"""How often a subscription looks for what other processes wrote."""


class Subscription:
    """Gives the events of a log to one callback, in order, each once.

    There is no queue that could overflow: it reads what it has not given yet from the log. A
    callback that raises is told the next event all the same; ``failure`` keeps the last exception.
    """

    def __init__(self, tail: reading.Tail, callback: Callable[[wire.Entry], object]) -> None:
        self.failure: BaseException | None = None
        self._tail, self._callback = tail, callback
        self._news = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="subscription", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    @property
    def seq(self) -> int:
        """Number of the last event that was given, or is being given."""
        return self._tail.seq

    def wake(self) -> None:
        """There is something new."""
        self._news.set()

    def close(self) -> None:
        """Give what is in the log now, then end. Waits for it, except inside of the callback."""
        self._closed = True
        self._news.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._news.wait(LOOK_S)
            self._news.clear()
            closed = self._closed
            try:
                for item in self._tail.poll():
                    if isinstance(item, reading.Record):
                        self._give(item.line)
            except DecklogError as error:
                self.failure = error
            if closed:
                return

    def _give(self, line: bytes) -> None:
        with suppress(msgspec.MsgspecError):
            entry = wire.decode(line)
            try:
                self._callback(entry)
            except Exception as error:
                self.failure = error
