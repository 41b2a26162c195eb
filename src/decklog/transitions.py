"""Changes of state, written down: a file of checked lines that only grows, and is bounded.

``fleet/states.log`` below our data folder. Whoever looks at the fleet writes what it notices; what
another process has noticed already is not written again. Each event carries the state before and
the evidence that decided, so that it can be checked without the agent. When the file has grown
large a new one begins, with the last event of each agent that still runs; so many older ones stay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from decklog import checked, durable
from decklog.model.fleet import Identity, StateEvent

NAME = "states.log"
LARGE = 1 << 20
"""Bytes from which on a new file is begun: some seven hundred events."""
OLD = 3
"""Older files that are kept."""
OVER = ("exited", "lost")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StateEvent).decode


class Transitions:
    """All changes of state that were noticed lately. Reading waits for nobody."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.path = f"{folder}/{NAME}"
        self._offset = self._inode = self._seq = 0
        self._last: dict[Identity, StateEvent] = {}

    def events(self, after: int = 0) -> list[StateEvent]:
        """What was noticed after that sequence number, oldest first, as far back as files reach."""
        found: dict[int, StateEvent] = {}
        for path in (*self._older(), self.path):
            for event in checked.texts(checked.read(path)[0], _decode):
                if event is not None and event.seq > after:
                    found.setdefault(event.seq, event)
        return [found[seq] for seq in sorted(found)]

    def add(self, noticed: Sequence[StateEvent]) -> list[StateEvent]:
        """Write down what is news, in one piece; that, with its numbers.

        It is not waited for the disk: after a power cut the last may be missing. Raises
        `decklog.errors.WriteError`.
        """
        if not noticed:
            return []
        durable.private_folder(self.folder)
        while True:
            with durable.Appender(self.path) as file, file.locked():
                end = self._catch_up()
                if os.fstat(file.fd).st_ino != self._inode:
                    continue  # a new file was begun while we waited
                if file.size() > end:
                    durable.cut(file.fd, self.path, end)  # a torn tail, kept beside
                news = self._news(noticed)
                if news:
                    file.append(b"".join(map(_line, news)))
                if self._catch_up() > LARGE:
                    self._begin_anew()
                return news

    def _news(self, noticed: Sequence[StateEvent]) -> list[StateEvent]:
        found = []
        last = dict(self._last)
        seq = self._seq
        for event in noticed:
            before = last.get(event.root)
            if before is not None and not _follows(before, event):
                continue
            seq += 1
            event = msgspec.structs.replace(event, seq=seq)
            last[event.root] = event
            found.append(event)
        return found

    def _catch_up(self) -> int:
        data, inode = checked.read(self.path, self._offset)
        if inode != self._inode:
            data, self._inode = checked.read(self.path)
            self._offset = 0
        whole = data.rfind(b"\n") + 1
        for event in checked.texts(data[:whole], _decode):
            if event is not None:
                self._seq = max(self._seq, event.seq)
                self._last[event.root] = event
        self._offset += whole
        return self._offset

    def _begin_anew(self) -> None:
        """Under the lock of the old file: whoever waits for it sees that its name is another's."""
        self._last = {w: e for w, e in self._last.items() if e.transition.new not in OVER}
        kept = sorted(self._last.values(), key=lambda e: e.seq)
        older = self._older()
        number = int(older[-1].rpartition(".")[2]) + 1 if older else 1
        os.link(self.path, f"{self.path}.{number:06d}")
        durable.replace(self.path, b"".join(map(_line, kept)))
        for path in older[: max(0, len(older) + 1 - OLD)]:
            with suppress(OSError):
                os.unlink(path)

    def _older(self) -> list[str]:
        with suppress(OSError):
            names = sorted(n for n in os.listdir(self.folder) if n.startswith(f"{NAME}."))
            return [f"{self.folder}/{n}" for n in names if n.rpartition(".")[2].isdigit()]
        return []


def _follows(before: StateEvent, event: StateEvent) -> bool:
    """Whether it is news after what was noticed last of that agent."""
    old, new = before.transition, event.transition
    was, at = old.at or 0, new.at or 0
    later = was < at or (was == at and old.new == new.old)
    return later and (old.new, old.code) != (new.new, new.code)


def _line(event: StateEvent) -> bytes:
    return checked.line(_encode(event))
