"""``decklog tail``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import output
from decklog.cli.lines import Lines
from decklog.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

LAST = 10
HIDDEN = ("reasoning",)
"""Types that are shown only when asked for."""


def tail(*, sample: bool, session: Sequence[str], **values: Any) -> int:
    """Print the last events of some sessions, and follow. Ends at ``Ctrl-C`` with 130."""
    if session and values["all"]:
        raise UsageError("either a session or --all", hint="decklog tail --all -f")
    types = event_types(values["type"])
    if not types and not values["json"] and not values["reasoning"]:
        types = tuple(name for name in event_types() if name not in HIDDEN)
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        where = decks.where(deck, values)
        named = [] if values["all"] else _found(deck, session, where)
        last = values["last"]
        if last is None and not where.get("since"):
            last = LAST
        lines = Lines(deck.zone, full=bool(values["full"]), named=len(named) != 1)
        shown = 0
        for event in deck.tail(
            named,
            agents=where.get("agents", ()),
            types=types,
            since=where.get("since"),
            last=last,
            follow=bool(values["follow"]),
        ):
            if values["json"]:
                output.json_line(output.struct_json(event))
            else:
                for line in lines.of(event):
                    output.emit(line)
            shown += 1
            if values["follow"]:
                output.flush()
        if not shown and not values["json"]:
            output.note("no events")
    return 0


def _found(deck: Any, sessions: Iterable[str], where: dict[str, Any]) -> list[str]:
    """The sessions that were named, or the latest of the agents that were."""
    if not sessions and where.get("agents"):
        for row in deck.session_rows(agents=where["agents"], limit=1):
            return [str(row["id"])]
        raise NotFound(f"no session of {' or '.join(where['agents'])}", hint="decklog agents")
    return list(dict.fromkeys(deck.find(text) for text in sessions or ("latest",)))


def event_types(wanted: Iterable[str] | None = None, more: Iterable[str] = ()) -> tuple[str, ...]:
    """Checked wire names of events; all there are where none are named. Raises UsageError for
    one that is none."""
    from decklog.model import Event

    known = (*(str(k.__struct_config__.tag) for k in Event.__args__), *more)
    if wanted is None:
        return known
    for name in wanted:
        if name not in known:
            raise UsageError(f"no event type {name!r}", hint=f"one of: {', '.join(known)}")
    return tuple(wanted)
