"""Pi: entries of a session file to events. Sources of the facts: docs/formats/pi.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    ReaderState,
    clean,
    count,
    micro_usd,
    patch_paths,
    sane_ms,
    to_ms,
    tool_kind,
)
from decklog.agents.pi.places import id_in, id_of
from decklog.agents.pi.records import (
    ARGUMENTS,
    Arguments,
    Block,
    Content,
    Entry,
    Message,
    Response,
    Tokens,
    answers_in,
    decoded,
    joined,
    runs_in,
    text_of,
)
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Event,
    Facts,
    Forked,
    ProviderStatus,
    Reasoning,
    Ref,
    SessionStarted,
    StateChanged,
    ToolCalled,
    ToolReturned,
    Usage,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)

INJECTED = ("custom", "hookMessage", "branchSummary", "compactionSummary", "developer")
"""Roles of messages that Pi or an extension put there."""
EMBEDDED = 1
"""Rank of usage in a copy of a subagent's messages."""
QUIET = frozenset(
    """active_tools_change context_edit context_transform credential_pin custom ephemeral leaf
    mode_change reset reset_boundary service_tier_change session_init title_change
    ttsr_injection""".split()
)
"""Entries that hold no prompt, answer, tool or usage."""

_stored = re.compile(rb'\dZ_[^/"\\]+[/\\][^"]*\.jsonl"')
"""In a tool's details: the file of a subagent's session, below that of its parent."""
_quoted = re.compile(r'<(skill|file) name="([^"]*)"[^>]*>.*?</\1>', re.S)
_refused = re.compile(
    r"\b429\b|(?:usage|rate|spending|request|hourly|daily|weekly|monthly|plan)[ _-]?limit|quota|"
    r"too many requests|hit your (?:\S+ )*limit",
    re.I,
)
_scope = re.compile(r"\b(weekly|monthly|daily|hourly)\b", re.I)
_reset = re.compile(r"(?:try again|resets?)(?: at| in| on)? ([^.\n]{1,60})", re.I)


class State(ReaderState, kw_only=True):
    native: str = ""
    provider: str = ""


