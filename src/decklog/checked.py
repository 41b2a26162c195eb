"""Lines that tell whether they are whole: a checksum, a space, the text.

The checksum is the CRC-32 of the text in eight hex digits. A damaged line costs itself and no
other. A `Book` is a file of such lines that several processes add to, and that stays bounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Protocol, TypeVar
from zlib import crc32

import msgspec

from decklog import durable
from decklog.decoding import decoder
from decklog.errors import WriteError

OLD = 3
"""Older files of a book that are kept."""

T = TypeVar("T")


class Numbered(Protocol):
    """What stands in a book: a Struct with a number that no other one has."""

    @property
    def seq(self) -> int: ...


E = TypeVar("E", bound=Numbered)


def line(text: bytes) -> bytes:
    """The line for a text, which holds no newline."""
    return b"%08x %b\n" % (crc32(text), text)


def texts(data: bytes, decode: Callable[[bytes], T]) -> Iterator[T | None]:
    """Each whole line, decoded; None for one that is damaged."""
    for one in data.split(b"\n")[:-1]:
        checksum, _, text = one.partition(b" ")
        try:
            yield decode(text) if int(checksum, 16) == crc32(text) else None
        except (ValueError, msgspec.MsgspecError):
            yield None


def read(path: str, offset: int = 0) -> tuple[bytes, int]:
    """(what stands after the offset, inode); nothing of a file that is not there.

    Raises `decklog.errors.WriteError`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", 0
    except OSError as error:
        raise durable.failed(path, error) from None
    try:
        st = os.fstat(fd)
        size = st.st_size - offset
        return (os.pread(fd, size, offset) if size > 0 else b""), st.st_ino
    finally:
        os.close(fd)


class Book(Generic[E]):
    """Events with numbers, in the order they were added. Reading waits for nobody.

    One process writes at a time, under the lock of the file, and reads before that what the others
    wrote. When the file has grown beyond ``large`` bytes, a new one begins with what is `_carried`
    over, and the old one is kept beside it for a while.
    """

    def __init__(self, folder: str, name: str, kind: type[E], large: int) -> None:
        self.folder = folder
        self.path = f"{folder}/{name}"
        self.large = large
        self.damaged = 0
        """Lines that could not be read; they stay where they are."""
        self._encode = msgspec.json.Encoder().encode
        self._decode = decoder(kind).decode
        self._seq = self._offset = self._inode = 0

    def events(self, after: int = 0) -> list[E]:
        """What was added after that number, oldest first, as far back as files reach."""
        found: dict[int, E] = {}
        for path in (*self._older(), self.path):
            for event in texts(read(path)[0], self._decode):
                if event is not None and event.seq > after and self._happened(event):
                    found.setdefault(event.seq, event)
        return [found[seq] for seq in sorted(found)]

    def _take(self, event: E) -> None:
        """Learn of an event, in order, whoever added it."""
        raise NotImplementedError

    def _carried(self) -> Iterable[E]:
        """What a new file begins with."""
        raise NotImplementedError

    def _happened(self, event: E) -> bool:
        """False for what stands there only because it was carried over."""
        return True

    def _catch_up(self) -> None:
        data, inode = read(self.path, self._offset)
        if inode != self._inode:
            data, self._inode = read(self.path)
            self._offset = 0
        whole = data.rfind(b"\n") + 1
        for event in texts(data[:whole], self._decode):
            if event is None:
                self.damaged += 1
                self._seq += 1  # it had a number, whatever it said
            else:
                self._seq = max(self._seq, event.seq)
                self._take(event)
        self._offset += whole

    @contextmanager
    def _writing(self) -> Iterator[durable.Appender]:
        """The file, to be added to by nobody else; all that is in it is known."""
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
                self._catch_up()
                if self._offset > self.large:
                    with suppress(WriteError, OSError):  # what was added is there: another time
                        self._begin_anew()
                return

    def _line(self, event: E) -> bytes:
        text = self._encode(event)
        self._decode(text)  # what could not be read again must not be written
        return line(text)

    def _begin_anew(self) -> None:
        """Under the lock of the old file: whoever waits for it sees that its name is another's."""
        kept = b"".join(map(self._line, self._carried()))
        older = self._older()
        number = int(older[-1].rpartition(".")[2]) + 1 if older else 1
        os.link(self.path, f"{self.path}.{number:06d}")
        durable.replace(self.path, kept)
        for path in older[: max(0, len(older) + 1 - OLD)]:
            with suppress(OSError):
                os.unlink(path)

    def _older(self) -> list[str]:
        name = os.path.basename(self.path)
        with suppress(OSError):
            names = sorted(n for n in os.listdir(self.folder) if n.startswith(f"{name}."))
            return [f"{self.folder}/{n}" for n in names if n.rpartition(".")[2].isdigit()]
        return []
