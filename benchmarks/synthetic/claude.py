"""Claude Code: main transcripts, subagents, forks; the record shapes of 1.0, 2.0 and 2.1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .transcript import Plan, Transcript, dumps

MODELS = {
    "claude-sonnet-4-5-20250929": 30,
    "claude-opus-4-5-20251101": 25,
    "claude-sonnet-4-20250514": 15,
    "claude-haiku-4-5-20251001": 12,
    "claude-opus-4-1-20250805": 10,
    "claude-opus-4-20250514": 8,
}
TOOLS = {
    "Bash": 34, "Read": 28, "Edit": 17, "Grep": 9, "Write": 5, "TodoWrite": 4, "Glob": 2, "Task": 1,
}  # fmt: skip
VERSIONS = ("1.0.88", "2.0.61", "2.1.197")
WINDOW = 180_000
"""Tokens of context at which the conversation is compacted."""


class Claude(Transcript):
    agent = "claude"

    def __init__(self, plan: Plan, origin: Claude | None = None, subagent: bool = False) -> None:
        """A new session, or a subagent or fork of an existing one."""
        super().__init__(plan)
        self.subagent = self.hex(8) if subagent else ""
        self.session: str = origin.session if origin and subagent else self.uuid()
        self.version: str = origin.version if origin else self.rng.choice(VERSIONS)
        self.branch: str = origin.branch if origin else self.rng.choice(("main", "main", "fix-it"))
        self.requests: bool = origin.requests if origin else not self.chance(0.1)
        """False behind a gateway that passes no request ids on."""
        self.model = self._pick_model()
        self.context = self.rng.randrange(9_000, 22_000)
        self.last: str | None = None
        self.answer: dict[str, Any] = {}
        """The latest record of a response."""
        self.children = 0
        """Bytes that subagents wrote."""
        self.turn_ends: list[tuple[int, str | None]] = []
        """Lines and last record after each turn: where a fork may branch off."""

    @property
    def main(self) -> bool:
        return not self.subagent

    @property
    def room(self) -> int:
        return self.plan.budget - self.size - self.children

    def run(self) -> None:
        while self.room > 0:
            self._turn()
            self.turn_ends.append((len(self.lines), self.last))
            self.rest()

    # --- records ---

    def record(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A record of the conversation tree, with the envelope where this version puts it."""
        place = {
            "userType": "external",
            **({"entrypoint": "cli"} if self.version >= "2.1" else {}),
            "cwd": self.cwd,
            "sessionId": self.session,
            "version": self.version,
            "gitBranch": self.branch,
        }
        node: dict[str, Any] = {"parentUuid": self.last, "isSidechain": not self.main}
        if self.subagent:
            node["agentId"] = self.subagent
        uuid = self.uuid()
        body = {**fields, "type": kind, "uuid": uuid, "timestamp": self.time}
        self.last = uuid
        return node | body | place if self.version >= "2.1" else node | place | body

    def _turn(self) -> None:
        prompt = self.text("prose", 180)
        content: str | list[dict[str, Any]] = prompt
        if self.main and self.chance(0.05):
            data = self.texts.noise(self.rng, min(max(4000, self.room // 4), 1_400_000))
            source = {"type": "base64", "media_type": "image/png", "data": data}
            content = [{"type": "text", "text": prompt}, {"type": "image", "source": source}]
            self.count("images")
        self.put(self.record("user", message={"role": "user", "content": content}))
        self.count("prompts" if self.main else "tasks")
        if self.main and self.chance(0.4):
            self._snapshot()
        if self.chance(0.01):
            self._refused()
            return
        for _ in range(1 + int(min(60, self.rng.expovariate(1 / 8)))):
            self.wait(2, 40)
            if self.room < 0 or not self._response(self.chance(0.9) and self.room > 0):
                break
            if self.context > WINDOW:
                self._compact()
        if self.main and self.chance(0.3):
            ms = self.rng.randrange(1000, 300_000)
            self.put(self.record("system", subtype="turn_duration", durationMs=ms, isMeta=False))
        if self.chance(0.06):
            self.model = self._pick_model()

    def _response(self, act: bool) -> bool:
        """One API response, a record for each content block; True when it called tools."""
        blocks: list[dict[str, Any]] = []
        if self.chance(0.3):
            text = self.text("prose", 400, 0.9, 8000)
            signature = self.texts.noise(self.rng, self.rng.randrange(300, 900))
            blocks.append({"type": "thinking", "thinking": text, "signature": signature})
        if not act or self.chance(0.55):
            blocks.append({"type": "text", "text": self.text("prose", 220)})
        calls = self._calls() if act else []
        for name, tool_id in calls:
            blocks.append(
                {"type": "tool_use", "id": tool_id, "name": name, "input": self._input(name)}
            )
            self.count("tool_calls")
        written = self.rng.randrange(200, 6000)
        output = sum(len(dumps(b)) for b in blocks) // 4 + self.rng.randrange(5, 40)
        tokens = {
            "input": self.rng.randrange(1, 60),
            "cache_write": written,
            "cache_read": self.context,
            "output": output,
        }
        self.context += written
        message, request = "msg_01" + self.base62(22), "req_011C" + self.base62(20)
        streamed = len(blocks) > 1 and self.chance(0.35)
        so_far = self.rng.randrange(1, 9)
        for i, block in enumerate(blocks):
            final = i == len(blocks) - 1
            so_far = output if final or not streamed else min(output, so_far + i * 7)
            stop = ("tool_use" if calls else "end_turn") if final else None
            self.tick()
            self.answer = self.record(
                "assistant",
                message=self._message(message, [block], stop, {**tokens, "output": so_far}),
                **({"requestId": request} if self.requests else {}),
            )
            self.put(self.answer)
        self.used(self.model, **tokens)
        for name, tool_id in calls:
            self.now += int(self.rng.expovariate(1 / 3) * 1000)
            self._result(name, tool_id)
        return bool(calls)

    def _message(
        self, message: str, content: list[dict[str, Any]], stop: str | None, tokens: dict[str, int]
    ) -> dict[str, Any]:
        return {
            "model": self.model,
            "id": message,
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {
                "input_tokens": tokens["input"],
                "cache_creation_input_tokens": tokens["cache_write"],
                "cache_read_input_tokens": tokens["cache_read"],
                "cache_creation": {
                    "ephemeral_5m_input_tokens": tokens["cache_write"],
                    "ephemeral_1h_input_tokens": 0,
                },
                "output_tokens": tokens["output"],
                "service_tier": "standard",
            },
        }

    # --- tools ---

    def _calls(self) -> list[tuple[str, str]]:
        count = self.rng.choices((1, 2, 3), weights=(85, 11, 4))[0]
        names = self.rng.choices(list(TOOLS), weights=list(TOOLS.values()), k=count)
        may_delegate = self.main and self.room > 40_000
        return [
            (n if n != "Task" or may_delegate else "Bash", "toolu_01" + self.base62(22))
            for n in names
        ]

    def _input(self, name: str) -> dict[str, Any]:
        line = self.texts.line
        match name:
            case "Bash":
                command = f"cd {self.cwd} && {line(self.rng, self.rng.randrange(20, 200))}"
                return {"command": command, "description": line(self.rng, 40)}
            case "Read":
                return {"file_path": self.path(), "offset": self.rng.randrange(500), "limit": 200}
            case "Edit":
                old, new = self.text("code", 270, 0.9, 5000), self.text("code", 360, 0.9, 5000)
                return {"file_path": self.path(), "old_string": old, "new_string": new}
            case "Grep":
                pattern = self.rng.choice(self.texts.names)
                return {"pattern": pattern, "path": self.cwd, "output_mode": "content"}
            case "Write":
                content = self.text("code", 2400, 0.9, 40_000)
                return {"file_path": self.path(), "content": content}
            case "Glob":
                return {"pattern": "**/*.ts"}
            case "TodoWrite":
                return {"todos": self._todos()}
            case _:
                return {
                    "description": line(self.rng, 30),
                    "prompt": self.texts.cut(self.rng, "prose", 900),
                    "subagent_type": "general-purpose",
                }

    def _todos(self) -> list[dict[str, str]]:
        return [
            {"content": self.texts.line(self.rng, 50), "status": s, "activeForm": "Working"}
            for s in ("completed", "in_progress", "pending", "pending")
        ]

    def _result(self, name: str, tool_id: str) -> None:
        """The tool result: once as the model saw it, once more in `toolUseResult`."""
        failed = name == "Bash" and self.chance(0.06)
        content: str | list[dict[str, str]]
        copy: Any
        match name:
            case "Bash":
                content = self.tool_output("logs")
                copy = f"Error: Exit code 1\n{content}"
                if not failed:
                    copy = {"stdout": content, "stderr": "", "interrupted": False, "isImage": False}
            case "Read":
                text = self.tool_output("code")
                numbered = (f"{n:>6}→{s}" for n, s in enumerate(text.split("\n"), 1))
                content = "\n".join(numbered)
                lines = text.count("\n") + 1
                file = {"filePath": self.path(), "content": text, "numLines": lines}
                copy = {"type": "text", "file": file | {"startLine": 1, "totalLines": lines}}
            case "Edit":
                content = self.text("code", 700, 0.7, 8000)
                copy = self._edit_copy(content)
            case "Grep":
                content = self.tool_output("logs")
                copy = {"mode": "content", "numFiles": 0, "filenames": [], "content": content}
            case "Task":
                text, copy = self._delegate(tool_id)
                content = [{"type": "text", "text": text}]
                copy["content"] = content
            case "TodoWrite":
                content = "Todos have been modified successfully."
                copy = {"oldTodos": [], "newTodos": self._todos()}
            case _:
                content = self.text("logs", 120, 0.6, 500)
                copy = {"filenames": content.split("\n"), "truncated": False}
        block: dict[str, Any] = {"tool_use_id": tool_id, "type": "tool_result", "content": content}
        if failed or self.version >= "2.1":
            block["is_error"] = failed
        extra = {"toolUseResult": copy} if self.main or self.version < "2.1" else {}
        self.put(self.record("user", message={"role": "user", "content": [block]}, **extra))
        if self.version >= "2.1" and self.chance(0.2):
            hook = {"type": "hook_progress", "hookEvent": "PostToolUse", "command": "lint.sh"}
            self.put(self.record("progress", data=hook, toolUseID=tool_id))

    def _edit_copy(self, shown: str) -> dict[str, Any]:
        size = self.length(5000, 1, 60_000)
        before = self.texts.cut(self.rng, "code", size) if self.chance(0.5) else None
        hunk = {"oldStart": 1, "oldLines": 9, "newStart": 1, "newLines": 12}
        return {
            "filePath": self.path(),
            "oldString": self.texts.cut(self.rng, "code", 200),
            "newString": self.texts.cut(self.rng, "code", 300),
            "originalFile": before,
            "structuredPatch": [hunk | {"lines": [" " + s for s in shown.split("\n")[:20]]}],
            "userModified": False,
            "replaceAll": False,
        }

    # --- subagents and forks ---

    def _delegate(self, tool_id: str) -> tuple[str, dict[str, Any]]:
        """Run a subagent; its answer and the summary the main transcript keeps of it."""
        budget = 4000 + min(self.length(60_000, 0.8, 2_000_000), self.room // 3)
        plan = replace(self.plan, start=self.now, budget=budget)
        child = Claude(plan, origin=self, subagent=True)
        child.run()
        slug = f".claude/projects/{encode(self.cwd)}"
        if self.version >= "2.1":
            stem = f"{slug}/{self.session}/subagents/agent-{child.subagent}"
            meta = {"agentType": "general-purpose", "description": "Explore", "toolUseId": tool_id}
            child.save(f"{stem}.meta.json", dumps(meta).encode())
        else:
            stem = f"{slug}/agent-{child.subagent}"
            if self.chance(0.5):  # responses of subagents are also embedded in progress records
                data = {"type": "agent_progress", "agentId": child.subagent}
                told = {**data, "message": child.answer}
                self.put(self.record("progress", data=told, parentToolUseID=tool_id))
        child.save(f"{stem}.jsonl")
        child.count("subagents")
        self.children += child.size
        self.now = max(self.now, child.now)
        answer = self.text("prose", 900)
        # Usage of the subagent's last response, stated again: not to be counted.
        again = {"input_tokens": 3, "cache_read_input_tokens": child.context, "output_tokens": 90}
        summary = {
            "status": "completed",
            "prompt": "explore",
            "agentId": child.subagent,
            "totalDurationMs": self.rng.randrange(10_000),
            "totalTokens": child.context,
            "totalToolUseCount": 3,
            "usage": again,
        }
        return answer, summary

    def fork(self) -> Claude:
        """A session that begins with a verbatim copy of this one's first turns."""
        keep, last = self.rng.choice(self.turn_ends)
        copied = sum(map(len, self.lines[:keep]))
        plan = replace(self.plan, start=self.now, budget=copied + 60_000)
        fork = Claude(plan, origin=self)
        old, new = (f'"sessionId":"{s}"'.encode() for s in (self.session, fork.session))
        fork.lines = [line.replace(old, new) for line in self.lines[:keep]]
        fork.size, fork.last = copied, last
        return fork

    # --- odds and ends ---

    def _pick_model(self) -> str:
        return self.rng.choices(list(MODELS), weights=list(MODELS.values()))[0]

    def _snapshot(self) -> None:
        state = {"messageId": self.last, "trackedFileBackups": dict[str, str]()}
        head = {"type": "file-history-snapshot", "messageId": self.last}
        self.put(head | {"snapshot": state, "isSnapshotUpdate": False})

    def _refused(self) -> None:
        """An API error: an assistant record that is no response."""
        self.tick()
        nothing = {"input": 0, "cache_write": 0, "cache_read": 0, "output": 0}
        text = {"type": "text", "text": "API Error: 529 Overloaded"}
        message = self._message(self.uuid(), [text], "stop_sequence", nothing)
        message["model"] = "<synthetic>"
        self.put(self.record("assistant", message=message, isApiErrorMessage=True, error="unknown"))

    def _compact(self) -> None:
        meta = {"trigger": "auto", "preTokens": self.context}
        self.put(
            self.record(
                "system",
                subtype="compact_boundary",
                content="Conversation compacted",
                compactMetadata=meta,
            )
        )
        text = "This session is being continued from a previous conversation. "
        text += self.texts.cut(self.rng, "prose", 6000)
        self.put(
            self.record("user", message={"role": "user", "content": text}, isCompactSummary=True)
        )
        self.context = self.rng.randrange(15_000, 30_000)
        self.count("compactions")


def encode(cwd: str) -> str:
    """The folder that Claude Code keeps a working directory's transcripts in."""
    return "".join(c if c.isalnum() else "-" for c in cwd)


def write(plan: Plan) -> None:
    session = Claude(plan)
    folder = f".claude/projects/{encode(plan.cwd)}"
    if session.version < "2.1" and session.chance(0.4):
        summary = session.texts.line(session.rng, 60)
        session.put({"type": "summary", "summary": summary, "leafUuid": session.uuid()})
    session.run()
    session.save(f"{folder}/{session.session}.jsonl")
    session.count("sessions")
    if session.chance(0.03) and session.turn_ends:
        fork = session.fork()
        fork.run()
        fork.save(f"{folder}/{fork.session}.jsonl")
        fork.count("sessions")
        fork.count("forks")