class PiReader(BaseReader):
    agent = "pi"
    State: ClassVar[type[ReaderState]] = State
    Record = Entry

    f: Facts
    base: dict[str, Any]
    """What the events of the current entry have in common."""
    out: list[Event]

    def placed(self) -> None:
        *folders, name = self.uri.split("/")
        self.stem = name.removesuffix(".jsonl")
        self.above = next(filter(None, map(id_in, reversed(folders))), "")
        """The session in whose folder this one is: its extension started it as a subagent."""

    def session_id(self) -> str:
        return f"pi:{self.s.native or id_in(self.stem) or self.stem}"

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: Entry = record
        kind, m = r.type, r.message
        if kind == "title":  # a variant's, before the header
            return []
        if not self.s.native:
            stated = r.id if kind == "session" else ""
            self.s.native = stated or id_in(self.stem) or self.stem or "session"
        first = self.s.native not in self.facts
        self.f = self.fact(self.s.native)
        at_text = r.timestamp or ""
        at = to_ms(at_text)
        if at is None and m and (at := sane_ms(m.timestamp)):
            at_text = str(at)
        if at is not None:
            f = self.f
            f.opened_at = f.opened_at or at
            f.started_at = min(f.started_at or at, at)
            f.last_at = max(f.last_at or at, at)
        uid = f"{r.id}:{at_text}"
        if not r.id or kind == "session":  # version 1 has no ids
            told = m and (m.tool_call_id or m.timestamp)
            uid = f"{m.role if m else kind}:{at_text}:{told or ''}"
        self.base = {
            "session": f"pi:{self.s.native}",
            "agent": "pi",
            "at": at,
            "at_text": at_text,
            "ref": ref,
            "uid": uid,
        }
        self.out = []
        if first:
            if self.above not in ("", self.s.native):
                self.f.parent, self.f.relation = self.above, "subagent"
            start = f"start:{self.s.native}"
            self._put(SessionStarted, uid=start, command="pi", cwd=r.cwd or None)
        if kind == "message" and m:
            self._message(m)
        elif read := _ENTRIES.get(kind):
            read(self, r)
        elif kind not in QUIET:
            self._unknown(f"record type {kind!r}")
        return self.out

    def _put(self, kind: Any, **own: Any) -> None:
        self.s.seq += 1
        uid = f"{self.base['uid']}:{len(self.out)}" if self.out else self.base["uid"]
        self.out.append(kind(seq=self.s.seq, **{**self.base, "uid": uid, **own}))

    def _unknown(self, what: str) -> None:
        self.out.append(self.warn("unknown", what, self.base["ref"]))

    # -- entries -------------------------------------------------------------------------------

    def _header(self, r: Entry) -> None:
        f = self.f
        f.cwd = f.cwd or r.cwd or ""
        self._model(r.provider, r.model_id)
        parent = id_of(r.parent_session or r.branched_from or "")
        if parent not in ("", f.native) and not f.parent:
            f.parent, f.relation = parent, "fork"
            self._put(Forked, parent=f"pi:{parent}", relation="fork")
        if r.title:
            self._title(r.title, 2)

    def _model_change(self, r: Entry) -> None:
        provider, model = r.provider, r.model_id
        if r.model:  # a variant of Pi: provider/model, for one of several roles
            provider, _, model = r.model.partition("/")
        if r.role in (None, "default"):
            self._model(provider, model)

    def _model(self, provider: str | None, model: str | None) -> None:
        self.s.provider = provider or self.s.provider
        old = self.f.model
        if model and old and model != old:
            self._put(StateChanged, what="model", old=old, new=model)
        self.f.model = model or old

    def _effort(self, r: Entry) -> None:
        self._put(StateChanged, what="effort", new=r.thinking_level)

    def _label(self, r: Entry) -> None:
        self._put(StateChanged, what="label", new=r.label)

    def _named(self, r: Entry) -> None:
        if r.name:
            self._title(r.name, 3)

    def _title(self, title: str, rank: int) -> None:
        f = self.f
        if rank >= f.title_rank:
            f.title, f.title_rank = clean(title, TITLE_LENGTH), rank
            self._put(StateChanged, what="title", new=f.title)

    def _compaction(self, r: Entry) -> None:
        self.f.compactions += 1
        self._put(
            Compacted,
            trigger="extension" if r.from_hook or r.from_extension else "",
            summary=text_of(r.summary) if self.text else "",
            tokens_before=count(r.tokens_before) or None,
        )
        self._request(r)

    def _branch_summary(self, r: Entry) -> None:
        self._put(UserMessage, content=text_of(r.summary) if self.text else "", injected=True)
        self._request(r)

    def _custom_message(self, r: Entry) -> None:
        self._put(UserMessage, content=self._said(r.content), injected=True)

    def _request(self, r: Entry) -> None:
        """Usage of a request that is no message: of a summary, or one recorded by itself."""
        if r.usage:
            names = (self.base["at_text"], r.type)
            self._report(r.usage, names, r.provider or self.s.provider, r.model or self.f.model)

    # -- messages ------------------------------------------------------------------------------

    def _message(self, m: Message) -> None:
        role = m.role
        if role == "user" and not m.synthetic:
            self._prompt(m)
        elif role == "assistant":
            self._answer(m)
        elif role == "toolResult":
            self._returned(m)
        elif role == "bashExecution":  # typed by the user, as !command
            said = f"!{m.command or ''}\n{text_of(m.output)}".rstrip()
            self._put(UserMessage, content=said if self.text else "", injected=True)
        elif role in INJECTED or role == "user":
            self._put(UserMessage, content=self._said(m.content), injected=True)
        elif role != "system":
            self._unknown(f"message role {role!r}")

    def _prompt(self, m: Message) -> None:
        f, text = self.f, joined(m.content)
        images = sum(b.type == "image" for b in m.content) if isinstance(m.content, list) else 0
        f.prompts += 1
        f.messages += 1
        f.first_uid = f.first_uid or self.base["uid"]
        f.prompt = f.prompt or clean(_quoted.sub(_mentioned, text))
        self._put(UserMessage, content=text, images=images)

    def _answer(self, m: Message) -> None:
        f, model = self.f, m.model or ""
        self._model(m.provider, model)
        blocks = m.content if isinstance(m.content, list) else []
        if isinstance(m.content, str) and m.content:
            blocks = [Block(type="text", text=Raw(msgspec.json.encode(m.content)))]
        for b in blocks:
            if b.type == "text":
                if len(b.text) > len('""'):
                    f.messages += 1
                    f.first_uid = f.first_uid or self.base["uid"]
                    content = text_of(b.text) if self.text else ""
                    self._put(AssistantMessage, content=content, model=model)
            elif b.type == "thinking":
                self._put(Reasoning, content=text_of(b.thinking) if self.text else "")
            elif b.type == "toolCall":
                self._called(b)
            elif b.type != "image":
                self._unknown(f"content block {b.type!r}")
        if m.usage:
            self._used(m)
        if m.stop_reason == "aborted":
            f.aborts += 1
            self._put(StateChanged, what="aborted", new=(m.error_message or "")[:200] or None)
        elif m.stop_reason == "error":
            self._failed(m.error_message or "")

    def _called(self, b: Block) -> None:
        a = decoded(b.arguments, ARGUMENTS) or Arguments()
        named = [p for p in (a.path, a.file_path) if isinstance(p, str) and p]
        paths = [p for p in named if "://" not in p]
        if isinstance(a.input, str):
            paths += patch_paths(a.input)
        name = b.name or "?"
        self._put(
            ToolCalled,
            tool_name=name,
            tool_kind=tool_kind(name),
            tool_id=b.id,
            input=b.arguments.copy() if self.text else NULL,
            paths=tuple(dict.fromkeys(paths)),
        )

    def _returned(self, m: Message) -> None:
        runs = runs_in(m.details)
        child = next((i for run in runs if (i := id_of(run.session_file or ""))), "")
        body: dict[str, Any] = {}
        if self.text:
            output = joined(m.content)
            error = output if m.is_error else None
            body = {"output": output, "error": error, "data": m.details.copy()}
        self._put(
            ToolReturned,
            tool_name=m.tool_name,
            tool_kind=tool_kind(m.tool_name) if m.tool_name else None,
            tool_id=m.tool_call_id,
            success=not m.is_error,
            child=f"pi:{child}" if child else None,
            **body,
        )
        inner = [x for run in runs for x in answers_in(run)]
        for x in inner:
            self._used(x, rank=EMBEDDED)
        # What the tool spent, unless its messages or a file of the subagent's own say it too.
        if m.usage and not inner and not _stored.search(m.details):
            self._report(m.usage, (self.base["at_text"], m.tool_call_id or "tool"))

    # -- what it cost, and what went wrong -----------------------------------------------------

    def _used(self, m: Response, rank: int = 2) -> None:
        """Usage of a response. Its entry's id is left out of the key: a response has none where a
        subagent's messages are part of a tool result, and version 1 gets its ids later."""
        at = sane_ms(m.timestamp)
        names = (str(at or self.base["uid"]), m.provider or "", m.model or "", m.response_id or "")
        when = {"at": at, "at_text": str(at)} if at and rank == EMBEDDED else {}
        provider = m.provider or self.s.provider
        self._report(m.usage or Tokens(), names, provider, m.model, rank=rank, **when)

    def _report(
        self,
        t: Tokens,
        names: tuple[str, ...],
        provider: str = "",
        model: str | None = None,
        **own: Any,
    ) -> None:
        output, write = count(t.output), count(t.cache_write)
        usage = Usage(
            input=count(t.input),
            cache_read=count(t.cache_read),
            cache_write=write,
            cache_write_1h=min(count(t.cache_write_1h), write),
            output=output,
            reasoning=min(count(t.reasoning), output),
        )
        cost = micro_usd(t.cost.get("total") if isinstance(t.cost, dict) else t.cost)
        if usage.total or cost:
            figures = f"{usage.input}:{usage.cache_read}:{write}:{output}"
            self._put(
                UsageReported,
                key=":".join(("pi", *names, figures)),
                usage=usage,
                provider=provider,
                model=model or "unknown",
                reported_micro_usd=cost or None,
                **own,
            )

    def _failed(self, text: str) -> None:
        if not _refused.search(text):
            self._put(ProviderStatus, message=text[:1000] or "error")
            return
        self.f.limits += 1
        scope, reset = _scope.search(text), _reset.search(text)
        self._put(
            UsageLimitHit,
            provider=self.s.provider,
            scope=scope[1].lower() if scope else "",
            reset_at=reset[1].strip() if reset else None,
            incident_id=self.base["uid"],
            raw=text[:1000],
        )

    def _said(self, content: Content) -> str:
        return joined(content) if self.text else ""


_ENTRIES: dict[str, Callable[[PiReader, Entry], None]] = {
    "session": PiReader._header,
    "model_change": PiReader._model_change,
    "thinking_level_change": PiReader._effort,
    "label": PiReader._label,
    "session_info": PiReader._named,
    "compaction": PiReader._compaction,
    "branch_summary": PiReader._branch_summary,
    "custom_message": PiReader._custom_message,
    "usage": PiReader._request,
    "model_usage": PiReader._request,
}


def _mentioned(found: re.Match[str]) -> str:
    """What the user typed for a text that Pi put into the prompt."""
    return ("/skill:" if found[1] == "skill" else "@") + found[2]
