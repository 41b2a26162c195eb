"""Hooks: into the settings and out again, the script that agents run, what it notes."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from decklog import agents, hooks, processes, spool
from decklog.errors import UsageError
from decklog.model.fleet import Identity

USERS = {
    "permissions": {"allow": ["Bash(ls:*)"]},
    "hooks": {
        "Stop": [{"hooks": [{"type": "command", "command": "say done", "timeout": 3}]}],
        "PreToolUse": [],
    },
    "größe": 1.5,
}
WITH_HOOKS = ("claude", "codex", "gemini")


@pytest.fixture
def there(tmp_path: Path, home: Path) -> hooks.Hooks:
    return hooks.Hooks(str(tmp_path / "own dir"), {"HOME": str(home)})


def settings_of(there: hooks.Hooks, agent: str) -> Path:
    return Path(agents.get(agent).hook_file(there.env))


def written(path: Path, data: bytes) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


@pytest.mark.parametrize("agent", WITH_HOOKS)
@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"{}",
        json.dumps(USERS, indent=2, ensure_ascii=False).encode() + b"\n",
        json.dumps(USERS, indent="\t").encode(),
        b'{"a": 1e3,   "hooks":{},\r\n "b": "\\u00e9"}\r\n\r\n',
    ],
)
def test_removing_puts_back_every_byte(there: hooks.Hooks, agent: str, data: bytes | None) -> None:
    path = settings_of(there, agent)
    if data is not None:
        written(path, data)
    known = agents.get(agent)
    assert there.install(known).changed
    assert there.status(known).installed
    inside = path.read_bytes()
    assert not there.install(known).changed  # once is enough
    assert path.read_bytes() == inside
    done = there.remove(known)
    assert (done.changed, done.exact) == (True, True)
    assert (path.read_bytes() if path.exists() else None) == data
    assert not there.status(known).installed
    assert not there.remove(known).changed


def test_what_the_user_has_there_stays(there: hooks.Hooks) -> None:
    path = settings_of(there, "claude")
    written(path, json.dumps(USERS).encode())
    path.chmod(0o640)
    there.install(agents.get("claude"))
    found = json.loads(path.read_text())
    assert found["permissions"] == USERS["permissions"]
    assert found["hooks"]["Stop"][0] == USERS["hooks"]["Stop"][0]  # type: ignore[index]
    assert len(found["hooks"]["Stop"]) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    # The user goes on editing: removing takes out ours alone.
    found["model"] = "opus"
    found["hooks"]["Stop"].append({"hooks": [{"type": "command", "command": "echo new"}]})
    written(path, json.dumps(found).encode())
    done = there.remove(agents.get("claude"))
    assert (done.changed, done.exact) == (True, False)
    left = json.loads(path.read_text())
    assert left == {
        **USERS,
        "model": "opus",
        "hooks": {
            "Stop": [USERS["hooks"]["Stop"][0], found["hooks"]["Stop"][-1]],  # type: ignore[index]
        },
    }


def test_settings_behind_a_link_are_changed_where_they_are(
    there: hooks.Hooks, tmp_path: Path
) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text('{"x": 1}\n')
    path = settings_of(there, "claude")
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    there.install(agents.get("claude"))
    assert path.is_symlink()
    assert "hooks" in json.loads(real.read_text())
    there.remove(agents.get("claude"))
    assert real.read_text() == '{"x": 1}\n'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"hooks": // mine\n {}}', "no plain JSON"),
        (b"[1, 2]", "not of the form"),
        (b'{"hooks": []}', "not of the form"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"\xff\xfe{}", "no plain JSON"),
    ],
)
def test_settings_that_are_not_understood_are_left_alone(
    there: hooks.Hooks, data: bytes, message: str
) -> None:
    path = settings_of(there, "gemini")
    written(path, data)
    for act in (there.install, there.remove, there.status):
        with pytest.raises(UsageError, match=message) as caught:
            act(agents.get("gemini"))
        assert str(path) in str(caught.value)
    assert path.read_bytes() == data


def test_an_agent_without_hooks(there: hooks.Hooks) -> None:
    with pytest.raises(UsageError, match="Pi has no hooks"):
        there.install(agents.get("pi"))


def fire(
    there: hooks.Hooks, agent: str, event: str, data: bytes, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run what the agent would run, as the agent would: through a shell."""
    found = json.loads(settings_of(there, agent).read_text())["hooks"][event][-1]
    return subprocess.run(
        ["sh", "-c", found["hooks"][0]["command"]],
        input=data, capture_output=True, timeout=20, check=False,
        env={"PATH": os.environ["PATH"], **env},
    )  # fmt: skip


def told(**fields: Any) -> bytes:
    return json.dumps({"session_id": "abc-1", "cwd": "/w", **fields}).encode()


