"""Copilot's screen, seen with 1.0.102; how it is started."""

from __future__ import annotations

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen

SCREEN = Screen(
    rules=(
        Rule(
            "waiting_approval",
            r"^│ ❯ \d\. .*\n(?:^│ .*\n|^│\n)*^│ ↑/↓ to navigate · enter to select · .*\n^╰───╯?\Z",
            "waiting-approval-shell",
        ),
        Rule("busy", r"^───\n^❯(?:.*\n)*?^───\n^ \S Working\b.*\Z", "busy-streaming"),
        Rule(
            "interrupted",
            r"^ ● Operation cancelled by user\n+^ .*\n^───\n^❯(?:.*\n)*?^───\n.*\Z",
            "approval-denied",
        ),
    ),
    composer=Composer(
        pattern=r"^───\n^❯ ?(?P<text>(?:.*\n)*?)^───\n.*\Z",
        folded=r"\[Paste #\d+ - \d+ lines\]",
    ),
)

LAUNCH = Launch(
    program="copilot",
    resume=("--resume={id}",),
    interrupt=("Escape", "Escape"),
    headless=Headless(
        new=("{args}", "-p", "{prompt}"),
        resume=("--resume={id}", "{args}", "-p", "{prompt}"),
        stream=("--output-format", "json"),
        named=("data.sessionId", "sessionId"),
    ),
)
