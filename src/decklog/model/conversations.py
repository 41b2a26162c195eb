"""Our own conversations: branches of messages that fork, go back and are compacted.

A conversation is a leaf in a tree of entries. An entry (a message or a compaction) names the entry
before it, and is never changed or removed: a fork begins at an entry of its parent, going back
moves the leaf, a compaction is an entry that says what stands for the messages before it.
"""

from __future__ import annotations

from msgspec import Struct

from decklog.model.turns import Message


class Fork(Struct, frozen=True, kw_only=True):
    """Where a conversation left its parent."""

    parent: str
    """Id of the conversation it was forked from."""
    branch: str | None = None
    entry: str | None = None
    """The last entry of the parent that it shares; None where it shares none, or none is known."""
    at: int = 0
    """Messages that it shares with its parent."""


class Compaction(Struct, frozen=True, kw_only=True):
    """A summary that stands for the messages before it, all but the last few.

    The messages stay; only what a model is shown (its context) has the summary in their place.
    """

    id: str
    parent: str | None = None
    """The entry before it."""
    at: int | None = None
    count: int = 1
    """1 for the first compaction of a conversation, then one more each time."""
    removed: int = 0
    """Messages that this compaction summed up (without those that an earlier one had)."""
    kept: int | None = None
    """Messages just before it that still stand as they were said; None where another program
    compacted, which leaves only the messages that still stand."""
    summary: str = ""
    first: str | None = None
    """The first and last message that were summed up."""
    last: str | None = None


class Conversation(Struct, frozen=True, kw_only=True):
    """One branch, from the first message of its oldest ancestor to its leaf."""

    id: str
    version: int = 1
    parent: str | None = None
    """Conversation that it was forked from."""
    branch: str | None = None
    """Name of the branch, where it was given one."""
    forked_at: int | None = None
    """Messages that it shares with its parent."""
    created_at: int = 0
    """Milliseconds UTC, as all times."""
    updated_at: int = 0
    title: str = ""
    cwd: str = ""
    origin: str = ""
    """Session (``agent:native``) or file that it was made from."""
    entries: tuple[Message, ...] = ()
    """All messages, oldest first: those of its ancestors, and those that were compacted too."""
    compactions: tuple[Compaction, ...] = ()
    """Oldest first; each names the entry that it follows as ``parent``."""


class Outline(Struct, frozen=True, kw_only=True):
    """What a list shows of a conversation: read from the head and the tail of its file."""

    id: str
    parent: str | None = None
    branch: str | None = None
    created_at: int = 0
    updated_at: int = 0
    messages: int = 0
    title: str = ""
    cwd: str = ""
    origin: str = ""
    bytes: int = 0
    """Size of its file, without what rotation sealed."""


class Divergence(Struct, frozen=True, kw_only=True):
    """What two branches share, and what each has of its own."""

    left: str
    right: str
    common: int = 0
    """Messages that both begin with."""
    last: str | None = None
    """The last message that both have, by its id in ``left``."""
    only_left: tuple[Message, ...] = ()
    only_right: tuple[Message, ...] = ()


class Transcript(Struct, frozen=True, kw_only=True):
    """A conversation as an agent itself would have written it, ready to be resumed there."""

    agent: str
    native: str
    """Id that the agent knows the session by."""
    path: str
    """Where the agent looks for it, below the first of its `Agent.roots`."""
    data: bytes = b""
    lost: tuple[str, ...] = ()
    """What the agent's format has no place for, one plain sentence each; empty for nothing."""
