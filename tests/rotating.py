"""Transcripts to which everything happens that happens to files, and what must be known of them.

A `World` is a HOME with a store that looks on. Its methods are what writers do (append in parts,
cut, copy and empty, move, replace by as many bytes, delete and make anew at once, link, fork,
compress) and what we do (look, look and be killed). The truth about each look is worked out from
the bytes alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import zstandard

from forked import killed, start, suicide
from homes import Claude, Line, Synced, Tokens, different, files, truth

SLOTS = 3
BEGIN = b'{"type":"assistant"'
"""How every record here begins."""


class World:
    """A HOME of a few transcripts, and the store that looks on."""

    def __init__(self, folder: Path, **flags: object) -> None:
        self.folder, self.flags = folder, flags
        self.home, self.own = folder / "home", folder / "own"
        self.place = self.home / ".claude/projects"
        self.place.mkdir(parents=True)
        self.known: dict[str, Tokens] = {}
        """Tokens of every response that was ever written, by its id."""
        self.rest: dict[Path, bytes] = {}
        """What is still to come of the last line of a file."""
        self.begun: dict[bytes, bytes] = {}
        """What was written before that: it goes on nowhere else."""
        self.seen: set[str] = set()
        self.read: dict[Path, bytes] = {}
        """Whole lines of each file at the last look."""
        self.rewritten: set[Path] = set()
        self.linked: set[Path] = set()
        """Files with several names: rewritten and linked at once they look gone, and new."""
        self.deck: Synced | None = None

    # -- what writers do -------------------------------------------------------------------

    def path(self, slot: int, folder: str = "-w") -> Path:
        """Where the transcript of a slot is now."""
        found = sorted(self.place.glob(f"*/talk{slot}.jsonl"))
        return found[0] if found else self.place / folder / f"talk{slot}.jsonl"

    def line(self, slot: int) -> bytes:
        n = len(self.known)
        made = Claude(f"talk{slot}")
        made.now += n * 1000
        made.answer(f"{n:06}", (n % 97 + 1, 0, 0, n % 89 + 1))
        self.known[f"msg-{n:06}"] = made.lines[0].tokens
        return made.lines[0].data

    def append(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as f:
            f.write(data)

    def write(self, slot: int, n: int) -> None:
        path = self.path(slot)
        data = self.left(path)
        self.append(path, data + b"".join(self.line(slot) for _ in range(n % 5 + 1)))

    def write_a_part(self, slot: int, n: int) -> None:
        path = self.path(slot)
        data = self.left(path) or self.line(slot)
        cut = len(data) * (n + 1) // 101 or 1
        if n % 4 == 3:  # whole but for its line end
            cut = len(data) - 1
        self.append(path, data[:cut])
        if cut == len(data):
            return
        self.rest[path] = data[cut:]
        self.begun[data[cut:]] = data[:cut]

    def left(self, path: Path) -> bytes:
        """The rest of the last line, if its beginning still is the end of the file."""
        data = self.rest.pop(path, b"")
        there = path.exists() and path.read_bytes().endswith(self.begun.get(data, b"\0"))
        return data if there else b""

    def tear(self, slot: int, n: int) -> None:
        """The rest of a line never comes."""
        path = self.path(slot)
        if self.rest.pop(path, b""):
            self.append(path, b"\n" if n % 2 else b"")

    def empty(self, slot: int, n: int) -> None:
        path = self.path(slot)
        if path.exists():
            os.truncate(path, 0)
            self.rest.pop(path, None)

    def cut(self, slot: int, n: int) -> None:
        path = self.path(slot)
        if path.exists():
            os.truncate(path, path.stat().st_size * n // 100)
            self.rest.pop(path, None)

    def copy_and_empty(self, slot: int, n: int) -> None:
        path = self.path(slot)
        if path.exists():
            kept = self.place / f"-kept{n % 2}" / path.name
            if kept != path:
                kept.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, kept)
            os.truncate(path, 0)
            self.rest.pop(path, None)

    def move(self, slot: int, n: int) -> None:
        path = self.path(slot)
        new = self.place / f"-moved{n % 3}" / path.name
        if path.exists() and new != path:
            new.parent.mkdir(exist_ok=True)
            path.rename(new)
            self.rest.pop(new, None)
            if path in self.rest:
                self.rest[new] = self.rest.pop(path)

    def replace(self, slot: int, n: int) -> None:
        """As many bytes as there were, all others."""
        path = self.path(slot)
        if not path.exists():
            return
        lines = path.read_bytes().count(b"\n")
        data = b"".join(self.line(slot) for _ in range(lines))
        self.rest.pop(path, None)
        if n % 2:
            beside = path.with_suffix(".new")
            beside.write_bytes(data)
            beside.replace(path)
        else:
            path.write_bytes(data)

    def delete(self, slot: int, n: int) -> None:
        path = self.path(slot)
        path.unlink(missing_ok=True)
        self.rest.pop(path, None)

    def make_anew(self, slot: int, n: int) -> None:
        """Often under the inode that has just become free."""
        self.delete(slot, n)
        self.write(slot, n)

    def link(self, slot: int, n: int) -> None:
        path = self.path(slot)
        other = self.place / f"-linked{n % 2}" / path.name
        if path.exists() and not other.exists():
            other.parent.mkdir(exist_ok=True)
            os.link(path, other)
            self.linked |= {path, other}

    def fork(self, slot: int, n: int) -> None:
        """Another transcript begins with the very bytes of this one."""
        path, other = self.path(slot), self.path((slot + 1) % SLOTS)
        if path.exists() and not other.exists():
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, other)

    def compress(self, slot: int, n: int) -> None:
        path = self.path(slot)
        if path.exists():
            packed = path.with_name(f"{path.name}.zst")
            packed.write_bytes(zstandard.compress(path.read_bytes()))
            if n % 2:
                self.delete(slot, n)

    # -- what we do ------------------------------------------------------------------------

    def look(self, slot: int = 0, n: int = 0, *, exact: bool = True) -> None:
        """All that is whole now counts from now on. Not ``exact``: others may count too, that
        were there for a while and may have been read."""
        now = {p: _whole(p) for p in files(self.home)}
        for path, data in now.items():
            self.seen |= _responses(data)
            before = self.read.get(path, b"")
            if path.suffix == ".jsonl" and path in self.read and not data.startswith(before):
                self.rewritten |= {path} - self.linked
        self.read = now
        deck = self._deck()
        deck.sync()
        counted = {key.rpartition(":")[0].removeprefix("claude:") for key in deck.counted()}
        if not exact:
            assert self.seen <= counted <= self.known.keys()
            self.seen = counted
        assert counted == self.seen, (self.seen - counted, counted - self.seen)
        assert deck.total() == truth(Line(b"", key, self.known[key]) for key in self.seen)
        told = {f["source"] for f in deck.store.findings() if f["reason"] == "rewritten"}
        if not exact:  # a look that was killed may have seen it moved before it was made anew
            told |= {uri for uri, row in deck.store.known().items() if row[-1]}
        for path in self.rewritten:  # told under any of the names the file has had
            assert any(f"/{path.name}" in t for t in told), (path, told)

    def look_and_be_killed(self, slot: int, n: int) -> None:
        self.close()

        def work() -> None:
            with Synced(self.home, self.own, **self.flags) as deck:
                left = n * 4 + 1

                def trace(*_: object) -> bool:
                    nonlocal left
                    left -= 1
                    if not left:
                        suicide()
                    return True

                deck.store.db.exec_trace = trace
                deck.sync()

        killed(work, 20.0)
        self.look(slot, n)

    def rebuild(self) -> None:
        """Made anew from what there is and from the archive, the store says the same."""
        deck = self._deck()
        seen = _told(deck)
        deck.deck.sync(rebuild=True)
        new = _told(deck)
        assert seen == new, different(seen, new)

    def look_while(self, writers: Callable[[], None], after: float) -> bool:
        """A look that is killed, if it takes so long, while writers go on; whether it was."""
        self.close()

        def work() -> None:
            with Synced(self.home, self.own, **self.flags) as deck:
                deck.sync()

        pid = start(work)
        try:
            writers()
            time.sleep(after)
        finally:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), f"the child ended with status {status}"
        return status == signal.SIGKILL

    def _deck(self) -> Synced:
        if self.deck is None:
            self.deck = Synced(self.home, self.own, **self.flags)
        return self.deck

    def close(self) -> None:
        if self.deck is not None:
            self.deck.deck.close()
        self.deck = None


def _told(deck: Synced) -> list[str]:
    """The dump without the cursors of the text index, which count what was indexed twice, and
    without empty files: of those the archive says that they are gone, also where a second name
    of them is not."""
    rows = (x for x in deck.dump() if not x.startswith("text\t"))
    return [x for x in rows if not (x.startswith("source\t") and "\t'jsonl'\t0\t0\t" in x)]


def _whole(path: Path) -> bytes:
    """Bytes of a file up to the end of its last whole line, and the whole records behind it."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.decompress(data) if data else b""
    end = data.rfind(b"\n") + 1
    return data[: end + sum(map(len, _leading(data[end:])))]


def _leading(line: bytes) -> list[bytes]:
    """The whole records that a line begins with."""
    found = []
    with suppress(ValueError):
        while True:
            _, end = json.JSONDecoder().raw_decode(line.decode())
            found.append(line[:end])
            line = line[end:]
    return found


def _json(data: bytes) -> dict[str, object] | None:
    try:
        found: dict[str, object] = json.loads(data)
    except ValueError:
        return None
    return found


def _responses(data: bytes) -> set[str]:
    """Ids of the responses in some lines: of the whole records that a line begins with, and of one
    that was written behind the beginning of another."""
    found = set()
    for line in data.split(b"\n"):
        for text in (*_leading(line), *(BEGIN + part for part in line.split(BEGIN)[1:])):
            if record := _json(text):
                found.add(str(record["message"]["id"]))  # type: ignore[index]
    return found


WRITES = [World.write, World.write, World.write_a_part, World.write_a_part, World.tear]
CHANGES = [World.empty, World.cut, World.copy_and_empty, World.move, World.replace, World.delete,
           World.make_anew, World.link, World.fork, World.compress]  # fmt: skip
Step = tuple[Callable[[World, int, int], None], int, int]
