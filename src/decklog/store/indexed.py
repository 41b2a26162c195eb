"""The text index beside a store, as far as it is read."""

from __future__ import annotations

import os

from decklog.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.store.text import Shard

TEXT_PENDING = "text_pending"
"""Key of how many bytes of sources the text index lacks, about; "0" only when it lacks nothing."""
TEXT_SHARDS = "text_shards"
"""Key of the names of its files, their sizes, and how many documents each had been given."""


class Indexed:
    """Part of `decklog.store.sqlite.SqliteStore`."""

    folder: str
    _shards: dict[int, Shard]

    def get(self, key: str) -> str | None: ...

    def shards(self) -> list[Shard]:
        """The shards of the text index, kept open to be read; those that there are."""
        from decklog.store.text import SHARDS, Absent, Shard

        identity = self.get("identity") or ""
        for n in range(SHARDS):
            kept = self._shards.get(n)
            if kept is not None and not kept.is_of(identity):
                self._shards.pop(n).close()
                kept = None
            if kept is None:
                try:
                    self._shards[n] = Shard(self.folder, n, identity)
                except Absent:
                    continue
        return [self._shards[n] for n in sorted(self._shards)]

    def release(self) -> None:
        """Close the shards that are kept open."""
        for shard in self._shards.values():
            shard.close()
        self._shards.clear()

    def texts_complete(self, *, asked: bool = False) -> bool:
        """True when the text index lacks nothing of what the store has, as far as the last sync
        left it, and its files are there as it left them: none is smaller, and ``asked`` (which
        opens them) none knows of fewer documents."""
        if self.get(TEXT_PENDING) != "0":
            return False
        left = [mark.split("=") for mark in (self.get(TEXT_SHARDS) or "").split()]
        try:
            if any(os.stat(self._beside(m[0])).st_size < int(m[1]) for m in left):
                return False
            reached = {s.path: s.reached for s in self.shards()} if asked and left else {}
        except (OSError, StoreError, IndexError):
            return False
        return not asked or all(reached.get(self._beside(m[0]), -1) >= int(m[2]) for m in left)

    def text_marks(self) -> str:
        """What `texts_complete` looks at, for ``TEXT_SHARDS``."""
        sizes = {os.path.basename(s.path): (os.stat(s.path).st_size, s) for s in self.shards()}
        return " ".join(f"{name}={size}={s.reached}" for name, (size, s) in sizes.items())

    def _beside(self, name: str) -> str:
        return os.path.join(self.folder, name)
