"""The registry of supervised panes: a file of events that only grows.

``fleet/panes.log`` below our data folder holds one line for each event: the CRC-32 of its JSON in
eight hex digits, a space, the JSON. Each event carries the whole pane as it is after it, so that a
damaged line costs one step of history and never an entry. Nothing is ever removed because it was
not seen; a pane that ended stays known.

Several processes may write: one at a time, under the lock of the file, and each reads what the
others wrote before it adds to it. When the file has grown large, a new one begins with all that is
known, and the old one is kept beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from decklog import checked, durable
from decklog.model.panes import Delivery, Happened, PaneEvent, Supervised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.model.fleet import Transition

FILE = "panes.log"
LARGE = 4 << 20
"""Bytes from which on a new file is begun."""
KEYS = 1000
"""Keys of sendings that are carried over into a new file."""
OLD = 3
"""Older files that are kept."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PaneEvent).decode


class Registry:
    """All panes that are or were supervised. Reading needs no lock and waits for nobody."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = f"{folder}/{FILE}"
        self.damaged = 0
        """Lines that could not be read; they stay where they are."""
        self._panes: dict[str, Supervised] = {}
        self._sent: dict[str, PaneEvent] = {}
        self._seq = 0
        self._offset = 0
        self._inode = 0

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

    def events(self, after: int = 0) -> list[PaneEvent]:
        """What happened after that sequence number, oldest first, as far back as files reach."""
        found: dict[int, PaneEvent] = {}
        for path in (*self._older(), self.path):
            for event in checked.texts(checked.read(path)[0], _decode):
                if event is not None and event.seq > after and event.happened != "kept":
                    found.setdefault(event.seq, event)
        return [found[seq] for seq in sorted(found)]

    @property
    def seq(self) -> int:
        """Of the last event."""
        self._catch_up()
        return self._seq

    def _catch_up(self) -> None:
        data, inode = checked.read(self.path, self._offset)
        if inode != self._inode:
            data, self._inode = checked.read(self.path)
            self._offset = 0
        whole = data.rfind(b"\n") + 1
        for event in checked.texts(data[:whole], _decode):
            if event is None:
                self.damaged += 1
                self._seq += 1  # it had a number, whatever it said
            else:
                self._take(event)
        self._offset += whole

    def _take(self, event: PaneEvent) -> None:
        self._seq = max(self._seq, event.seq)
        self._panes[event.pane.id] = event.pane
        if event.delivery and event.delivery.key:
            self._sent[event.delivery.key] = event

    def _older(self) -> list[str]:
        with suppress(OSError):
            names = sorted(n for n in os.listdir(self.folder) if n.startswith(f"{FILE}."))
            return [f"{self.folder}/{n}" for n in names if n.rpartition(".")[2].isdigit()]
        return []

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
            file.append(_line(event))
            if happened != "state":
                file.sync()
            self._catch_up()
            large = self._offset > LARGE
        if large:
            self._begin_anew(at)
        return event

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from creating, adopting or restoring meanwhile."""
        durable.private_folder(self.folder)
        with durable.Lock(f"{self.folder}/panes.lock").held():
            yield

    @contextmanager
    def _writing(self) -> Iterator[durable.Appender]:
        durable.private_folder(self.folder)
        while True:
            with durable.Appender(self.path) as file, file.locked():
                self._catch_up()
                st = os.fstat(file.fd)
                if st.st_ino != self._inode:
                    continue  # a new file was begun while we waited
                if st.st_size > self._offset:
                    durable.cut(file.fd, self.path, self._offset)  # a torn tail, kept beside
                yield file
                return

    def _begin_anew(self, at: int) -> None:
        with durable.Lock(f"{self.folder}/rotate.lock").held(), self._writing():
            if self._offset <= LARGE:
                return
            sent = [
                msgspec.structs.replace(e, seq=self._seq, happened="kept")
                for e in list(self._sent.values())[-KEYS:]
            ]
            now = [
                PaneEvent(seq=self._seq, at=at, happened="kept", pane=pane)
                for pane in self._panes.values()
            ]
            kept = b"".join(_line(event) for event in (*sent, *now))
            older = self._older()
            number = int(older[-1].rpartition(".")[2]) + 1 if older else 1
            os.link(self.path, f"{self.path}.{number:06d}")
            durable.replace(self.path, kept)
            for path in older[: max(0, len(older) + 1 - OLD)]:
                with suppress(OSError):
                    os.unlink(path)


def _line(event: PaneEvent) -> bytes:
    data = _encode(event)
    _decode(data)  # what could not be read again must not be written
    return checked.line(data)
