"""``decklog resume``"""

from __future__ import annotations

import os
import shlex

from decklog.cli import deck as decks
from decklog.cli import output
from decklog.errors import DecklogError, NotFound
from decklog.hub.conversations import Conversations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def resume(*, sample: bool, session: str, **values: Any) -> int:
    """Go on with a session: run the agent in its folder, or print the command."""
    found = Conversations(decks.settings(sample)).resume(session, values["in"] or "")
    if found.written:
        output.note(f"written: {found.written}")
    for what in found.lost:
        output.note(f"not carried over: {what}")
    if values["json"]:
        output.struct_object(found._asdict())
        return 0
    if values["print"]:
        there = f"cd {shlex.quote(found.cwd)} && " if found.cwd else ""
        output.write(there + shlex.join(found.argv))
        return 0
    output.flush()
    try:
        if found.cwd:
            os.chdir(found.cwd)
    except OSError as error:
        raise NotFound(
            f"{found.cwd}, the folder of the session: {error.strerror}",
            hint="decklog resume --print shows the command",
        ) from None
    try:
        os.execvp(found.argv[0], found.argv)
    except FileNotFoundError:
        raise NotFound(f"{found.argv[0]} is not installed, or not in PATH") from None
    except OSError as error:
        raise DecklogError(f"{found.argv[0]}: {error.strerror}") from None
