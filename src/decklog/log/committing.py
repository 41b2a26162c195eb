"""Group commit: what was written is made durable a moment later, by one thread for all logs."""

from __future__ import annotations

import os
import threading
from typing import Protocol

DELAY_S = 0.25
"""Time after which at the latest the disk is asked to keep what was written."""


class Settling(Protocol):
    def settle(self) -> None:
        """Make durable what was written. Does not raise: it keeps its troubles itself."""


class Committer:
    """Settles each log a quarter of a second after something was written to it.

    Its thread begins with the first such log, also in a forked child, and does not keep the process
    alive.
    """

    def __init__(self, delay: float = DELAY_S) -> None:
        self.delay = delay
        self._renew()

    def _renew(self) -> None:
        self._owner = os.getpid()
        self._due: dict[int, Settling] = {}
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def due(self, log: Settling) -> None:
        """Something was written to this log."""
        if self._owner != os.getpid():
            self._renew()
        with self._change:
            self._due[id(log)] = log
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
                self._thread.start()
            self._change.notify()

    def close(self) -> None:
        """Settle what is due, and end the thread."""
        if self._owner != os.getpid():
            return
        with self._change:
            self._closed = True
            thread, self._thread = self._thread, None
            self._change.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._due or self._closed)
                if not self._closed:
                    self._change.wait_for(lambda: self._closed, self.delay)
                due, self._due = list(self._due.values()), {}
                if not due:
                    return
            for log in due:
                log.settle()
