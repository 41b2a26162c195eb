"""Gemini CLI: JSON documents (until April 2026) and the replay logs that came after them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .transcript import Plan, Transcript, iso

MODELS = {"gemini-2.5-pro": 70, "gemini-2.5-flash": 30}


class Gemini(Transcript):
    """Messages, and how a document keeps them: whole, at the end."""

    agent = "gemini"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.session = self.uuid()
        self.model = self.rng.choices(list(MODELS), weights=list(MODELS.values()))[0]
        self.context = 8_000
        self.messages: list[dict[str, Any]] = []

    def keep(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self.size += len(json.dumps(message, ensure_ascii=False, indent=2))

    def run(self) -> None:
        while self.size < self.plan.budget:
            self.keep(self._message("user", content=self._prompt()))
            self.count("prompts")
            for _ in range(1 + int(self.rng.expovariate(1 / 4))):
                self.wait(2, 30)
                self._response(act=self.chance(0.75))
                if self.size > self.plan.budget:
                    break
            self.rest()

    def _prompt(self) -> Any:
        return self.text("prose", 180, 1, 5000)

    def _message(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"id": self.uuid(), "timestamp": self.time, "type": kind, **fields}

    def _response(self, act: bool) -> None:
        read = self.context + self.rng.randrange(3000)
        cached = int(self.context * 0.8)
        output, thoughts = self.rng.randrange(20, 900), self.rng.randrange(600)
        self.context = read if read < 500_000 else 30_000
        thought = {"subject": "Planning", "description": self.text("prose", 160, 0.5, 400)}
        message = self._message(
            "gemini",
            content=self.text("prose", 250, 1, 5000),
            thoughts=[{**thought, "timestamp": self.time}],
            tokens={
                "input": read,
                "output": output,
                "cached": cached,
                "thoughts": thoughts,
                "tool": 0,
                "total": read + output + thoughts,
            },
            model=self.model,
        )
        self.used(
            self.model,
            input=read - cached,
            cache_read=cached,
            output=output + thoughts,
            reasoning=thoughts,
        )
        self._finish(message, self._call() if act else None)

    def _finish(self, message: dict[str, Any], call: dict[str, Any] | None) -> None:
        if call:
            message["toolCalls"] = [call]
        self.keep(message)

    def _call(self) -> dict[str, Any]:
        self.count("tool_calls")
        shell = self.chance(0.5)
        name = "run_shell_command" if shell else "read_file"
        tool_id = f"{name}-{self.now}-{self.hex(13)}"
        text = self.tool_output("logs" if shell else "code")
        line = self.texts.line(self.rng, 80)
        response = {"id": tool_id, "name": name, "response": {"output": text}}
        return {
            "id": tool_id,
            "name": name,
            "args": {"command": line} if shell else {"absolute_path": self.path()},
            "result": [{"functionResponse": response}],
            "status": "success",
            "timestamp": self.time,
            "resultDisplay": text[:2000] if shell else "",
            "displayName": "Shell" if shell else "ReadFile",
        }

    def document(self) -> bytes:
        whole = {
            "sessionId": self.session,
            "projectHash": hashlib.sha256(self.cwd.encode()).hexdigest(),
            "startTime": iso(self.plan.start),
            "lastUpdated": self.time,
            "messages": self.messages,
        }
        return json.dumps(whole, ensure_ascii=False, indent=2).encode()


class GeminiLog(Gemini):
    """The same messages as a replay log: what is written later under an id replaces it."""

    def run(self) -> None:
        head = {
            "sessionId": self.session,
            "projectHash": hashlib.sha256(self.cwd.encode()).hexdigest(),
            "startTime": self.time,
            "lastUpdated": self.time,
            "kind": "main",
        }
        self.put(head)
        super().run()

    def keep(self, message: dict[str, Any]) -> None:
        self.put(message)
        self.put({"$set": {"lastUpdated": self.time}})

    def _prompt(self) -> Any:
        return [{"text": super()._prompt()}]

    def _finish(self, message: dict[str, Any], call: dict[str, Any] | None) -> None:
        self.keep(message)
        if call:
            self.put({**message, "toolCalls": [call]})
            self.keep(self._message("user", content=call["result"]))


def write_document(plan: Plan) -> None:
    session = Gemini(plan)
    session.run()
    folder = hashlib.sha256(plan.cwd.encode()).hexdigest()
    session.save(f"{_chats(folder)}/{_stem(session)}.json", session.document())
    session.count("sessions")


def write_log(plan: Plan) -> None:
    session = GeminiLog(plan)
    session.run()
    folder = plan.cwd.rpartition("/")[2]
    session.save(f"{_chats(folder)}/{_stem(session)}.jsonl")
    session.count("sessions")


def _chats(folder: str) -> str:
    return f".gemini/tmp/{folder}/chats"


def _stem(session: Gemini) -> str:
    return f"session-{iso(session.plan.start)[:16].replace(':', '-')}-{session.session[:8]}"
