"""Records of a rollout to events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    ReaderState,
    clean,
    mend_text,
    to_ms,
    tool_kind,
)
from decklog.agents.codex import INDEX, records, tools
from decklog.agents.codex.prompts import joined, print_of, said, working_directory
from decklog.agents.codex.records import EventMsg, Line, Meta, ResponseItem, RolloutLine, tags
from decklog.agents.codex.tokens import Ledger, five, usage
from decklog.agents.codex.tools import Note
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Cursor,
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
    UsageLimitHit,
    UsageReported,
    UserMessage,
)

ITEMS = tags(ResponseItem)
EVENTS = tags(EventMsg)
LINES = tags(RolloutLine)
QUIET = frozenset(
    ["state", "inter_agent_communication_metadata", "security_risk_score", "retained_context", "realtime_item", "rollout_reference", "agent_response_observation", "response_item/compaction", "response_item/context_compaction", "response_item/compaction_trigger", "response_item/compaction_summary", "response_item/additional_tools", "response_item/configuration_update", "response_item/other", "event_msg/agent_reasoning_raw_content", "event_msg/agent_reasoning_section_break", "event_msg/context_compacted", "event_msg/web_search_end", "event_msg/web_search_begin", "event_msg/image_generation_end", "event_msg/image_generation_begin", "event_msg/item_started", "event_msg/exec_command_begin", "event_msg/exec_command_output_delta", "event_msg/patch_apply_begin", "event_msg/mcp_tool_call_begin", "event_msg/plan_update", "event_msg/turn_diff", "event_msg/raw_response_item", "event_msg/session_configured", "event_msg/shutdown_complete", "event_msg/collab_agent_interaction_end", "event_msg/collab_waiting_end", "event_msg/collab_close_end", "event_msg/collab_resume_end", "event_msg/dynamic_tool_call_request", "event_msg/hook_started"]
)
"""Kinds of record that repeat others, or say nothing of prompts, answers, tools or usage."""
NOTICES = frozenset(
    ["entered_review_mode", "exited_review_mode", "thread_goal_updated", "undo_completed", "warning", "stream_error", "background_event", "guardian_warning", "guardian_assessment", "model_reroute", "model_verification", "deprecation_notice", "hook_completed"]
)
"""Events that are passed on as they are."""
QUIET_ITEMS = frozenset(
    ["Reasoning", "Plan", "Sleep", "WebSearch", "ImageGeneration", "ContextCompaction", "HookPrompt", "EnteredReviewMode", "ExitedReviewMode", "Extension"]
)
"""Kinds of finished item that repeat other records."""
RAW = ("arguments", "input", "output", "action")
KEPT = 64
"""Open calls and recent texts that are remembered."""
ITEM, EVENT, FINISHED = range(3)
"""Ways in which one message is recorded: as a response item, an event, a finished item."""

_name = re.compile(r"rollout-.*?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.json")
_again = re.compile(r"try again (?:at|in) (.+?)\.?$")

Handler = Callable[[Any, Any, Ref, list[Event]], None]


class Call(msgspec.Struct):
    """A tool call whose output is still to come."""

    name: str
    paths: list[str] = []


class State(ReaderState, kw_only=True):
    native: str = ""
    origin: str = ""
    """Session whose records were copied into this one: the last that named itself."""
    provider: str = ""
    model: str = ""
    turn: str = ""
    copied: bool = False
    """True while a subagent's transcript repeats what its parent had before it."""
    response: str = ""
    """Last response with a usage record."""
    limited: str = ""
    """Turn whose usage limit has been reported."""
    calls: dict[str, Call] = {}
    notes: dict[str, Note] = {}
    running: dict[str, str] = {}
    """Commands that go on after their call returned: call id to tool name."""
    texts: dict[str, list[int]] = {}
    """How often a recent text was recorded in each way."""
    ledger: Ledger = msgspec.field(default_factory=Ledger)


