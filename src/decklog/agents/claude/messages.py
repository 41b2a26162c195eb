"""What is said and done: answers, thoughts, tool calls and their results, prompts."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from decklog.agents._salvage import loads
from decklog.agents._shared import clean, tool_kind
from decklog.agents.claude import prompts
from decklog.agents.claude.accounts import Accounts
from decklog.agents.claude.records import ABSENT, Input, Line, Result
from decklog.model import (
    NULL,
    AssistantMessage,
    Event,
    Facts,
    ProviderStatus,
    Reasoning,
    StateChanged,
    ToolCalled,
    ToolReturned,
    UsageLimitHit,
    UserMessage,
)

_input = msgspec.json.Decoder(Input).decode
_result = msgspec.json.Decoder(Result).decode


class Messages(Accounts):
    # What is frequent is built with all its keywords in place: that takes a fifth of the time.

    # -- what the model says -------------------------------------------------------------------

    def _assistant(self, r: Line, f: Facts, out: list[Event]) -> None:
        m = r.message
        if m is None:
            out.append(self.warn("unknown", "assistant record without message", self.ref))
            return
        model = m.model or ""
        real = model != "<synthetic>"
        inline = self._inline(r) if r.isSidechain or r.parent_tool_use_id else False
        if model != f.model and model and real and not inline:
            if f.model:
                uid = self._nth("model")
                self._put(out, StateChanged, uid=uid, what="model", old=f.model, new=model)
            f.model = model
        n = 0
        if isinstance(m.content, str):
            self._answer(r, f, m.content, inline, self.uid, out)
            n = 1
        elif m.content:
            for b in m.content:
                kind = b.type
                uid = self._nth(n) if n else self.uid
                n += 1
                if kind == "text":
                    if b.text:
                        self._answer(r, f, b.text, inline, uid, out)
                elif kind == "tool_use":
                    self._call(b, uid, out)
                elif kind == "thinking":
                    self._thought(b, m.id, uid, out)
                else:
                    self._other(b, m.id, uid, out)
        if m.usage is not None and real:
            self._usage(r, m, m.usage, self._nth(n), out)

    def _answer(
        self, r: Line, f: Facts, text: str, inline: bool, uid: str, out: list[Event]
    ) -> None:
        m: Any = r.message
        model = m.model or ""
        if model == "<synthetic>":
            if r.isApiErrorMessage or r.error or text.startswith(prompts.NO_ANSWER):
                self._refusal(r, f, text, out)
                return
            model = ""
        if not inline:
            f.messages += 1
            f.first_uid = f.first_uid or self.uid
        s = self.s
        s.seq += 1
        out.append(
            AssistantMessage(
                seq=s.seq, at=self.at, at_text=self.at_text, session=self.session, agent="claude",
                ref=self.ref, uid=uid, content=text, message_id=m.id, model=model,
            )
        )  # fmt: skip

    def _thought(self, b: Any, message: str | None, uid: str, out: list[Event]) -> None:
        s = self.s
        s.seq += 1
        out.append(
            Reasoning(
                seq=s.seq, at=self.at, at_text=self.at_text, session=self.session, agent="claude",
                ref=self.ref, uid=uid, content=_text(b.thinking) if self.text else "",
                message_id=message,
            )
        )  # fmt: skip

    def _other(self, b: Any, message: str | None, uid: str, out: list[Event]) -> None:
        kind = b.type
        if kind in ("server_tool_use", "mcp_tool_use"):
            self._call(b, uid, out)
        elif kind == "redacted_thinking":
            self._thought(b, message, uid, out)
        elif kind.endswith("_tool_result"):
            ok = not b.is_error
            self._put(out, ToolReturned, uid=uid, tool_id=b.tool_use_id, success=ok)
        elif kind not in ("image", "fallback", "compaction"):
            out.append(self.warn("unknown", f"content block {kind!r}", self.ref))

    def _refusal(self, r: Line, f: Facts, text: str, out: list[Event]) -> None:
        limit = prompts.limit(text, r.error)
        if limit is None:
            self._put(out, ProviderStatus, message=text[:1000])
            return
        f.limits += 1
        self._put(
            out,
            UsageLimitHit,
            provider="anthropic",
            scope=limit.scope,
            reset_at=limit.reset_at,
            incident_id=self.uid,
            raw=text[:1000],
        )

    def _call(self, b: Any, uid: str, out: list[Event]) -> None:
        given = b.input
        raw = NULL
        if isinstance(given, Raw):
            raw = given.copy()
            try:
                given = _input(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                given = None
        paths: tuple[str, ...] = ()
        if isinstance(given, Input):
            path = given.file_path
            if given.notebook_path is not None or given.path is not None:
                found = (path, given.notebook_path, given.path)
                paths = tuple(dict.fromkeys(p for p in found if p and isinstance(p, str)))
            elif path and isinstance(path, str):
                paths = (path,)
        name = b.name or "?"
        s = self.s
        s.seq += 1
        out.append(
            ToolCalled(
                seq=s.seq, at=self.at, at_text=self.at_text, session=self.session, agent="claude",
                ref=self.ref, uid=uid, tool_name=name, tool_kind=tool_kind(name), tool_id=b.id,
                input=raw, paths=paths,
            )
        )  # fmt: skip

    # -- what it is told -----------------------------------------------------------------------

    def _user(self, r: Line, f: Facts, out: list[Event]) -> None:
        m = r.message
        content = m.content if m is not None else None
        texts: list[str] = []
        images = n = 0
        is_result = r.toolUseResult is not ABSENT or r.tool_use_result is not ABSENT
        if isinstance(content, str):
            if content:
                texts.append(content)
        elif content:
            for b in content:
                kind = b.type
                if kind == "tool_result":
                    is_result = True
                    self._returned(r, b, self._nth(n) if n else self.uid, out)
                    n += 1
                elif kind == "text":
                    if b.text:
                        texts.append(b.text)
                elif kind in ("image", "document"):
                    images += 1
                else:
                    out.append(self.warn("unknown", f"content block {kind!r}", self.ref))
        if texts or (images and not is_result):
            put_in = bool(r.isMeta or r.isCompactSummary or r.isSynthetic or self.aside)
            put_in = put_in or _not_human(r.origin)
            self._said(
                texts, 0 if is_result else images, put_in or self._inline(r), self._nth(n), f, out
            )

    def _said(
        self, texts: list[str], images: int, put_in: bool, uid: str, f: Facts, out: list[Event]
    ) -> None:
        """Texts of one record: what was typed is one event, what was put in another."""
        injected, typed = [], []
        for text in texts:
            if text.startswith(prompts.INTERRUPTED):
                f.aborts += 1
                self._put(out, StateChanged, what="aborted", new=text[:200])
                continue
            before, after = (text, "") if put_in else prompts.parted(text)
            if before:
                injected.append(before)
            if after:
                typed.append(after)
        if injected and (typed or (images and not put_in)):
            around = f"{uid}:around" if uid else ""
            self._message("\n".join(injected), 0, True, around, out)
        elif injected or put_in:
            if injected or images:
                self._message("\n".join(injected), images, True, uid, out)
            return
        if not typed and not images:
            return
        text = "\n".join(typed)
        command = prompts.command(text)
        f.prompts += 1
        f.messages += 1
        f.first_uid = f.first_uid or self.uid
        if not f.prompt and command.partition(" ")[0] not in prompts.OWN_COMMANDS:
            f.prompt = clean(command or text)
        self._message(command or text, images, False, uid, out)

    def _message(self, text: str, images: int, injected: bool, uid: str, out: list[Event]) -> None:
        s = self.s
        s.seq += 1
        out.append(
            UserMessage(
                seq=s.seq, at=self.at, at_text=self.at_text, session=self.session, agent="claude",
                ref=self.ref, uid=uid, content=text, message_id=self.uid or None, injected=injected,
                images=images,
            )
        )  # fmt: skip

    def _attachment(self, r: Line, f: Facts, out: list[Event]) -> None:
        """A prompt typed while the agent was at work stands in an attachment and nowhere else."""
        a = r.attachment
        if a is None or a.type != "queued_command":
            return
        texts, images = [], 0
        for part in a.prompt if isinstance(a.prompt, list) else [a.prompt]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str) and text:
                texts.append(text)
            elif isinstance(part, dict) and part.get("type") in ("image", "document"):
                images += 1
        if not self.begun:
            self._begin(r, out)
        put_in = a.commandMode not in (None, "prompt") or _not_human(a.origin)
        self._said(texts, images, put_in or self._inline(r), self.uid, f, out)

    def _returned(self, r: Line, b: Any, uid: str, out: list[Event]) -> None:
        info: Any = r.toolUseResult
        data = NULL
        output = None
        if self.text:
            output = _text(b.content)
            if info is not ABSENT:
                data = info.copy()
                try:
                    info = _result(data)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    info = None
        child = info.agentId if isinstance(info, Result) else None
        if child is not None:
            parent = self.native.partition(".agent-")[0]
            child = f"claude:{parent}.agent-{child}" if child and isinstance(child, str) else None
        s = self.s
        s.seq += 1
        out.append(
            ToolReturned(
                seq=s.seq, at=self.at, at_text=self.at_text, session=self.session, agent="claude",
                ref=self.ref, uid=uid, tool_id=b.tool_use_id, success=not b.is_error, output=output,
                error=output if b.is_error else None, data=data, child=child,
            )
        )  # fmt: skip


def _not_human(origin: Any) -> bool:
    return origin is not None and origin.kind not in (None, "", "human")


def _text(raw: Raw) -> str:
    """The text of a raw value: a string, or blocks with texts among them."""
    value = loads(raw)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = (b.get("text") for b in value if isinstance(b, dict))
        return "\n".join(p for p in parts if isinstance(p, str))
    return ""
