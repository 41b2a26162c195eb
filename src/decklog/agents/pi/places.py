"""Where Pi keeps sessions: their ids in names of files and folders."""

from __future__ import annotations

import re

_stamped = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z_(.+)")


def id_in(name: str) -> str:
    """The session id in the name of a file or folder, ``<time>_<id>``; empty when it has none."""
    found = _stamped.fullmatch(name)
    return found[1] if found else ""


def id_of(path: str) -> str:
    return id_in(re.split(r"[/\\]", path)[-1].partition(".")[0])
