"""A program that behaves like Claude Code where `decklog run` looks: it takes its arguments, writes
a transcript as it does, tells its state in a file named by its pid, and does as its prompt says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4


class Fake:
    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.home = Path(os.environ["HOME"], ".claude")
        self.on(self.option("--session-id") or self.option("--resume") or str(uuid4()))

    def option(self, name: str) -> str:
        return self.argv[self.argv.index(name) + 1] if name in self.argv else ""

    def on(self, native: str) -> None:
        self.native = native
        folder = "".join(c if c.isalnum() else "-" for c in os.getcwd())
        self.path = self.home / "projects" / folder / f"{native}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        (self.home / "sessions").mkdir(exist_ok=True)
        own = {"pid": os.getpid(), "sessionId": native, "cwd": os.getcwd(), "status": "busy"}
        (self.home / "sessions" / f"{os.getpid()}.json").write_text(json.dumps(own))

    def write(self, kind: str, **own: Any) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        record = {
            "type": kind, "uuid": str(uuid4()), "sessionId": self.native, "timestamp": stamp,
            "cwd": os.getcwd(), "version": "2.1.197", **own,
        }  # fmt: skip
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(record) + "\n")
        if "stream-json" in self.argv:
            line = {k: v for k, v in record.items() if k != "sessionId"}
            print(json.dumps({**line, "session_id": self.native}), flush=True)

    def user(self, text: str) -> None:
        self.write("user", message={"role": "user", "content": text})

    def answer(self, text: str, **own: Any) -> None:
        usage = {"input_tokens": 5, "output_tokens": 7}
        message = {
            "id": str(uuid4()), "role": "assistant", "model": "claude-x", "usage": usage,
            "content": [{"type": "text", "text": text}],
        }  # fmt: skip
        self.write("assistant", requestId=str(uuid4()), message=message, **own)

    def limit(self, text: str) -> None:
        message = {
            "id": str(uuid4()), "role": "assistant", "model": "<synthetic>",
            "content": [{"type": "text", "text": text}],
        }  # fmt: skip
        self.write("assistant", isApiErrorMessage=True, error="rate_limit", message=message)

    def headless(self, prompt: str) -> int:
        self.user(prompt)
        what, _, more = prompt.partition(" ")
        if what == "exit":
            return int(more)
        if what == "die":
            os.kill(os.getpid(), int(more))
        if what == "wait":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(43))
            print("waiting", flush=True)
            time.sleep(60)
        if what == "limit" and not (self.home / "waited").exists():
            (self.home / "waited").write_text("")
            self.limit(f"Claude AI usage limit reached|{int(time.time()) + int(more)}")
            return 1
        self.answer(f"did {prompt}")
        if "stream-json" not in self.argv:
            sys.stdout.buffer.write(b"out \xff\n")
            sys.stderr.buffer.write(b"err \xfe\n")
        return 0

    def screen(self) -> int:
        """Interactive: lines typed, until ``quit``."""
        size = os.get_terminal_size(0)
        signal.signal(signal.SIGWINCH, lambda *_: print(f"size {os.get_terminal_size(0).columns}"))
        print(f"ready {size.columns}", flush=True)
        for line in sys.stdin:
            word = line.strip()
            if word == "quit":
                return 5
            if word == "/clear":
                self.on(str(uuid4()))
                continue
            self.user(word)
            self.answer(f"did {word}")
            print(f"did {word}", flush=True)
        return 0


def main() -> int:
    fake = Fake(sys.argv[1:])
    try:
        return fake.headless(fake.option("-p")) if "-p" in sys.argv else fake.screen()
    finally:
        (fake.home / "sessions" / f"{os.getpid()}.json").unlink()


if __name__ == "__main__":
    sys.exit(main())
