"""Pi's screen, seen with 0.73.1; how it is started. It never asks for an approval."""

from __future__ import annotations

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen

BOX = r"^───\n(?:(?!───).*\n)*?^───\n~?/?.*\n.*%/.*\Z"
"""The composer, to the end of the screen."""

SCREEN = Screen(
    rules=(
        Rule("busy", r"^ [⠀-⣿] Working\.\.\.\n+" + BOX, "busy-streaming"),
        Rule("busy", r"^ [⠀-⣿] Retrying \(.*\n+" + BOX, "error"),
        Rule("interrupted", r"^ Operation aborted\n+" + BOX, "interrupted"),
        Rule("error", r"^ Error: .*(?:\n .*){0,3}\n+" + BOX, "retries-failed"),
    ),
    composer=Composer(
        pattern=r"^───\n(?P<text>(?:(?!───).*\n)*?)^───\n~?/?.*\n.*%/.*\Z",
        folded=r"\[paste #\d+ \+\d+ lines\]",
    ),
)

LAUNCH = Launch(
    program="pi",
    resume=("--session", "{id}"),
    headless=Headless(
        new=("{args}", "-p", "{prompt}"),
        resume=("--session", "{id}", "{args}", "-p", "{prompt}"),
        stream=("--mode", "json"),
        named=("id",),
    ),
)
