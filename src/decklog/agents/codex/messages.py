"""Prompts, answers and thoughts. One message is recorded in up to three ways and given once."""

from __future__ import annotations

from typing import Any

from decklog.agents._shared import clean
from decklog.agents.codex import records
from decklog.agents.codex.core import KEPT, Core
from decklog.agents.codex.prompts import beginning, digest, joined, said, working_directory
from decklog.model import AssistantMessage, Event, Reasoning, Ref, UserMessage

ITEM, EVENT, FINISHED = range(3)
"""Ways in which a message is recorded: as a response item, an event, a finished turn item."""


class Messages(Core):
    def _message(self, p: records.Message, r: Any, ref: Ref, out: list[Event]) -> None:
        harness = r.metadata or records.Harness()
        if p.role == "assistant":
            if not harness.compaction_output:  # else the `compacted` line has the text
                self._answer(ITEM, joined(p.content), p.id, ref, out)
        elif p.role == "user":
            notes = p.internal_chat_message_metadata_passthrough
            parts = said(p.content, notes.content_item_kinds if notes else None)
            if parts.injected:
                self.f.cwd = self.f.cwd or working_directory(parts.injected)
                self._injected("user", parts.injected, p.id, ref, out)
            if parts.asked or parts.images:
                own = not harness.inherited_user_message
                self._prompt(ITEM, parts.asked, parts.images, p.id, ref, out, own)
        else:
            self._injected(p.role or "system", joined(p.content), p.id, ref, out)

    def _told(
        self, p: records.AgentMessage | records.AgentNote, r: Any, ref: Ref, out: list[Event]
    ) -> None:
        self._injected("agent", joined(p.content), p.id, ref, out)

    def _user_said(self, p: records.UserSaid, r: Any, ref: Ref, out: list[Event]) -> None:
        parts = said(p.message, None)
        images = len(p.images or ()) + len(p.local_images or ())
        if parts.asked or images:
            self._prompt(EVENT, parts.asked, images, None, ref, out)

    def _agent_said(self, p: records.AgentSaid, r: Any, ref: Ref, out: list[Event]) -> None:
        self._answer(EVENT, p.message or "", None, ref, out)

    def _user_finished(self, item: records.Item, ref: Ref, out: list[Event]) -> None:
        content = item.content or []
        parts = said("".join(x.text or "" for x in content), None)
        images = sum("image" in x.type.lower() for x in content)
        if parts.asked or images:
            self._prompt(FINISHED, parts.asked, images, item.id, ref, out)

    def _agent_finished(self, item: records.Item, ref: Ref, out: list[Event]) -> None:
        self._answer(FINISHED, joined(item.content), item.id, ref, out)

    def _injected(
        self, role: str, text: str, own_id: str | None, ref: Ref, out: list[Event]
    ) -> None:
        uid = f"{own_id}:injected" if own_id else ""
        self._put(
            out, UserMessage, ref, uid, role=role, content=text, message_id=own_id, injected=True
        )

    def _prompt(
        self,
        way: int,
        text: str,
        images: int,
        own_id: str | None,
        ref: Ref,
        out: list[Event],
        own: bool = True,
    ) -> None:
        start = beginning(text)
        if self._known("u" + start, way):
            return
        f = self.f
        uid = own_id or f"{self.family}:{f.messages}.{digest(start)}"
        own = own and not self.s.copied
        if own:
            f.prompts += 1
            f.messages += 1
            f.first_uid = f.first_uid or uid
            f.prompt = f.prompt or clean(text)
        self._put(
            out, UserMessage, ref, uid, content=text, message_id=own_id, injected=not own,
            images=images,
        )  # fmt: skip

    def _answer(self, way: int, text: str, own_id: str | None, ref: Ref, out: list[Event]) -> None:
        start = beginning(text)
        if not text or self._known("a" + start, way):
            return
        f = self.f
        uid = own_id or f"{self.family}:{f.messages}.{digest(start)}"
        if not self.s.copied:
            f.messages += 1
            f.first_uid = f.first_uid or uid
        self._put(
            out, AssistantMessage, ref, uid, content=text, message_id=own_id, model=self.s.model
        )

    def _known(self, key: str, way: int) -> bool:
        """True for a text that has been recorded in another way as often as in this one."""
        texts = self.s.texts
        counts = texts.get(key)
        if counts is None:
            if len(texts) >= KEPT:
                del texts[next(iter(texts))]
            counts = texts[key] = [0, 0, 0]
        counts[way] += 1
        return counts[way] <= max(counts[way - 1], counts[way - 2])

    def _thought(self, p: records.Thought, r: Any, ref: Ref, out: list[Event]) -> None:
        s = self.s
        s.seq += 1
        text = joined(p.summary)
        if p.content:
            text = f"{text}\n{joined(p.content)}".strip()
        out.append(
            Reasoning(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=p.id or f"{s.native}:{s.seq}",
                content=text,
                message_id=p.id,
            )
        )
