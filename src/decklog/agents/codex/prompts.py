"""Texts of messages: what a person asked, and what Codex put in by itself."""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

from decklog.agents.codex.records import Parts

INJECTED = (
    "<environment_context>",
    "<user_instructions>",
    "# AGENTS.md instructions",
    "<INSTRUCTIONS>",
    "<turn_aborted>",
    "<subagent_notification>",
    "<recommended_plugins>",
    "<skill>",
    "<skills_instructions>",
    "<permissions instructions>",
    "<collaboration_mode>",
    "<user_shell_command>",
    "<user_action>",
    "<goal_context>",
    "<codex_internal_context",
    "<hook_prompt",
    "<external_",
    "<personality_spec>",
    "<model_switch>",
    "Warning: apply_patch was requested via ",
    "Warning: The maximum number of unified exec processes",
    "Warning: Your account was flagged",
)
"""How texts begin that Codex gives the model in the name of the user."""
AUTHORED = ("user.", "images.", "audio.")
"""How the annotations begin of parts that a person gave."""
REQUEST = "## My request for Codex:"
"""Editors put what is open in them before the prompt, which then stands under this heading."""
_PREFIX = 64

_cwd = re.compile(r"<cwd>([^<\n]+)</cwd>|^Current working directory: (.+)$", re.M)


class Said(NamedTuple):
    """A message of the user's side, taken apart."""

    asked: str = ""
    injected: str = ""
    images: int = 0


def said(content: Parts, kinds: list[str] | None) -> Said:
    """Sorts the parts of a message into what was asked and what was injected.

    ``kinds`` are the annotations that newer versions write, one for each part; without them the
    beginning of a text tells.
    """
    if not isinstance(content, list):
        return _sorted(content or "")
    asked: list[str] = []
    injected: list[str] = []
    images = 0
    annotated = kinds if kinds and len(kinds) == len(content) else None
    for i, part in enumerate(content):
        text = part.text
        if text is None:
            images += "image" in part.type
        elif text.startswith(("<image", "</image>")):
            continue  # labels that Codex puts around a picture
        elif not _ours(text, annotated[i] if annotated else None):
            injected.append(text)
        else:
            asked.append(text)
    return Said(request("\n".join(asked)), "\n".join(injected), images)


def _sorted(text: str) -> Said:
    return Said(request(text)) if _ours(text, None) else Said("", text)


def _ours(text: str, kind: str | None) -> bool:
    if kind is not None and kind not in ("", "unknown"):
        return kind.startswith(AUTHORED)
    return not text.lstrip().startswith(INJECTED)


def request(text: str) -> str:
    """A prompt without the editor's context before it."""
    if REQUEST not in text:
        return text
    return text.partition(REQUEST)[2].strip() or text


def joined(content: Parts) -> str:
    if isinstance(content, list):
        if len(content) == 1:
            return content[0].text or ""
        return "\n".join(part.text for part in content if part.text)
    return content or ""


def working_directory(text: str) -> str:
    """The folder that an injected description of the surroundings names."""
    found = _cwd.search(text)
    return (found[1] or found[2]).strip() if found else ""


def beginning(text: str) -> str:
    """A key that the ways of recording one text share, its first line: they differ in the white
    space around it, and in marks that are only meant for the screen, which stand later."""
    return text[: _PREFIX * 2].strip().partition("\n")[0][:_PREFIX]


def digest(text: str) -> str:
    return f"{crc32(text.encode('utf-8', 'replace')):08x}"
