"""Running the command line as its users do: in a process of its own, in a pipe or a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from homes import Claude

DECKLOG = (sys.executable, "-m", "decklog")


class Ran(NamedTuple):
    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The one JSON object on stderr; stdout is empty."""
        assert self.out == b""
        assert self.err.count("\n") == 1
        found = json.loads(self.err)
        assert sorted(found) == ["error", "hint", "message", "retryable"]
        assert isinstance(found, dict)
        return found


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The process environment of a command: what `env` says, and what Python itself needs."""
    kept = ("PATH", "PYTHONPATH", "LANG", "COVERAGE_PROCESS_START")
    return {**{k: os.environ[k] for k in kept if k in os.environ}, **env}


def decklog(env: Mapping[str, str], *words: str) -> Ran:
    """Run a command with its output in pipes."""
    done = subprocess.run(
        [*DECKLOG, *words], env=environment(env), capture_output=True, timeout=60, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def on_terminal(
    env: Mapping[str, str], *words: str, columns: int = 100, command: tuple[str, ...] = DECKLOG
) -> tuple[int, str]:
    """Run a command on a terminal of its own: its exit code and all that the terminal was sent."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*command, *words],
        env={"TERM": "xterm-256color", **environment(env)},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    return process.wait(timeout=60), b"".join(pieces).decode()


# --- a HOME with a bit of everything ------------------------------------------------------------


def said(talk: Claude, key: str, tokens: tuple[int, int, int, int], *blocks: Any) -> None:
    """A response with these content blocks."""
    usage = dict(
        zip(
            (
                "input_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "output_tokens",
            ),
            tokens,
            strict=True,
        )
    )
    message = {
        "id": f"msg-{key}",
        "role": "assistant",
        "model": talk.model,
        "content": [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks],
        "usage": usage,
    }
    talk._put("assistant", talk._uuid(), requestId=f"req-{key}", message=message)


def called(id: str, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def returned(
    talk: Claude, id: str, content: str, *, failed: bool = False, data: Any = None
) -> None:
    result = {"type": "tool_result", "tool_use_id": id, "content": content, "is_error": failed}
    own = {} if data is None else {"toolUseResult": data}
    talk._put("user", talk._uuid(), message={"role": "user", "content": [result]}, **own)


MAIN = "aaaa0001-0000-4000-8000-000000000001"
FORK = "aaaa0002-0000-4000-8000-000000000002"
CHILD = "b1b2b3b4"


def furnish(home: Path) -> None:
    """A session with tools, edits and a subagent, and a fork of its beginning."""
    main = Claude(MAIN)
    main.prompt("Fix the greeting.\nIt should say hello, world.")
    said(main, "1", (3, 100, 50, 20), "I look first.", called("t1", "Bash", command="ls -la"))
    returned(main, "t1", "\n".join(f"file {i}" for i in range(9)))
    main.answer("2", (4, 150, 20, 30), records=3)
    said(
        main, "3", (5, 170, 10, 40),
        called("t2", "Edit", file_path="/home/me/work/hello.py", old_string="print('hello')",
               new_string="print('hello, world')"),
    )  # fmt: skip
    hunk = {
        "oldStart": 1,
        "oldLines": 2,
        "newStart": 1,
        "newLines": 2,
        "lines": ["-print('hello')", "+print('hello, world')", " print('more')"],
    }
    returned(main, "t2", "edited", data={"structuredPatch": [hunk], "filePath": "x"})
    said(main, "4", (5, 180, 10, 41), "It works.")
    fork = main.fork(FORK, 3)
    fork.prompt("And in French?")
    said(fork, "5", (2, 100, 0, 7), "Bonjour.")
    main.prompt("Count the files, please.")
    said(main, "6", (6, 190, 5, 9), called("t3", "Task", description="Count", prompt="Count."))
    returned(main, "t3", "two files", data={"agentId": CHILD, "status": "completed"})
    said(main, "7", (6, 195, 5, 10), called("t4", "Bash", command="exit 3"))
    returned(main, "t4", "Exit code 3", failed=True)
    said(main, "8", (7, 200, 5, 11), "Two files, and one command failed.")
    child = Claude(MAIN, main.now - 4000, agent=CHILD)
    child.prompt("Count.")
    said(child, "9", (1, 10, 5, 3), "two files")
    for talk in (main, fork, child):
        talk.write(home)
