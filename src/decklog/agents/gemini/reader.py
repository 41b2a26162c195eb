"""Reads Gemini CLI's two kinds of transcript, which hold the same messages.

A *document* (``session-*.json``) is rewritten whole. A *replay log* (``.jsonl``) is appended to:
a message under an id that was there before replaces it, ``$set`` changes what is said of the
session, a list of messages in ``$set`` is the history as it now stands, ``$rewindTo`` drops the
end of it. What a response cost stays paid whatever becomes of the message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, ClassVar

from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    ReaderState,
    clean,
    to_ms,
    tool_kind,
)
from decklog.agents.gemini import places
from decklog.agents.gemini.records import (
    NOTHING,
    SNAPSHOT,
    FullLine,
    LeanLine,
    Tokens,
    extras,
    is_snapshot,
    output_of,
    paths,
    raw,
    spans,
    texts_of,
    thought,
)
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Event,
    Facts,
    ProviderStatus,
    Reasoning,
    Ref,
    SessionStarted,
    StateChanged,
    ToolCalled,
    ToolKind,
    ToolReturned,
    Usage,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)

PROVIDER = "gcp.gemini"
CONTEXT = ("<session_context>", "<hook_context>", SNAPSHOT)
COMMANDS = ("/", "?", "System: Please continue.", "System: Potential loop")
"""Beginnings of user messages that the agent handles itself or wrote itself."""
ANSWERS = ("gemini", "assistant", "model")
NOTES = ("info", "error", "warning")
DONE = {"success": True, "error": False, "cancelled": False}
"""Statuses of a tool call that has ended, and whether it went well."""

_limit = re.compile(r"exhausted your (?:\S+ )?(?:quota|capacity)|usage limit|quota exceeded", re.I)
_reset = re.compile(r"resets? (?:at|after|in) ([^.\n]{1,60})", re.I)


class State(ReaderState, kw_only=True):
    current: str = ""
    opened: str = ""
    """Time the current session began, as stated."""
    started: list[str] = []
    given: set[int] = set()
    """Digests of what has been given out, so that a later version of a message adds only news."""
    rewriting: bool = False
    """The agent is writing its history again, message by message, under new ids."""


class Scene:
    """What the events of one message share."""

    __slots__ = ("at", "at_text", "begun", "facts", "listed", "out", "ref", "session", "uid")

    def __init__(
        self, facts: Facts, uid: str, ref: Ref, out: list[Event], listed: bool = False
    ) -> None:
        self.facts = facts
        self.session = f"gemini:{facts.native}"
        self.uid = uid
        self.ref = ref
        self.out = out
        self.listed = listed
        """In a list that restates the history."""
        self.begun = False
        self.at: int | None = None
        self.at_text = ""


class GeminiReader(BaseReader):
    agent = "gemini"
    State: ClassVar[type[ReaderState]] = State
    Record = FullLine
    Lean = LeanLine

    def placed(self) -> None:
        folder, _, name = self.uri.rpartition("/")
        self.stem = name.rpartition(".")[0] or name
        self.parent = folder.rpartition("/chats/")[2] if "/chats/" in folder else ""
        if self.parent.startswith("skill-extraction-"):  # the name of a background task
            self.parent = ""
        self.whole = False
        """Reading a document: it holds each message once."""
        self.fed = b""
        """What is being read."""

    def feed(self, line: bytes, ref: Ref) -> list[Event]:
        self.fed = line
        try:
            return super().feed(line, ref)
        finally:
            self.fed = b""

    def session_id(self) -> str:
        return f"gemini:{self.s.current or self.stem or 'session'}"

    # -- records -------------------------------------------------------------------------------

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: LeanLine = record
        out: list[Event] = []
        if r.messages is not None:
            self._document(r, ref, out)
        elif r.rewind_to is not None:
            x = Scene(self._head(NOTHING), "", ref, out)
            self._put(x, StateChanged, f"rewind:{ref.offset}", what="rewind", new=r.rewind_to)
        elif r.change is not None:
            self._change(r.change, ref, out)
        elif r.id is not None or (r.type is not None and r.content is not None):
            f = self._head(NOTHING)
            self._message(Scene(f, r.id or f"{f.native}@{ref.offset}", ref, out), r)
        elif r.session_id is not None:
            self._title(self._head(r), r, ref, out)
        else:
            out.append(self.warn("unknown", "record of no known kind", ref))
        return out

    def _document(self, r: LeanLine, ref: Ref, out: list[Event]) -> None:
        f = self._head(r)
        self.whole = True
        messages = r.messages or ()
        found = spans(self.fed)
        if len(found) != len(messages):  # what could be saved of a damaged document
            found = [(0, ref.length)] * len(messages)
        for i, (m, (start, length)) in enumerate(zip(messages, found, strict=True)):
            place = Ref(ref.source, ref.offset + start, length, ref.line)
            self._message(Scene(f, m.id or f"{f.native}#{i}", place, out), m)
        self.whole = False
        self._title(f, r, ref, out)

    def _change(self, change: Any, ref: Ref, out: list[Event]) -> None:
        """A ``$set`` line. A list of messages in it is the history as it now stands."""
        f = self._head(change)
        scenes = []
        compacted = False
        for i, m in enumerate(change.messages or ()):
            x = Scene(f, m.id or f"{f.native}@{ref.offset}#{i}", ref, out, listed=True)
            scenes.append((x, m))
            if is_snapshot(texts_of(m.content)) and self._new("text", x.uid):
                compacted = True
                self._compacted(x, m)
        for x, m in scenes:
            if compacted and m.tokens is None:  # what is left of the history, under new ids
                self._new("text", x.uid)
            self._message(x, m)
        if scenes:
            self.s.rewriting = False
        self._title(f, change, ref, out)

    def _head(self, head: Any) -> Facts:
        """The facts of the session that a record belongs to, with what it says of the session."""
        native = head.session_id or self.s.current or self.stem or "session"
        f = self.facts.get(native)
        if f is None:
            f = self.fact(native)
            f.cwd = places.workspace(self.uri, self.companions)
            if self.parent and self.parent != native:
                f.parent, f.relation = self.parent, "subagent"
        self.s.current = native
        at = to_ms(head.start_time) if head.start_time else None
        if at is not None:
            if f.opened_at is None:
                f.opened_at = at
                self.s.opened = head.start_time
            f.started_at = at if f.started_at is None else min(f.started_at, at)
        updated = to_ms(head.last_updated) if head.last_updated else None
        if updated is not None:
            f.last_at = updated if f.last_at is None else max(f.last_at, updated)
        if head.directories and f.relation == "subagent" and not f.cwd:
            f.cwd = head.directories[0]
        return f

    def _title(self, f: Facts, head: Any, ref: Ref, out: list[Event]) -> None:
        text = clean(head.summary or "", TITLE_LENGTH)
        if text and text != f.title and not text.startswith("{"):  # a subagent's result is JSON
            x = Scene(f, "", ref, out)  # no time: it is written later, often by another run
            uid, old = f"title:{text}", f.title or None
            self._put(x, StateChanged, uid, what="title", old=old, new=text)
            f.title, f.title_rank = text, 1

    # -- what is new -----------------------------------------------------------------------------

    def _new(self, *what: str) -> bool:
        """True when this has not been given out before; from now on it has."""
        digest = hashlib.blake2b("\0".join(what).encode(), digest_size=8).digest()
        key = int.from_bytes(digest)
        if key in self.s.given:
            return False
        self.s.given.add(key)
        return True

    def _said(self, role: str, texts: Iterable[str]) -> bool:
        """True when all these texts were said before in the session (and notes that they were)."""
        fresh = [self._new("said", role, t.strip()) for t in texts]
        return not any(fresh)

    def _put(self, x: Scene, kind: Any, uid: str, **own: Any) -> None:
        if not x.begun:
            self._begin(x)
        self.s.seq += 1
        x.out.append(
            kind(
                seq=self.s.seq,
                session=x.session,
                agent="gemini",
                at=x.at,
                at_text=x.at_text,
                ref=x.ref,
                uid=uid,
                **own,
            )
        )

    def _begin(self, x: Scene, time: str | None = None) -> None:
        """Before the first event of a message: its time, and the session's start."""
        f = x.facts
        x.begun = True
        x.at_text = time or ""
        x.at = at = to_ms(time) if time else None
        if at is not None:
            if f.opened_at is None:
                f.opened_at = at
                self.s.opened = x.at_text
            if f.started_at is None or at < f.started_at:
                f.started_at = at
            if f.last_at is None or at > f.last_at:
                f.last_at = at
        if f.native not in self.s.started:
            self.s.started.append(f.native)
            start = Scene(f, "", x.ref, x.out)
            start.begun, start.at, start.at_text = True, f.opened_at, self.s.opened
            uid, cwd = f"start:{f.native}", f.cwd or None
            self._put(start, SessionStarted, uid, command="gemini", cwd=cwd)

    # -- messages ------------------------------------------------------------------------------

    def _message(self, x: Scene, m: Any) -> None:
        kind = m.type
        if kind in ANSWERS:
            self._answer(x, m)
        elif kind == "user":
            if self.whole or self._new("text", x.uid):
                self._prompt(x, m)
        elif kind in NOTES:
            if self.whole or self._new("text", x.uid):
                self._note(x, m)
        else:
            x.out.append(self.warn("unknown", f"message type {kind!r}", x.ref))

    def _prompt(self, x: Scene, m: Any) -> None:
        f = x.facts
        shown, texts = texts_of(m.display_content), texts_of(m.content)
        own = [t for t in texts if not t.lstrip().startswith(CONTEXT)]
        answered, images = extras(m.content)
        context = len(own) < len(texts)
        if context and not f.cwd:
            f.cwd = places.named_in(texts)
        # The opening context and a prompt in one turn, or a summary of what was: so the agent
        # begins to write its history anew, under new ids.
        if context and not (shown or x.listed) and f.prompts and (own or is_snapshot(texts)):
            self.s.rewriting = True
        again = bool(own) and not (answered or self.whole) and self._said("user", own)
        if (again and (x.listed or self.s.rewriting)) or not (texts or images):
            return
        if is_snapshot(texts):
            self._compacted(x, m)
            return
        self._begin(x, m.timestamp)
        injected = not shown and (
            answered
            or self.s.rewriting
            or (context and not own)
            or "".join(own).lstrip().startswith(COMMANDS)
            or (f.relation == "subagent" and f.prompts > 0)  # the agent's own reminders
        )
        text = "\n".join(shown or (texts if injected else own))
        if not injected:
            f.prompts += 1
            f.messages += 1
            f.first_uid = f.first_uid or x.uid
            f.prompt = f.prompt or clean(text)
        self._put(
            x,
            UserMessage,
            x.uid,
            content=text,
            message_id=x.uid,
            injected=injected,
            images=images,
        )

    def _compacted(self, x: Scene, m: Any) -> None:
        x.facts.compactions += 1
        self._begin(x, m.timestamp)
        self._put(x, Compacted, x.uid, summary="\n".join(texts_of(m.content)))

    def _answer(self, x: Scene, m: Any) -> None:
        f, s, uid, whole = x.facts, self.s, x.uid, self.whole
        model, tokens = m.model or "", m.tokens
        own = bool(model) or tokens is not None  # a copy of the history has neither
        if own and not x.listed:
            s.rewriting = False
        copied = not own and (x.listed or s.rewriting)
        if not copied:
            self._begin(x, m.timestamp)
        if model and model != f.model and not x.listed:
            if f.model:
                what = {"what": "model", "old": f.model, "new": model}
                self._put(x, StateChanged, f"{uid}:model", **what)
            f.model = model
        if m.thoughts and not copied and (whole or self._new("thought", uid)):
            thoughts = "\n".join(thought(t) for t in m.thoughts) if self.text else ""
            self._put(x, Reasoning, f"{uid}:thought", content=thoughts, message_id=uid)
        texts = texts_of(m.content)
        if texts and (whole or self._new("text", uid)):
            again = not whole and self._said("model", texts)
            if not copied and not (again and x.listed):
                f.messages += 1
                f.first_uid = f.first_uid or uid
                s.seq += 1
                x.out.append(
                    AssistantMessage(
                        seq=s.seq,
                        session=x.session,
                        agent="gemini",
                        at=x.at,
                        at_text=x.at_text,
                        ref=x.ref,
                        uid=uid,
                        content="\n".join(texts),
                        message_id=uid,
                        model=model,
                    )
                )
        if tokens is not None:
            self._usage(x, tokens, model)
        for i, call in enumerate(m.tool_calls or ()):
            self._tool(x, call, call.id or f"{uid}#{i}")

    def _usage(self, x: Scene, t: Tokens, model: str) -> None:
        sent, thoughts = t.input or 0, t.thoughts or 0
        cached = min(t.cached or 0, sent)  # a part of the input, as thoughts are none of the output
        usage = Usage(
            input=sent - cached + (t.tool or 0),
            cache_read=cached,
            output=(t.output or 0) + thoughts,
            reasoning=thoughts,
        )
        if self.whole or self._new("usage", x.uid, model, repr(usage)):
            self.s.seq += 1
            x.out.append(
                UsageReported(
                    seq=self.s.seq,
                    session=x.session,
                    agent="gemini",
                    at=x.at,
                    at_text=x.at_text,
                    ref=x.ref,
                    uid=f"{x.uid}:usage",
                    key=f"{x.session}/{x.uid}",
                    usage=usage,
                    provider=PROVIDER,
                    model=model or "unknown",
                )
            )

    def _tool(self, x: Scene, c: Any, tool_id: str) -> None:
        if not x.begun:
            self._begin(x)
        name = c.name or "?"
        child = f"gemini:{c.agent_id}" if c.agent_id else None
        kind: ToolKind = "sub_agent" if child else tool_kind(name)
        if self.whole or self._new("call", tool_id):
            self.s.seq += 1
            x.out.append(
                ToolCalled(
                    seq=self.s.seq,
                    session=x.session,
                    agent="gemini",
                    at=x.at,
                    at_text=x.at_text,
                    ref=x.ref,
                    uid=f"{x.uid}:{tool_id}",
                    tool_name=name,
                    tool_kind=kind,
                    tool_id=tool_id,
                    input=raw(c.args) if self.text else NULL,
                    paths=paths(c.args),
                    child=child,
                )
            )
        ended = c.status in DONE or (c.result and not c.status)
        if ended and (self.whole or self._new("return", tool_id)):
            success = DONE.get(c.status)
            output = output_of(c.result) if self.text else None
            self.s.seq += 1
            x.out.append(
                ToolReturned(
                    seq=self.s.seq,
                    session=x.session,
                    agent="gemini",
                    at=to_ms(c.timestamp) if c.timestamp else x.at,
                    at_text=c.timestamp or x.at_text,
                    ref=x.ref,
                    uid=f"{x.uid}:{tool_id}:result",
                    tool_name=name,
                    tool_kind=kind,
                    tool_id=tool_id,
                    success=success,
                    output=output,
                    error=output if success is False else None,
                    data=raw(c.result_display) if self.text else NULL,
                    child=child,
                )
            )

    def _note(self, x: Scene, m: Any) -> None:
        self._begin(x, m.timestamp)
        text = "\n".join(texts_of(m.content))
        if m.type == "info" and text.startswith("Request cancelled"):
            x.facts.aborts += 1
            self._put(x, StateChanged, x.uid, what="aborted", new=text[:200])
        elif m.type == "error" and _limit.search(text):
            x.facts.limits += 1
            found = _reset.search(text)
            self._put(
                x,
                UsageLimitHit,
                x.uid,
                provider=PROVIDER,
                scope="daily" if "daily" in text else "",
                reset_at=found[1].strip() if found else None,
                incident_id=x.uid,
                raw=text[:1000],
            )
        else:
            self._put(x, ProviderStatus, x.uid, message=f"{m.type} {clean(text, 1000)}")
