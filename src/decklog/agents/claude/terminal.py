"""Claude Code's screen, seen with 2.1.197; how it is started.

Its title begins with a braille sign while it works, and with ``✳`` both at rest and while it waits.
"""

from __future__ import annotations

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen

MENU = r"(?:^ *❯? *\d\. .*\n(?:^ {4,}\S.*\n)*)+(?:^───\n(?:^ *\d\. .*\n)+)?\n?"
"""Numbered choices, each perhaps with a second line; a rule may stand between them."""
BOX = r"^───\n^❯(?:.*\n)*?^───(?:\n(?!───).*)*\Z"
"""The composer, to the end of the screen."""
TURN = r"(?:\n+✻ .*)?\n+"

SCREEN = Screen(
    rules=(
        Rule(
            "limited",
            r"^ *What do you want to do\?\n+^ *❯ 1\. Stop and wait for limit to reset\n"
            r"(?:^ *\d\. .*\n)*\n?^ *Enter to confirm · Esc to cancel\Z",
            "limit-dialog",
        ),
        Rule(
            "waiting_approval",
            r"^ *Do you want .*\?\n" + MENU + r"^ *Esc to cancel · .*\Z",
            "waiting-approval-shell",
        ),
        Rule(
            "waiting_approval",
            r"^ *❯ 1\. Yes, I trust this folder\n(?:^ *\d\. .*\n)+\n?^ *Enter to confirm · .*\Z",
            "trust",
        ),
        Rule(
            "waiting_answer",
            MENU + r"^Enter to select · .*Esc to cancel\Z",
            "waiting-question",
        ),
        Rule(
            "busy",
            r"^───\n^❯(?:.*\n)*?^───\n^ +(?:\S.* · )?esc to interrupt\b(?:.*\n?)*\Z",
            "busy-streaming",
        ),
        Rule(
            "busy",
            r"^[·✢✳✶✻✽*] \S.*… \(.*\)\n(?:^ +\S.*\n|\n){0,9}" + BOX,
            "busy-typed",
        ),
        Rule("limited", r"^ *⎿ +You've hit your .*limit\b.*" + TURN + BOX, "limit-reached"),
        Rule(
            "limited",
            r"^● API Error: [^\n]*\(429\)(?:.*\n){1,4}?(?:^✻ .*\n)?\n*" + BOX,
            "rate-limited",
        ),
        Rule("error", r"^● API Error: (?:.*\n){1,4}?(?:^✻ .*\n)?\n*" + BOX, "error"),
        Rule("interrupted", r"^ *⎿ +Interrupted · .*\n+" + BOX, "interrupted"),
    ),
    composer=Composer(
        pattern=r"^───\n^❯ ?(?P<text>(?:.*\n)*?)^───(?:\n(?!───).*)*\Z",
        empty=r'Try ".*"|Press up to edit queued messages',
        folded=r"\[Pasted text #\d+(?: \+\d+ lines)?\]",
    ),
    titles=(Rule("busy", r"^[⠀-⣿] ", "⠂ Scripted title"),),
)

LAUNCH = Launch(
    program="claude",
    resume=("--resume", "{id}"),
    session=("--session-id", "{id}"),
    headless=Headless(
        new=("{args}", "-p", "{prompt}"),
        resume=("--resume", "{id}", "{args}", "-p", "{prompt}"),
        stream=("--output-format", "stream-json", "--verbose"),
        named=("session_id",),
    ),
)
