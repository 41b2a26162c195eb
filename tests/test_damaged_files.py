"""Files that are no transcripts, or none that can be read, through the whole pipeline."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest
import zstandard

from damaged import (
    AFTER,
    BEFORE,
    NAME,
    ONE,
    OTHER,
    TWO,
    assert_neighbours,
    joined,
    put,
    read,
)
from decklog import agents, databases, reading, sources
from homes import Claude, Codex, line

# --- R10, R11: files --------------------------------------------------------------------------


@pytest.mark.spec("R10")
@pytest.mark.parametrize(
    "name",
    [
        f"{OTHER}.jsonl.xz", f"{OTHER}.jsonl.gz", f"{OTHER}.jsonl.bak", f"{OTHER}.ndjson",
        f"{OTHER}.json", "sessions.db", "sessions.sqlite", "deeper/still/transcript.parquet",
    ],
)  # fmt: skip
def test_a_file_that_no_rule_knows(home: Path, env: dict[str, str], name: str) -> None:
    path = put(home, []).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(joined(BEFORE))
    seen = read(env)
    assert_neighbours(seen)
    assert [(f.reason, f.source) for f in seen.findings] == [("unrecognized", str(path))]


@pytest.mark.spec("R10")
@pytest.mark.parametrize(
    "name",
    [
        "sessions-index.json", ".DS_Store", "notes.md", f"{NAME}/tool-results/toolu_01.txt",
        f"{NAME}/tool-results/deeper/x.jsonl", "memory/MEMORY.md",
        f"{NAME}/subagents/agent-a1.meta.json", f"{NAME}/subagents/workflows/wf_1/journal.jsonl",
    ],
)  # fmt: skip
def test_files_that_are_known_to_hold_no_session(
    home: Path, env: dict[str, str], name: str
) -> None:
    path = put(home, []).parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(joined([ONE, TWO]))
    seen = read(env)
    assert_neighbours(seen)
    assert seen.findings == []


@pytest.mark.spec("R37", "R11")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["fifo", "socket", "dangling", "loop"])
def test_what_is_no_regular_file(
    home: Path,
    env: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    path = put(home, []).parent / f"{OTHER}.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path.name)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere.jsonl")
    else:
        path.symlink_to(path)
    seen = read(env)
    assert_neighbours(seen)
    assert [(f.reason, f.source) for f in seen.findings] == [("unreadable", str(path))]
    assert seen.report.problems == 1


@pytest.mark.spec("R37")
def test_a_folder_named_like_a_transcript(home: Path, env: dict[str, str]) -> None:
    folder = put(home, []).parent / f"{OTHER}.jsonl"
    folder.mkdir()
    (folder / "link").symlink_to(folder.parent, target_is_directory=True)
    seen = read(env)
    assert_neighbours(seen)
    assert seen.findings == []


@pytest.mark.spec("R37", "R11", "R42")
def test_a_file_that_may_not_be_read(
    home: Path, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every file may be read, so opening this one is refused here."""
    put(home, [])
    theirs = Claude(OTHER)
    theirs.answer("theirs", (7, 7, 7, 7))
    secret = theirs.write(home)
    opened = sources.open_regular

    def refuse(path: str, *place: tuple[int, int]) -> int:
        if path == str(secret):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *place)

    monkeypatch.setattr(sources, "open_regular", refuse)
    seen = read(env)
    assert_neighbours(seen)
    assert [(f.reason, f.source) for f in seen.findings] == [("unreadable", str(secret))]
    assert seen.report.problems == 1
    monkeypatch.undo()
    seen = read(env)
    assert (seen.findings, seen.report.problems) == ([], 0)
    assert_neighbours(seen, *theirs.lines)


@pytest.mark.spec("R37")
def test_a_file_that_vanishes_before_it_is_read(home: Path, env: dict[str, str]) -> None:
    path = put(home, [])
    task = reading.Task("claude", 1, str(path), "jsonl", (99, 0, 0, 0), 0, 0, b"", b"")
    path.unlink()
    (batch,) = reading.batches(task, lambda at: "")
    assert [row[1] for row in batch.findings] == ["unreadable"]
    assert batch.stat == reading.TRY_AGAIN


@pytest.mark.spec("R50", "R51", "AW13", "R11")
@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_line_beyond_all_measure(home: Path, env: dict[str, str]) -> None:
    path = put(home, [])
    with path.open("wb") as f:
        f.write(joined(BEFORE))
        f.write(b'{"type":"user","message":{"content":"')
        for _ in range(66):
            f.write(b"x" * (1 << 20))
        f.write(b'"}}\n' + joined(AFTER))
    began = time.monotonic()
    seen = read(env)
    assert time.monotonic() - began < 10
    assert_neighbours(seen)
    assert seen.reasons == ["too_long"]
    (finding,) = seen.findings
    assert (finding.offset, finding.line) == (len(joined(BEFORE)), 3)
    assert finding.length == path.stat().st_size - len(joined([*BEFORE, *AFTER])) - 1
    assert seen.report.problems == 1


@pytest.mark.spec("R50")
def test_a_long_line_that_is_a_record(home: Path, env: dict[str, str]) -> None:
    record = json.loads(ONE.data)
    record["message"]["content"].append({"type": "text", "text": "long " * 1_000_000})
    put(home, [line(record)])
    seen = read(env)
    assert_neighbours(seen, ONE)
    assert seen.findings == []


@pytest.mark.spec("R55", "R42")
@pytest.mark.timeout(60)
def test_a_packed_file_that_unpacks_to_far_too_much(home: Path, env: dict[str, str]) -> None:
    put(home, [])
    codex = Codex(OTHER)
    codex.prompt("pack me")
    codex.answer("packed", (3, 0, 0, 30))
    path = codex.write(home)
    bomb = path.with_name(path.name + ".zst")
    with bomb.open("wb") as f, zstandard.ZstdCompressor().stream_writer(f) as out:
        out.write(codex.data)
        for _ in range(80):
            out.write(b"x" * (1 << 20) + b"\n")
    path.unlink()
    seen = read(env)
    assert_neighbours(seen)
    assert seen.reasons == ["bomb"]
    assert seen.report.problems == 1


@pytest.mark.spec("R34")
def test_a_database_that_is_none(home: Path, env: dict[str, str]) -> None:
    put(home, [])
    path = home / ".local/share/opencode/opencode.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    seen = read(env)
    assert_neighbours(seen)
    assert seen.reasons == ["unreadable"]
    with pytest.raises(databases.Unreadable):
        databases.versions(str(path), agents.get("opencode"))
