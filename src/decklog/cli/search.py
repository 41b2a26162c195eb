"""``decklog search``"""

from __future__ import annotations

from decklog.cli import deck as decks
from decklog.cli import output
from decklog.errors import DecklogError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from decklog.hub import Decklog

DEFAULT_LIMIT = 20


def search(*, sample: bool, query: list[str], **values: Any) -> int:
    """Find the places that answer a query."""
    text = " ".join(query)
    limit = DEFAULT_LIMIT if values["limit"] is None else values["limit"]
    if values["count"] and (values["after"] or values["context"]):
        raise UsageError("--count goes with neither --after nor --context")
    if (values["context"] or 0) < 0:
        raise UsageError("--context cannot be below 0")
    if values["regex"]:
        return _scan(sample, " ".join(query), limit, values)
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"], texts=True) as deck:
        where = decks.where(deck, values)
        for name in ("role", "tool", "file"):
            where[f"{name}s"] = list(values[name])
        if values["count"]:
            _count(deck, deck.search_count(text, **where), values)
        else:
            best, after = bool(values["best"]), values["after"]
            page = deck.search_rows(text, limit=limit, best=best, after=after, **where)
            _page(deck, page, values)
        return decks.code(deck)


def _scan(sample: bool, pattern: str, limit: int, values: dict[str, Any]) -> int:
    for name in ("best", "after", "count", "role", "tool", "file"):
        if values[name]:
            raise UsageError(f"--regex does not go with --{name}", hint="leave one of them out")
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        page = deck.scan_rows(pattern, limit=limit, **decks.where(deck, values))
        _page(deck, page, values)
        if page["slow"]:
            output.note(f"{page['slow']:,} records took too long for this pattern; left out")
        if page["ended"]:
            output.note("The search ended there: use a simpler pattern, or --project or --since.")
        return decks.code(deck)


def _count(deck: Decklog, count: int, values: dict[str, Any]) -> None:
    covered = deck.covered()
    if values["json"]:
        output.json_object({"count": count, "covered": covered})
        return
    output.write(f"{count:,}")
    _remark(covered)


def _page(deck: Decklog, page: dict[str, Any], values: dict[str, Any]) -> None:
    around = values["context"] or 0
    if values["json"]:
        if around:
            for hit in page["hits"]:
                hit["context"] = _events(deck, hit, around)
            output.struct_object(page)
        else:
            _json(deck, page)
        return
    if not page["hits"]:
        output.write("Nothing found.")
    for hit in page["hits"]:
        _hit(deck, hit, around)
    if page["next"]:
        output.note(f"(more: --after {page['next']})")
    if "covered" in page:
        _remark(page["covered"])


def _json(deck: Decklog, page: dict[str, Any]) -> None:
    """The page as one JSON object, without loading a JSON library."""
    hits = ",\n".join(deck.hit_json(h) for h in page["hits"])
    more = [f'"next":"{page["next"]}"' if page["next"] else '"next":null']
    if "covered" in page:
        c = page["covered"]
        complete = "true" if c["complete"] else "false"
        more.append(
            f'"covered":{{"complete":{complete},"percent":{c["percent"]},"behind":{c["behind"]}}}'
        )
    else:
        more.append(f'"slow":{page["slow"]},"ended":{"true" if page["ended"] else "false"}')
    output.json_text(f'{{"hits":[{hits}],{",".join(more)}}}')


def _remark(covered: dict[str, Any]) -> None:
    if not covered["complete"]:
        output.note(
            f"The text index is {covered['percent']} % complete ({covered['behind']:,} sources are "
            "lacking): decklog sync completes it."
        )


def _hit(deck: Decklog, hit: dict[str, Any], around: int) -> None:
    who = f"{hit['role']} {hit['tool']}".strip()
    turn = f"turn {hit['turn']}" if hit["turn"] else ""
    told = "  ".join(filter(None, (deck.zone.text(hit["at"]), output.one_line(who), turn)))
    output.emit(f"{output.bold(output.one_line(hit['id']))}  {output.dim(told)}")
    if hit["stale"]:
        output.emit(f"    {output.dim(hit['stale'])}")
    elif not around:
        output.emit(f"    {_marked(hit['snippet'], hit['marks'])}")
    if around:
        _context(deck, hit, around)


def _marked(text: str, marks: list[list[int]]) -> str:
    pieces = []
    at = 0
    for start, end in marks:
        pieces += [output.one_line(text[at:start]), output.bold(output.one_line(text[start:end]))]
        at = end
    return "".join([*pieces, output.one_line(text[at:])])


def _context(deck: Decklog, hit: dict[str, Any], around: int) -> None:
    from decklog.cli import tables
    from decklog.cli.story import summary

    limit = (tables.columns() or 200) - 4
    try:
        events = deck.around(hit["session"], hit["seq"], around)
    except DecklogError as error:
        output.emit(f"    {output.dim(str(error))}")
        return
    for event in events:
        if event.seq == hit["seq"]:
            output.emit(f"  > {_marked(hit['snippet'], hit['marks'])}")
        else:
            output.emit(f"    {output.dim(tables.cut(summary(event, deck.zone), limit))}")


def _events(deck: Decklog, hit: dict[str, Any], around: int) -> list[Any]:
    try:
        return list(deck.around(hit["session"], hit["seq"], around))
    except DecklogError:
        return []
