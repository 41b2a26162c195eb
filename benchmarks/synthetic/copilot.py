"""GitHub Copilot CLI 1.0.102: a usage record for each response, their sum again at shutdown.

A session stays within one day (UTC), so that record by record and as a total it is the same row.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .transcript import DAY, Plan, Transcript, iso

MODELS = ("claude-sonnet-4.5", "gpt-5")


class Copilot(Transcript):
    agent = "copilot"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.session = self.uuid()
        self.model = self.rng.choice(MODELS)
        self.context = 11_000
        self.last: str | None = None
        self.used_tokens: Counter[str] = Counter()
        self.responses = 0
        self.dusk = plan.start - plan.start % DAY + DAY - 1

    def event(self, kind: str, **data: Any) -> None:
        self.now = min(self.now, self.dusk)
        uuid = self.uuid()
        self.put(
            {"type": kind, "data": data, "id": uuid, "timestamp": self.time, "parentId": self.last}
        )
        self.last = uuid

    def run(self) -> None:
        context = {"cwd": self.cwd, "gitRoot": self.cwd, "branch": "main"}
        self.event(
            "session.start",
            sessionId=self.session,
            version=1,
            producer="copilot-agent",
            copilotVersion="1.0.102",
            startTime=self.time,
            selectedModel=self.model,
            context=context,
        )
        instructions = self.texts.cut(self.rng, "prose", 20_000)
        self.event("system.message", role="system", content=instructions)
        while self.size < self.plan.budget:
            prompt = self.text("prose", 180)
            wrapped = f"<current_datetime>{self.time}</current_datetime>\n\n{prompt}"
            self.event(
                "user.message", content=prompt, transformedContent=wrapped, messageId=self.uuid()
            )
            self.count("prompts")
            for turn in range(1 + int(self.rng.expovariate(1 / 6))):
                self.wait(2, 30)
                act = self.chance(0.85) and self.size < self.plan.budget
                self._response(str(turn), act)
                if not act:
                    break
            self.rest()
        self._shut_down()

    def _response(self, turn: str, act: bool) -> None:
        self.event("assistant.turn_start", turnId=turn)
        reasoning = self.rng.randrange(400)
        read = self.context + self.rng.randrange(50, 2500)
        usage = {
            "inputTokens": read,
            "outputTokens": reasoning + self.rng.randrange(30, 900),
            "cacheReadTokens": self.context,
            "cacheWriteTokens": 0,
            "reasoningTokens": reasoning,
        }
        self.context = read if read < 100_000 else 15_000
        call_id = "chatcmpl-" + self.base62(24)
        self.event(
            "session.usage_record", usage={"model": self.model, **usage, "apiCallId": call_id}
        )
        self.used_tokens.update(usage)
        self.responses += 1
        self.used(
            self.model,
            input=read - usage["cacheReadTokens"],
            cache_read=usage["cacheReadTokens"],
            output=usage["outputTokens"],
            reasoning=reasoning,
        )
        calls = []
        if act:
            command = {"command": self.texts.line(self.rng, 90), "description": "step"}
            tool_id = "call_" + self.base62(20)
            calls.append({"toolCallId": tool_id, "name": "bash", "arguments": command})
        self.event(
            "assistant.message",
            messageId=self.uuid(),
            model=self.model,
            content=self.text("prose", 220),
            toolRequests=calls,
            turnId=turn,
            apiCallId=call_id,
        )
        for call in calls:
            self._tool(call, turn)
        self.event("assistant.turn_end", turnId=turn)

    def _tool(self, call: dict[str, Any], turn: str) -> None:
        self.count("tool_calls")
        start = {"toolCallId": call["toolCallId"], "toolName": "bash"}
        self.event("tool.execution_start", **start, arguments=call["arguments"], turnId=turn)
        self.wait(0, 4)
        self.event(
            "tool.execution_complete",
            toolCallId=call["toolCallId"],
            model=self.model,
            turnId=turn,
            success=True,
            result={"content": self.tool_output("logs")},
        )

    def _shut_down(self) -> None:
        requests = {"count": self.responses, "cost": 0}
        self.event(
            "session.shutdown",
            shutdownType="routine",
            modelMetrics={self.model: {"requests": requests, "usage": dict(self.used_tokens)}},
            currentModel=self.model,
        )


def write(plan: Plan) -> None:
    session = Copilot(plan)
    session.run()
    folder = f".copilot/session-state/{session.session}"
    workspace = f"id: {session.session}\ncwd: {plan.cwd}\ncreated_at: {iso(plan.start)}\n"
    session.save(f"{folder}/workspace.yaml", workspace.encode())
    session.save(f"{folder}/events.jsonl")
    session.count("sessions")
