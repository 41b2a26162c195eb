"""OpenCode's screen, seen with 1.18.33; how it is started."""

from __future__ import annotations

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen

BOX = r"(?:^ *┃.*\n)+^ *╹▀▀▀\n"
"""The composer without the line below it."""

SCREEN = Screen(
    rules=(
        Rule(
            "waiting_approval",
            r"^ *┃ +Allow once +Allow always +Reject .*enter confirm\n^ *┃\Z",
            "waiting-approval-shell",
        ),
        Rule(
            "limited",
            BOX + r"^ *[■⬝]+ .*(?i:quota|limit|429|overloaded).*\[retrying in .*\Z",
            "limit-retrying",
        ),
        Rule("busy", BOX + r"^ *[■⬝]+ .*\besc interrupt\b.*\Z", "busy-streaming"),
        Rule("interrupted", r"^ *▣ .* · interrupted\n+" + BOX + r".*\Z", "interrupted"),
    ),
    composer=Composer(
        pattern=r"(?:^\n|\A)(?P<text>(?:^ *┃.*\n)+?)^ *┃\n^ *┃ +\S+ · .*\n^ *╹▀▀▀(?:\n.*)*\Z",
        empty=r"Ask anything….*",
        folded=r"\[Pasted ~\d+ lines\]",
    ),
)

LAUNCH = Launch(
    program="opencode",
    resume=("--session", "{id}"),
    interrupt=("Escape", "Escape"),
    headless=Headless(
        new=("run", "{args}", "{prompt}"),
        resume=("run", "--session", "{id}", "{args}", "{prompt}"),
        stream=("--format", "json"),
        named=("sessionID",),
    ),
)
