"""``decklog watch``"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time

from decklog.cli import deck as decks
from decklog.cli import output
from decklog.cli.story import kind
from decklog.cli.tail import event_types
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SESSION_CHANGES = ("session_new", "session_renamed", "session_gone", "session_back")
JOBS = 4
LONG = 100_000
"""Bytes of JSON that still stand in the environment; the command's input always has all."""


def watch(*, sample: bool, rest: list[str], **values: Any) -> int:
    """Run a command (its own words, no shell) for each matching event."""
    usage = "decklog watch --on session_ended -- notify-send done"
    if not rest:
        raise UsageError("no command to run", hint=usage)
    if not values["on"]:
        raise UsageError("no event to run it for (--on)", hint=usage)
    from decklog.model import Lagged

    types = event_types(values["on"], SESSION_CHANGES)
    running: list[subprocess.Popen[bytes]] = []
    with decks.open_deck(sample) as deck:
        agents = decks.where(deck, values).get("agents", ())
        sessions = [deck.find(s) for s in values["session"]]
        here = deck.position()
        for change in deck.changes(here, sessions=sessions, types=types, timeout=values["timeout"]):
            if isinstance(change, Lagged):
                output.note("some events can not be told any more")
                continue
            told: Any = getattr(change, "event", change)
            name = kind(told)
            if name not in types or (agents and told.session.partition(":")[0] not in agents):
                continue
            while sum(p.poll() is None for p in running) >= (values["jobs"] or JOBS):
                time.sleep(0.02)
            running = [p for p in running if p.poll() is None]
            body = output.struct_json(told)
            if values["json"]:
                output.json_line(body)
            process = _start(rest, name, told.session, change.seq, body)
            if values["once"]:
                return _code(process)
            running.append(process)
        for process in running:
            process.wait()
    return 0


def _start(
    words: list[str], name: str, session: str, seq: int, body: str
) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "DECKLOG_EVENT": name,
        "DECKLOG_SESSION": session,
        "DECKLOG_AGENT": session.partition(":")[0],
        "DECKLOG_SEQ": str(seq),
        "DECKLOG_JSON": body if len(body) <= LONG and "\0" not in body else "",
    }
    with tempfile.TemporaryFile() as given:  # not a pipe: who does not read it holds up nobody
        given.write(body.encode("utf-8", "replace") + b"\n")
        given.seek(0)
        try:
            return subprocess.Popen(words, stdin=given, env=env)
        except OSError as error:
            raise UsageError(f"{words[0]} cannot be run: {error.strerror}") from None


def _code(process: subprocess.Popen[bytes]) -> int:
    code = process.wait()
    return code if code >= 0 else 128 - code
