"""``decklog sync``"""

from __future__ import annotations

from decklog import hub
from decklog.cli import deck as decks
from decklog.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def sync(*, sample: bool, **values: Any) -> int:
    """Read what is new. Exit 0 when everything was read, 1 when some of it could not be."""
    settings = decks.settings(sample, tz=values["tz"], jobs=values["jobs"])
    progress = output.progress("reading transcripts")
    if values["rebuild"]:
        report: Any = hub.rebuild_store(settings, progress)
    else:
        with hub.Decklog(settings) as deck:
            report = deck.sync_if_news(progress)
            decks.mended(deck)
    names = ("sources", "read", "bytes", "lines", "sessions", "problems", "documents", "shortened")
    row = {n: getattr(report, n) if report else 0 for n in names}
    if values["json"]:
        output.json_object({**row, "unchanged": report is None})
    elif report is None:
        if not values["quiet"]:
            output.write("Nothing new.")
    elif not values["quiet"] or report.problems:
        from decklog.cli import figures

        output.write(
            f"Read {figures.size(report.bytes)} from {figures.count(report.read, 'source')}; "
            f"{figures.count(report.sessions, 'session')} renewed."
        )
        if report.problems:
            unread = figures.count(report.problems, "source")
            output.note(f"Not read whole: {unread}; decklog doctor tells why.")
    return 1 if report and report.problems else 0
