"""``decklog config``"""

from __future__ import annotations

from decklog import config as settings
from decklog.cli import deck as decks
from decklog.cli import output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config(*, sample: bool, **values: Any) -> int:
    """Print every setting with its value, its origin and its meaning."""
    found = decks.settings(sample)
    rows = [
        {"name": n, "value": getattr(found, n), "origin": found.origins[n], "meaning": meaning}
        for n, (_, meaning) in settings.SETTINGS.items()
    ]
    if values["json"]:
        places = {"config_file": found.config_file, "data_dir": found.data_dir}
        output.json_object({"settings": rows, **places})
        return 0
    tables.show(
        ("NAME", "VALUE", "ORIGIN", "MEANING"),
        [(r["name"], repr(r["value"]), r["origin"], r["meaning"]) for r in rows],
        shrink=(2, 3),
    )
    output.write(f"\nconfig file  {found.config_file}\ndata folder  {found.data_dir}")
    return 0
