"""Codex CLI: rollouts as 0.58 and as 0.169 write them."""

from __future__ import annotations

from typing import Any

from .transcript import Plan, Transcript, dumps, iso

MODELS = {"gpt-5-codex": 50, "gpt-5.1-codex": 30, "gpt-5": 20}
WINDOW = 240_000
NAMES = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")


class Codex(Transcript):
    agent = "codex"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.session = self.uuid7()
        self.modern = self.chance(0.4)
        self.model = self._pick_model()
        self.context = 9_000
        self.total = dict.fromkeys(NAMES, 0)
        self.turn = ""
        self.ordinal = 0

    def run(self) -> None:
        self._open()
        while self.size < self.plan.budget:
            self._turn()
            self.rest()
            if self.chance(0.05):
                self.model = self._pick_model()

    def record(self, kind: str, **payload: Any) -> None:
        head: dict[str, Any] = {"timestamp": self.time}
        if self.modern:
            head["ordinal"] = self.ordinal
            self.ordinal += 1
        self.put(head | {"type": kind, "payload": payload})

    def event(self, kind: str, **payload: Any) -> None:
        self.record("event_msg", type=kind, **payload)

    def item(self, kind: str, **payload: Any) -> None:
        """What went to or came from the model."""
        self.record("response_item", type=kind, **payload)

    def done(self, kind: str, **item: Any) -> None:
        """What 0.169 says again about an item when it is complete."""
        self.event(
            "item_completed",
            thread_id=self.session,
            turn_id=self.turn,
            item={"type": kind, **item},
            completed_at_ms=self.now,
        )

    # --- turns ---

    def _open(self) -> None:
        instructions = self.texts.cut(self.rng, "prose", 12_000 if self.modern else 1500)
        meta: dict[str, Any] = {
            "id": self.session,
            "timestamp": self.time,
            "cwd": self.cwd,
            "originator": "codex_cli_rs",
            "cli_version": "0.169.0" if self.modern else "0.58.0",
            "source": "cli",
            "model_provider": "openai",
            "git": {"commit_hash": self.hex(40), "branch": "main"},
        }
        if self.modern:
            meta |= {"session_id": self.session, "base_instructions": {"text": instructions}}
        else:
            meta["instructions"] = instructions
        self.record("session_meta", **meta)
        context = f"<environment_context>\n  <cwd>{self.cwd}</cwd>\n</environment_context>"
        self._said("user", context)

    def _said(self, role: str, text: str) -> None:
        kind = "output_text" if role == "assistant" else "input_text"
        self.item("message", role=role, content=[{"type": kind, "text": text}])

    def _turn(self) -> None:
        self.turn = self.uuid7()
        if self.modern:
            self.event("task_started", turn_id=self.turn, model_context_window=258_400)
        prompt = self.text("prose", 180)
        self._said("user", prompt)
        if self.modern:
            self.done("UserMessage", content=[{"type": "text", "text": prompt}])
        else:
            self.event("user_message", message=prompt, images=[])
        self.count("prompts")
        self._turn_context()
        for _ in range(1 + int(min(60, self.rng.expovariate(1 / 8)))):
            self.wait(2, 30)
            more = self.chance(0.9) and self.size < self.plan.budget
            self._response(more)
            if self.context > WINDOW:
                self._compact()
            if not more:
                break
        if self.modern:
            self.event("task_complete", turn_id=self.turn, duration_ms=self.rng.randrange(90_000))

    def _turn_context(self) -> None:
        self.record(
            "turn_context",
            **({"turn_id": self.turn} if self.modern else {}),
            cwd=self.cwd,
            approval_policy="on-request",
            sandbox_policy={"mode": "workspace-write", "network_access": False},
            model=self.model,
            effort="high",
            summary="auto",
        )

    def _response(self, act: bool) -> None:
        """One API response: reasoning, then a tool call or the answer, then its usage."""
        reasoning = self.rng.randrange(800)
        if self.chance(0.7):
            self._reasoning()
        output = reasoning + self.rng.randrange(30, 900)
        before = self.context
        new = self.rng.randrange(50, 3000)
        self.context += new
        tokens = (before + new, before - before % 128, output, reasoning)
        last = dict(zip(NAMES, tokens, strict=True))
        call = self._call() if act else self._answer()
        self.tick()
        for name, n in last.items():
            self.total[name] += n
        if self.modern:
            self._usage_record(last)
        self._usage(last)
        self._token_count(last)
        if call:
            self.now += int(self.rng.expovariate(1 / 3) * 1000)
            self._output(call)
            if not self.modern:
                self._turn_context()
        if self.chance(0.1 if self.modern else 0.4):
            self._token_count(last)  # re-emitted with the next rate limits: no new usage

    def _usage(self, last: dict[str, int]) -> None:
        read, cached, output, reasoning = last.values()
        self.used(
            self.model, input=read - cached, cache_read=cached, output=output, reasoning=reasoning
        )

    def _usage_record(self, last: dict[str, int]) -> None:
        usage = _summed(last)
        self.record(
            "token_usage_record",
            thread_id=self.session,
            turn_id=self.turn,
            session_id=self.session,
            response_id="resp_" + self.base62(24),
            usage=usage,
            thread_token_usage=_summed(self.total),
        )

    def _token_count(self, last: dict[str, int]) -> None:
        info = {
            "total_token_usage": _summed(self.total),
            "last_token_usage": _summed(last),
            "model_context_window": 258_400,
        }
        reset = self.now // 1000 + 9000
        primary = {"used_percent": 12.0, "window_minutes": 300, "resets_at": reset}
        self.event("token_count", info=info, rate_limits={"primary": primary, "secondary": None})

    # --- contents ---

    def _reasoning(self) -> None:
        text = self.text("prose", 160, 0.6, 600)
        secret = "gAAAAAB" + self.texts.noise(self.rng, self.rng.randrange(600, 3500))
        if self.modern:
            self.done("Reasoning", summary_text=[text], raw_content=[])
        else:
            self.event("agent_reasoning", text=text)
        summary = [{"type": "summary_text", "text": text}]
        self.item("reasoning", summary=summary, content=None, encrypted_content=secret)

    def _answer(self) -> str:
        text = self.text("prose", 400)
        if self.modern:
            self.done("AgentMessage", content=[{"type": "Text", "text": text}])
        else:
            self.event("agent_message", message=text)
        self._said("assistant", text)
        return ""

    def _call(self) -> str:
        """Id of the call, which waits for its output."""
        call = "call_" + self.base62(24)
        self.count("tool_calls")
        if self.chance(0.12):
            body = "".join(f"+{s}\n" for s in self.text("code", 900).split("\n"))
            patch = f"*** Begin Patch\n*** Add File: {self.path()}\n{body}*** End Patch"
            self.item("custom_tool_call", name="apply_patch", input=patch, call_id=call)
            return call
        command = self.texts.line(self.rng, 120)
        arguments: dict[str, Any] = {"cmd": command}
        if not self.modern:
            arguments = {"command": ["bash", "-lc", command], "workdir": self.cwd}
        name = "exec_command" if self.modern else "shell"
        self.item("function_call", name=name, arguments=dumps(arguments), call_id=call)
        return call

    def _output(self, call: str) -> None:
        text = self.tool_output("logs")
        if self.modern:
            shown = f"Wall time: 0.1 seconds\nProcess exited with code 0\nOutput:\n{text}"
            self.done("CommandExecution", id=call, aggregated_output=text[:65_536], exit_code=0)
        else:
            shown = dumps({"output": text, "metadata": {"exit_code": 0, "duration_seconds": 0.1}})
        self.item("function_call_output", call_id=call, output=shown)

    def _compact(self) -> None:
        summary = self.texts.cut(self.rng, "prose", 4000)
        self.record("compacted", message=summary, replacement_history=[])
        self.event("context_compacted")
        self.context = self.rng.randrange(12_000, 20_000)
        self.count("compactions")

    def _pick_model(self) -> str:
        return self.rng.choices(list(MODELS), weights=list(MODELS.values()))[0]


def _summed(usage: dict[str, int]) -> dict[str, int]:
    return {**usage, "total_tokens": usage["input_tokens"] + usage["output_tokens"]}


def write(plan: Plan) -> None:
    session = Codex(plan)
    session.run()
    started = iso(plan.start)[:19].replace(":", "-")
    folder = f".codex/sessions/{started[:10].replace('-', '/')}"
    session.save(f"{folder}/rollout-{started}-{session.session}.jsonl")
    session.count("sessions")
