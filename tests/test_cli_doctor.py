"""`decklog doctor` and `decklog agents`: what is wrong, and the next command for each of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from decklog import mounts
from decklog.connection import wal_safe
from homes import Claude
from shell import MAIN, decklog, furnish


def test_all_is_well(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    found = decklog(env, "doctor", "--json").json
    assert (found["wrong"], found["findings"], found["broken"]) == (0, [], {})
    assert found["health"]["wal_safe"]
    assert decklog(env, "doctor").text.endswith("Nothing is wrong.\n")


@pytest.mark.spec("R1", "R10", "R12")
def test_problems_are_named_with_their_remedy(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    folder = home / ".claude/projects/-home-me-work"
    path = folder / f"{MAIN}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    torn = b"{'no': json}\n"
    path.write_bytes(b"".join([lines[0], torn, *lines[1:]]) + b'{"type": "user", "mess')
    (folder / "who knows.bin").write_bytes(b"?")
    (folder / "device.jsonl").symlink_to("/dev/full")
    ran = decklog(env, "doctor")
    assert ran.code == 1
    assert "damaged  1" in ran.text
    assert f"{path}, line 2, bytes {len(lines[0]):,} to" in ran.text
    assert f"  try: head -c 300 '{folder}/who knows.bin'" in ran.text
    assert f"  try: rm -i {folder}/device.jsonl && decklog sync" in ran.text
    assert "22 bytes wait for the end of their line" in ran.text
    assert ran.text.endswith("3 places not read.\n")
    found = decklog(env, "doctor", "--json").json
    assert {r["reason"] for r in found["findings"]} == {"damaged", "unrecognized", "unreadable"}
    # the command that is offered shows exactly the damaged bytes
    (command,) = (x for x in ran.text.split("\n") if "try: tail" in x)
    shown = subprocess.run(
        command.partition("try: ")[2], shell=True, capture_output=True, check=True
    ).stdout
    assert shown == torn[:-1]


@pytest.mark.spec("R39")
def test_all_else_is_told_where_the_archive_cannot_be_asked(
    home: Path, env: dict[str, str]
) -> None:
    furnish(home)
    assert decklog(env, "sync").code == 0
    archive = Path(env["DECKLOG_HOME"], "archive")
    for index in archive.glob("index.db*"):
        index.unlink()
    (archive / "index.db").mkdir()
    ran = decklog(env, "doctor", "--no-sync")
    assert ran.code == 1
    assert "Every transcript was read as written." in ran.text
    assert "Archive\n  cannot be asked: " in ran.text
    found = decklog(env, "doctor", "--no-sync", "--json").json
    assert found["archive"] == {}
    assert str(archive) in found["archive_error"]


@pytest.mark.spec("R30")
def test_a_damaged_log_is_named_with_its_remedy(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    assert "nothing is recorded yet" in decklog(env, "doctor").text
    for name in ("first", "second"):
        assert decklog(env, "log", "emit", name, "--message", "x").code == 0
    (segment,) = Path(env["DECKLOG_HOME"], "log/sessions/first").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"x"', b'"y"'))
    ran = decklog(env, "doctor")
    assert ran.code == 1
    assert "2 of 2 logs looked at" in ran.text
    assert "first is damaged\n    try: decklog log verify first\n" in ran.text
    assert ran.text.endswith("1 log damaged.\n")
    found = decklog(env, "doctor", "--json").json
    assert (found["wrong"], found["log"]["damaged"]) == (1, ["first"])


def test_many_findings_are_cut_without_all(home: Path, env: dict[str, str]) -> None:
    talk = Claude("many")
    talk.prompt("one")
    path = talk.write(home)
    path.write_bytes(path.read_bytes() + b"junk\n" * 12)
    text = decklog(env, "doctor").text
    assert text.count("many.jsonl, line") == 5
    assert "… 7 more (decklog doctor --all)" in text
    assert decklog(env, "doctor", "--all").text.count("many.jsonl, line") == 12


def test_what_is_not_wrong_does_not_fail(home: Path, env: dict[str, str]) -> None:
    talk = Claude("x", model="no-such-model")
    talk.prompt("one")
    talk.answer("1", (1, 2, 3, 4))
    talk._put("strange", "u3")
    path = talk.write(home)
    gone = Claude("gone")
    gone.prompt("one")
    lost = gone.write(home)
    assert decklog(env, "sync").code == 0
    lost.unlink()
    path.write_bytes(path.read_bytes()[:-50])
    ran = decklog(env, "doctor")
    assert ran.code == 0
    assert "unknown  1" in ran.text
    assert "rewritten  1" in ran.text
    assert "1 source gone from disk; all of them are in the archive" in ran.text
    assert "decklog ls --all --agent claude --json" in ran.text
    assert "no price for no-such-model of anthropic (claude): 1 response" in ran.text


def test_agents_say_what_they_can(home: Path, env: dict[str, str]) -> None:
    furnish(home)
    moved = {**env, "CLAUDE_CONFIG_DIR": str(home / "elsewhere")}
    claude = next(r for r in decklog(moved, "agents", "--json").json if r["agent"] == "claude")
    assert claude["roots"][0] == f"{home}/elsewhere/projects"
    assert claude["variables"]["CLAUDE_CONFIG_DIR"] == f"{home}/elsewhere"
    assert claude["abilities"] == {
        "companions": True,
        "databases": False,
        "folders": False,
        "clean_up": True,
        "running": True,
        "own_files": True,
        "hooks": True,
        "handover": True,
    }
    text = decklog(env, "agents").text
    assert text.startswith("Claude Code (claude, anthropic)\n")
    assert f"  looked in  {home}/.claude/projects  (found)\n" in text
    assert "  found      3 sessions in 3 sources, " in text
    assert "  off        read databases; read transcripts that are many files\n" in text


@pytest.mark.spec("R34")
def test_an_agent_that_cannot_be_loaded_is_named(
    home: Path, env: dict[str, str], tmp_path: Path
) -> None:
    furnish(home)
    info = tmp_path / "site" / "odd-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[decklog.agents]\nodd = no_such_module:AGENT\n")
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    broken = {**env, "PYTHONPATH": path}
    assert len(decklog(broken, "ls", "--json").json) == 3
    ran = decklog(broken, "agents")
    assert ran.code == 1
    assert "broken     could not be loaded, and is left out: ModuleNotFoundError" in ran.text
    ran = decklog(broken, "doctor", "--json")
    assert (ran.code, list(ran.json["broken"])) == (1, ["odd"])


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False),
        ("3.50.6", False), ("3.50.7", True), ("3.51.0", False), ("3.51.2", False),
        ("3.51.3", True), ("3.52.0", True), ("4.0.0", True),
    ],
)  # fmt: skip
def test_sqlite_with_the_cure(version: str, safe: bool) -> None:
    assert wal_safe(version) is safe


def test_file_systems(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    table.write_text(
        "dev / ext4 rw 0 0\n"
        "host:/x /net nfs4 rw 0 0\n"
        "y /net/with\\040space fuse.sshfs rw 0 0\n"
        "odd\n"
    )
    kinds = {
        place: mounts.file_system(place, str(table))
        for place in ("/net/own", "/network", "/net/with space/own", "/net")
    }
    assert kinds == {
        "/net/own": "nfs4",
        "/network": "ext4",
        "/net/with space/own": "fuse.sshfs",
        "/net": "nfs4",
    }
    assert [mounts.is_network(k) for k in kinds.values()] == [True, False, True, True]
    assert mounts.file_system("/", "/no/such/file") == ""


def test_a_path_in_a_command_is_quoted(home: Path, env: dict[str, str]) -> None:
    folder = home / ".claude/projects/$(touch owned)'; x"
    folder.mkdir(parents=True)
    (folder / "a b.bin").write_bytes(b"?")
    text = decklog(env, "doctor").text
    assert f"head -c 300 {shlex.quote(str(folder / 'a b.bin'))}" in text


@pytest.mark.spec("R27")
def test_what_agents_delete_and_when_is_told(home: Path, env: dict[str, str]) -> None:
    talk = Claude("old")
    talk.prompt("one")
    path = talk.write(home)
    now = time.time()
    os.utime(path, (now - 28 * 86_400, now - 28 * 86_400))
    new = Claude("new")
    new.prompt("one")
    new.write(home)
    ran = decklog(env, "doctor", "--json").json
    (found,) = ran["retention"]
    assert (found["days"], found["origin"], found["sources"], found["archived"]) == (
        30, "default", 2, 2,
    )  # fmt: skip
    (risk,) = found["at_risk"]
    assert (risk["session"], risk["archived"]) == ("claude:old", True)
    assert abs(risk["deleted_at"] / 1000 - now - 2 * 86_400) < 60
    text = decklog(env, "doctor").text
    assert "here: 30 days after their last change (cleanupPeriodDays, by default)" in text
    assert "1 transcript may be deleted within a week" in text
    assert "all are archived" in text
    (home / ".claude/settings.json").write_text('{"cleanupPeriodDays": 99999}')
    text = decklog(env, "doctor").text
    assert f"here: 99,999 days after their last change (cleanupPeriodDays, by {home}" in text
    assert "may be deleted" not in text
    (home / ".claude/settings.json").write_text("no JSON")
    off = {**env, "DECKLOG_ARCHIVE": "no", "DECKLOG_HOME": f"{env['DECKLOG_HOME']}2"}
    text = decklog(off, "doctor").text
    assert "not archived:\n" in text
    assert "claude:old" in text
    assert "switched off" in text
