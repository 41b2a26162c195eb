"""Conversations for tests: a folder with a clock that is wound by hand."""

from __future__ import annotations

from pathlib import Path

from decklog.conversations import Branch, Conversations
from decklog.model import Conversation, Message, Text

START = 1_800_000_000_000


class Clock:
    """Milliseconds that go on by one whenever they are asked for."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1
        return self.now


def shelf(folder: Path, rotate_at: int = 256 * 1024) -> Conversations:
    return Conversations(str(folder / "chats"), now=Clock(), rotate_at=rotate_at)


def texts(what: Conversation | tuple[Message, ...]) -> list[str]:
    """The first text of each message."""
    messages = what.entries if isinstance(what, Conversation) else what
    return [next((b.text for b in m.blocks if isinstance(b, Text)), "") for m in messages]


def talk(chat: Branch, *said: str) -> None:
    """The user and the assistant in turn."""
    for i, text in enumerate(said):
        chat.append("user" if i % 2 == 0 else "assistant", text)


def lines(chat: Branch) -> list[bytes]:
    """Those of its file, as they stand there."""
    return Path(chat.path).read_bytes().splitlines(keepends=True)
