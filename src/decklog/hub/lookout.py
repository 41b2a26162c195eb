"""Where to look, remembered in the store, so that a warm command need not load any agent."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from decklog.config import Config


def remember(into: Any, config: Config, look: Any) -> None:
    """Keep what decides where to look, so that a warm command need not load any agent."""
    lines = ("\t".join((a, p, ",".join(o), ",".join(s))) for a, p, o, s in look.roots)
    into.put_all(
        {
            "roots": "\n".join(lines),
            "variables": look.variables,
            "environment": _environment(config, look.variables),
            "plugins": look.plugins,
            "code": code(),
        }
    )


def remembered(
    of: Any, config: Config, tz: str
) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] | None:
    """The roots as they were remembered; None when anything that decides them changed."""
    variables, roots = of.get("variables"), of.get("roots")
    if roots is None or of.get("tz") != tz or of.get("code") != code():
        return None
    if of.get("environment") != _environment(config, variables or ""):
        return None
    rows = (line.split("\t") for line in roots.split("\n") if line)
    return [
        (a, path, tuple(filter(None, only.split(","))), tuple(filter(None, skip.split(","))))
        for a, path, only, skip in rows
    ]


def _environment(config: Config, variables: str) -> str:
    return "\n".join(f"{n}={config.env.get(n, '')}" for n in variables.split(","))


def code() -> str:
    """Changes when decklog or any other distribution is installed: readers may differ then."""
    import decklog

    marks = [decklog.__version__]
    folder = os.path.dirname(os.path.dirname(os.path.abspath(decklog.__file__)))
    for place in (folder, os.path.join(os.path.dirname(os.__file__), "site-packages")):
        try:
            marks.append(str(os.stat(place).st_mtime_ns))
        except OSError:
            continue
    return " ".join(marks)
