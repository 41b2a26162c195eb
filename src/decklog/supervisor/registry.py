"""The registry of supervised panes: a file of events that only grows.

``fleet/panes.log`` below our data folder is a `decklog.checked.Book`. Each event carries the whole
pane as it is after it, so that a damaged line costs one step of history and never an entry. Nothing
is ever removed because it was not seen; a pane that ended stays known. A new file begins with all
that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import msgspec

from decklog import durable
from decklog.checked import Book
from decklog.model.panes import Delivery, Happened, PaneEvent, Supervised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.model.fleet import Transition

FILE = "panes.log"
LARGE = 4 << 20
"""Bytes from which on a new file is begun."""
KEYS = 1000
"""Keys of sendings that are carried over into a new file."""


class Registry(Book[PaneEvent]):
    """All panes that are or were supervised."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, FILE, PaneEvent, LARGE)
        self._panes: dict[str, Supervised] = {}
        self._sent: dict[str, PaneEvent] = {}
        self._at = 0
        """When the last event happened."""

    # -- reading ---------------------------------------------------------------------------------

    def panes(self) -> dict[str, Supervised]:
        """All of them by id, oldest first, as they are now."""
        self._catch_up()
        return dict(self._panes)

    def get(self, pane: str) -> Supervised | None:
        self._catch_up()
        return self._panes.get(pane)

    def sent(self, key: str) -> Delivery | None:
        """What became of the sending with that key, if there was one."""
        self._catch_up()
        event = self._sent.get(key)
        return event.delivery if event else None

    @property
    def seq(self) -> int:
        """Of the last event."""
        self._catch_up()
        return self._seq

    def _take(self, event: PaneEvent) -> None:
        self._at = event.at
        self._panes[event.pane.id] = event.pane
        if event.delivery and event.delivery.key:
            self._sent[event.delivery.key] = event

    def _happened(self, event: PaneEvent) -> bool:
        return event.happened != "kept"

    def _carried(self) -> Iterable[PaneEvent]:
        for event in list(self._sent.values())[-KEYS:]:
            yield msgspec.structs.replace(event, seq=self._seq, happened="kept")
        for pane in self._panes.values():
            yield PaneEvent(seq=self._seq, at=self._at, happened="kept", pane=pane)

    # -- writing ---------------------------------------------------------------------------------

    def add(
        self,
        happened: Happened,
        pane: Supervised,
        at: int,
        *,
        transition: Transition | None = None,
        delivery: Delivery | None = None,
    ) -> PaneEvent:
        """Write an event down. It is on disk when this returns, but for a ``state``.

        Raises `decklog.errors.WriteError`; nothing changed then.
        """
        with self._writing() as file:
            event = PaneEvent(
                seq=self._seq + 1,
                at=at,
                happened=happened,
                pane=pane,
                transition=transition,
                delivery=delivery,
            )
            file.append(self._line(event))
            if happened != "state":
                file.sync()
        return event

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from creating, adopting or restoring meanwhile."""
        durable.private_folder(self.folder)
        with durable.Lock(f"{self.folder}/panes.lock").held():
            yield
