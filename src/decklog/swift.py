"""Imports that take long where they need not."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def import_msgspec() -> None:
    """Import msgspec by itself.

    Where ``typing_extensions`` is installed it takes three names from there that `typing` has too,
    and with them come `inspect`, `ast`, `dis` and `tokenize`: half of the time that it takes. Does
    nothing beside other threads, which might import it meanwhile.
    """
    name = "typing_extensions"
    if name in sys.modules or "msgspec" in sys.modules or len(sys._current_frames()) > 1:
        return
    absent: Any = None  # to import it fails at once
    sys.modules[name] = absent
    try:
        import msgspec  # noqa: F401
    finally:
        del sys.modules[name]
