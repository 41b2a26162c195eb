"""What two branches share. Pure."""

from __future__ import annotations

from decklog.model import Conversation, Divergence, Message


def diff(left: Conversation, right: Conversation) -> Divergence:
    """Where two conversations part: messages are the same by id, or, where copies were made
    under other ids, by what they say."""
    common = 0
    for a, b in zip(left.entries, right.entries, strict=False):
        if a.id != b.id and not same(a, b):
            break
        common += 1
    return Divergence(
        left=left.id,
        right=right.id,
        common=common,
        last=left.entries[common - 1].id if common else None,
        only_left=left.entries[common:],
        only_right=right.entries[common:],
    )


def same(a: Message, b: Message) -> bool:
    """Whether two messages say the same, whatever they are called and whenever they were said."""
    return a.role == b.role and a.blocks == b.blocks
