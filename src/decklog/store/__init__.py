"""The Store contract, and `open`.

A store is a projection of the sources: delete it, sync again, and `Store.dump` says the same. It
is written in batches, each with the cursor it leads to in one transaction, and then linked: copies
are resolved, sessions and daily sums are made for the sessions that changed. Killed between any
two steps it goes on from there.

A second backend implements `Store` and passes ``tests/store``. Reads return plain rows
(tuples or dicts with the field names of `decklog.model`): warm commands print them as they are.
"""

from __future__ import annotations

import os

REWRITTEN = "#rewritten-"
"""Mark in the uri of what was read of a file before it was rewritten; a number follows."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol

    from decklog.store.rows import Batch
    from decklog.store.text import Shard

    class Store(Protocol):
        """What the pipeline writes and the questions that faces ask."""

        # -- writing: only inside `writing` ------------------------------------------------
        def writing(self, wait: float = ...) -> AbstractContextManager[None]:
            """Be the one writer; raises StoreBusy when another stays it for ``wait`` seconds."""

        def version(self) -> int:
            """Changes whenever another process or another open store has written."""

        def known(self) -> dict[str, SourceRow]:
            """Every source the store has met, by uri."""

        def known_of(
            self, paths: Iterable[str], inodes: Iterable[tuple[int, int]], agents: Iterable[str]
        ) -> dict[str, SourceRow]:
            """Those at these paths (with documents within), on these inodes, of these agents."""

        def state(self, source: int) -> bytes:
            """The reader's continuation at the source's cursor."""

        def reserve_all(self, wanted: Iterable[tuple[str, str, str]]) -> list[int]:
            """Ids of sources, new or old, for (agent, uri, kind)."""

        def met_companions(
            self, agent: str, files: Iterable[tuple[str, tuple[int, int, int, int]]]
        ) -> None:
            """Keep size, time, device and inode of companions, as they were considered."""

        def apply(self, batches: Sequence[Batch]) -> None:
            """Write rows and the cursors they lead to, in one transaction."""

        def forget(self, source: int) -> None:
            """Drop all rows read from a source and rewind its cursor."""

        def retire(self, source: int, uri: str, copy: int = ...) -> None:
            """Keep what was read of a source whose file was rewritten, under another uri.
            ``copy`` is that of it in the archive, which has yet to be told, see `renamed`."""

        def renamed(self) -> list[tuple[int, str]]:
            """Copies that the archive has yet to call otherwise, and how."""

        def told(self) -> None:
            """The archive calls all of them so."""

        def note(self, agent: str, uri: str, kind: str, reason: str, detail: str) -> None:
            """A finding about a whole file, in place of what was noted of it before."""

        def mark_gone(self, sources: Iterable[int], gone: bool) -> None: ...
        def move(self, source: int, uri: str, copy: int = ...) -> None: ...
        def link(self) -> int:
            """Resolve copies and renew sessions and sums of what changed; how many sessions."""

        def identity(self) -> str:
            """Of this filling of the store: what is kept beside it belongs to no other."""

        # -- meta --------------------------------------------------------------------------
        def get(self, key: str) -> str | None: ...
        def put(self, key: str, value: str) -> None: ...

        # -- reading -----------------------------------------------------------------------
        def sessions(self, where: dict[str, Any]) -> Iterator[dict[str, Any]]: ...
        def resolve(self, text: str) -> list[str]:
            """Full ids that an id, a prefix, or ``latest`` may mean; exact ones first."""

        def usage(self, by: str, where: dict[str, Any]) -> list[dict[str, Any]]: ...
        def facts(self, where: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
            """Counted usage facts with their times, for windows and other zones."""

        def ledger(self, where: dict[str, Any]) -> Iterator[dict[str, Any]]: ...
        def tools(self, where: dict[str, Any]) -> list[dict[str, Any]]: ...
        def touched(self, session: str) -> list[dict[str, Any]]: ...
        def parts(self, session: str) -> list[dict[str, Any]]:
            """Sources of a session, the ones that count first."""

        def numbering(self, session: str) -> list[int]:
            """Sources of a session in the order in which their events are numbered."""

        def shift(self, session: str, source: int) -> int:
            """What is added to the sequence numbers of a source in a session of several."""

        def texts_complete(self, *, asked: bool = ...) -> bool:
            """True when the text index lacks nothing of what the store has, as far as can be told
            without opening it, or (``asked``) by it."""

        def shards(self) -> list[Shard]:
            """The shards of the text index that there are, to be read."""

        def partial(self) -> int:
            """How many sources could not be read whole."""

        def findings(self) -> Iterator[dict[str, Any]]: ...
        def dump(self, text: bool = ...) -> Iterator[str]:
            """The canonical text of everything the store holds, one row a line, ids left out;
            with ``text`` that of the text index as well, which takes its time."""

        def close(self) -> None: ...

    SourceRow = tuple[int, str, str, int, int, int, int, int, int, bytes, str, int]
    """id, agent, kind, size, mtime_ns, device, inode, offset, line, check, version, gone."""


def open(url: str) -> Store:
    """Open the store in a data folder (made if absent, mode 0700).

    Raises StoreTooNew, StoreCorrupt, or StoreError with the remedy in its hint.
    """
    from decklog.errors import StoreError
    from decklog.store.sqlite import SqliteStore

    try:
        os.makedirs(url, mode=0o700, exist_ok=True)
        info = os.stat(url)
        if info.st_uid != os.geteuid():
            raise StoreError(f"{url} belongs to another user", hint="set DECKLOG_HOME to your own")
        if info.st_mode & 0o077:
            os.chmod(url, 0o700)
    except OSError as error:
        raise StoreError(
            f"{url}: {error.strerror}", hint="set DECKLOG_HOME to a folder you can write"
        ) from None
    return SqliteStore(url)


def rebuild(url: str) -> AbstractContextManager[Store]:
    """A fresh store that takes the place of the one in the folder when the block ends well.

    Readers of the old one go on undisturbed; nothing changes when the block fails.
    """
    from decklog.store.rebuilding import rebuilding

    return rebuilding(url)
