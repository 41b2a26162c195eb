"""``decklog archive ls``, ``size``, ``verify``, ``prune``, ``restore``"""

from __future__ import annotations

import json
import os
import time

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from decklog.hub import Decklog


def ls(*, sample: bool, **values: Any) -> int:
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        rows = deck.archive.ls(values["agent"], values["state"], values["session"] or "")
        if values["json"]:
            output.json_array(rows)
            return 0
        if rows:
            _table(deck, rows)
        elif deck.archive.size()["agents"]:
            output.write("No such copies.")
        else:
            _nothing(deck)
    return 0


def _table(deck: Decklog, rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            r["agent"],
            r["state"],
            figures.size(r["bytes"]),
            figures.size(r["packed"]),
            deck.zone.text(r["changed"]) if r["changed"] > 0 else "",
            output.one_line(r["source"]),
        )
        for r in rows
    ]
    head = ("AGENT", "STATE", "BYTES", "PACKED", "CHANGED", "SOURCE")
    for line in tables.table(head, cells, (2, 3), drop=(4, 3), limit=tables.columns()):
        output.emit(line)


def _nothing(deck: Decklog) -> None:
    if not deck.config.archive:
        output.write("The archive is switched off (archive = false).")
    else:
        output.write("Nothing is archived yet.")
        output.emit(f"  try: {output.cyan('decklog sync')}")


def size(*, sample: bool, **values: Any) -> int:
    with decks.open_deck(sample, no_sync=values["no_sync"]) as deck:
        found = deck.archive.size()
        if values["json"]:
            output.json_object(found)
            return 0
        if not found["agents"]:
            _nothing(deck)
            return 0
        cells = [
            (
                r["agent"],
                f"{r['copies']:,}",
                figures.size(r["bytes"]),
                figures.size(r["packed"]),
                f"{r['ratio']:.2f}",
            )
            for r in found["agents"]
        ]
        head = ("AGENT", "COPIES", "BYTES", "PACKED", "RATIO")
        for line in tables.table(head, cells, (1, 2, 3, 4), limit=tables.columns()):
            output.emit(line)
        output.write("")
        output.write(
            f"{figures.size(found['disk'])} on disk for {figures.size(found['bytes'])} "
            f"({found['ratio']:.2f}): packs {figures.size(found['packs'])}, dictionaries "
            f"{figures.size(found['dictionaries'])}, index {figures.size(found['index'])}"
        )
        if found["pending"] > 0:
            output.write(f"{figures.size(found['pending'])} have yet to be copied.")
            output.emit(f"  try: {output.cyan('decklog sync')}")
    return 0


def verify(*, sample: bool, **values: Any) -> int:
    """Exit 1 when something is damaged and was not repaired."""
    wrong = 0
    with decks.open_deck(sample, no_sync=True) as deck:
        for row in deck.archive.verify(repair=bool(values["repair"])):
            damage = "detail" in row
            wrong += damage and not row["repaired"]
            if values["json"]:
                output.json_line(json.dumps(row, ensure_ascii=False))
            elif damage:
                _damage(row)
            else:
                output.write(
                    f"{figures.count(row['blocks'], 'block')} in "
                    f"{figures.count(row['packs'], 'pack')}: {figures.size(row['bytes'])}, which "
                    f"stand for {figures.size(row['raw'])} of "
                    f"{figures.count(row['copies'], 'copy', 'copies')}"
                )
        if not values["json"]:
            output.write("")
            output.emit(
                output.red(f"{figures.count(wrong, 'place')} damaged; all else is served.")
                if wrong
                else output.green("All is as it was written.")
            )
    return int(wrong > 0)


def _damage(row: dict[str, Any]) -> None:
    where = row["file"]
    if row["length"]:
        where += f", bytes {row['offset']:,} to {row['offset'] + row['length']:,}"
    output.emit(output.red("damaged") + "  " + output.one_line(f"{where}: {row['detail']}"))
    if row["source"]:
        output.write("  " + output.one_line(f"of {row['source']}, from byte {row['start']:,} on"))
    if row["repaired"]:
        output.write("  " + output.one_line(f"repaired; what was there: {row['repaired']}"))


def prune(*, sample: bool, **values: Any) -> int:
    with decks.open_deck(sample, tz=values["tz"], no_sync=values["no_sync"]) as deck:
        before = None
        if values["before"]:
            from decklog import zones

            before = zones.moment(values["before"], time.time_ns() // 1_000_000, deck.zone)
        found = deck.archive.prune(
            agents=values["agent"],
            states=[s for s in ("superseded", "gone", "rewritten") if values[s]],
            session=values["session"] or "",
            before=before,
            yes=bool(values["yes"]),
        )
        if values["json"]:
            output.json_object(found)
            return 0
        rows = found["copies"]
        if not rows:
            output.write("Nothing to prune.")
            return 0
        _table(deck, rows)
        output.write("")
        copies = figures.count(len(rows), "copy", "copies")
        if found["done"]:
            output.write(f"{copies} taken out, {figures.size(found['freed'])} freed.")
        else:
            output.write(
                f"{copies}, about {figures.size(found['freed'])} on disk. Nothing is done yet."
            )
            output.write("Of these nothing but the numbers will be left where the source is gone.")
            output.emit(f"  try: {output.cyan('the same command with --yes')}")
    return 0


def restore(*, sample: bool, **values: Any) -> int:
    with decks.open_deck(sample, no_sync=values["no_sync"]) as deck:
        to = values["to"] or ("" if values["in_place"] else os.curdir)
        rows = deck.archive.restore(
            values["target"], to=to, in_place=bool(values["in_place"]), force=bool(values["force"])
        )
    for row in rows:
        if values["json"]:
            output.json_line(json.dumps(row, ensure_ascii=False))
            continue
        done = "wrote" if row["done"] == "written" else "as it was"
        text = f"{done}  {row['path']} ({figures.size(row['bytes'])})"
        output.write(output.one_line(text))
        if row["note"]:
            output.write(f"  {row['note']}")
    return 0
