"""Where the bytes of a source are: on disk as they were read, in the archive, or nowhere."""

from __future__ import annotations

import os

from decklog.store import REWRITTEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, Self

    from decklog.archive import Archive, CopyReader


def stands(source: Mapping[str, Any]) -> bool:
    """True when what was read of a source (uri, kind, gone, offset) is on disk, for all that can
    be said without reading it."""
    uri = source["uri"]
    if source["gone"] or REWRITTEN in uri:
        return False
    try:
        size = os.stat(uri.partition("#")[0]).st_size
    except OSError:
        return False
    grows = source["kind"] == "jsonl" and not uri.endswith(".zst")
    return not grows or size >= int(source["offset"])


class Copies:
    """Archived copies of sources that do not stand; the archive is opened when one does not."""

    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir
        self._archive: Archive | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._archive is not None:
            self._archive.close()  # copies that stand open know their blocks
            self._archive = None

    def find(self, source: Mapping[str, Any]) -> CopyReader | None:
        """What to read in place of a source; None when it stands, and when there is no copy.

        Raises StoreError.
        """
        if stands(source):
            return None
        if self._archive is None:
            from decklog.archive import Archive

            self._archive = Archive(self.data_dir)
        copy = self._archive.copy(source["uri"])
        return self._archive.open(copy) if copy is not None else None
