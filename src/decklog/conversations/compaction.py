"""What a compaction keeps and how it sums up the rest. Pure.

The rules and the wording of the message that stands for what was summed up are those of the
program the file format comes from, so that each recognises the other's summaries.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from decklog.errors import UsageError
from decklog.model import (
    Compaction,
    Conversation,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)
from decklog.model.turns import Block

KEEP = 4
"""Messages at the end that stay as they are."""
THRESHOLD = 10_000
"""Estimated tokens from which it is worth while."""
IMAGE_TOKENS = 1_500

PREAMBLE = (
    "This session is being continued from a previous conversation that ran out of context."
    " The summary below covers the earlier portion of the conversation.\n\n"
)
RECENT = "Recent messages are preserved verbatim."
RESUME = (
    "Continue the conversation from where it left off without asking the user any further"
    " questions. Resume directly — do not acknowledge the summary, do not recap what was happening,"
    " and do not preface with continuation text."
)
TIMELINE = "- Key timeline:"
_HEADINGS = ("- Previously compacted context:", "- Newly compacted context:")

Summariser: TypeAlias = Callable[[Sequence[Message], str], "str | Awaitable[str]"]
"""Sums up messages, given the summary of what came before them (empty for none)."""


# --- what is kept -----------------------------------------------------------------------------


class Window(NamedTuple):
    """The messages that no summary stands for yet."""

    start: int
    """Their first, as an index into `Conversation.entries`."""
    summary: str
    """What stands for those before; empty where none do."""
    compactions: int
    """Compactions so far."""


def estimate(message: Message) -> int:
    """Tokens of a message, roughly: a quarter of its bytes, and one for each block."""
    return sum(map(_estimate, message.blocks))


def _estimate(block: Block) -> int:
    match block:
        case ToolUse():
            size = len(block.name.encode()) + len(bytes(block.input))
        case ToolResult():
            size = len(block.name.encode()) + len(block.output.encode())
        case Opaque():
            size = len(bytes(block.raw))
        case Image():
            return IMAGE_TOKENS
        case Text() | Thinking():
            size = len(block.text.encode())
        case _:
            size = 0
    return size // 4 + 1


def window(conversation: Conversation) -> Window:
    """Where the last compaction of a conversation left off."""
    counts = [c.count for c in conversation.compactions]
    place = {m.id: i + 1 for i, m in enumerate(conversation.entries)}
    for c in reversed(conversation.compactions):
        if c.kept is not None:
            return Window(max(0, position(c, conversation, place) - c.kept), c.summary, counts[-1])
    count = counts[-1] if counts else 0
    if conversation.entries and (told := told_before(conversation.entries[0])):
        return Window(1, told, count)
    return Window(0, "", count)


def position(c: Compaction, conversation: Conversation, place: dict[str, int]) -> int:
    """How many messages come before a compaction. Compactions may follow on each other."""
    compactions = {x.id: x for x in conversation.compactions}
    parent = c.parent
    for _ in compactions:
        if parent in place or parent not in compactions:
            break
        parent = compactions[parent].parent
    return place.get(parent or "", 0)


def context(conversation: Conversation) -> tuple[Message, ...]:
    """What a model is shown: the last summary as a system message, and all that it does not
    stand for."""
    start, summary, _ = window(conversation)
    messages = conversation.entries
    if not summary or (start == 1 and told_before(messages[0])):
        return messages
    last = next(c for c in reversed(conversation.compactions) if c.kept is not None)
    text = continuation(summary, recent=bool(last.kept))
    told = Message(
        id=last.id, parent=last.parent, role="system", at=last.at, blocks=(Text(text=text),)
    )
    return (told, *messages[start:])


class Plan(NamedTuple):
    """What a compaction is about to sum up."""

    removed: Sequence[Message]
    before: str
    """The summary that stands for what comes before these."""
    kept: int
    """Messages after them, which stay as they are."""
    compactions: int
    """Compactions so far."""


def plan(conversation: Conversation, keep: int = KEEP, threshold: int = THRESHOLD) -> Plan | None:
    """What to sum up; None where it is not worth while. Raises UsageError."""
    if keep < 0 or threshold < 0:
        raise UsageError("messages to keep and tokens cannot be negative")
    start, before, so_far = window(conversation)
    messages = conversation.entries[start:]
    end = boundary(messages, keep) if due(messages, keep, threshold) else 0
    return Plan(messages[:end], before, len(messages) - end, so_far) if end else None


def due(messages: Sequence[Message], keep: int = KEEP, threshold: int = THRESHOLD) -> bool:
    """Whether messages that no summary stands for are many and long enough."""
    return len(messages) > keep and sum(map(estimate, messages)) >= threshold


def boundary(messages: Sequence[Message], keep: int = KEEP) -> int:
    """Index of the first message to keep: so many from the end, and as many more as it takes that
    no tool result loses the call it answers."""
    at = max(0, len(messages) - keep)
    made = {b.id: i for i, m in enumerate(messages) for b in m.blocks if isinstance(b, ToolUse)}
    i = len(messages) - 1
    while i >= at:
        for block in messages[i].blocks:
            if isinstance(block, ToolResult) and block.id in made:
                at = min(at, made[block.id])
        i -= 1
    return at


# --- the message that stands for the rest --------------------------------------------------------


def continuation(summary: str, *, recent: bool) -> str:
    """The text that stands for what was summed up."""
    kept = f"\n\n{RECENT}" if recent else ""
    return f"{PREAMBLE}{unwrapped(summary)}{kept}\n{RESUME}"


def told_before(message: Message) -> str:
    """The summary in a message that stands for what came before; empty where it is none."""
    text = next((b.text for b in message.blocks if isinstance(b, Text) and b.text.strip()), "")
    if message.role != "system" or not text.startswith(PREAMBLE):
        return ""
    text = text.removeprefix(PREAMBLE).partition(f"\n\n{RECENT}")[0].partition(f"\n{RESUME}")[0]
    return text.strip()


_blank = re.compile(r"\n[^\S\n]*\n(?:[^\S\n]*\n)+")


def unwrapped(summary: str) -> str:
    """A summary as it is told: without what the summariser thought aloud, out of its wrapper,
    with no more than one blank line at a time."""
    before, _, after = _tagged(summary, "analysis")
    text = before + after
    before, inside, after = _tagged(text, "summary")
    if inside is not None:
        text = f"{before}Summary:\n{inside.strip()}{after}"
    return _blank.sub("\n\n", text).strip()


def _tagged(text: str, tag: str) -> tuple[str, str | None, str]:
    """What stands before, in and after the first pair of tags; None in the middle for no pair."""
    before, opened, rest = text.partition(f"<{tag}>")
    inside, closed, after = rest.partition(f"</{tag}>")
    return (before, inside, after) if opened and closed else (text, None, "")


# --- the summariser that is built in --------------------------------------------------------------


def summarise(messages: Sequence[Message], before: str = "") -> str:
    """A summary made by rules alone: the same messages always give the same text."""
    lines = ["Conversation summary:"]
    timeline = [*_timeline(messages)]
    if before:
        lines += [_HEADINGS[0], *(f"  {line}" for line in _highlights(before))]
        lines += [_HEADINGS[1], *(f"  {line}" for line in _told(messages))]
    else:
        lines += _told(messages)
    body = "\n".join([*lines, TIMELINE, *timeline])
    return unwrapped(f"<summary>\n{body}\n</summary>")


def _told(messages: Sequence[Message]) -> Iterator[str]:
    roles = Counter(m.role for m in messages)
    counts = ", ".join(f"{r}={roles[r]}" for r in ("user", "assistant", "tool"))
    yield f"- Scope: {len(messages)} earlier messages compacted ({counts})."
    blocks = [b for m in messages for b in m.blocks]
    tools = {b.name for b in blocks if isinstance(b, (ToolUse, ToolResult)) and b.name}
    if tools:
        yield f"- Tools mentioned: {', '.join(sorted(tools))}."
    texts = [(m.role, text) for m in messages if (text := _first(m))]
    for title, found in (
        ("- Recent user requests:", [t for role, t in texts if role == "user"]),
        ("- Pending work:", [t for _, t in texts if _pending.search(t)]),
    ):
        if found:
            yield title
            yield from (f"  - {_cut(text)}" for text in found[-3:])
    if files := _files(blocks):
        yield f"- Key files referenced: {', '.join(files)}."
    if texts:
        yield f"- Current work: {_cut(texts[-1][1], 200)}"


_pending = re.compile(r"todo|next|pending|follow up|remaining", re.I)
_between = re.compile(r"""[\s,;:()'"`<>|=\[\]{}\\]+""")
_ending = re.compile(r"\.[A-Za-z]\w{0,7}")
FILES = 8
SCANNED = 64 * 1024
"""Characters of a text that are looked through for files."""


def _files(blocks: Sequence[Block]) -> list[str]:
    """The files that are named most often; of equals the first by name."""
    named: Counter[str] = Counter()
    for block in blocks:
        words = (w.rstrip(".") for w in _between.split(_text(block)[:SCANNED]) if "/" in w)
        named.update(w for w in words if _ending.fullmatch(w[w.rfind(".") :]) and "//" not in w)
    return sorted(named, key=lambda p: (-named[p], p))[:FILES]


def _timeline(messages: Sequence[Message]) -> Iterator[str]:
    for m in messages:
        yield f"  - {m.role}: {' | '.join(_cut(_text(b)) for b in m.blocks)}"


def _first(message: Message) -> str:
    return next((b.text for b in message.blocks if isinstance(b, Text) and b.text.strip()), "")


def _text(block: Block) -> str:
    match block:
        case Text():
            return block.text
        case Thinking():
            return f"thinking {block.text}"
        case ToolUse():
            return f"tool_use {block.name}({bytes(block.input).decode('utf-8', 'replace')})"
        case ToolResult():
            return (
                f"tool_result {block.name}: {'error ' if block.ok is False else ''}{block.output}"
            )
        case Image():
            return f"image {block.media_type or block.uri}".strip()
    return "(not understood)"


def _cut(text: str, limit: int = 160) -> str:
    line = " ".join(text[: limit * 8].split())
    return line if len(line) <= limit else line[:limit] + "…"


def _highlights(summary: str) -> Iterator[str]:
    """The lines of an earlier summary, its timeline left out and its own earlier ones flat."""
    nested = False
    for line in unwrapped(summary).splitlines():
        if line == TIMELINE:
            return
        if line in _HEADINGS:
            nested = True
        elif line.strip() and line not in ("Summary:", "Conversation summary:"):
            yield line.rstrip().removeprefix("  ") if nested else line.rstrip()
