"""What was used: figures of responses, embedded copies of them, and totals at the end of a run."""

from __future__ import annotations

from typing import Any

from decklog.agents._shared import micro_usd, to_ms
from decklog.agents.claude.core import Core
from decklog.agents.claude.records import Iteration, Line, Tokens
from decklog.model import Event, Facts, Permission, SessionResult, Usage, UsageReported

UNIQUE = 20
"""Message ids of this length are the provider's own and name one response in the whole world.
Gateways make shorter ones, which only the request id beside them makes unique."""
RECENT = 16
"""Messages whose records may still be interleaved."""
ASIDES = ("advisor_message", "compaction")
"""Steps of a response that its own figures leave out."""


class Accounts(Core):
    def _usage(self, r: Line, m: Any, tokens: Tokens, uid: str, out: list[Event]) -> None:
        """The figures of a response, as one of its records gives them."""
        usage = _used(tokens)
        model = m.model or "unknown"
        key = self._key(m.id, r.requestId)
        s = self.s
        if r.version is None or s.totals.stated:  # not from a transcript: it may end in totals
            s.totals.record(self.session, model, key, usage)
        s.seq += 1
        out.append(
            UsageReported(
                seq=s.seq, at=self.at, at_text=self.at_text, session=self.session, agent="claude",
                ref=self.ref, uid=uid, key=key, usage=usage, provider="anthropic", model=model,
                reported_micro_usd=None if r.costUSD is None else micro_usd(r.costUSD),
                rank=self.rank,
            )
        )  # fmt: skip
        if tokens.iterations:
            self._asides(key, model, tokens.iterations, uid, out)

    def _asides(
        self, key: str, model: str, steps: list[Iteration], uid: str, out: list[Event]
    ) -> None:
        """What a response used beside its own figures, perhaps of another model."""
        for i, step in enumerate(steps):
            if step.type not in ASIDES:
                continue
            self._put(
                out,
                UsageReported,
                uid=f"{uid}:{i}" if uid else "",
                key=f"{key}:{step.type}:{i}",
                usage=_used(step),
                provider="anthropic",
                model=step.model or model,
                rank=self.rank,
            )

    def _key(self, message: str | None, request: str | None) -> str:
        """One key for all records of a response, whether or not each of them has both ids."""
        if not message:
            return f"claude:{request or self.uid or f'{self.uri}:{self.ref.offset}'}"
        if len(message) >= UNIQUE:
            return f"claude:{message}"
        requests = self.s.requests
        known = requests.get(message)
        if known is None or (known and request and known != request):
            if len(requests) >= RECENT:
                del requests[next(iter(requests))]
            requests[message] = known = request or ""
        return f"claude:{message}:{known}" if known else f"claude:{message}"

    def _progress(self, r: Line, f: Facts, out: list[Event]) -> None:
        """A subagent's answer embedded in a record of its parent; counts where the subagent's own
        transcript is missing."""
        p = r.data
        if p is None or p.type != "agent_progress" or p.message is None or not p.agentId:
            return
        inner, m = p.message, p.message.message
        if inner.type != "assistant" or m is None or m.usage is None or not m.id:
            return
        parent = self.native.partition(".agent-")[0]
        child = f"{parent}.agent-{p.agentId}"
        self.at_text = inner.timestamp or self.at_text
        self.at = at = to_ms(self.at_text)
        if child not in self.s.started:
            self._start(child, out)
        f = self.fact(child)
        f.parent, f.relation, f.completeness = parent, "subagent", "partial"
        f.model = f.model or m.model or ""
        if at is not None:
            f.started_at = min(f.started_at or at, at)
            f.last_at = max(f.last_at or at, at)
        self._put(
            out,
            UsageReported,
            session=f"claude:{child}",
            key=self._key(m.id, inner.requestId),
            usage=_used(m.usage),
            provider="anthropic",
            model=m.model or "unknown",
            rank=1,
        )

    def _stated(self, r: Line, f: Facts, out: list[Event]) -> None:
        """The end of a captured ``--output-format stream-json`` run."""
        for model, u in (r.modelUsage or {}).items():
            f.model = f.model or model
            stated = (
                u.inputTokens or 0,
                u.outputTokens or 0,
                u.cacheCreationInputTokens or 0,
                u.cacheReadInputTokens or 0,
            )
            rest = self.s.totals.state(self.session, model, stated)
            self._put(
                out,
                UsageReported,
                uid=self._nth(model),
                key=f"claude:result:{self.native}|{model}",
                usage=rest,
                provider="anthropic",
                model=model,
                rank=0,
            )
        for i, d in enumerate(r.permission_denials or ()):
            self._put(
                out, Permission, uid=self._nth(i), tool_name=d.tool_name or "?", granted=False
            )
        self._put(out, SessionResult, result=r.result if isinstance(r.result, str) else "")


def _used(t: Tokens | Iteration) -> Usage:
    written = t.cache_creation_input_tokens or 0
    hour = 0
    if t.cache_creation is not None:
        hour = min(written, t.cache_creation.ephemeral_1h_input_tokens or 0)
    reasoning = 0
    if t.output_tokens_details is not None:
        reasoning = min(t.output_tokens or 0, t.output_tokens_details.thinking_tokens or 0)
    return Usage(
        input=t.input_tokens or 0,
        output=t.output_tokens or 0,
        cache_write=written,
        cache_write_1h=hour,
        cache_read=t.cache_read_input_tokens or 0,
        reasoning=reasoning,
    )
