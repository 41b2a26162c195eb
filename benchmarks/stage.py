"""A place to measure in: a corpus as a throw-away HOME, and a data folder for each tool."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cases import Call
from corpus import parse_size
from measure import Run, run
from rivals import RIVALS, cache_folder

HERE = Path(__file__).parent
PLACES = (
    ".claude/projects",
    ".codex/sessions",
    ".gemini/tmp",
    ".gemini/projects.json",
    ".pi/agent/sessions",
    ".copilot/session-state",
)
"""What is taken from a home: transcripts, nothing else."""
APPEND_TO = 1_000_000
"""Bytes that the transcript which gets new lines has at most."""
STATE = {"decklog": "DECKLOG_HOME"} | {r.name: r.state for r in RIVALS if r.state}
"""Tool to the environment variable that names its data folder."""


def cached_corpus(size: str, seed: int) -> Path:
    """The corpus of a size, made unless the cache has it as this generator would make it."""
    sources = sorted([HERE / "corpus.py", *(HERE / "synthetic").glob("*.py")])
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:10]
    stem = f"corpus-{parse_size(size)}-{seed}-"
    home = cache_folder() / f"{stem}{digest}"
    if not (home / "truth.json").exists():
        for old in cache_folder().glob(f"{stem}*"):
            shutil.rmtree(old)
        command = [sys.executable, str(HERE / "corpus.py"), str(home)]
        subprocess.run([*command, "--size", size, "--seed", str(seed)], check=True)
    return home


class Stage:
    """A home made of hard links, so that the corpus itself is never written to."""

    def __init__(self, corpus: Path, folder: Path, tools: Mapping[str, list[str]]) -> None:
        self.corpus = corpus
        self.folder = folder
        self.tools = tools
        self.home = folder / "home"
        self.output = folder / "output"
        self.home.mkdir()
        for place in PLACES:
            _link(corpus / place, self.home / place)
        self.files = [p for p in self.home.rglob("*") if p.is_file()]
        self.size = sum(p.stat().st_size for p in self.files)
        self.growing = self._own_copy()
        for tool in STATE:
            self.state(tool).mkdir()

    def state(self, tool: str) -> Path:
        return self.folder / tool

    def _own_copy(self) -> Path | None:
        """The transcript that gets new lines, no longer a link: the largest handy session."""
        sessions = [
            p
            for p in self.files
            if p.match(".claude/projects/*/*.jsonl")
            and not p.name.startswith("agent-")  # subagents, which not every rival reads
            and p.stat().st_size <= APPEND_TO
        ]
        if not sessions:
            return None
        path = max(sessions, key=lambda p: (p.stat().st_size, p))
        data, times = path.read_bytes(), path.stat()
        path.unlink()
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return path

    def append(self) -> bool:
        """One more prompt at the end of one transcript; False when there is none to append to."""
        if self.growing is None:
            return False
        with self.growing.open("rb") as transcript:
            prompts = [line for line in transcript if b'"type":"user"' in line]
        if not prompts:
            return False
        record = json.loads(prompts[-1])
        record |= {
            "parentUuid": record.get("uuid"),
            "uuid": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "message": {"role": "user", "content": "one more thing"},
        }
        line = json.dumps(record, separators=(",", ":")).replace("+00:00", "Z")
        with self.growing.open("a") as end:
            end.write(line + "\n")
        return True

    def warm(self) -> None:
        """Bring every file into the page cache."""
        for path in self.files:
            path.read_bytes()

    def env(self, tool: str) -> dict[str, str]:
        """The whole environment of a tool: nothing of the user's own gets in."""
        env = {
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", os.defpath),
            "TZ": "UTC",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
        }
        if tool in STATE:
            env[STATE[tool]] = str(self.state(tool))
        for rival in RIVALS:
            if rival.name == tool:
                env |= rival.env
        return env

    def run(self, call: Call, *, watch: bool = False) -> Run:
        if call.fresh:
            state = self.state(call.tool)
            shutil.rmtree(state)
            state.mkdir()
        env = self.env(call.tool) | dict(call.env)
        if call.daemon:
            env.pop("AGENTSVIEW_NO_DAEMON", None)
        return run([*self.tools[call.tool], *call.args], env, self.output, watch=watch)

    def ask(self, call: Call) -> Any:
        """The JSON that a call answers with."""
        self.run(call)
        return json.loads(self.output.read_bytes())

    @contextmanager
    def daemon(self, call: Call | None) -> Iterator[None]:
        """The daemon that a call asks, for as long as it is needed."""
        if call is None or not call.daemon:
            yield
            return
        start, stop = (Call(call.tool, ("daemon", verb), daemon=True) for verb in ("start", "stop"))
        self.run(start)
        try:
            yield
        finally:
            self.run(stop)


@contextmanager
def staged(corpus: Path, tools: Mapping[str, list[str]]) -> Iterator[Stage]:
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache_folder()) as folder:
        yield Stage(corpus, Path(folder), tools)


def _link(source: Path, target: Path) -> None:
    """Hard links where the file system allows, copies elsewhere."""

    def place(a: str, b: str) -> None:
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=place)
    elif source.exists():
        place(str(source), str(target))
