"""Every error decklog raises.

    DecklogError                  .exit_code .retryable .hint
    ├─ UsageError            2    bad argument, filter or config key
    ├─ NotFound              3    no such session, source, agent
    ├─ Denied                4    token, permission
    ├─ SourceError           1    unreadable, vanished, replaced under us
    │  └─ FormatError             (agent, uri, offset)
    ├─ WriteError            1    a file of ours could not be written (retryable: disk full)
    ├─ Busy                  1    another process holds it (retryable)
    ├─ StoreError            1
    │  ├─ StoreBusy               another process is writing (retryable)
    │  ├─ StoreTooNew             written by a newer decklog
    │  └─ StoreCorrupt            hint: decklog sync --rebuild
    ├─ TmuxError             1    tmux refused, for the reason it gives
    │  ├─ TmuxMissing             tmux is not installed
    │  ├─ TmuxTimeout             no answer in time (retryable)
    │  ├─ NoServer                no tmux server runs there
    │  └─ PaneGone                the pane is no longer there, or no longer the same
    └─ MissingExtra          1    hint: the pip line

A bad line in a transcript is data (a finding), never an exception.
"""

from __future__ import annotations


class DecklogError(Exception):
    """Root of the tree. ``hint`` names the remedy, ready to be printed."""

    exit_code = 1
    retryable = False
    hint = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint


class UsageError(DecklogError):
    exit_code = 2


class NotFound(DecklogError):
    exit_code = 3


class Denied(DecklogError):
    exit_code = 4


class SourceError(DecklogError):
    """A source could not be read."""


class FormatError(SourceError):
    """A source is not in a format that its agent is known to write."""

    def __init__(self, message: str, *, agent: str, uri: str, offset: int = 0) -> None:
        super().__init__(f"{uri} (byte {offset}): {message}")
        self.agent, self.uri, self.offset = agent, uri, offset


class WriteError(DecklogError):
    """A file of ours could not be written; it stands as it stood before."""

    errno: int | None = None


class Busy(DecklogError):
    """Another process holds what is needed."""

    retryable = True


class StoreError(DecklogError):
    """The store could not be opened, read or written."""


class StoreBusy(StoreError):
    retryable = True


class StoreTooNew(StoreError):
    hint = "upgrade decklog, or point DECKLOG_HOME at another folder"


class StoreCorrupt(StoreError):
    hint = "decklog sync --rebuild"


class TmuxError(DecklogError):
    """tmux could not do what it was asked."""


class TmuxMissing(TmuxError):
    hint = "install tmux: apt install tmux, brew install tmux, dnf install tmux"

    def __init__(self, message: str = "tmux is not installed", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class TmuxTimeout(TmuxError):
    retryable = True
    hint = "the tmux server hangs or is stopped; decklog pane ls shows its process"


class NoServer(TmuxError):
    """No tmux server runs at that socket."""


class PaneGone(TmuxError):
    hint = "decklog pane ls"


class MissingExtra(DecklogError):
    pass
