"""Opening decklog for a command: settings, the sample, filters, and the look for new records."""

from __future__ import annotations

import os
import time

from decklog import config, hub
from decklog.cli import output
from decklog.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def settings(sample: bool, **flags: Any) -> config.Config:
    """Settings in force; with ``sample`` everything lives in a throw-away folder."""
    env = dict(os.environ)
    if sample:
        env = _sample_environment(env)
    return config.load(env, flags)


def _sample_environment(env: dict[str, str]) -> dict[str, str]:
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="decklog-sample-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = os.path.join(os.path.dirname(os.path.dirname(__file__)), "sample", "home")
    kept = ("PATH", "TZ", "LANG", "TERM", "NO_COLOR")
    return {**{k: env[k] for k in kept if k in env}, "HOME": home, "DECKLOG_HOME": folder}


def open_deck(
    sample: bool,
    *,
    tz: str | None = None,
    no_sync: bool | None = None,
    jobs: int | None = None,
    texts: bool | None = None,
) -> hub.Decklog:
    """The deck, brought up to date unless the flags or settings say no; the text index too: with
    ``texts`` however much it lacks, where it is False not at all, else if that is little."""
    deck = hub.Decklog(settings(sample, tz=tz, sync=False if no_sync else None, jobs=jobs))
    progress = output.progress("reading transcripts")
    output.note(deck.refresh(progress, complete=bool(texts), texts=texts is not False))
    return deck


def code(deck: hub.Decklog) -> int:
    """Exit code of an answer: 1, with a remark, when some source was not read whole."""
    mended(deck)
    missing = deck.partial()
    if missing:
        sources = "1 source is" if missing == 1 else f"{missing:,} sources are"
        output.note(f"{sources} not counted, or only in part; decklog doctor tells why")
    return int(missing > 0)


def mended(deck: hub.Decklog) -> None:
    """A remark on each file of the text index that had to be made anew."""
    for name in deck.mended:
        output.note(f"{name} was damaged: it was made anew, and {name}.corrupt-* kept beside it")


def where(deck: hub.Decklog, values: dict[str, Any]) -> dict[str, Any]:
    """A filter from the usual options. Raises UsageError for what is no time, NotFound for an
    agent that is not known."""
    from decklog import zones

    found: dict[str, Any] = {}
    now = time.time_ns() // 1_000_000
    for name in ("since", "until"):
        if values.get(name):
            found[name] = zones.moment(values[name], now, deck.zone)
    for option in ("agent", "model", "project"):
        if values.get(option):
            found[f"{option}s"] = list(values[option])
    for name in found.get("agents", ()):
        known = deck.known_agents()
        if name not in known:
            raise NotFound(f"no agent {name!r}", hint=f"known agents: {', '.join(known)}")
    return found


def short(name: str) -> str:
    """Enough of a session's id to name it again on the command line."""
    native = name.partition(":")[2]
    top, _, below = native.partition(".agent-")
    return f"{top[:13]}.agent-{below[:6]}" if below else native[:18]
