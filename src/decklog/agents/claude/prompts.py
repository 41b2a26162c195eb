"""What was said by whom: prompts told from text that Claude Code puts in, and the words in which
the provider refuses."""

from __future__ import annotations

import re
from typing import NamedTuple

INJECTED = (
    "<local-command-stdout>",
    "<local-command-stderr>",
    "<local-command-caveat>",
    "Caveat: The messages below",
    "<bash-input>",
    "<bash-stdout>",
    "<bash-stderr>",
    "<task-notification>",
    "<teammate-message",
    "<system-reminder>",
    "<user-prompt-submit-hook>",
    "<ide_",
    "Base directory for this skill",
    "[Image:",
    "This session is being continued from a previous conversation",
)
"""How text begins that nobody typed; ``[Image #1]`` on the other hand stands in prompts."""

INTERRUPTED = "[Request interrupted by user"
NO_ANSWER = ("No response requested.", "API Error")
"""How text begins that the agent wrote in the model's place."""

OWN_COMMANDS = frozenset(
    """/add-dir /agents /bug /clear /compact /config /context /copy /cost /doctor /effort /exit
    /export /extra-usage /fast /feedback /help /hooks /ide /keybindings /login /logout /mcp
    /memory /model /new /output-style /permissions /plan /plugin /privacy-settings /quit
    /rate-limit-options /release-notes /reload-plugins /rename /resume /rewind /sandbox
    /skills /stats /status /statusline /tasks /terminal-setup /theme /todos /usage /vim
    """.split()
)
"""Slash commands that set up the program; others are prompts of their own."""

_wrapper = re.compile(r"<(system-reminder|ide_\w{1,64}|user-prompt-submit-hook)>")
_command = re.compile(r"<command-name>\s{0,99}(\S{1,999}?)\s{0,99}</command-name>")
_arguments = re.compile(r"<command-args>(.*?)</command-args>", re.S)
_limit = re.compile(
    r"hit your (?:\S+ ){0,3}limit|(?<!context )limit reached|usage limit|spend(?:ing)? limit"
    r"|out of (?:extra )?usage|credit balance is too low",
    re.I,
)
_reset = re.compile(r"reset(?:s)?(?: at)? ([^·∙|\n]{1,60})|\|(\d{9,13})", re.I)
_scope = re.compile(r"weekly|monthly|credit|\(429\)", re.I)


def parted(text: str) -> tuple[str, str]:
    """(put in by the agent, typed) of one text: reminders may stand before a prompt."""
    if not text.startswith(INJECTED):
        return "", text
    end = 0
    while match := _wrapper.match(text, end):
        close = f"</{match[1]}>"
        at = text.find(close, match.end())
        if at < 0:
            break
        end = at + len(close)
        end += len(text) - end - len(text[end:].lstrip())
    rest = text[end:]
    if not end or not rest or rest.startswith(INJECTED):
        return text, ""
    return text[:end].rstrip(), rest


def command(text: str) -> str:
    """A slash command as it was typed, or nothing where the text is none."""
    if "<command-" not in text[:200]:
        return ""
    name = _command.search(text[:2000])
    if name is None:
        return ""
    arguments = _arguments.search(text)
    return f"{name[1]} {arguments[1] if arguments else ''}".strip()


class Limit(NamedTuple):
    scope: str
    reset_at: str | None


def limit(text: str, error: object) -> Limit | None:
    """What a refusal says of a usage limit; None when it is of another kind."""
    if error != "rate_limit" and not _limit.search(text):
        return None
    scope = _scope.search(text)
    word = scope[0].lower() if scope else "session"
    reset = _reset.search(text)
    return Limit(
        "requests" if word == "(429)" else word,
        (reset[1] or reset[2]).strip() if reset else None,
    )
