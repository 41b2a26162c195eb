"""Codex's screen, seen with 0.169.0; how it is started.

While an answer streams in, only the title tells that it works.
"""

from __future__ import annotations

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen

BOX = r"^› .*(?:\n.*){0,3}\n\n^  \S.* · .*(?:\n^  .*)?\Z"
"""The composer, to the end of the screen."""

SCREEN = Screen(
    rules=(
        Rule(
            "waiting_approval",
            r"^› \d\. .*\n(?:^ +\S.*\n)+\n?^  Press enter to confirm or esc to cancel\Z",
            "waiting-approval-shell",
        ),
        Rule(
            "waiting_approval",
            r"^› 1\. Trust and continue\n(?:^ +\d\. .*\n)+\n?^ *enter continue · esc back\Z",
            "trust",
        ),
        Rule("busy", r"^• Working \(.*esc to interrupt\)\n+" + BOX, "busy-tool-running"),
        Rule("limited", r"^■ You’ve hit your usage limit\b(?:.*\n){1,4}\n*" + BOX, "limit-reached"),
        Rule("interrupted", r"^■ Conversation interrupted\b.*\n+" + BOX, "interrupted"),
        Rule("error", r"^■ (?:.*\n){1,4}\n*" + BOX, "error"),
    ),
    composer=Composer(
        pattern=r"^› (?P<text>(?!\d\. ).*(?:\n.*)*?)\n\n^  \S.* · .*(?:\n^  .*)?\Z",
        empty=r"Ask Codex to do anything",
        folded=r"\[Pasted Content \d+ chars\](?: #\d+)?",
    ),
    titles=(
        Rule("waiting_approval", r"^\[ [!.] \] Action Required\b", "[ ! ] Action Required | dir"),
        Rule("busy", r"^[⠀-⣿] ", "⠋ Scripted title | dir"),
    ),
)

LAUNCH = Launch(
    program="codex",
    resume=("resume", "{id}"),
    headless=Headless(
        new=("exec", "{args}", "--", "{prompt}"),
        resume=("exec", "resume", "{args}", "{id}", "{prompt}"),
        stream=("--json",),
        named=("thread_id",),
    ),
)
