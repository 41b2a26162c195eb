"""Pi: session trees of version 3."""

from __future__ import annotations

from typing import Any

from .transcript import Plan, Transcript, iso

MODELS = (("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-5"))
PRICES = {"input": 3.0, "output": 15.0, "cacheRead": 0.3, "cacheWrite": 3.75}
"""US dollars a million tokens, for the cost that Pi writes beside its usage."""


class Pi(Transcript):
    agent = "pi"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.session = self.uuid7()
        self.provider, self.model = self.rng.choice(MODELS)
        self.context = 6_000
        self.last: str | None = None

    def entry(self, kind: str, **fields: Any) -> None:
        entry = self.hex(8)
        head = {"type": kind, "id": entry, "parentId": self.last, "timestamp": self.time}
        self.put(head | fields)
        self.last = entry

    def message(self, role: str, **fields: Any) -> None:
        self.entry("message", message={"role": role, **fields, "timestamp": self.now})

    def run(self) -> None:
        head = {"type": "session", "version": 3, "id": self.session}
        self.put(head | {"timestamp": self.time, "cwd": self.cwd})
        self.entry("model_change", provider=self.provider, modelId=self.model)
        while self.size < self.plan.budget:
            self.message("user", content=[{"type": "text", "text": self.text("prose", 180)}])
            self.count("prompts")
            for _ in range(1 + int(self.rng.expovariate(1 / 6))):
                self.wait(2, 30)
                act = self.chance(0.85) and self.size < self.plan.budget
                self._response(act)
                if not act:
                    break
            self.rest()

    def _response(self, act: bool) -> None:
        content: list[dict[str, Any]] = [{"type": "text", "text": self.text("prose", 220)}]
        call = "call_" + self.base62(20)
        if act:
            arguments = {"command": self.texts.line(self.rng, 90)}
            content.append({"type": "toolCall", "id": call, "name": "bash", "arguments": arguments})
            self.count("tool_calls")
        new = self.rng.randrange(50, 2500)
        counts = {
            "input": self.rng.randrange(2, 400),
            "output": self.rng.randrange(30, 900),
            "cacheRead": self.context,
            "cacheWrite": new if self.provider == "anthropic" else 0,
        }
        self.context = self.context + new if self.context < 180_000 else 20_000
        cost = {k: n * PRICES[k] / 1e6 for k, n in counts.items()}
        total = sum(counts.values())
        self.message(
            "assistant",
            content=content,
            api="anthropic-messages" if self.provider == "anthropic" else "openai-responses",
            provider=self.provider,
            model=self.model,
            usage={**counts, "totalTokens": total, "cost": {**cost, "total": sum(cost.values())}},
            stopReason="toolUse" if act else "stop",
        )
        self.used(
            self.model,
            input=counts["input"],
            cache_read=counts["cacheRead"],
            cache_write=counts["cacheWrite"],
            output=counts["output"],
        )
        if act:
            self.wait(0, 4)
            output = [{"type": "text", "text": self.tool_output("logs")}]
            self.message("toolResult", toolCallId=call, toolName="bash", content=output)


def write(plan: Plan) -> None:
    session = Pi(plan)
    session.run()
    folder = f".pi/agent/sessions/--{plan.cwd.strip('/').replace('/', '-')}--"
    started = iso(plan.start).replace(":", "-").replace(".", "-")
    session.save(f"{folder}/{started}_{session.session}.jsonl")
    session.count("sessions")