@pytest.mark.parametrize(("agent", "printed"), [("claude", b""), ("gemini", b"{}\n")])
def test_a_hook_notes_what_happened(there: hooks.Hooks, agent: str, printed: bytes) -> None:
    there.install(agents.get(agent))
    event = "SessionStart"
    done = fire(there, agent, event, told(tool_use_id="t1"), DECKLOG_GENERATION="gen:1.a-b")
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")
    folder = there.folder.removesuffix("/hooks")
    [note] = spool.Spool(folder).read()
    me = processes.table().start_ticks(os.getpid())
    assert (note.agent, note.event, note.pid, note.start_ticks, note.generation) == (
        agent, event, os.getpid(), me, "gen:1.a-b",
    )  # fmt: skip
    assert note.data == {"session_id": "abc-1", "cwd": "/w", "tool_use_id": "t1"}
    file = Path(there.folder, "spool", f"{agent}.jsonl")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    claim = spool.claim(note, agents.get(agent))
    assert claim is not None
    assert (claim.process, claim.native) == (Identity("", os.getpid(), me or 0), "abc-1")


def test_however_much_it_is_told_a_record_has_four_kilobytes(there: hooks.Hooks) -> None:
    there.install(agents.get("claude"))
    huge = told(prompt='é"\n' * 300_000)
    done = fire(there, "claude", "UserPromptSubmit", huge, DECKLOG_GENERATION="x" * 4000)
    assert (done.returncode, done.stdout) == (0, b"")
    data = Path(there.folder, "spool", "claude.jsonl").read_bytes()
    assert len(data) <= 4096
    assert data.count(b"\n") == 1
    [note] = spool.Spool(there.folder.removesuffix("/hooks")).read()
    assert note.data["session_id"] == "abc-1"
    assert note.generation == ""


@pytest.mark.parametrize("agent", ["claude", "gemini"])
def test_a_hook_is_harmless_when_decklog_has_gone(there: hooks.Hooks, agent: str) -> None:
    there.install(agents.get(agent))
    printed = b"{}\n" if agent == "gemini" else b""
    Path(there.folder, "spool").rmdir()
    for breaks in (lambda: None, lambda: Path(there.script).write_text("exit 3\n"),
                   lambda: Path(there.script).unlink()):  # fmt: skip
        breaks()
        done = fire(there, agent, "SessionStart", told())
        assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")


def test_records_of_many_hooks_at_once_do_not_mix(there: hooks.Hooks) -> None:
    there.install(agents.get("claude"))
    found = json.loads(settings_of(there, "claude").read_text())["hooks"]["Stop"][-1]
    command = found["hooks"][0]["command"]
    loop = f'i=0; while [ $i -lt 10 ]; do echo \'{{"session_id":"s"}}\' | sh -c {_quoted(command)}; i=$((i+1)); done'  # noqa: E501
    runs = [subprocess.Popen(["sh", "-c", loop]) for _ in range(4)]
    assert [r.wait(60) for r in runs] == [0] * 4
    notes = list(spool.Spool(there.folder.removesuffix("/hooks")).read())
    assert len(notes) == 40
    assert {n.data["session_id"] for n in notes} == {"s"}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_the_spool_is_followed_and_begun_anew_when_it_is_long(tmp_path: Path) -> None:
    folder = tmp_path / "hooks" / "spool"
    folder.mkdir(parents=True)
    file = folder / "claude.jsonl"
    notes = spool.Spool(str(tmp_path))

    def append(text: str) -> None:
        with file.open("a") as f:
            f.write(text)

    def add(event: str, data: bytes = b"{}", end: str = "\n") -> None:
        body = base64.b64encode(data).decode()
        record = {"at": 5, "agent": "claude", "event": event, "pid": 7, "start": 9,
                  "generation": "", "data": body}  # fmt: skip
        append(json.dumps(record) + end)

    add("Stop")
    append("torn garbage\n")
    add("Stop2", end="")
    assert [n.event for n in notes.read()] == ["Stop"]
    append("\n")
    assert [n.event for n in notes.read()] == ["Stop2"]
    assert list(notes.read()) == []
    append(" " * spool.LARGE + "\n")
    add("Last")
    assert [n.event for n in notes.read()] == ["Last"]
    add("New")
    assert [n.event for n in notes.read()] == ["New"]


@pytest.mark.parametrize(
    ("agent", "event", "data", "says"),
    [
        ("claude", "UserPromptSubmit", {}, "turn_started"),
        ("claude", "PermissionRequest", {"tool_use_id": "t"}, "waiting_approval"),
        ("claude", "Notification", {"notification_type": "permission_prompt"}, "waiting_approval"),
        ("claude", "Notification", {"message": "Claude needs your permission"}, "waiting_approval"),
        ("claude", "Notification", {"notification_type": "idle_prompt"}, "idle"),
        ("claude", "Notification", {"notification_type": "auth_success"}, ""),
        ("claude", "PreToolUse", {"tool_name": "AskUserQuestion"}, "waiting_answer"),
        ("claude", "Stop", {}, "turn_ended"),
        ("claude", "Unheard", {}, ""),
        ("gemini", "Notification", {"notification_type": "ToolPermission"}, "waiting_approval"),
        ("gemini", "AfterAgent", {}, "turn_ended"),
        ("codex", "PermissionRequest", {}, "waiting_approval"),
    ],
)
def test_what_a_hook_says(agent: str, event: str, data: dict[str, Any], says: str) -> None:
    assert agents.get(agent).hook_sign(event, data).says == says
