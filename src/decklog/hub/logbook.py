"""The way to our own log of events: `Decklog.log`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.config import Config
    from decklog.log import Logs


class Logbook:
    """Part of `decklog.hub.Decklog`."""

    config: Config
    _log: Logs | None = None

    @property
    def log(self) -> Logs:
        """The logs of recorded sessions; see `decklog.log`. Opened when first asked for.

        >>> with deck.log.open(agent="claude") as writer:
        ...     writer.emit(SessionStarted(command="claude"))
        """
        if self._log is None:
            from decklog.log import Logs

            self._log = Logs(self.config.data_dir)
        return self._log

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
