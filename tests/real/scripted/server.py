"""The HTTP side: find the turn that answers a request, write it, keep what was told."""

from __future__ import annotations

import gzip
import json
import re
import select
import socket
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .tools import call, smallest
from .wires import Answer, Anthropic, Chat, Gemini, Request, Responses

COMPACTION = re.compile(
    r"create a detailed summary of|CONTEXT CHECKPOINT COMPACTION|state_snapshot|"
    r"Summarize the conversation|structured context checkpoint|context checkpoint summary|"
    r"anchored summary|Provide a detailed (prompt|summary) for continuing",
    re.IGNORECASE,
)
ROUTES = (
    (re.compile(r"/messages$"), Anthropic()),
    (re.compile(r"/responses(/compact)?$"), Responses()),
    (re.compile(r"/chat/completions$"), Chat()),
    (re.compile(r"/models/(?P<model>[^/:]+):(?P<verb>stream)?[gG]enerateContent$"), Gemini()),
)
MODELS = ("claude-sonnet-4-5", "gpt-5.2-codex", "fake-model", "gemini-2.5-pro")
GATE_SECONDS = 600


class ClientGone(Exception):
    """The agent closed the connection while it was being answered."""


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1; `cwd` is what relative paths of scripted tool calls are joined to."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, scenario: dict[str, Any], cwd: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.cwd = cwd
        self.answers: list[dict[str, Any]] = []
        self.requests: list[Any] = []
        """Body of the request behind each answer."""
        self._lock = threading.Lock()
        self._gates: dict[str, threading.Event] = {}
        self._reached: set[str] = set()
        self._count = 0
        self.load(scenario)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def load(self, scenario: dict[str, Any]) -> None:
        """Start another scenario at its first turn."""
        with self._lock:
            self._scenario = scenario
            self._cursor: dict[str, int] = {}
            self._failed: dict[tuple[str, int], int] = {}

    def open(self, gate: str) -> None:
        """Let the stream that is held at this gate (or will be) go on."""
        self._gate(gate).set()

    def reached(self, gate: str, timeout: float = 30) -> None:
        """Wait until a stream stands at this gate: the agent is surely busy."""
        end = time.monotonic() + timeout
        while gate not in self._reached:
            if time.monotonic() > end:
                raise TimeoutError(f"no request reached gate {gate!r}; answered: {self.answers}")
            time.sleep(0.02)

    def close(self) -> None:
        for gate in list(self._gates.values()):
            gate.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away is no news
            super().handle_error(request, client_address)

    # what the handler asks

    def next_number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def choose(self, request: Request, path: str) -> tuple[dict[str, Any], str, int]:
        """(turn, route, index) that answers this request."""
        scenario = self._scenario
        with self._lock:
            for route in scenario.get("routes", ()):
                match = route["match"].items()
                if all(re.search(p, request.field(f), re.DOTALL) for f, p in match):
                    return self._take(route["name"], route["turns"])
            side = scenario.get("side") or {}
            if (
                path.endswith("/compact")
                or COMPACTION.search(request.field("user"))
                or (not request.tools and COMPACTION.search(request.system))
            ):
                summary = {"text": "<summary>\nScripted summary so far.\n</summary>"}
                return scenario.get("compact") or summary, "compact", 0
            if request.schema is not None:
                return {**side, "text": json.dumps(smallest(request.schema))}, "side-json", 0
            if not request.tools:
                return side or {"text": "Scripted title"}, "side", 0
            return self._take("main", scenario.get("turns", ()))

    def _take(self, name: str, turns: Any) -> tuple[dict[str, Any], str, int]:
        i = self._cursor.get(name, 0)
        if i >= len(turns):
            return {"text": f"Scenario exhausted ({name} {i})."}, name, i
        times = (turns[i].get("error") or {}).get("times", 1)
        failed = self._failed[(name, i)] = self._failed.get((name, i), 0) + 1
        if failed >= times:
            self._cursor[name] = i + 1
        return turns[i], name, i

    def hold(self, gate: str, connection: socket.socket) -> None:
        self._reached.add(gate)
        event = self._gate(gate)
        end = time.monotonic() + GATE_SECONDS
        while not event.wait(0.05) and time.monotonic() < end:
            readable, _, _ = select.select([connection], [], [], 0)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                raise ClientGone

    def _gate(self, name: str) -> threading.Event:
        with self._lock:
            return self._gates.setdefault(name, threading.Event())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.split("?")[0].endswith("/models"):
            data = [{"id": m, "object": "model"} for m in MODELS]
            names = [{"name": f"models/{m}"} for m in MODELS]
            self._reply(200, {"object": "list", "data": data, "models": names})
        else:
            self._reply(404, {"error": {"type": "not_found_error", "message": self.path}})

    def do_POST(self) -> None:
        path = self.path.split("?")[0]
        body = self._body()
        if path.endswith(("/count_tokens", ":countTokens")):
            count = len(json.dumps(body)) // 4
            self._reply(200, {"input_tokens": count, "totalTokens": count})
            return
        for pattern, wire in ROUTES:
            found = pattern.search(path)
            if found:
                groups = found.groupdict()
                streamed = bool(groups["verb"]) if "verb" in groups else bool(body.get("stream"))
                self._answer(wire, body, path, groups.get("model") or body.get("model"), streamed)
                return
        self._reply(404, {"error": {"type": "not_found_error", "message": path}})

    def _answer(self, wire: Any, body: Any, path: str, model: str, streamed: bool) -> None:
        server, n = self.server, self.server.next_number()
        request = wire.read(body, model)
        turn, route, index = server.choose(request, path)
        error = turn.get("error") or {}
        failed = error.get("status")
        calls = [call(t, request.tools, server.cwd) for t in turn.get("tools", ())]
        usage = _usage(turn, index)
        row = {
            "n": n,
            "at": time.time(),
            "path": path,
            "model": model,
            "route": route,
            "turn": index,
            "user": request.field("user"),
            "usage": dict.fromkeys(usage, 0) if failed else usage,
            "calls": [c.name for c in calls],
            "status": "ok",
        }
        server.answers.append(row)
        server.requests.append(body)
        time.sleep(turn.get("delay", 0))
        try:
            if failed:
                row["status"] = f"http_{failed}"
                self._reply(failed, _failure(error, wire), error.get("headers"))
                return
            answer = Answer(n, model, turn, calls, usage)
            headers = {"request-id": f"req_fake{n:06d}", **turn.get("headers", {})}
            if not streamed:
                self._reply(200, wire.whole(answer), headers)
            elif not self._stream(wire, answer, headers):
                row["status"] = "dropped"
        except (ClientGone, OSError):
            row["status"] = "client_gone"
            self.close_connection = True

    def _stream(self, wire: Any, answer: Answer, headers: dict[str, str]) -> bool:
        """Write all frames; False where the script cuts the stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        texts = 0
        for name, data, is_text in wire.frames(answer):
            # ASCII only: Gemini CLI's line reader breaks at U+2028 too
            event = f"event: {name}\n" if name else ""
            self._chunk(f"{event}data: {json.dumps(data)}\n\n".encode())
            texts += is_text
            if is_text and texts == 1 and answer.turn.get("gate"):
                self.server.hold(answer.turn["gate"], self.connection)
            if is_text and texts == 2 and (answer.turn.get("error") or {}).get("drop"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return False
        if isinstance(wire, Chat):
            self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")
        return True

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _reply(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> Any:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        packed = self.headers.get("Content-Encoding")
        if packed == "gzip":
            data = gzip.decompress(data)
        elif packed == "deflate":
            data = zlib.decompress(data)
        return json.loads(data or b"{}")


def _usage(turn: dict[str, Any], index: int) -> dict[str, int]:
    thinking, text, tools = (
        turn.get("thinking") or "",
        turn.get("text") or "",
        turn.get("tools", ()),
    )
    reasoning = max(16, len(thinking) // 4) if thinking else 0
    return {
        "input": 10 + index,
        "cache_read": 11000 + 1500 * index,
        "cache_write": 1200 + 10 * index,
        "reasoning": reasoning,
        "output": 20 + len(text) // 4 + 30 * len(tools) + reasoning,
        **turn.get("usage", {}),
    }


def _failure(error: dict[str, Any], wire: Any) -> Any:
    if "body" in error:
        return error["body"]
    status, message = error["status"], error.get("message", "Scripted error")
    if isinstance(wire, Gemini):
        kind = error.get("type", "RESOURCE_EXHAUSTED" if status == 429 else "INTERNAL")
        return {"error": {"code": status, "message": message, "status": kind}}
    kind = error.get("type", "rate_limit_error" if status == 429 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message, "code": kind}}
