"""A file of the text index that is damaged: found out, copied aside, and made anew without its
documents, which the next sync indexes again. It is only a projection.

The file stays where it is, for others may have it open.
"""

from __future__ import annotations

import os
import shutil

import apsw

from decklog.connection import Connection, aside, empty
from decklog.store.text import SHARDS, path
from decklog.store.text.writing import Writer

DAMAGED = (apsw.CorruptError, apsw.NotADBError)


def mend(folder: str, identity: str) -> list[str]:
    """Make those that are damaged anew; their names. Only inside `Store.writing`."""
    mended = []
    for number in range(SHARDS):
        place = path(folder, number)
        if not os.path.exists(place) or _sound(place):
            continue
        shutil.copyfile(place, aside(place))
        db = Connection(place)
        empty(db)
        db.close()
        Writer(folder, number, identity).close()
        mended.append(os.path.basename(place))
    return mended


def _sound(place: str) -> bool:
    db = apsw.Connection(place)
    try:
        db.execute("insert into words(words) values('integrity-check')")
        return bool(db.pragma("quick_check") == "ok")
    except DAMAGED:
        return False
    except apsw.Error:
        return True  # it is something else that is wrong
    finally:
        db.close()
