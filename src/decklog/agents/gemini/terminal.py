"""Gemini CLI's screen, seen with 0.61.0; how it is started."""

from __future__ import annotations

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen

BOX = r"^▄▄▄\n^ >(?:.*\n)*?^▀▀▀(?:\n.*){0,4}\Z"
"""The composer, to the end of the screen."""
ABOVE = r"(?:^ .*\n|^───\n|\n){0,4}"
"""Lines of hints between what was said last and the composer."""

SCREEN = Screen(
    rules=(
        Rule(
            "waiting_approval",
            r"^│ *● 1\. .*\n(?:^│ +\d\. .*\n)+^╰───╯?\Z",
            "waiting-approval-shell",
        ),
        Rule("busy", r"^ [⠀-⣿] .*\(esc to cancel, .*\n" + ABOVE + BOX, "busy-streaming"),
        Rule("interrupted", r"^ℹ +Request cancelled\.\n+" + ABOVE + BOX, "interrupted"),
    ),
    composer=Composer(
        pattern=r"^▄▄▄\n^ > ?(?P<text>(?:.*\n)*?)^▀▀▀(?:\n.*){0,4}\Z",
        empty=r"Type your message or @path/to/file",
        folded=r"\[Pasted Text: \d+ (?:lines|chars)\](?: #\d+)?",
    ),
    titles=(
        Rule("waiting_approval", r"^✋ ", "✋  Action Required (dir)"),
        Rule("busy", r"^✦ ", "✦  Working… (dir)"),
        Rule("idle", r"^◇ ", "◇  Ready (dir)"),
    ),
)

LAUNCH = Launch(
    program="gemini",
    resume=("--resume", "{id}"),
    headless=Headless(
        new=("{args}", "-p", "{prompt}"),
        resume=("--resume", "{id}", "{args}", "-p", "{prompt}"),
        stream=("--output-format", "stream-json"),
        named=("session_id",),
    ),
)
