"""What a reader of Copilot CLI's log keeps in mind, and one event on its way through it."""

from __future__ import annotations

from typing import Any

import msgspec

from decklog.agents._shared import ReaderState, to_ms
from decklog.agents.copilot.accounting import Books
from decklog.agents.copilot.records import Context, FullData, LeanLine
from decklog.model import Event, Facts, Ref

REMEMBERED = 512
"""Recent messages and tool calls that are kept in mind, since the log may repeat them."""


class State(ReaderState, kw_only=True):
    current: str = ""
    started: list[str] = []
    books: Books = msgspec.field(default_factory=Books)
    children: dict[str, str] = {}
    """Subagent that a tool call started."""
    said: dict[str, list[int]] = {}
    """Of recent messages: what was given out (1 thoughts, 2 text), and the output counted."""
    calls: dict[str, list[Any]] = {}
    """Of recent tool calls: the tool, and when it was started."""
    asked: dict[str, list[str]] = {}
    """Open requests for permission: the tool, and what it wants."""
    recent: dict[str, str] = {}
    """Recent records of responses: key to figures."""
    compacted: list[str] = []
    """Figures and key of the last compaction."""


class Scene:
    """An event of the log on its way to events of ours."""

    __slots__ = ("agent", "at", "at_text", "data", "facts", "made", "out", "ref", "state", "uid")

    def __init__(self, r: LeanLine, agent: str, facts: Facts, ref: Ref, state: State) -> None:
        self.data: Any = r.data or FullData()
        self.agent = agent
        self.facts = facts
        self.at_text = r.timestamp or ""
        self.at = to_ms(self.at_text) if self.at_text else None
        self.ref = ref
        self.uid = r.id or f"{facts.native}@{ref.offset}"
        self.state = state
        self.out: list[Event] = []
        self.made = 0

    def put(self, kind: Any, uid: str = "", facts: Facts | None = None, **own: Any) -> None:
        self.state.seq += 1
        if not uid:
            uid = f"{self.uid}:{self.made}" if self.made else self.uid
            self.made += 1
        self.out.append(
            kind(
                seq=self.state.seq,
                session=f"copilot:{(facts or self.facts).native}",
                agent="copilot",
                at=self.at,
                at_text=self.at_text,
                ref=self.ref,
                uid=uid,
                **own,
            )
        )


def remember(memory: dict[str, Any], key: str, value: Any) -> None:
    if key not in memory and len(memory) >= REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value


def place(f: Facts, context: Context | None, keep: bool = False) -> None:
    """Where the session is. ``keep``: what is known already stands."""
    if context is None:
        return
    if not (keep and f.cwd):
        f.cwd = context.cwd or f.cwd
    if not (keep and f.branch):
        f.branch = context.branch or f.branch
    name, host = context.repository or "", context.repository_host
    if name.count("/") == 1 and not (keep and f.project):
        if isinstance(host, str) and "." in host:
            f.project = f"https://{host}/{name}"
        elif context.host_type == "github":
            f.project = f"https://github.com/{name}"


def vendor(model: str) -> str:
    """Maker of a model by its name: Copilot sells models of several."""
    name = model.rpartition("/")[2].lower()
    if name.startswith("claude"):
        return "anthropic"
    if name.startswith("gemini"):
        return "gcp.gemini"
    if name.startswith(("gpt-", "o1", "o3", "o4")) and "oss" not in name:
        return "openai"
    return "github.copilot"
