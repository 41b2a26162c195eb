"""Records of a rollout to events: which record goes where, turns, and usage."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from decklog.agents._salvage import mend
from decklog.agents.codex import records
from decklog.agents.codex.calls import NOTED, Calls
from decklog.agents.codex.layouts import LINES, NOTICES, QUIET, documents, kind_of, lift
from decklog.agents.codex.messages import Messages
from decklog.agents.codex.tokens import five, usage
from decklog.model import (
    Compacted,
    Event,
    ProviderStatus,
    Ref,
    StateChanged,
    UsageLimitHit,
    UsageReported,
)

QUIET_ITEMS = frozenset(
    """Reasoning Plan Sleep WebSearch ImageGeneration ContextCompaction HookPrompt
    EnteredReviewMode ExitedReviewMode Extension""".split()
)
"""Kinds of finished turn item that repeat other records."""

_again = re.compile(r"try again (?:at|in) (.+?)\.?$")


class CodexReader(Messages, Calls):
    def placed(self) -> None:
        super().placed()
        self.on: dict[type, Callable[[Any, Any, Ref, list[Event]], None]] = {
            records.Message: self._message,
            records.AgentMessage: self._told,
            records.AgentNote: self._told,
            records.Thought: self._thought,
            records.FunctionCall: self._function,
            records.CustomCall: self._function,
            records.ToolSearch: self._tool_search,
            records.LocalShell: self._local_shell,
            records.WebSearch: self._web_search,
            records.ImageMade: self._image_made,
            records.FunctionOutput: self._output,
            records.CustomOutput: self._output,
            records.ToolsFound: self._tools_found,
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

    def record(self, record: Any, ref: Ref) -> list[Event]:
        r: records.Line = record
        out: list[Event] = []
        if r.timestamp != self.at_text:
            self._time(r.timestamp or "")
        p = r.payload
        if not self.ready:
            self._get_ready(p, ref, out)
        handler = self.on.get(type(p))
        if handler is not None:
            handler(p, r, ref, out)
        return out

    def _lenient(self, value: Any, ref: Ref, line: bytes) -> list[Event]:
        """A record that is no known kind as it stands: odd, old, or of no interest."""
        return [e for part in documents(value) for e in self._lifted(part, ref, line)]

    def _lifted(self, value: Any, ref: Ref, line: bytes) -> list[Event]:
        if not isinstance(value, dict):
            return super()._lenient(value, ref, line)
        value = lift(mend(value))
        kind = kind_of(value)
        if kind in LINES:
            return super()._lenient(value, ref, line)
        at = value.get("timestamp")
        out = self.record(records.Line(at if isinstance(at, str) else None), ref)
        name = kind.partition("/")[2]
        if name in NOTICES:
            text = value["payload"].get("message")
            message = f"{name} {text}" if isinstance(text, str) else name
            self._put(out, ProviderStatus, ref, "", message=message[:1000])
        elif kind not in QUIET:
            out.append(self.warn("unknown", f"record type {kind!r}", ref))
        return out

    def _item(self, p: records.ItemCompleted, r: Any, ref: Ref, out: list[Event]) -> None:
        item = p.item or records.Item()
        kind = item.type
        if kind == "UserMessage":
            self._user_finished(item, ref, out)
        elif kind == "AgentMessage":
            self._agent_finished(item, ref, out)
        elif kind in NOTED or kind in ("CollabAgentToolCall", "SubAgentActivity"):
            self._call_finished(item, ref, out)
        elif kind not in QUIET_ITEMS:
            out.append(self.warn("unknown", f"finished item {kind!r}", ref))

    # -- turns -------------------------------------------------------------------------------------

    def _turn(self, turn: str | None) -> None:
        s = self.s
        if turn and turn != s.turn:
            s.turn = turn
            self._families()
            # Both are UUIDs of version 7, which begin with the time: a turn that is older than
            # the subagent is its parent's.
            timed = turn[14:15] == s.native[14:15] == "7"
            s.copied = timed and turn < s.native and self.f.relation == "subagent"

    def _turn_started(self, p: records.TurnStarted, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)

    def _context(self, p: records.TurnContext, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)
        if p.cwd and not self.f.cwd:
            self.f.cwd = p.cwd
        if p.model and p.model != self.s.model:
            self._model(p.model, ref, out)

    def _settings(self, p: records.SettingsApplied, r: Any, ref: Ref, out: list[Event]) -> None:
        given = p.thread_settings
        if given is not None:
            self.s.provider = given.model_provider_id or self.s.provider
            if given.model and not self.s.model:  # later on the turns tell
                self._model(given.model, ref, out)

    def _model(self, model: str, ref: Ref, out: list[Event]) -> None:
        old = self.f.model
        if old and old != model:
            self._put(out, StateChanged, ref, "", what="model", old=old, new=model)
        self.s.model = self.f.model = model

    def _turn_ended(self, p: records.TurnEnded, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)
        self._problem(p.error, ref, out)

    def _turn_aborted(self, p: records.TurnAborted, r: Any, ref: Ref, out: list[Event]) -> None:
        self._turn(p.turn_id)
        self.f.aborts += not self.s.copied
        self._put(out, StateChanged, ref, "", what="aborted", new=p.reason or "interrupted")
        self._problem(p.error, ref, out)

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
        self.f.limits += not self.s.copied
        found = _again.search(text.strip())
        self._put(
            out, UsageLimitHit, ref, f"limit:{turn}", provider=self.s.provider,
            reset_at=found[1] if found else None, incident_id=turn, raw=text,
        )  # fmt: skip

    def _renamed(self, p: records.Renamed, r: Any, ref: Ref, out: list[Event]) -> None:
        self._title(p.thread_name or "", ref, out)

    def _rolled_back(self, p: records.RolledBack, r: Any, ref: Ref, out: list[Event]) -> None:
        self._put(out, StateChanged, ref, "", what="rolled_back", new=str(p.num_turns or 0))

    def _compacted(self, p: records.Compaction, r: Any, ref: Ref, out: list[Event]) -> None:
        latest = p.latest_token_usage_record
        if latest is not None and latest.response_id and self.s.ledger.untouched:
            self._recorded(latest, ref, out)  # the transcript begins here, its record is lost
        self.f.compactions += not self.s.copied
        self._put(
            out, Compacted, ref, p.window_id or "", summary=p.message or "",
            tokens_before=self.s.ledger.context or None,
        )  # fmt: skip

    # -- usage -------------------------------------------------------------------------------------

    def _usage_record(self, p: records.UsageRecord, r: Any, ref: Ref, out: list[Event]) -> None:
        self._recorded(p, ref, out)

    def _recorded(self, p: records.UsageRecord, ref: Ref, out: list[Event]) -> None:
        s, figures = self.s, five(p.usage)
        s.ledger.record(figures)
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
        s, f = self.s, self.f
        total = five(info.total_token_usage)
        added = s.ledger.count(total, five(info.last_token_usage), branched=bool(f.relation))
        if added is None:
            return
        a, b, c, d, e = total
        inherits = ""
        if s.turn:
            key = f"codex:{s.turn}/{a}.{b}.{c}.{d}.{e}"
        else:
            place = f"{s.ledger.epoch}/{a}.{b}.{c}.{d}.{e}"
            key = f"codex:{s.native}/{place}"
            if f.parent:
                inherits = f"codex:{f.parent}/{place}"
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
