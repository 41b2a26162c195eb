"""A stand-in for Claude Code in a terminal: its input box, dialogs, transcript, and odd habits.

Run by the script that `install` writes, under the name ``claude``. What it was given is kept, byte
for byte, in the file FAKE_LEDGER: one JSON text for each submission.

    FAKE_START=1.5        seconds before it leaves canonical mode and draws anything
    FAKE_BUSY=0.3         seconds that a turn takes
    FAKE_PLAIN_PASTE=1    does not ask for bracketed paste
    FAKE_SWALLOWS=1       does not notice the first Enter after a paste
    FAKE_DIALOG=1         opens with a question about the folder
    FAKE_STUBBORN=1       does not end when asked
    FAKE_SILENT=1         writes no transcript
    FAKE_DIES=1           ends at the first prompt, with exit code 7
    FAKE_REPORTS=1        reports its state to a terminal that says it understands that
"""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import sys
import time
import tty
import unicodedata
import uuid
from contextlib import suppress
from pathlib import Path

RULE = "─" * 200
PASTE, END = b"\x1b[200~", b"\x1b[201~"
KEYS = (b"\r", b"\x1b", b"\x15", b"\x03")


def install(folder: Path, name: str = "claude") -> Path:
    """Put the program into a folder; the script to run."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    # under its own name in the process table, which is how it is known for the agent
    real = os.path.realpath(sys.executable)
    path.write_text(f'#!/bin/bash\nexec -a "$0" {real} -S -E {__file__} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def wrapped(row: str, columns: int) -> list[str]:
    """A row in pieces of so many columns."""
    pieces, room = [""], columns
    for c in row:
        wide = 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if wide > room:
            pieces, room = [*pieces, ""], columns
        pieces[-1] += c
        room -= wide
    return pieces


def option(name: str) -> float:
    return float(os.environ.get(f"FAKE_{name}") or 0)


class Agent:
    def __init__(self, arguments: list[str]) -> None:
        self.native = str(uuid.uuid4())
        for flag in ("--session-id", "--resume"):
            if flag in arguments:
                self.native = arguments[arguments.index(flag) + 1]
        self.typed = b""
        self.pasting = False
        self.folded = False
        self.said: list[str] = []
        self.queue: list[bytes] = []
        self.busy_until = 0.0
        self.dialog = bool(option("DIALOG"))
        self.swallow = False
        self.turn = 0
        self.reports = False
        folder = os.getcwd().replace("/", "-").replace(".", "-").replace("_", "-")
        home = Path(os.environ["HOME"])
        self.transcript = home / ".claude/projects" / folder / f"{self.native}.jsonl"

    # -- what it keeps ---------------------------------------------------------------------------

    def write(self, role: str, text: str) -> None:
        if option("SILENT"):
            return
        self.turn += 1
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        content: object = text
        message: dict[str, object] = {"role": role, "content": content}
        if role == "assistant":
            message |= {
                "id": f"msg_{self.native[:8]}_{self.turn}",
                "model": "claude-sonnet-4-5",
                "stop_reason": "end_turn",
                "content": [{"type": "text", "text": text}],
                "usage": {"input_tokens": 5, "output_tokens": 3},
            }
        record = {
            "type": role,
            "sessionId": self.native,
            "uuid": str(uuid.uuid4()),
            "timestamp": at,
            "cwd": os.getcwd(),
            "version": "2.1.197",
            "message": message,
        }
        self.transcript.parent.mkdir(parents=True, exist_ok=True)
        with open(self.transcript, "ab", buffering=0) as f:
            f.write(json.dumps(record).encode() + b"\n")

    def submit(self) -> None:
        text, self.typed, self.folded = self.typed, b"", False
        if not text:
            return
        with open(os.environ["FAKE_LEDGER"], "ab", buffering=0) as f:
            record = {"text": text.decode(), "native": self.native}
            record["pane"] = os.environ.get("DECKLOG_PANE", "")
            f.write(json.dumps(record).encode() + b"\n")
        if option("DIES"):
            sys.exit(7)
        if text == b"/exit":
            sys.exit(0)
        if self.busy_until:
            self.queue.append(text)
        else:
            self.begin(text)

    def begin(self, text: bytes) -> None:
        shown = text.decode()
        self.said.append(f"❯ {shown.split(chr(10))[0][:60]}")
        self.write("user", shown)
        self.busy_until = time.monotonic() + option("BUSY")
        self.report("state=blocked:kind=question" if "ask me" in shown else "state=working")

    def rest(self) -> None:
        self.busy_until = 0.0
        self.said.append("● Done.")
        self.write("assistant", "Done.")
        self.report("state=done:app=fake")
        if self.queue:
            self.begin(self.queue.pop(0))

    def asks(self) -> None:
        """Whether reports are understood: whichever answer comes first decides."""
        os.write(1, b"\x1b]7501;?\x07\x1b[c")
        said = b""
        while not said.endswith(b"c"):
            said += os.read(0, 1)
        self.reports = said.startswith(b"\x1b]7501;?\x1b\\")

    def report(self, pairs: str) -> None:
        if self.reports:
            os.write(1, f"\x1b]7501;{pairs}\x1b\\".encode())

    # -- keys ------------------------------------------------------------------------------------

    def take(self, data: bytes) -> bytes:
        """Handle what can be; what is left has to wait for more."""
        while data:
            if self.pasting:
                at = data.find(END)
                if at < 0:
                    keep = len(data) - len(END) + 1 if END[:1] in data[-len(END) :] else len(data)
                    self.typed += data[: max(0, keep)]
                    return data[max(0, keep) :]
                self.typed += data[:at]
                self.pasting, data = False, data[at + len(END) :]
                self.folded = self.typed.count(b"\n") > 3 or len(self.typed) > 800
                self.swallow = bool(option("SWALLOWS"))
            elif data.startswith(PASTE):
                self.pasting, data = True, data[len(PASTE) :]
            elif PASTE.startswith(data) and len(data) > 1:
                return data
            elif data[:1] == b"\r":
                data = data[1:]
                if self.dialog:
                    self.dialog = False
                elif self.swallow:
                    self.swallow = False
                else:
                    self.submit()
            elif data[:1] == b"\x1b":
                self.busy_until, data = 0.0, data[1:]
            elif data[:1] == b"\x15":
                self.typed, self.folded, data = b"", False, data[1:]
            elif data[:1] == b"\x03":
                sys.exit(0)
            else:
                plain = min((i for k in KEYS if (i := data.find(k, 1)) > 0), default=len(data))
                self.typed, data = self.typed + data[:plain], data[plain:]
        return data

    def read(self) -> bytes:
        try:
            data = os.read(0, 1 << 16)
        except OSError:
            data = b""
        if not data and not option("STUBBORN"):
            sys.exit(0)
        time.sleep(0 if data else 1)
        return data

    # -- screen ----------------------------------------------------------------------------------

    def draw(self) -> None:
        rows = self.said[-8:]
        if self.dialog:
            rows += [
                RULE,
                " Accessing workspace:",
                "",
                " ❯ 1. Yes, I trust this folder",
                "   2. No, exit",
            ]
            rows += ["", " Enter to confirm · Esc to cancel"]
        else:
            if self.busy_until:
                rows += ["", "✻ Mustering… (1s · ↓ 25 tokens)"]
            rows += [f"  ❯ {q.decode().split(chr(10))[0][:60]}" for q in self.queue[-3:]]
            rows += ["", RULE, *self.composer(), RULE]
            rows += ["  esc to interrupt" if self.busy_until else "  ? for shortcuts"]
        title = "\x1b]2;⠂ fake\a" if self.busy_until else "\x1b]2;✳ fake\a"
        with suppress(OSError):
            width = os.get_terminal_size(0).columns
            screen = "\x1b[H\x1b[2J" + "\r\n".join(wrapped(row, width)[0] for row in rows)
            sys.stdout.write(title + screen)
            sys.stdout.flush()

    def composer(self) -> list[str]:
        text = self.typed.decode(errors="replace")
        if self.folded:
            return [f"❯ [Pasted text #1 +{text.count(chr(10))} lines]"]
        lines = [line for row in text[-4000:].split("\n") for line in wrapped(row, 70)]
        first, *others = lines[-10:]  # it scrolls
        return [f"❯ {first}", *(f"  {row}" for row in others)]

    def run(self) -> None:
        time.sleep(option("START"))
        tty.setraw(0)
        if not option("PLAIN_PASTE"):
            sys.stdout.write("\x1b[?2004h")
        if option("REPORTS"):
            self.asks()
            self.report("state=idle")
        data = b""
        self.draw()
        while True:
            ready, _, _ = select.select([0], [], [], 0.05)
            if ready:
                read = self.read()
                data = self.take(data + read)
            ended = self.busy_until and time.monotonic() > self.busy_until
            if ended:
                self.rest()
            if (ready and not self.pasting) or ended:
                self.draw()


if __name__ == "__main__":
    if option("STUBBORN"):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    Agent(sys.argv[1:]).run()
