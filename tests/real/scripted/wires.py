"""The four model APIs: a request read, an answer written, streamed or whole.

A wire has ``read(body, model) -> Request``, ``whole(answer) -> object`` and ``frames(answer)`` of
(event name, object, is it text?); the server holds and cuts between frames.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .tools import Call, Tool

Frame = tuple[str, dict[str, Any], bool]


@dataclass
class Request:
    model: str
    system: str = ""
    users: list[str] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    """The answer is to be JSON of this schema."""

    def field(self, name: str) -> str:
        """What a route matches: ``user``, ``first_user``, ``system`` or ``model``."""
        users = [u for u in self.users if u]
        if name == "user":
            return users[-1] if users else ""
        if name == "first_user":
            return users[0] if users else ""
        return str(getattr(self, name))


class Answer(NamedTuple):
    n: int
    model: str
    turn: dict[str, Any]
    calls: list[Call]
    usage: dict[str, int]

    @property
    def text(self) -> str:
        return self.turn.get("text") or ""

    @property
    def thinking(self) -> str:
        return self.turn.get("thinking") or ""

    @property
    def prompt_tokens(self) -> int:
        return self.usage["input"] + self.usage["cache_read"] + self.usage["cache_write"]


def text_of(content: Any) -> str:
    """All text in a message's content, whatever the shape."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        key = next((k for k in ("text", "content", "output", "parts") if k in content), None)
        return text_of(content[key]) if key else ""
    return "\n".join(filter(None, (text_of(c) for c in content)))


def pieces(text: str) -> list[str]:
    size = 24 if len(text) < 4000 else 2000
    return [text[i : i + size] for i in range(0, len(text), size)]


