"""``decklog run``"""

from __future__ import annotations

from decklog import hub
from decklog.cli import deck as decks
from decklog.cli import output
from decklog.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(*, sample: bool, agent: str, rest: list[str], **values: Any) -> int:
    """Run an agent on our own streams. The exit code is its own."""
    if sample:
        raise UsageError("nothing is run on the sample")
    if values["json"] and values["prompt"] is None:
        raise UsageError("--json needs a prompt: else the agent's screen is there", hint="--prompt")
    with hub.Decklog(decks.settings(sample)) as deck:
        ran = deck.run(
            agent,
            prompt=values["prompt"],
            args=rest,
            session=values["resume"] or "",
            stream=bool(values["json"]),
            told=_print if values["json"] else None,
            note=output.note,
            resume_after_limit=bool(values["resume_after_limit"]),
        )
    return ran.code


def _print(entry: Any) -> None:
    if "repeats" not in entry.extra:  # what it repeats was printed
        output.json_line(output.struct_json(entry.event))
