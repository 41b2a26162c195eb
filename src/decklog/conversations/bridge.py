"""A session of any agent as a conversation: from its events to messages. Pure.

What stays behind is told. Text that the agent put in by itself (reminders, the state of the
folder) is left out on purpose: the agent that goes on puts in its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from decklog.conversations.compaction import PREAMBLE, RESUME
from decklog.model import (
    AssistantMessage,
    Compacted,
    Compaction,
    Event,
    Image,
    Message,
    ParseWarning,
    Reasoning,
    Text,
    Thinking,
    ToolCalled,
    ToolResult,
    ToolReturned,
    ToolUse,
    Usage,
    UsageReported,
    UserMessage,
)
from decklog.model.turns import AnyBlock

LOST = {
    "injected": "texts that the agent put in by itself",
    "images": "images whose data is not in the transcript",
    "thoughts": "thoughts that were recorded without their text",
    "late": "later outputs of commands that went on in the background",
    "unread": "records that were not understood",
}
"""What a session has and a conversation made from its events has not."""


class Said:
    """Messages and compactions, in their order, and what was left out of them."""

    def __init__(
        self,
        events: Iterable[Event],
        new_id: Callable[[int | None], str],
        parts: Callable[[Event], Sequence[AnyBlock]] = lambda event: (),
    ) -> None:
        """``new_id`` gives the id of a message said at that time, ``parts`` what an event does not
        carry of its record (`decklog.agents.Agent.parts`)."""
        self._parts = parts
        self.messages: list[Message] = []
        self.compactions: list[Compaction] = []
        self._new_id = new_id
        self._left_out: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        self._answered: set[str] = set()
        self._answer = _Answer()
        self._since = 0
        """Messages that the last compaction summed up, and those before."""
        for event in events:
            self._take(event)
        self._close()

    @property
    def lost(self) -> tuple[str, ...]:
        return tuple(f"{n:,} {LOST[what]}" for what, n in self._left_out.items())

    def _take(self, e: Event) -> None:
        match e:
            case UserMessage(injected=True):
                self._put_in(e)
            case UserMessage():
                blocks: list[AnyBlock] = [Text(text=e.content)] if e.content else []
                self._say("user", (*blocks, *self._images(e)), e.at)
            case AssistantMessage():
                self._answer.put(Text(text=e.content), e, e.model)
            case Reasoning():
                thought = self._thought(e)
                if thought.text or thought.signature:
                    self._answer.put(thought, e)
                else:
                    self._left_out["thoughts"] += 1
            case ToolCalled():
                call = e.tool_id or f"call-{e.seq}"
                self._names[call] = e.tool_name
                self._answer.put(ToolUse(id=call, name=e.tool_name, input=e.input), e)
            case ToolReturned():
                self._returned(e)
            case UsageReported():
                self._used(e)
            case Compacted():
                self._compacted(e)
            case ParseWarning():
                self._left_out["unread"] += 1

    def _images(self, e: UserMessage) -> list[Image]:
        if not e.images:
            return []
        found = [p for p in self._parts(e) if isinstance(p, Image)][: e.images]
        missing = e.images - len(found)
        self._left_out.update({"images": missing} if missing else {})
        return [*found, *(Image() for _ in range(missing))]

    def _thought(self, e: Reasoning) -> Thinking:
        """The thought with its signature, where the record has it."""
        signed = (p for p in self._parts(e) if isinstance(p, Thinking) and p.text == e.content)
        return next(signed, Thinking(text=e.content))

    def _put_in(self, e: UserMessage) -> None:
        """A text of the agent's own: the summary of a compaction that had none, or nothing."""
        last = self.compactions[-1] if self.compactions else None
        if last is None or last.summary or len(self.messages) > self._since or not e.content:
            self._left_out["injected"] += 1
            return
        text = e.content.removeprefix(PREAMBLE).removesuffix(RESUME).strip()
        self.compactions[-1] = replace(last, summary=text)

    def _returned(self, e: ToolReturned) -> None:
        call = e.tool_id or f"call-{e.seq}"
        if call in self._answered:
            self._left_out["late"] += 1
            return
        self._answered.add(call)
        name = e.tool_name or self._names.get(call, "")
        output = e.error or e.output or ""
        self._say("tool", (ToolResult(id=call, name=name, ok=e.success, output=output),), e.at)

    def _used(self, e: UsageReported) -> None:
        answer = self._answer
        if answer.key and answer.key != e.key and answer.counted < len(answer.blocks):
            rest = answer.blocks[answer.counted :]
            del answer.blocks[answer.counted :]
            self._close()
            answer = self._answer
            answer.blocks, answer.at = rest, e.at
        elif not answer.blocks:
            self._amend(e)
            return
        answer.key, answer.counted = e.key, len(answer.blocks)
        answer.usage, answer.model = e.usage, answer.model or e.model

    def _amend(self, e: UsageReported) -> None:
        """Usage that is told after the calls of its response have returned."""
        for i in range(len(self.messages) - 1, -1, -1):
            m = self.messages[i]
            if m.role == "user":
                return
            if m.role == "assistant":
                if m.usage is None:
                    self.messages[i] = replace(m, usage=e.usage, model=m.model or e.model)
                return

    def _compacted(self, e: Compacted) -> None:
        self._close()
        last = self.compactions[-1] if self.compactions else None
        self.compactions.append(
            Compaction(
                id=self._new_id(e.at),
                parent=self.messages[-1].id if self.messages else None,
                at=e.at,
                count=last.count + 1 if last else 1,
                removed=len(self.messages) - self._since,
                kept=0,
                summary=e.summary,
                first=self.messages[self._since].id if len(self.messages) > self._since else None,
                last=self.messages[-1].id if self.messages else None,
            )
        )
        self._since = len(self.messages)

    def _close(self) -> None:
        """What the model said is at its end."""
        answer, self._answer = self._answer, _Answer()
        if answer.blocks:
            self._add("assistant", tuple(answer.blocks), answer.at, answer.usage, answer.model)

    def _say(self, role: str, blocks: tuple[AnyBlock, ...], at: int | None) -> None:
        self._close()
        self._add(role, blocks, at)

    def _add(
        self,
        role: str,
        blocks: tuple[AnyBlock, ...],
        at: int | None,
        usage: Usage | None = None,
        model: str = "",
    ) -> None:
        self.messages.append(
            Message(
                id=self._new_id(at),
                parent=self.messages[-1].id if self.messages else None,
                role=role,
                model=model,
                at=at,
                usage=usage,
                blocks=blocks,
            )
        )


class _Answer:
    """What the model is saying: the blocks of one response, as they come."""

    def __init__(self) -> None:
        self.blocks: list[AnyBlock] = []
        self.at: int | None = None
        self.model = ""
        self.usage: Usage | None = None
        self.key = ""
        """The response that the blocks up to ``counted`` are of."""
        self.counted = 0

    def put(self, block: AnyBlock, e: Event, model: str = "") -> None:
        self.blocks.append(block)
        self.at = e.at if self.at is None else self.at
        self.model = self.model or model