class Anthropic:
    def read(self, body: dict[str, Any], model: str) -> Request:
        request = Request(model, text_of(body.get("system")))
        for message in body.get("messages", ()):
            if message.get("role") == "user":
                content = message.get("content")
                if isinstance(content, list):
                    content = [b for b in content if b.get("type") == "text"]
                request.users.append(text_of(content))
        for tool in body.get("tools") or ():
            request.tools[tool["name"]] = Tool(tool.get("input_schema") or {})
        wanted = body.get("output_format") or (body.get("output_config") or {}).get("format") or {}
        request.schema = wanted.get("schema")
        return request

    def _parts(self, a: Answer) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]], str]:
        cached = a.usage["cache_write"]
        usage = {
            "input_tokens": a.usage["input"],
            "cache_creation_input_tokens": cached,
            "cache_read_input_tokens": a.usage["cache_read"],
            "cache_creation": {"ephemeral_5m_input_tokens": cached, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        }
        blocks: list[dict[str, Any]] = []
        if a.thinking:
            blocks.append({"type": "thinking", "thinking": a.thinking, "signature": "ZmFrZQ=="})
        if a.text:
            blocks.append({"type": "text", "text": a.text})
        for i, c in enumerate(a.calls):
            call_id = f"toolu_fake{a.n:06d}{i:02d}"
            blocks.append({"type": "tool_use", "id": call_id, "name": c.name, "input": c.args})
        message = {
            "id": f"msg_fake{a.n:06d}",
            "type": "message",
            "role": "assistant",
            "model": a.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        return message, usage, blocks, "tool_use" if a.calls else "end_turn"

    def whole(self, a: Answer) -> Any:
        message, usage, blocks, stop = self._parts(a)
        usage["output_tokens"] = a.usage["output"]
        return {**message, "content": blocks, "stop_reason": stop, "usage": usage}

    def frames(self, a: Answer) -> Iterator[Frame]:
        message, usage, blocks, stop = self._parts(a)

        def event(kind: str, *, text: bool = False, **data: Any) -> Frame:
            return kind, {"type": kind, **data}, text

        yield event("message_start", message={**message, "usage": {**usage, "output_tokens": 1}})
        for i, block in enumerate(blocks):
            kind = block["type"]
            if kind == "thinking":
                start = {"type": kind, "thinking": "", "signature": ""}
                deltas = [("thinking_delta", "thinking", p) for p in pieces(block["thinking"])]
                deltas.append(("signature_delta", "signature", block["signature"]))
            elif kind == "text":
                start = {"type": kind, "text": ""}
                deltas = [("text_delta", "text", p) for p in pieces(block["text"])]
            else:
                start = {**block, "input": {}}
                data = json.dumps(block["input"], ensure_ascii=False)
                deltas = [("input_json_delta", "partial_json", p) for p in pieces(data)]
            yield event("content_block_start", index=i, content_block=start)
            for name, key, piece in deltas:
                delta = {"type": name, key: piece}
                yield event("content_block_delta", text=kind == "text", index=i, delta=delta)
            yield event("content_block_stop", index=i)
        delta = {"stop_reason": stop, "stop_sequence": None}
        usage["output_tokens"] = a.usage["output"]
        yield event("message_delta", delta=delta, usage=usage)
        yield event("message_stop")


class Responses:
    def read(self, body: dict[str, Any], model: str) -> Request:
        request = Request(model, body.get("instructions") or "")
        given = body.get("input")
        if isinstance(given, str):
            given = [{"role": "user", "content": given}]
        for message in given or ():
            if message.get("role") == "user":
                request.users.append(text_of(message.get("content")))
            elif message.get("role") in ("developer", "system"):
                request.system += "\n" + text_of(message.get("content"))
        for tool in body.get("tools") or ():
            within = tool.get("tools") if tool.get("type") == "namespace" else None
            for t in within or (tool,):
                name = t.get("name") or t.get("type")
                space = tool.get("name") if within else None
                request.tools[name] = Tool(t.get("parameters") or {}, t.get("type"), space)
        request.schema = ((body.get("text") or {}).get("format") or {}).get("schema")
        return request

    def _items(self, a: Answer) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        if a.thinking:
            summary = [{"type": "summary_text", "text": a.thinking}]
            identity = {"type": "reasoning", "id": f"rs_fake{a.n:06d}"}
            items.append({**identity, "encrypted_content": "ZmFrZQ==", "summary": summary})
        if a.text:
            content = [{"type": "output_text", "text": a.text, "annotations": []}]
            identity = {"type": "message", "id": f"msg_fake{a.n:06d}", "role": "assistant"}
            items.append({**identity, "status": "completed", "content": content})
        for i, c in enumerate(a.calls):
            call = {"call_id": f"call_fake{a.n:06d}{i:02d}", "name": c.name, "status": "completed"}
            if c.kind == "custom":
                data = c.args if isinstance(c.args, str) else json.dumps(c.args)
                items.append({"type": "custom_tool_call", "id": f"ctc_{i}", "input": data, **call})
            else:
                data = json.dumps(c.args, ensure_ascii=False)
                item = {"type": "function_call", "id": f"fc_{a.n}_{i}", "arguments": data, **call}
                items.append(item | ({"namespace": c.namespace} if c.namespace else {}))
        return items

    def _response(self, a: Answer) -> dict[str, Any]:
        return {
            "id": f"resp_fake{a.n:06d}",
            "object": "response",
            "created_at": int(time.time()),
            "model": a.model,
            "status": "in_progress",
            "output": [],
        }

    def whole(self, a: Answer) -> Any:
        usage = {
            "input_tokens": a.prompt_tokens,
            "input_tokens_details": {"cached_tokens": a.usage["cache_read"]},
            "output_tokens": a.usage["output"],
            "output_tokens_details": {"reasoning_tokens": a.usage["reasoning"]},
            "total_tokens": a.prompt_tokens + a.usage["output"],
        }
        done = {"status": "completed", "output": self._items(a), "usage": usage}
        return {**self._response(a), **done}

    def frames(self, a: Answer) -> Iterator[Frame]:
        number = 0

        def event(kind: str, *, is_text: bool = False, **data: Any) -> Frame:
            nonlocal number
            number += 1
            kind = f"response.{kind}"
            return kind, {"type": kind, "sequence_number": number, **data}, is_text

        yield event("created", response=self._response(a))
        yield event("in_progress", response=self._response(a))
        for i, item in enumerate(self._items(a)):
            place = {"output_index": i, "item_id": item["id"]}
            if item["type"] == "reasoning":
                empty = {"type": "summary_text", "text": ""}
                at = {**place, "summary_index": 0}
                yield event("output_item.added", output_index=i, item={**item, "summary": []})
                yield event("reasoning_summary_part.added", part=empty, **at)
                for piece in pieces(a.thinking):
                    yield event("reasoning_summary_text.delta", delta=piece, **at)
                yield event("reasoning_summary_text.done", text=a.thinking, **at)
            elif item["type"] == "message":
                empty = {"type": "output_text", "text": "", "annotations": []}
                at = {**place, "content_index": 0}
                begun = {**item, "content": [], "status": "in_progress"}
                yield event("output_item.added", output_index=i, item=begun)
                yield event("content_part.added", part=empty, **at)
                for piece in pieces(a.text):
                    yield event("output_text.delta", is_text=True, delta=piece, **at)
                yield event("output_text.done", text=a.text, **at)
            else:
                yield event("output_item.added", output_index=i, item=item)
            yield event("output_item.done", output_index=i, item=item)
        yield event("completed", response=self.whole(a))


class Chat:
    def read(self, body: dict[str, Any], model: str) -> Request:
        request = Request(model)
        for message in body.get("messages", ()):
            if message.get("role") in ("system", "developer"):
                request.system += text_of(message.get("content")) + "\n"
            elif message.get("role") == "user":
                request.users.append(text_of(message.get("content")))
        for tool in body.get("tools") or ():
            function = tool.get("function") or tool
            request.tools[function["name"]] = Tool(function.get("parameters") or {})
        wanted = (body.get("response_format") or {}).get("json_schema") or {}
        request.schema = wanted.get("schema")
        return request

    def _calls(self, a: Answer) -> list[dict[str, Any]]:
        return [
            {
                "index": i,
                "id": f"call_fake{a.n:06d}{i:02d}",
                "type": "function",
                "function": {"name": c.name, "arguments": json.dumps(c.args, ensure_ascii=False)},
            }
            for i, c in enumerate(a.calls)
        ]

    def _base(self, a: Answer, kind: str) -> tuple[dict[str, Any], dict[str, Any], str]:
        usage = {
            "prompt_tokens": a.prompt_tokens,
            "completion_tokens": a.usage["output"],
            "total_tokens": a.prompt_tokens + a.usage["output"],
            "prompt_tokens_details": {"cached_tokens": a.usage["cache_read"]},
            "completion_tokens_details": {"reasoning_tokens": a.usage["reasoning"]},
        }
        base = {"id": f"chatcmpl-fake{a.n:06d}", "created": int(time.time()), "model": a.model}
        return {**base, "object": kind}, usage, "tool_calls" if a.calls else "stop"

    def whole(self, a: Answer) -> Any:
        base, usage, stop = self._base(a, "chat.completion")
        message: dict[str, Any] = {"role": "assistant", "content": a.text}
        if a.thinking:
            message["reasoning_content"] = a.thinking
        if a.calls:
            message["tool_calls"] = self._calls(a)
        choice = {"index": 0, "message": message, "finish_reason": stop}
        return {**base, "usage": usage, "choices": [choice]}

    def frames(self, a: Answer) -> Iterator[Frame]:
        base, usage, stop = self._base(a, "chat.completion.chunk")

        def chunk(delta: dict[str, Any], finish: str | None = None, *, text: bool = False) -> Frame:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return "", {**base, "choices": [choice]}, text

        yield chunk({"role": "assistant", "content": ""})
        for piece in pieces(a.thinking):
            yield chunk({"reasoning_content": piece})
        for piece in pieces(a.text):
            yield chunk({"content": piece}, text=True)
        for call in self._calls(a):
            yield chunk({"tool_calls": [call]})
        yield chunk({}, stop)
        yield "", {**base, "choices": [], "usage": usage}, False


class Gemini:
    def read(self, body: dict[str, Any], model: str) -> Request:
        request = Request(model, text_of((body.get("systemInstruction") or {}).get("parts")))
        for message in body.get("contents", ()):
            if message.get("role") in ("user", None):
                request.users.append(text_of([p for p in message.get("parts", ()) if "text" in p]))
        for tool in body.get("tools") or ():
            for f in tool.get("functionDeclarations") or ():
                schema = f.get("parametersJsonSchema") or f.get("parameters") or {}
                request.tools[f["name"]] = Tool(schema)
        wanted = body.get("generationConfig") or {}
        request.schema = wanted.get("responseJsonSchema") or wanted.get("responseSchema")
        if not request.schema and wanted.get("responseMimeType") == "application/json":
            request.schema = {"type": "object"}
        return request

    def _chunk(
        self, a: Answer, parts: list[dict[str, Any]], finish: str | None = None
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
        usage = {"promptTokenCount": a.prompt_tokens, "totalTokenCount": a.prompt_tokens}
        if finish:
            candidate["finishReason"] = finish
            usage["totalTokenCount"] += a.usage["output"]
            usage["cachedContentTokenCount"] = a.usage["cache_read"]
            usage["candidatesTokenCount"] = a.usage["output"] - a.usage["reasoning"]
            usage["thoughtsTokenCount"] = a.usage["reasoning"]
        names = {"modelVersion": a.model, "responseId": f"gfake{a.n:06d}"}
        return {"candidates": [candidate], "usageMetadata": usage, **names}

    def _calls(self, a: Answer) -> list[dict[str, Any]]:
        return [
            {"functionCall": {"name": c.name, "args": c.args, "id": f"fc_fake{a.n:06d}{i:02d}"}}
            for i, c in enumerate(a.calls)
        ]

    def _thoughts(self, a: Answer) -> list[dict[str, Any]]:
        return [{"text": a.thinking, "thought": True}] if a.thinking else []

    def whole(self, a: Answer) -> Any:
        text = [{"text": a.text}] if a.text else []
        return self._chunk(a, [*self._thoughts(a), *text, *self._calls(a)], "STOP")

    def frames(self, a: Answer) -> Iterator[Frame]:
        if a.thinking:
            yield "", self._chunk(a, self._thoughts(a)), False
        for piece in pieces(a.text):
            yield "", self._chunk(a, [{"text": piece}]), True
        yield "", self._chunk(a, self._calls(a) or [{"text": ""}], "STOP"), False
