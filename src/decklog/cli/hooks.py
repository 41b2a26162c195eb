"""``decklog hooks ...``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import output, tables
from decklog.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def install(*, sample: bool, **values: Any) -> int:
    """Add our hooks to the settings of agents."""
    with decks.open_deck(sample, no_sync=True) as deck:
        done = deck.fleet.install_hooks(values["names"])
    if not done:
        raise NotFound("no agent with hooks is set up here", hint="decklog hooks install AGENT")
    return _tell(done, values, "installed", "were there")


def remove(*, sample: bool, **values: Any) -> int:
    """Put the settings of agents back."""
    with decks.open_deck(sample, no_sync=True) as deck:
        done = deck.fleet.remove_hooks(values["names"])
    return _tell(done, values, "removed", "were not there")


def status(*, sample: bool, **values: Any) -> int:
    """Which agents have our hooks."""
    with decks.open_deck(sample, no_sync=True) as deck:
        found = deck.fleet.hook_status(values["names"])
    if values["json"]:
        output.json_array(i._asdict() for i in found)
        return 0
    rows = [(i.agent, "installed" if i.installed else "no", i.path, i.note) for i in found]
    tables.show(("AGENT", "HOOKS", "SETTINGS", "NOTE"), rows, shrink=(3,), front=(2,))
    return 0


def _tell(done: list[Any], values: dict[str, Any], changed: str, same: str) -> int:
    if values["json"]:
        output.json_array(i._asdict() for i in done)
        return 0
    for i in done:
        output.write(f"{i.agent}: hooks {changed if i.changed else same}  {i.path}")
        if i.note:
            output.write(f"  {i.note}")
    return 0
