"""Memory is bounded: by what a line may be, not by what a HOME holds. Measured over the whole tree
of processes, shared pages counted once, while the command line does a first sync."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from homes import Claude, Codex, Synced, line
from shell import DECKLOG, environment

LIMIT = 300 << 20
"""Bytes."""
FULL = bool(os.environ.get("DECKLOG_FULL_SIZE"))
MIB = 1 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux"),
    pytest.mark.timeout(600),
]


def resident(pid: int) -> int:
    """Bytes of a process and all below it; pages that several share count in parts."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (OSError, ValueError):
        return 0  # it has ended
    own = next(int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:"))
    return own * 1024 + sum(resident(int(child)) for child in children.split())


def peak_of_sync(env: dict[str, str]) -> int:
    process = subprocess.Popen(
        [*DECKLOG, "sync", "--json"], env=environment(env), stdout=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)  # to look takes as long as the pages are many
    assert process.returncode in (0, 1)
    assert peak > 10 * MIB, "nothing was measured"
    return peak


def template(size: int) -> bytes:
    """A megabyte or so of ordinary records; ``@@@@@@`` stands where the next ones differ."""
    made = Claude("talk")
    n = 0
    while sum(len(x.data) for x in made.lines[-3:]) * n < size:
        made.prompt("What about this? " * 150)
        made.answer(f"@@@@@@-{n}", (3, 1000, 200, 300), tool="Edit")
        n += 1
    return made.data


@pytest.mark.spec("R51", "R52")
def test_a_history_of_any_size(home: Path, env: dict[str, str]) -> None:
    """Half a GiB in a few long transcripts (2 GiB with DECKLOG_FULL_SIZE)."""
    block = template(MIB)
    blocks = (2048 if FULL else 512) * MIB // len(block)
    for i in range(4):
        path = home / Claude(f"talk{i}").path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as f:
            for n in range(blocks // 4):
                f.write(block.replace(b"@@@@@@", b"%02d%04d" % (i, n)))
    assert peak_of_sync(env) < LIMIT
    with Synced(home, Path(env["DECKLOG_HOME"])) as deck:
        assert deck.total()[3] == 300 * block.count(b'"type":"assistant"') * 4 * (blocks // 4)


@pytest.mark.spec("R50", "R51", "AW13")
def test_lines_of_any_length(home: Path, env: dict[str, str]) -> None:
    """A line of 512 MiB is skipped, one that may just be read is read."""
    made = Claude("talk")
    made.prompt("before")
    path = made.write(home)
    with path.open("ab") as f:
        f.truncate(f.write(b'{"type": "user", "message": "') + f.tell() + 512 * MIB)  # a hole
        f.write(b'"}\n')
        f.write(line({"type": "user", "sessionId": "talk", "uuid": "long",
                      "timestamp": "2026-01-01T00:00:09.000Z",
                      "message": {"role": "user", "content": "x" * (60 * MIB)}}).data)  # fmt: skip
        made.prompt("after")
        f.write(made.lines[-1].data)
    assert peak_of_sync(env) < LIMIT
    with Synced(home, Path(env["DECKLOG_HOME"])) as deck:
        (session,) = deck.sessions().values()
        assert session["counts"]["prompts"] == 3
        assert [f["reason"] for f in deck.store.findings()] == ["too_long"]


@pytest.mark.spec("R52")
def test_many_small_files(home: Path, env: dict[str, str]) -> None:
    folder = (home / Claude("talk").path).parent
    folder.mkdir(parents=True)
    made = Claude("NAME")
    made.prompt("do it")
    made.answer("NAME", (1, 2, 3, 4), tool="Edit")
    data = made.data
    for n in range(10_000):
        (folder / f"talk{n}.jsonl").write_bytes(data.replace(b"NAME", b"talk%d" % n))
    assert peak_of_sync(env) < LIMIT
    with Synced(home, Path(env["DECKLOG_HOME"])) as deck:
        assert len(deck.sessions()) == 10_000
        assert deck.total() == (10_000, 20_000, 30_000, 40_000)


PROMPT = (
    b'{"type":"user","sessionId":"talk","uuid":"u","timestamp":"2026-01-01T00:00:09.000Z",'
    b'"message":{"role":"user","content":%s}}'
)
DOCUMENT = (
    b'{"sessionId":"s","startTime":"2026-01-05T09:59:00.000Z","messages":[{"id":"a","type":"user",'
    b'"timestamp":"2026-01-05T09:59:00.000Z","content":%s}]}'
)
CLAUDE = Claude("talk").path
CODEX = Codex("019b7000-0000-7000-8000-000000000001", packed=True).path
GEMINI = ".gemini/tmp/tide/chats/session-2026-01-05T09-59-5d0c9a52.json"
GIANTS: dict[str, tuple[str, Callable[[], bytes], list[str]]] = {
    "a line that has no end yet": (
        CLAUDE, lambda: PROMPT % (b'"' + "\u00e9".encode() * (30 * MIB)), []),
    "a line of wide characters": (
        CLAUDE, lambda: PROMPT % (b'"' + "\U0001f600".encode() * (15 * MIB) + b'"') + b"\n", []),
    "a line of broken bytes": (
        CLAUDE, lambda: PROMPT % (b'"' + b"\xff" * (30 * MIB) + b'"') + b"\n", []),
    "a line of blocks": (
        CLAUDE, lambda: PROMPT % (b"[" + b"{}," * (18 * MIB) + b"{}]") + b"\n", ["too_big"]),
    "a torn line of objects": (
        CLAUDE, lambda: b'{"a":' + b'{"a":[1,2,3],"b":{}},' * (2 * MIB) + b"\n", ["too_big"]),
    "a document": (GEMINI, lambda: DOCUMENT % (b'"' + b"x" * (63 * MIB) + b'"'), []),
    "a larger document": (GEMINI, lambda: DOCUMENT % (b'"' + b"x" * (65 * MIB) + b'"'),
                          ["too_long"]),
    "a bomb": (CODEX, lambda: bomb(4_200), ["bomb"]),
}  # fmt: skip


def bomb(megabytes: int) -> bytes:
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(megabytes)), packer.flush()])


@pytest.mark.spec("R9", "R50", "R51", "R52", "R55")
@pytest.mark.parametrize("what", GIANTS)
def test_giants(what: str, home: Path, env: dict[str, str]) -> None:
    name, made, reasons = GIANTS[what]
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made())
    assert peak_of_sync(env) < LIMIT
    with Synced(home, Path(env["DECKLOG_HOME"])) as deck:
        assert [f["reason"] for f in deck.store.findings()] == reasons


def test_a_sync_that_holds_everything_is_caught(home: Path, env: dict[str, str]) -> None:
    """The measure sees what processes below the command hold."""
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        f"    held = b'x' * {LIMIT}\n"
        "    time.sleep(0.3)\n"
        "else:\n"
        "    os.wait()\n"
    )
    process = subprocess.Popen([DECKLOG[0], "-c", code], env=environment(env))
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.02)
    assert peak > LIMIT
