"""The archive, as the library offers it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.archive import Archive
    from decklog.hub import Decklog


class Archived:
    """`Decklog.archive`: the verbatim copies of what was read."""

    def __init__(self, deck: Decklog) -> None:
        self.deck = deck
        self._files: Archive | None = None

    @property
    def files(self) -> Archive:
        if self._files is None:
            from decklog.archive import Archive

            self._files = Archive(self.deck.config.data_dir)
        return self._files

    def exists(self) -> bool:
        """True when anything was archived."""
        return self.files.exists()

    def close(self) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None
