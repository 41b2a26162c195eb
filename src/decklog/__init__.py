"""decklog: the deck log for AI coding agents.

>>> import decklog
>>> with decklog.open() as deck:
...     report = deck.sync()
...     sessions = list(deck.sessions(limit=10))

Names are imported when first used, so that ``import decklog`` costs next to nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog import agents, model
    from decklog.errors import DecklogError
    from decklog.hub import Decklog, open
    from decklog.transcripts import read

__all__ = ["Decklog", "DecklogError", "__version__", "agents", "model", "open", "read"]

_HOMES = {
    "Decklog": "decklog.hub",
    "DecklogError": "decklog.errors",
    "open": "decklog.hub",
    "read": "decklog.transcripts",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES and name not in ("agents", "model"):
        raise AttributeError(f"module 'decklog' has no attribute {name!r}")
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    return import_module(f"decklog.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