class CodexReader(BaseReader):
    agent = "codex"
    State: ClassVar[type[ReaderState]] = State
    Record = RolloutLine

    def __init__(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(cursor, text=text, companions=companions)
        self.session = f"codex:{self.s.native}"
        self.f: Facts | None = self.facts.get(self.s.native) if self.s.native else None
        self.named = False
        self.at_text, self.at = "", None
        self.on: dict[type, Handler] = {
            records.Message: self._message,
            records.AgentMessage: self._note_of_agent,
            records.AgentNote: self._note_of_agent,
            records.Thought: self._thought,
            records.FunctionCall: self._function,
            records.CustomCall: self._custom,
            records.ToolSearch: self._tool_search,
            records.LocalShell: self._local_shell,
            records.WebSearch: self._served,
            records.ImageMade: self._served,
            records.FunctionOutput: self._output,
            records.CustomOutput: self._output,
            records.ToolSearchOutput: self._found,
            records.UserSaid: self._user_said,
            records.AgentSaid: self._agent_said,
            records.TokenCount: self._token_count,
            records.TurnStarted: self._turn_started,
            records.TurnEnded: self._turn_ended,
            records.TurnAborted: self._turn_aborted,
            records.Failure: self._failure,
            records.SettingsApplied: self._settings,
            records.Renamed: self._renamed,
            records.RolledBack: self._rolled_back,
            records.PatchEnd: self._patch_end,
            records.McpEnd: self._mcp_end,
            records.ExecEnd: self._exec_end,
            records.SubagentActivity: self._subagent,
            records.ItemCompleted: self._item,
            records.Meta: self._meta,
            records.TurnContext: self._context,
            records.UsageRecord: self._usage_record,
            records.Compaction: self._compacted,
        }

    # -- one record --------------------------------------------------------------------------

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: Any = record
        out: list[Event] = []
        text = r.timestamp or ""
        if text != self.at_text:
            self.at_text = text
            self.at = to_ms(text) if text else None
            if self.f is not None:
                self._clock(self.f)
        p = getattr(r, "payload", None)
        if self.f is None and type(p) is not Meta:
            self._begin(Meta(), ref, out)
        elif not self.named:
            self._rename(ref, out)
        handler = self.on.get(type(p))
        if handler is not None:
            handler(p, r, ref, out)
        return out

    def session_id(self) -> str:
        return self.session

    def _clock(self, f: Facts) -> None:
        at = self.at
        if at is None:
            return
        if f.opened_at is None:
            f.opened_at = at
        if f.started_at is None or at < f.started_at:
            f.started_at = at
        if f.last_at is None or at > f.last_at:
            f.last_at = at

    def _put(self, out: list[Event], kind: Any, ref: Ref, uid: str, **own: Any) -> None:
        self.s.seq += 1
        out.append(
            kind(
                seq=self.s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=uid or f"{self.s.native}:{self.s.seq}",
                **own,
            )
        )

    @property
    def family(self) -> str:
        """What the ids of records without one of their own begin with: turns keep their id when
        a fork copies them, and before there were turns a copy tells whose it is."""
        return self.s.turn or self.s.origin or self.s.native

    # -- the session ---------------------------------------------------------------------------

    def _meta(self, p: Meta, r: Any, ref: Ref, out: list[Event]) -> None:
        f = self.f
        if f is None:
            self._begin(p, ref, out)
        elif p.id == f.native:  # written again on resume
            f.agent_version = p.cli_version or f.agent_version
        elif p.id:  # the head of a history that was copied into this one
            self.s.origin = p.id
            if not f.relation:
                self._branch(f, p.id, ref, out)

    def _begin(self, p: Meta, ref: Ref, out: list[Event]) -> None:
        file = self.uri.rpartition("/")[2]
        found = _name.search(file)
        named = found[1] if found else ""
        native = p.id or named or p.session_id or file.partition(".")[0] or "session"
        self.s.native, self.session = native, f"codex:{native}"
        self.f = f = self.fact(native)
        if self.at is None and p.timestamp:
            self.at_text, self.at = p.timestamp, to_ms(p.timestamp)
        self._clock(f)
        f.cwd = p.cwd or ""
        f.agent_version = p.cli_version or ""
        if p.git is not None:
            f.project, f.branch = p.git.repository_url or "", p.git.branch or ""
        self.s.provider = p.model_provider or "openai"
        self._put(
            out, SessionStarted, ref, f"start:{native}", command=p.originator or "codex",
            cwd=f.cwd or None,
        )  # fmt: skip
        self._lineage(f, p, ref, out)
        self._rename(ref, out)
        if named and p.id and named != p.id:
            out.append(self.warn("misfiled", f"session {p.id} in a file of {named}", ref))

    def _lineage(self, f: Facts, p: Meta, ref: Ref, out: list[Event]) -> None:
        source = p.source.subagent if isinstance(p.source, records.Origin) else None
        spawn = source.thread_spawn if isinstance(source, records.Subagent) else None
        spawn = spawn or records.Spawn()
        parent = p.parent_thread_id or spawn.parent_thread_id or ""
        if source is not None or parent or p.thread_source in ("subagent", "guardian_review"):
            f.relation = "subagent"
            parents = (parent, p.forked_from_id, p.session_id)
            f.parent = next((x for x in parents if x and x != f.native), "")
            path, name = p.agent_path or spawn.agent_path, p.agent_nickname or spawn.agent_nickname
            f.title = clean((path or "").rpartition("/")[2] or name or "", TITLE_LENGTH)
            f.title_rank = 1 if f.title else 0
        elif p.forked_from_id:
            self._branch(f, p.forked_from_id, ref, out)

    def _branch(self, f: Facts, parent: str, ref: Ref, out: list[Event]) -> None:
        f.parent, f.relation = parent, "fork"
        self._put(out, Forked, ref, f"fork:{f.native}", parent=f"codex:{parent}", relation="fork")

    def _rename(self, ref: Ref, out: list[Event]) -> None:
        """The name of the session in the index that all sessions share; the last entry counts."""
        self.named = True
        for path, data in self.companions.items():
            if path.endswith(INDEX):
                self._title(_indexed(data, self.s.native), ref, out)

    def _renamed(self, p: records.Renamed, r: Any, ref: Ref, out: list[Event]) -> None:
        self._title(p.thread_name or "", ref, out)

    def _title(self, name: str, ref: Ref, out: list[Event]) -> None:
        f, title = self.f, clean(name, TITLE_LENGTH)
        if f is None or not title or (title == f.title and f.title_rank == 2):
            return
        self._put(out, StateChanged, ref, "", what="title", old=f.title or None, new=title)
        f.title, f.title_rank = title, 2

    # -- turns -----------------------------------------------------------------------------------

    def _turn(self, turn: str | None) -> None:
        s = self.s
        if turn and turn != s.turn:
            s.turn = turn
            # Both are UUIDs of version 7, which begin with the time: a turn that is older than
            # the session is its parent's.
            f = self.facts[s.native]
            s.copied = f.relation == "subagent" and turn[14:15] == s.native[14:15] == "7" and (
                turn < s.native
            )

    def _turn_started(self, p: records.TurnStarted, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)

    def _context(self, p: records.TurnContext, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)
        f = self.facts[self.s.native]
        if p.cwd and not f.cwd:
            f.cwd = p.cwd
        if p.model:
            self._model(p.model, f, ref, out)

    def _settings(self, p: records.SettingsApplied, r: Any, ref: Ref, out: list[Event]) -> None:
        given = p.thread_settings
        if given is not None:
            self.s.provider = given.model_provider_id or self.s.provider
            if given.model and not self.s.model:  # later on the turns tell
                self._model(given.model, self.facts[self.s.native], ref, out)

    def _model(self, model: str, f: Facts, ref: Ref, out: list[Event]) -> None:
        if model != self.s.model:
            if f.model and f.model != model:
                self._put(out, StateChanged, ref, "", what="model", old=f.model, new=model)
            self.s.model = f.model = model

    def _turn_ended(self, p: records.TurnEnded, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)
        self._problem(p.error, ref, out)

    def _turn_aborted(self, p: records.TurnAborted, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)
        if not self.s.copied:
            self.facts[self.s.native].aborts += 1
        self._put(out, StateChanged, ref, "", what="aborted", new=p.reason or "interrupted")
        self._problem(p.error, ref, out)

    def _rolled_back(self, p: records.RolledBack, r: Any, ref: Ref, out: list[Event]) -> None:
        self._put(out, StateChanged, ref, "", what="rolled_back", new=str(p.num_turns or 0))

    def _failure(self, p: records.Failure, r: Any, ref: Ref, out: list[Event]) -> None:
        self._problem(records.Problem(p.message, p.codex_error_info), ref, out)

    def _problem(self, error: records.Problem | str | None, ref: Ref, out: list[Event]) -> None:
        if error is None:
            return
        if isinstance(error, str):
            error = records.Problem(error)
        text = (error.message or "error")[:1000]
        if error.codex_error_info != "usage_limit_exceeded":
            self._put(out, ProviderStatus, ref, "", message=text)
            return
        turn = self.family
        if self.s.limited == turn:  # the same refusal, told twice
            return
        self.s.limited = turn
        if not self.s.copied:
            self.facts[self.s.native].limits += 1
        found = _again.search(text.strip())
        self._put(
            out, UsageLimitHit, ref, f"limit:{turn}", provider=self.s.provider,
            reset_at=found[1] if found else None, incident_id=turn, raw=text,
        )  # fmt: skip

    # -- messages --------------------------------------------------------------------------------

    def _message(self, p: records.Message, r: Any, ref: Ref, out: list[Event]) -> None:
        harness = r.metadata
        if p.role == "assistant":
            if harness is None or not harness.compaction_output:  # else `compacted` has the text
                self._answer(ITEM, joined(p.content), p.id, ref, out)
        elif p.role == "user":
            notes = p.internal_chat_message_metadata_passthrough
            parts = said(p.content, notes.content_item_kinds if notes else None)
            if parts.injected:
                f = self.facts[self.s.native]
                f.cwd = f.cwd or working_directory(parts.injected)
                self._injected("user", parts.injected, p.id, ref, out)
            if parts.asked or parts.images:
                own = not (harness is not None and harness.inherited_user_message)
                self._prompt(ITEM, parts.asked, parts.images, p.id, ref, out, own)
        else:
            self._injected(p.role or "system", joined(p.content), p.id, ref, out)

    def _note_of_agent(
        self, p: records.AgentMessage | records.AgentNote, r: Any, ref: Ref, out: list[Event]
    ) -> None:
        self._injected("agent", joined(p.content), getattr(p, "id", None), ref, out)

    def _user_said(self, p: records.UserSaid, r: Any, ref: Ref, out: list[Event]) -> None:
        parts = said(p.message, None)
        images = len(p.images or ()) + len(p.local_images or ())
        if parts.asked or images:
            self._prompt(EVENT, parts.asked, images, None, ref, out)

    def _agent_said(self, p: records.AgentSaid, r: Any, ref: Ref, out: list[Event]) -> None:
        self._answer(EVENT, p.message or "", None, ref, out)

    def _injected(
        self, role: str, text: str, own_id: str | None, ref: Ref, out: list[Event]
    ) -> None:
        self._put(
            out, UserMessage, ref, f"{own_id}:injected" if own_id else "", role=role, content=text,
            message_id=own_id, injected=True,
        )  # fmt: skip

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
        key = print_of(text)
        if self._known("u", key, way):
            return
        f = self.facts[self.s.native]
        uid = own_id or f"{self.family}:{f.messages}.{key}"
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

    def _answer(
        self, way: int, text: str, own_id: str | None, ref: Ref, out: list[Event]
    ) -> None:
        key = print_of(text)
        if not text or self._known("a", key, way):
            return
        f = self.facts[self.s.native]
        uid = own_id or f"{self.family}:{f.messages}.{key}"
        f.messages += 1
        f.first_uid = f.first_uid or uid
        self._put(
            out, AssistantMessage, ref, uid, content=text, message_id=own_id, model=self.s.model
        )

    def _known(self, role: str, key: str, way: int) -> bool:
        """True for a text that has been recorded in another way as often as in this one."""
        texts = self.s.texts
        key = role + key
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
        text = "\n\n".join(t for t in (joined(p.summary), joined(p.content)) if t)
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

    def _compacted(self, p: records.Compaction, r: Any, ref: Ref, out: list[Event]) -> None:
        latest = p.latest_token_usage_record
        if latest is not None and latest.response_id and latest.response_id != self.s.response:
            self._recorded(latest, ref, out)  # its own record is not in this transcript
        if not self.s.copied:
            self.facts[self.s.native].compactions += 1
        self._put(
            out, Compacted, ref, p.window_id or "", summary=p.message or "",
            tokens_before=self.s.ledger.context or None,
        )  # fmt: skip

    # -- tools -----------------------------------------------------------------------------------

    def _function(self, p: records.FunctionCall, r: Any, ref: Ref, out: list[Event]) -> None:
        self._called(_full_name(p.name, p.namespace), p.call_id, p.arguments, ref, out)

    def _custom(self, p: records.CustomCall, r: Any, ref: Ref, out: list[Event]) -> None:
        self._called(_full_name(p.name, p.namespace), p.call_id, p.input, ref, out)

    def _tool_search(self, p: records.ToolSearch, r: Any, ref: Ref, out: list[Event]) -> None:
        self._called("tool_search", p.call_id, p.arguments, ref, out)

    def _local_shell(self, p: records.LocalShell, r: Any, ref: Ref, out: list[Event]) -> None:
        self._called("local_shell", p.call_id or p.id, p.action, ref, out)

    def _called(
        self, name: str, call: str | None, given: Raw, ref: Ref, out: list[Event]
    ) -> None:
        s = self.s
        s.seq += 1
        paths, patched = tools.touched(given)
        if call:
            calls = s.calls
            if len(calls) >= KEPT:
                del calls[next(iter(calls))]
            calls[call] = Call(name, [*paths])
        out.append(
            ToolCalled(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=f"{self.family}:{call or s.seq}",
                tool_name=name,
                tool_kind="file_edit" if patched else tool_kind(name),
                tool_id=call,
                input=tools.input_of(given) if self.text else NULL,
                paths=paths,
            )
        )

    def _served(
        self, p: records.WebSearch | records.ImageMade, r: Any, ref: Ref, out: list[Event]
    ) -> None:
        """A tool that the provider ran: one record has the call and how it ended."""
        search = isinstance(p, records.WebSearch)
        name = "web_search" if search else "image_generation"
        call = p.id or f"{self.s.native}:{self.s.seq}"
        self._called(name, call, p.action if isinstance(p, records.WebSearch) else NULL, ref, out)
        self._return(call, tools.Outcome(p.status in ("completed", None)), NULL, ref, out)

    def _output(
        self, p: records.FunctionOutput | records.CustomOutput, r: Any, ref: Ref, out: list[Event]
    ) -> None:
        self._return(p.call_id, tools.outcome(p.output), p.output, ref, out)

    def _found(self, p: records.ToolSearchOutput, r: Any, ref: Ref, out: list[Event]) -> None:
        self._return(p.call_id, tools.Outcome(p.status == "completed"), NULL, ref, out)

    def _return(
        self, id: str | None, outcome: tools.Outcome, given: Raw, ref: Ref, out: list[Event]
    ) -> None:
        s = self.s
        s.seq += 1
        call = s.calls.pop(id, None)
        note = s.notes.pop(id, None) if s.notes else None
        ok, code, ms = outcome
        name, paths, child = None, (), ""
        if call is not None:
            name = call.name
            if ok is None and id:
                if len(s.running) >= KEPT:
                    del s.running[next(iter(s.running))]
                s.running[id] = name
        if note is not None:
            ok = ok if note.ok is None else note.ok
            ms = ms if note.ms is None else note.ms
            child = note.child
            paths = tools.beyond(note.paths, call.paths if call else ())
        if name == "spawn_agent":
            child = child or tools.agent_id(given)
        text = tools.output_of(given) if self.text else None
        out.append(
            ToolReturned(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=f"{self.family}:{id or s.seq}:out",
                tool_name=name,
                tool_kind=tool_kind(name) if name else None,
                tool_id=id,
                success=ok,
                output=text,
                error=text if ok is False else None,
                data=Raw(b'{"exit_code":%d}' % code) if self.text and code is not None else NULL,
                paths=paths,
                duration_ms=ms,
                child=f"codex:{child}" if child else None,
            )
        )

    # -- what other records say of a call ----------------------------------------------------------

    def _noted(self, id: str | None, note: Note) -> None:
        """Keep what is said of a call until its output comes.

        Of what a script called (code mode) only the files matter: they are the script's.
        """
        s = self.s
        if id not in s.calls:
            if not note.paths or not s.calls:
                return
            id, note = next(reversed(s.calls)), Note(paths=note.paths)
        if id in s.notes:
            s.notes[id].add(note)
            return
        if len(s.notes) >= KEPT:
            del s.notes[next(iter(s.notes))]
        s.notes[id] = note

    def _patch_end(self, p: records.PatchEnd, r: Any, ref: Ref, out: list[Event]) -> None:
        self._noted(p.call_id, Note(ok=p.success, paths=_changed(p.changes)))

    def _mcp_end(self, p: records.McpEnd, r: Any, ref: Ref, out: list[Event]) -> None:
        ok = None
        if p.result is not None:
            done = p.result.Ok
            ok = p.result.Err is None and not (done is not None and done.isError)
        self._noted(p.call_id, Note(ok=ok, ms=tools.elapsed(p.duration)))

    def _exec_end(self, p: records.ExecEnd, r: Any, ref: Ref, out: list[Event]) -> None:
        ok = None if p.exit_code is None else p.exit_code == 0
        self._noted(p.call_id, Note(ok=ok, ms=tools.elapsed(p.duration)))

    def _subagent(self, p: records.SubagentActivity, r: Any, ref: Ref, out: list[Event]) -> None:
        if p.kind == "started":
            self._noted(p.event_id, Note(child=p.agent_thread_id or ""))

    def _item(self, p: records.ItemCompleted, r: Any, ref: Ref, out: list[Event]) -> None:
        item = p.item or records.Item()
        kind = item.type
        if kind == "UserMessage":
            parts = said("".join(x.text or "" for x in item.content or ()), None)
            images = sum("image" in x.type.lower() for x in item.content or ())
            if parts.asked or images:
                self._prompt(FINISHED, parts.asked, images, item.id, ref, out)
        elif kind == "AgentMessage":
            self._answer(FINISHED, joined(item.content), item.id, ref, out)
        elif kind == "CommandExecution" and item.id in self.s.running:
            self._finished(item, ref, out)
        elif kind == "CollabAgentToolCall":
            if item.tool in ("spawn_agent", "spawnAgent") and item.receiver_thread_ids:
                self._noted(item.id, Note(child=item.receiver_thread_ids[0]))
        elif kind == "SubAgentActivity":
            if item.kind == "started":
                self._noted(item.id, Note(child=item.agent_thread_id or ""))
        elif kind in ("CommandExecution", "FileChange", "McpToolCall", "DynamicToolCall",
                      "ImageView"):  # fmt: skip
            paths = _changed(item.changes) or ([item.path] if item.path else [])
            self._noted(item.id, Note(_went_well(item), tools.elapsed(item.duration), paths))
        elif kind not in QUIET_ITEMS:
            out.append(self.warn("unknown", f"finished item {kind!r}", ref))

    def _finished(self, item: records.Item, ref: Ref, out: list[Event]) -> None:
        """A command that went on in the background has ended, after its call returned."""
        ok, text = _went_well(item), item.aggregated_output if self.text else None
        name = self.s.running.pop(item.id)
        self._put(
            out, ToolReturned, ref, f"{self.family}:{item.id}:end", tool_name=name,
            tool_kind=tool_kind(name), tool_id=item.id, success=ok, output=text,
            error=text if ok is False else None, duration_ms=tools.elapsed(item.duration),
        )  # fmt: skip

    # -- usage -------------------------------------------------------------------------------------

    def _usage_record(self, p: records.UsageRecord, r: Any, ref: Ref, out: list[Event]) -> None:
        self._recorded(p, ref, out)

    def _recorded(self, p: records.UsageRecord, ref: Ref, out: list[Event]) -> None:
        s, figures = self.s, five(p.usage)
        s.ledger.record(figures)
        s.response = p.response_id or ""
        key = f"codex:{p.response_id or f'{self.family}:{s.seq}'}"
        self._put(
            out, UsageReported, ref, f"usage:{key}", key=key, usage=usage(figures),
            provider=s.provider, model=s.model or "unknown",
            rank=2 if p.thread_id in (None, s.native) else 1,
        )  # fmt: skip

    def _token_count(self, p: records.TokenCount, r: Any, ref: Ref, out: list[Event]) -> None:
        info = p.info
        if info is None or info.total_token_usage is None:
            return
        s, f = self.s, self.facts[self.s.native]
        total = five(info.total_token_usage)
        added = s.ledger.count(total, five(info.last_token_usage), branched=bool(f.relation))
        if added is None:
            return
        figures = "%d.%d.%d.%d.%d" % total
        inherits = ""
        if s.turn:
            key = f"codex:{s.turn}/{figures}"
        else:
            key = f"codex:{s.native}/{s.ledger.epoch}/{figures}"
            if f.parent:
                inherits = f"codex:{f.parent}/{s.ledger.epoch}/{figures}"
        s.seq += 1
        out.append(
            UsageReported(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=f"usage:{key}",
                key=key,
                usage=usage(added),
                provider=s.provider,
                model=s.model or "unknown",
                rank=1 if s.copied else 2,
                inherits=inherits,
            )
        )

    # -- other layouts -----------------------------------------------------------------------------

    def _lenient(self, value: Any, ref: Ref, line: bytes) -> list[Event]:
        """A record that is no known kind as it stands: odd, old, or of no interest."""
        if isinstance(value, dict) and isinstance(value.get("session"), dict):
            parts = [value["session"], *_list(value.get("items"))]
            return [e for part in parts for e in self._lenient(part, ref, line)]
        value = lift(mend_text(value))
        if not isinstance(value, dict):
            return super()._lenient(value, ref, line)
        kind = _kind(value)
        if kind not in LINES:
            at = value.get("timestamp")
            out = self.record(Line(at if isinstance(at, str) else None), ref)
            name = kind.partition("/")[2]
            if name in NOTICES:
                text = value["payload"].get("message")
                message = f"{name} {text}" if isinstance(text, str) else name
                self._put(out, ProviderStatus, ref, "", message=message[:1000])
            elif kind not in QUIET:
                out.append(self.warn("unknown", f"record type {kind!r}", ref))
            return out
        payload = value["payload"]
        for key in RAW:
            if key in payload:
                payload[key] = _raw(payload[key])
        return super()._lenient(value, ref, line)


def lift(value: Any) -> Any:
    """A record of an older version in today's envelope.

    Until August 2025 a line was a bare response item, and the first one bare metadata.
    """
    if not isinstance(value, dict):
        return value
    payload = value.get("payload")
    if payload is None:
        if "record_type" in value:
            return {"type": "state"}
        kind = value.get("type")
        if kind in ITEMS or (kind is None and "role" in value):
            payload, kind = value, "response_item"
        elif kind is None and "id" in value:
            payload, kind = value, "session_meta"
        else:
            return value
        value = {"timestamp": value.get("timestamp"), "type": kind, "payload": payload}
    if isinstance(payload, dict) and "type" not in payload and "role" in payload:
        payload["type"] = "message"
    return value


def _kind(value: dict[str, Any]) -> str:
    """The type of a line that can be read as it is; else type and payload type."""
    kind, payload = str(value.get("type", "")), value.get("payload")
    if not isinstance(payload, dict):
        return kind or "?"
    if kind in ("response_item", "event_msg"):
        name = str(payload.get("type", ""))
        if name not in (ITEMS if kind == "response_item" else EVENTS):
            return f"{kind}/{name}"
    return kind


def _raw(value: Any) -> Raw:
    try:
        return Raw(msgspec.json.encode(value))
    except (OverflowError, TypeError):  # whole numbers that no provider means
        return Raw(msgspec.json.encode(str(value)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _full_name(name: str | None, namespace: str | None) -> str:
    """Tools of servers and of the provider are only told apart by their namespace."""
    name = name or "?"
    if namespace and namespace.startswith("mcp__"):
        return f"{namespace}__{name}"
    return f"web.{name}" if namespace == "web" else name


def _changed(changes: dict[str, Any] | None) -> list[str]:
    """Paths in a table of changes, a new name after the old one."""
    paths: list[str] = []
    for path, change in (changes or {}).items():
        paths.append(path)
        moved = change.get("move_path") if isinstance(change, dict) else None
        if isinstance(moved, str) and moved:
            paths.append(moved)
    return paths


def _went_well(item: records.Item) -> bool | None:
    if item.exit_code is not None:
        return item.exit_code == 0
    return None if item.status is None else item.status == "completed"


def _indexed(index: bytes, native: str) -> str:
    """The last name of a session in the index; only lines that hold its id are decoded."""
    needle, end = native.encode(), len(index)
    while native and (at := index.rfind(needle, 0, end)) >= 0:
        end = index.rfind(b"\n", 0, at) + 1
        line = index[end : index.find(b"\n", at) if b"\n" in index[at:] else None]
        try:
            entry = msgspec.json.decode(line, type=records.IndexEntry)
        except msgspec.DecodeError:
            continue
        if entry.id == native and entry.thread_name.strip():
            return entry.thread_name
    return ""
