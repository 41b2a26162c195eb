"""Reads Copilot CLI's event log: one line for each event, appended as it happens.

Subagents write into the log of the session that started them; their events carry an id of their
own, by which they become sessions of their own here. For usage see `accounting`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from decklog.agents._shared import (
    TITLE_LENGTH,
    BaseReader,
    ReaderState,
    clean,
    to_ms,
    tool_kind,
)
from decklog.agents.copilot.accounting import MAIN, Amounts, ByAgent, reported, usage_of
from decklog.agents.copilot.records import (
    Context,
    FullLine,
    LeanLine,
    amounts_of,
    is_image,
    paths_of,
    raw,
    result_extras,
    result_text,
    totals_of,
    yaml_lines,
)
from decklog.agents.copilot.scene import Scene, State, place, remember, vendor
from decklog.model import (
    NULL,
    AssistantMessage,
    Compacted,
    Event,
    Facts,
    Permission,
    ProviderStatus,
    Reasoning,
    Ref,
    SessionEnded,
    SessionResult,
    SessionStarted,
    StateChanged,
    ToolCalled,
    ToolReturned,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)

QUIET = frozenset(
    """assistant.turn_start assistant.turn_end assistant.intent assistant.idle assistant.usage
    assistant.reasoning assistant.reasoning_delta assistant.message_start
    assistant.message_delta assistant.streaming_delta assistant.tool_call_delta
    assistant.server_tool_progress assistant.fusion_phase_started
    assistant.fusion_phase_completed assistant.fusion_phase_failed
    system.message tool.user_requested tool.execution_partial_result tool.execution_progress
    session.idle session.compaction_start session.usage_info session.plan_changed
    session.todos_changed session.workspace_file_changed session.remote_steerable_changed
    session.schedule_created session.schedule_cancelled session.schedule_rearmed
    session.autopilot_objective_changed session.mode_notice_delivered
    session.session_limits_changed session.permissions_changed session.binary_asset
    session.fusion_route_started session.fusion_route_failed session.fusion_resolved
    session.fusion_completed session.auto_mode_resolved session.managed_settings_resolved
    session.managed_settings_enforced session.tools_updated session.background_tasks_changed
    session.skills_loaded session.custom_agents_updated session.mcp_servers_loaded
    session.mcp_server_status_changed session.mcp_tools_list_changed
    session.mcp_resources_list_changed session.mcp_prompts_list_changed
    session.extensions_loaded session.custom_notification""".split()
)
"""Event types that hold no prompt, answer, tool or usage."""
QUIET_FAMILIES = frozenset(
    """auto_mode_switch canvas capabilities command commands elicitation exit_plan_mode extensions
    external_tool factory hook mcp mcp_app model pending_messages sampling session_limits_exhausted
    skill subagent ui user_input""".split()
)
"""The same for all types that begin with such a word and a dot."""
SUBAGENTS = ("subagent.started", "subagent.completed", "subagent.failed")
NOTICES = frozenset(
    """session.info session.warning session.handoff session.truncation session.context_cleared
    system.notification subagent.failed""".split()
)

_limit = re.compile(r"usage limit|rate limit|quota|premium requests? .{0,40}limit", re.I)
_reset = re.compile(r"(?:try again|resets?|retry) (?:at|in|after) ([^.\n]{1,60})", re.I)


class CopilotReader(BaseReader):
    agent = "copilot"
    State: ClassVar[type[ReaderState]] = State
    Record = FullLine
    Lean = LeanLine

    def placed(self) -> None:
        self.folder, _, name = self.uri.rpartition("/")
        self.stem = self.folder.rpartition("/")[2] if name == "events.jsonl" else name
        self.stem = self.stem.removesuffix(".jsonl") or "session"
        main = self.facts.get(self.s.current)
        if main is not None:
            self._workspace(main)  # it may have got a title since

    def session_id(self) -> str:
        return f"copilot:{self.s.current or self.stem}"

    # -- one event -----------------------------------------------------------------------------

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: LeanLine = record
        kind = r.type
        if kind == "session.start" and r.data is not None:
            self.s.current = r.data.session_id or self.s.current
        agent = self._agent(r)
        f = self._session(agent)
        x = Scene(r, agent, f, ref, self.s)
        if x.at is not None:
            f.opened_at = f.opened_at or x.at
            f.started_at = min(f.started_at or x.at, x.at)
            f.last_at = max(f.last_at or x.at, x.at)
        handle = self.HANDLERS.get(kind)
        if handle is not None:
            if kind != "session.start":
                self._begin(x)
            handle(self, x)
        elif kind in NOTICES:
            self._begin(x)
            self._notice(x, kind)
        elif kind not in QUIET and kind.partition(".")[0] not in QUIET_FAMILIES:
            x.out.append(self.warn("unknown", f"event type {kind!r}", ref))
        return x.out

    def _agent(self, r: LeanLine) -> str:
        """Id of the subagent an event belongs to, or `MAIN`."""
        d = r.data
        call = None if d is None else d.parent_tool_call_id
        if d is not None and r.type in SUBAGENTS:
            call = d.tool_call_id
            if r.agent_id and call:
                self.s.children[call] = r.agent_id
        if r.agent_id:
            return r.agent_id
        if call:  # before events carried the id, the call that started it told it
            return str(self.s.children.setdefault(call, call))
        return MAIN

    def _native(self, agent: str) -> str:
        main = self.s.current or self.stem
        return main if agent == MAIN else f"{main}.agent-{agent}"

    def _session(self, agent: str) -> Facts:
        native = self._native(agent)
        f = self.facts.get(native)
        if f is not None:
            return f
        self.s.current = self._native(MAIN)
        if agent == MAIN:
            f = self.fact(native)
            self._workspace(f)
            return f
        parent = self._session(MAIN)
        f = self.fact(native)
        f.parent, f.relation = parent.native, "subagent"
        f.cwd, f.branch, f.project = parent.cwd, parent.branch, parent.project
        f.agent_version = parent.agent_version
        return f

    def _workspace(self, f: Facts) -> None:
        """What ``workspace.yaml`` beside the log says. It is rewritten as the session goes on."""
        data = self.companions.get(f"{self.folder}/workspace.yaml")
        if not data:
            return
        found = yaml_lines(data.decode("utf-8", "replace"))
        names = ("cwd", "branch", "repository", "host_type")
        place(f, Context(*(found.get(n) for n in names)), keep=True)
        title = clean(found.get("name") or found.get("summary") or "", TITLE_LENGTH)
        rank = 3 if found.get("user_named") == "true" else 1
        if title and rank >= f.title_rank:
            f.title, f.title_rank = title, rank

    def _begin(self, x: Scene) -> None:
        f = x.facts
        if f.native not in self.s.started:
            self.s.started.append(f.native)
            model, cwd = x.data.selected_model or x.data.model or f.model or None, f.cwd or None
            x.put(SessionStarted, f"start:{f.native}", command="copilot", model=model, cwd=cwd)

    def _notice(self, x: Scene, kind: str) -> None:
        d = x.data
        text = d.message or d.content or (d.error if isinstance(d.error, str) else "")
        words = (kind, d.warning_type or d.info_type, clean(text, 1000))
        x.put(ProviderStatus, message=" ".join(w for w in words if w))

    # -- the session ---------------------------------------------------------------------------

    def _start(self, x: Scene) -> None:
        d, f = x.data, x.facts
        if f.native in self.s.started:
            self.s.books.close()
        f.agent_version = d.copilot_version or f.agent_version
        f.model = d.selected_model or f.model
        place(f, d.context)
        at = to_ms(d.start_time) if d.start_time else None
        if at is not None:
            f.started_at = min(f.started_at or at, at)
        self._begin(x)

    def _resume(self, x: Scene) -> None:
        d, f = x.data, x.facts
        self.s.books.close()
        f.ended_at = None
        f.agent_version = d.copilot_version or f.agent_version
        place(f, d.context)
        x.put(StateChanged, what="resumed")
        self._model(x, d.selected_model)

    def _moved(self, x: Scene) -> None:
        d = x.data
        place(x.facts, Context(d.cwd, d.branch, d.repository, d.host_type))
        x.put(StateChanged, what="workspace", new=x.facts.cwd or None)

    def _model(self, x: Scene, new: str | None) -> None:
        old = x.facts.model
        if new and new != old:
            x.facts.model = new
            if old:
                x.put(StateChanged, what="model", old=old, new=new)

    def _model_changed(self, x: Scene) -> None:
        self._model(x, x.data.new_model)

    def _mode_changed(self, x: Scene) -> None:
        x.put(StateChanged, what="mode", old=x.data.previous_mode, new=x.data.new_mode)

    def _title_changed(self, x: Scene) -> None:
        f = x.facts
        text = clean(x.data.title or "", TITLE_LENGTH)
        if text and text != f.title and f.title_rank <= 2:
            x.put(StateChanged, what="title", old=f.title or None, new=text)
            f.title, f.title_rank = text, 2

    def _rewound(self, x: Scene) -> None:
        x.put(StateChanged, what="rewind")

    def _shutdown(self, x: Scene) -> None:
        self._totals(x)
        x.facts.ended_at = x.at
        failed = x.data.shutdown_type == "error"
        x.put(SessionEnded, success=not failed, error=x.data.error_reason)

    def _aborted(self, x: Scene) -> None:
        x.facts.aborts += 1
        x.put(StateChanged, what="aborted", new=x.data.reason)

    def _error(self, x: Scene) -> None:
        d = x.data
        text = d.message or ""
        kind = d.error_type or ""
        if not (kind in ("rate_limit", "quota") or d.status_code == 429 or _limit.search(text)):
            x.put(ProviderStatus, message=f"error {kind} {clean(text, 1000)}")
            return
        x.facts.limits += 1
        found = _reset.search(text)
        x.put(
            UsageLimitHit,
            provider="github.copilot",
            scope=kind,
            reset_at=found[1].strip() if found else None,
            incident_id=x.uid,
            raw=text[:1000],
        )

    def _done(self, x: Scene) -> None:
        x.put(SessionResult, result=x.data.summary or "")

    def _permission(self, x: Scene) -> None:
        p = x.data.permission_request
        if p is not None:
            wanted = p.full_command_text or p.file_name or p.path or p.intention or ""
            tool = p.tool_name or p.kind or "?"
            remember(self.s.asked, x.data.request_id or "", [tool, wanted[:1000]])
            x.put(ProviderStatus, message=f"permission requested: {tool} {clean(wanted, 200)}")

    def _permitted(self, x: Scene) -> None:
        tool, wanted = self.s.asked.pop(x.data.request_id or "", ["?", ""])
        verdict = getattr(x.data.result, "kind", None)
        granted = isinstance(verdict, str) and verdict.startswith("approved")
        x.put(Permission, tool_name=tool, description=wanted, granted=granted)

    # -- messages ------------------------------------------------------------------------------

    def _prompt(self, x: Scene) -> None:
        d, f = x.data, x.facts
        text = d.content or ""
        images = sum(is_image(a) for a in d.attachments or ())
        if not text.strip() and not images:
            return
        source = d.source or "user"
        given = source == "user" or (x.agent != MAIN and source.startswith("agent-"))
        notice = text.startswith(("<system_notification>", "<system_reminder>"))
        injected = not given or notice or bool(d.is_autopilot_continuation)
        if not injected:
            f.prompts += 1
            f.messages += 1
            f.first_uid = f.first_uid or x.uid
            f.prompt = f.prompt or clean(text)
        what = {"content": text, "message_id": d.message_id}
        x.put(UserMessage, injected=injected, images=images, **what)

    def _answer(self, x: Scene) -> None:
        d, f = x.data, x.facts
        given, counted = self.s.said.get(d.message_id or "") or (0, 0)
        self._model(x, d.model)
        if d.reasoning_text and not given & 1:
            given |= 1
            x.put(Reasoning, content=d.reasoning_text, message_id=d.message_id)
        if d.content and d.content.strip() and not given & 2:
            given |= 2
            f.messages += 1
            f.first_uid = f.first_uid or x.uid
            model = d.model or f.model
            x.put(AssistantMessage, content=d.content, message_id=d.message_id, model=model)
        for t in d.tool_requests or ():
            self._called(x, t.tool_call_id, t.name, t.arguments)
        output = max(counted, int(d.output_tokens or 0))
        if d.message_id:
            remember(self.s.said, d.message_id, [given, output])
        model = d.model or f.model or "unknown"
        self._remainders(x, self.s.books.speak(x.agent, model, output - counted))

    # -- tools ---------------------------------------------------------------------------------

    def _called(self, x: Scene, tool_id: str | None, name: str | None, given: Any) -> None:
        if tool_id:
            if tool_id in self.s.calls:
                return
            remember(self.s.calls, tool_id, [name or "?", None])
        x.put(
            ToolCalled,
            tool_name=name or "?",
            tool_kind=tool_kind(name or "?"),
            tool_id=tool_id,
            input=raw(given) if self.text else NULL,
            paths=paths_of(given),
        )

    def _running(self, x: Scene) -> None:
        d = x.data
        self._called(x, d.tool_call_id, d.tool_name, d.arguments)
        call = self.s.calls.get(d.tool_call_id or "")
        if call is not None and call[1] is None:
            call[1] = x.at

    def _returned(self, x: Scene) -> None:
        d = x.data
        name, started = self.s.calls.get(d.tool_call_id or "") or (None, None)
        took = x.at - started if x.at is not None and started is not None else None
        child = self.s.children.get(d.tool_call_id or "")
        error = d.error.get("message") if isinstance(d.error, dict) else d.error
        error = error if self.text and isinstance(error, str) else None
        x.put(
            ToolReturned,
            tool_name=name,
            tool_kind=tool_kind(name) if name else None,
            tool_id=d.tool_call_id,
            success=d.success if isinstance(d.success, bool) else None,
            output=(result_text(d.result) if self.text else None) or error,
            error=error,
            data=result_extras(d) if self.text else NULL,
            paths=tuple(dict.fromkeys(e.path for e in d.file_edits or () if e.path)),
            duration_ms=None if took is None else max(0, took),
            child=f"copilot:{self._native(child)}" if child else None,
        )

    def _subagent(self, x: Scene) -> None:
        d, f = x.data, x.facts
        if x.agent != MAIN:
            f.model = d.model or f.model
            title = clean(d.agent_description or d.agent_display_name or "", TITLE_LENGTH)
            if title and not f.title:
                f.title, f.title_rank = title, 2

    # -- usage ---------------------------------------------------------------------------------

    def _used(self, x: Scene) -> None:
        u = x.data.usage
        if u is None:
            return
        amounts = amounts_of(u)
        model = u.model or x.facts.model or "unknown"
        a = u.accounting
        if a is not None and a.source_session_id and a.sequence is not None:
            key = f"{a.source_session_id}/{a.sequence}/{u.api_call_id or ''}"
        else:
            key = f"{self._native(MAIN)}/{x.uid}"
        figures = f"{model} {amounts}"
        if figures in self.s.compacted[:1]:  # the compaction's response, recorded once more
            key = self.s.compacted.pop()
        elif key not in self.s.recent:
            self._remainders(x, self.s.books.record(x.agent, model, amounts))
            remember(self.s.recent, key, figures)
        self._report(x, x.facts, key, model, amounts)

    def _compacted(self, x: Scene) -> None:
        d, used = x.data, x.data.compaction_tokens_used
        if used is not None:
            model = used.model or x.facts.model or "unknown"
            amounts = amounts_of(used)
            figures = f"{model} {amounts}"
            if any(amounts) and figures not in self.s.recent.values():
                key = f"{self._native(MAIN)}/{d.compaction_attempt_id or x.uid}"
                self._remainders(x, self.s.books.cover(x.agent, model, amounts))
                self._report(x, x.facts, key, model, amounts)
                self.s.compacted = [figures, key]
        trigger = d.trigger or ""
        if d.success is False:
            reason = d.error if isinstance(d.error, str) else ""
            words = ("compaction failed", trigger, clean(reason, 200))
            x.put(ProviderStatus, message=" ".join(w for w in words if w))
            return
        x.facts.compactions += 1
        before = None if d.pre_compaction_tokens is None else int(d.pre_compaction_tokens)
        summary = getattr(d, "summary_content", None)
        text = summary if isinstance(summary, str) else ""
        x.put(Compacted, trigger=trigger, summary=text, tokens_before=before)

    def _totals(self, x: Scene) -> None:
        d = x.data
        since_start = bool(d.accounting_snapshot or d.usage_accounting_watermarks is not None)
        models, agents = totals_of(d)
        self._remainders(x, self.s.books.state(models, agents, since_start))

    def _remainders(self, x: Scene, changes: ByAgent) -> None:
        books = self.s.books
        for agent, models in changes.items():
            f = self._session(agent)
            f.completeness = "partial" if agent in books.spoken else "full"
            for model, amounts in models.items():
                key = f"{self._native(MAIN)}/run{books.run}/{agent}/{model}"
                self._report(x, f, key, model, amounts, rank=0)

    def _report(
        self, x: Scene, f: Facts, key: str, model: str, amounts: Amounts, rank: int = 2
    ) -> None:
        x.put(
            UsageReported,
            facts=f,
            key=f"copilot:{key}",
            usage=usage_of(amounts),
            provider=vendor(model),
            model=model,
            reported_micro_usd=reported(amounts),
            rank=rank,
        )

    HANDLERS: ClassVar[dict[str, Callable[[CopilotReader, Scene], None]]] = {
        "session.start": _start,
        "session.resume": _resume,
        "session.context_changed": _moved,
        "session.model_change": _model_changed,
        "session.mode_changed": _mode_changed,
        "session.title_changed": _title_changed,
        "session.snapshot_rewind": _rewound,
        "session.shutdown": _shutdown,
        "session.error": _error,
        "session.task_complete": _done,
        "session.usage_record": _used,
        "session.usage_checkpoint": _totals,
        "session.compaction_complete": _compacted,
        "abort": _aborted,
        "user.message": _prompt,
        "assistant.message": _answer,
        "tool.execution_start": _running,
        "tool.execution_complete": _returned,
        "permission.requested": _permission,
        "permission.completed": _permitted,
        "subagent.started": _subagent,
        "subagent.completed": _subagent,
    }
