"""The fleet, as the library and the command line tell it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decklog import collect, hub, processes
from decklog.errors import SourceError
from decklog.hub.fleet import Fleet
from decklog.model.fleet import Evidence, Pane
from decklog.state import observed
from fleets import ID, Table, now, own_file, process, running, transcript
from shell import DECKLOG, called, decklog, environment, on_terminal, said

NEXT = "aaaa0002-0000-4000-8000-00000000000b"
USED = (10, 200, 30, 40)


@pytest.mark.spec("README-1", "X4", "X5", "DW16")
def test_a_running_agent_with_session_state_thought_tokens_and_cost(
    deck: hub.Decklog, home: Path, work: Path
) -> None:
    talk = transcript(work)
    talk.prompt("Fix the login.")
    said(talk, "1", USED, "I look.", called("t1", "Bash", command="make test"))
    talk.write(home)
    deck.sync()
    table = Table([running(7, work), process(8, argv=("bash", "-c", "make test"), ppid=7)])
    fleet = Fleet(deck, table=table)
    own_file(home, 7, 7, status="busy", statusUpdatedAt=now() - 30_000)
    [row] = fleet.rows(panes=())
    session = deck.session(ID)
    assert {k: row[k] for k in ("agent", "pid", "pids", "pane", "session", "state", "thought")} == {
        "agent": "claude", "pid": 7, "pids": [7, 8], "pane": None, "session": f"claude:{ID}",
        "state": "busy", "thought": "Bash: make test",
    }  # fmt: skip
    assert (row["confidence"], row["objective"]) == (0.97, "Fix the login.")
    assert row["tokens"] == session.tree_usage.total == sum(USED)
    assert row["cost_micro_usd"] == session.tree_cost.micro_usd
    about = [(e["about"], e["kind"]) for e in row["evidence"]]
    assert about[0] == ("session", "pid_file")
    assert ("state", "transcript") in about or ("state", "status_file") in about
    assert all(0 < e["confidence"] <= 1 for e in row["evidence"])
    match = fleet.session_for_pid(8)
    assert match is not None
    assert (match.pid, match.session) == (7, f"claude:{ID}")
    assert fleet.session_for_pid(9) is None


def test_state_and_thought_follow_the_transcript(deck: hub.Decklog, home: Path, work: Path) -> None:
    talk = transcript(work)
    talk.prompt("Fix the login.")
    path = talk.write(home)
    deck.sync()
    fleet = Fleet(deck, table=Table([running(7, work, "claude", "--resume", ID)]))

    def told() -> tuple[str, str]:
        [row] = fleet.rows(panes=())
        return row["state"], row["thought"]

    def add() -> None:
        path.write_bytes(talk.data)

    assert told() == ("busy", "Fix the login.")
    said(talk, "1", USED, called("t1", "AskUserQuestion", questions=[]))
    add()
    assert told() == ("waiting_answer", "AskUserQuestion")
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "yes"}
    talk._put("user", "u9", message={"role": "user", "content": [result]})
    add()
    assert told()[0] == "busy"
    message = {"id": "m", "role": "assistant", "model": talk.model, "stop_reason": "end_turn",
               "content": [{"type": "text", "text": "All done."}]}  # fmt: skip
    talk._put("assistant", "u10", message=message)
    add()
    assert told() == ("idle", "All done.")
    assert [(c.old, c.new) for _, c in fleet.transitions] == [("busy", "idle")]
    talk.prompt("And the logout.")
    talk._put("user", "u12", message={"role": "user", "content": "[Request interrupted by user]"})
    add()
    assert told()[0] == "idle"
    told()
    assert fleet.transitions == []


def test_only_the_end_of_a_long_transcript_is_read_and_then_only_what_is_new(
    deck: hub.Decklog, home: Path, work: Path
) -> None:
    talk = transcript(work, at=now() - 10_000_000)
    for n in range(400):
        talk.prompt(f"Prompt {n} " + "x" * 1000)
        said(talk, str(n), USED, "y" * 2000)
    path = talk.write(home)
    deck.sync()
    fleet = Fleet(deck, table=Table([running(7, work, "claude", "--resume", ID, at=now() - 10**7)]))
    fleet.rows(panes=())
    [one] = fleet._transcripts.values()
    before = one.offset
    assert before == path.stat().st_size
    read: list[int] = []
    original = one._from
    one._from = lambda offset: (read.append(offset), original(offset))[1]  # type: ignore[method-assign]
    fleet.rows(panes=())
    assert read == []
    talk.prompt("New.")
    path.write_bytes(talk.data)
    [row] = fleet.rows(panes=())
    assert (read, row["thought"]) == ([before], "New.")


@pytest.mark.spec("R76")
def test_a_failing_look_changes_nothing(deck: hub.Decklog, work: Path) -> None:
    table = Table([running(7, work)])
    fleet = Fleet(deck, table=table)
    before = fleet.rows(panes=())
    assert before
    table.fails = True
    assert fleet.rows(panes=()) == before
    assert "Permission denied" in fleet.stale
    assert fleet.transitions == []
    table.fails = False
    table.processes.clear()
    assert fleet.rows(panes=()) == []
    assert [(w.pid, c.new) for w, c in fleet.transitions] == [(7, "exited")]
    with pytest.raises(SourceError):
        Fleet(deck, table=Table([], fails=True)).processes()


@pytest.mark.spec("A63", "R74", "Y4")
def test_a_file_left_behind_by_an_earlier_process_says_nothing(
    deck: hub.Decklog, home: Path, work: Path
) -> None:
    fleet = Fleet(deck, table=Table([running(7, work, start=100)]))
    own_file(home, 7, start=99, status="idle", statusUpdatedAt=now())
    [row] = fleet.rows(panes=())
    assert (row["session"], row["state"]) == (None, "unknown")
    path = own_file(home, 7, start=100, status="idle", statusUpdatedAt=now())
    torn = path.read_text()
    path.write_text(torn[: len(torn) // 2])
    [row] = fleet.rows(panes=())
    assert row["session"] is None
    path.write_text(torn)
    [row] = fleet.rows(panes=())
    assert (row["session"], row["state"]) == (f"claude:{ID}", "idle")


@pytest.mark.spec("R77")
def test_clearing_moves_to_the_new_session_and_its_state(
    deck: hub.Decklog, home: Path, work: Path
) -> None:
    fleet = Fleet(deck, table=Table([running(7, work)]))
    own_file(home, 7, 7, status="busy", statusUpdatedAt=now() - 50)
    [row] = fleet.rows(panes=())
    own_file(home, 7, 7, native=NEXT, status="idle", statusUpdatedAt=now())
    [row] = fleet.rows(panes=())
    assert (row["session"], row["history"], row["state"]) == (
        f"claude:{NEXT}", [f"claude:{ID}"], "idle",
    )  # fmt: skip


def test_what_hooks_noted_counts(deck: hub.Decklog, work: Path, env: dict[str, str]) -> None:
    fleet = Fleet(deck, table=Table([running(7, work)]))
    spool = Path(env["DECKLOG_HOME"], "hooks", "spool", "claude.jsonl")
    spool.parent.mkdir(parents=True)

    def note(event: str, pid: int = 7, start: int = 7, **data: Any) -> None:
        body = base64.b64encode(json.dumps({"session_id": ID, **data}).encode()).decode()
        record = {"at": now(), "agent": "claude", "event": event, "pid": pid, "start": start,
                  "generation": "", "data": body}  # fmt: skip
        with spool.open("a") as f:
            f.write(json.dumps(record) + "\n")

    note("Stop", start=6)  # of an earlier process with this number
    [row] = fleet.rows(panes=())
    assert (row["session"], row["state"]) == (None, "unknown")
    note("UserPromptSubmit")
    [row] = fleet.rows(panes=())
    assert (row["session"], row["confidence"], row["state"]) == (f"claude:{ID}", 0.99, "busy")
    note("PermissionRequest", tool_use_id="t")
    assert fleet.rows(panes=())[0]["state"] == "waiting_approval"
    note("Stop")
    assert fleet.rows(panes=())[0]["state"] == "idle"


def test_screens_are_evidence_for_the_agent_in_the_pane(deck: hub.Decklog, work: Path) -> None:
    table = Table([running(7, work, "codex", tty="/dev/pts/9"), running(8, work, "codex")])
    fleet = Fleet(deck, table=table)
    other = Pane(id="%2", tty="/dev/pts/1", pid=999)
    pane = Pane(id="%1", tty="/dev/pts/9", pid=6, name="work:1.0")
    found = fleet.running(panes=[other, pane])
    assert [r.pane for r in found] == [pane, None]
    seen: list[Evidence] = [observed("screen", "waiting_approval", now(), id="s")]
    told = fleet.tell({7: seen})
    assert [r.state.state for r in told] == ["waiting_approval", "unknown"]


def test_an_ambiguous_agent_names_no_session_but_its_candidates(
    deck: hub.Decklog, home: Path, work: Path
) -> None:
    for name in (ID, NEXT):
        talk = transcript(work, name)
        talk.prompt("Hello.")
        talk.write(home)
    deck.sync()
    began = now() - 3_600_000
    table = Table([running(7, work, at=began), running(8, work, at=began + 100)])
    rows = Fleet(deck, table=table).rows(panes=())
    assert [(r["session"], r["ambiguous"], len(r["candidates"])) for r in rows] == [
        (None, True, 2), (None, True, 2),
    ]  # fmt: skip


def test_a_summariser_replaces_the_line(deck: hub.Decklog, home: Path, work: Path) -> None:
    talk = transcript(work)
    talk.prompt("Fix the login.")
    talk.write(home)
    deck.sync()
    fleet = Fleet(
        deck,
        table=Table([running(7, work, "claude", "--resume", ID)]),
        summariser=lambda thought, events: f"{len(events)} events: {thought.objective}",
    )
    [row] = fleet.rows(panes=())
    assert row["thought_kind"] == "summary"
    assert row["thought"].endswith("events: Fix the login.")


@pytest.mark.spec("R77")
def test_the_next_command_remembers_what_was_bound(
    env: dict[str, str], home: Path, work: Path
) -> None:
    table = Table([running(7, work)])
    for native, history in ((ID, []), (NEXT, [f"claude:{ID}"])):
        own_file(home, 7, 7, native=native)
        with hub.open(env=env) as deck:
            [row] = Fleet(deck, table=table).rows(panes=())
        assert (row["session"], row["history"]) == (f"claude:{native}", history)
    (home / ".claude" / "sessions" / "7.json").unlink()
    with hub.open(env=env) as deck:
        [row] = Fleet(deck, table=table).rows(panes=())
    assert (row["session"], row["confidence"], row["evidence"][0]["kind"]) == (
        f"claude:{NEXT}", 0.70, "sticky",
    )  # fmt: skip
    (memory,) = Path(env["DECKLOG_HOME"], "fleet").glob("bindings-*.json")
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_bytes(b"torn")
    with hub.open(env=env) as deck:
        assert Fleet(deck, table=table).rows(panes=())[0]["session"] is None


@pytest.mark.spec("R77")
def test_machines_that_share_a_folder_remember_each_their_own(
    env: dict[str, str], home: Path, work: Path
) -> None:
    kept = Path(env["DECKLOG_HOME"], "fleet")
    tables = [Table([running(7, work)], boot=boot) for boot in ("here", "there")]
    for native, table in zip((ID, NEXT), tables, strict=True):
        own_file(home, 7, 7, native=native)
        with hub.open(env=env) as deck:
            Fleet(deck, table=table).rows(panes=())
    (home / ".claude" / "sessions" / "7.json").unlink()
    for native, table in zip((ID, NEXT), tables, strict=True):
        with hub.open(env=env) as deck:
            [row] = Fleet(deck, table=table).rows(panes=())
        assert (row["session"], row["history"]) == (f"claude:{native}", [])
    before = sorted(p.name for p in kept.glob("*.json"))
    assert len(before) == 4
    for path in kept.glob("*.json"):  # both were started anew, long ago
        os.utime(path, (0, 0))
    with hub.open(env=env) as deck:
        Fleet(deck, table=Table([running(8, work, "claude", "-r", ID)], boot="new")).rows(panes=())
    assert before[0] not in {p.name for p in kept.glob("*.json")}


@pytest.mark.spec("R92")
def test_the_next_command_reads_only_what_is_new(
    env: dict[str, str], home: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = transcript(work)
    talk.prompt("Fix the login.")
    path = talk.write(home)
    table = Table([running(7, work, "claude", "--resume", ID)])
    read: list[int] = []
    original = collect.Transcript._from
    monkeypatch.setattr(
        collect.Transcript, "_from", lambda self, at: (read.append(at), original(self, at))[1]
    )

    def told() -> tuple[str, str]:
        with hub.open(env=env) as deck:
            deck.sync()
            [row] = Fleet(deck, table=table).rows(panes=())
        return row["state"], row["thought"]

    assert told() == told() == told() == ("busy", "Fix the login.")
    assert len(read) == 1
    talk.prompt("And the logout.")
    path.write_bytes(talk.data)
    assert told() == ("busy", "And the logout.")
    assert len(read) == 2
    table.processes.clear()
    with hub.open(env=env) as deck:
        fleet = Fleet(deck, table=table)
        assert fleet.rows(panes=()) == []
        written = [(e.transition.old, e.transition.new) for e in fleet.changes()]
    assert written == [("unknown", "starting"), ("starting", "busy"), ("busy", "exited")]


# -- the command line ----------------------------------------------------------------------------


@pytest.fixture
def agent(work: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that looks like Claude Code from outside."""
    child = subprocess.Popen(["bash", "-c", "exec -a claude sleep 60"], cwd=work)
    while processes.table().start_ticks(child.pid) is None or not _is_claude(child.pid):
        time.sleep(0.01)
    yield child
    child.kill()
    child.wait()


def _is_claude(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"claude\0")


def spoken(home: Path, work: Path, agent: subprocess.Popen[bytes], text: str) -> None:
    talk = transcript(work, at=now())
    talk.prompt(text)
    talk.write(home)
    start = processes.table().start_ticks(agent.pid)
    own_file(home, agent.pid, start or 0, status="waiting", waitingFor="permission prompt",
             statusUpdatedAt=now() + 2000)  # fmt: skip


def test_ps(env: dict[str, str], home: Path, work: Path, agent: subprocess.Popen[bytes]) -> None:
    spoken(home, work, agent, "Fix \x1b]0;owned\x07the login.")
    ran = decklog(env, "ps", "--json", "--agent", "claude")
    assert (ran.code, ran.err) == (0, "")
    [row] = [r for r in ran.json if r["pid"] == agent.pid]
    wanted = "agent pid pids pane session state since evidence confidence thought".split()
    assert set(wanted) <= row.keys()
    assert (row["session"], row["state"]) == (f"claude:{ID}", "waiting_approval")
    code, shown = on_terminal(env, "ps", columns=200)
    [line] = [x for x in shown.splitlines() if str(agent.pid) in x.split()]
    assert code == 0
    assert "waiting approval" in line
    assert "\x1b]0" not in shown
    assert "aaaa0001" in line
    evidence = decklog(env, "ps", "-e").text
    assert f"session: claude:{ID} (pid_file, 97 %)" in evidence
    assert "state: waiting_approval (status_file, 97 %) permission prompt" in evidence


def test_changes_of_state_are_told(
    env: dict[str, str], home: Path, work: Path, agent: subprocess.Popen[bytes]
) -> None:
    spoken(home, work, agent, "Fix the login.")
    decklog(env, "ps")
    start = processes.table().start_ticks(agent.pid)
    own_file(home, agent.pid, start or 0, status="idle", statusUpdatedAt=now() + 4000)
    told = decklog(env, "ps", "--changes", "--json", "--agent", "claude").text.splitlines()
    changes = [json.loads(one) for one in told]
    found = [c["transition"] for c in changes if c["root"][1] == agent.pid]
    assert [(t["old"], t["new"]) for t in found][-1:] == [("waiting_approval", "idle")]
    assert "waiting approval → idle" in decklog(env, "ps", "--changes").text
    last = str(changes[-1]["seq"])
    later = decklog(env, "ps", "--changes", "--after", last, "--json").text.splitlines()
    assert agent.pid not in [json.loads(one)["root"][1] for one in later]
    none = decklog(env, "ps", "--changes", "--after", last, "--agent", "pi")
    assert none.text == "Nothing has changed yet.\n"
    assert decklog(env, "ps", "--after", last).code == 2  # of what would not be clear


@pytest.mark.spec("R92")
def test_ps_leaves_texts_to_whoever_searches(
    env: dict[str, str], home: Path, work: Path, agent: subprocess.Popen[bytes]
) -> None:
    spoken(home, work, agent, "Fix the login.")
    assert decklog(env, "sync").code == 0
    talk = transcript(work, at=now())
    talk.prompt("Fix the login.")
    talk.prompt("And the marmalade.")
    talk.write(home)
    [row] = [r for r in decklog(env, "ps", "--json").json if r["pid"] == agent.pid]
    assert row["thought"] == "And the marmalade."
    with hub.open(env=env) as deck:
        assert int(deck.store.get("text_pending") or 0) > 0
        assert deck.unchanged()
    assert decklog(env, "search", "marmalade", "--json").json["hits"]
    with hub.open(env=env) as deck:
        assert int(deck.store.get("text_pending") or 0) == 0


def test_ps_without_agents_or_with_an_unknown_one(env: dict[str, str]) -> None:
    assert decklog(env, "ps", "--agent", "pi").text == "No agent runs here.\n"
    assert decklog(env, "ps", "--agent", "pi", "--json").json == []
    wrong = decklog(env, "ps", "--agent", "nobody", "--json")
    assert (wrong.code, wrong.error["error"]) == (3, "NotFound")


def test_ps_watches(
    env: dict[str, str], home: Path, work: Path, agent: subprocess.Popen[bytes]
) -> None:
    spoken(home, work, agent, "Fix the login.")
    watching = subprocess.Popen(
        [*DECKLOG, "ps", "-w", "--json", "--agent", "claude"],
        env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert watching.stdout is not None

    def told() -> list[str]:
        assert watching.stdout is not None
        rows = json.loads(watching.stdout.readline())
        return [r["state"] for r in rows if r["pid"] == agent.pid]

    assert told() == ["waiting_approval"]
    agent.kill()
    agent.wait()
    assert told() == []
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=20)
    assert watching.returncode == 130


def test_hooks_on_the_command_line(env: dict[str, str], home: Path) -> None:
    nothing = decklog(env, "hooks", "install", "--json")
    assert (nothing.code, nothing.error["error"]) == (3, "NotFound")
    settings = home / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"a": 1}')
    [done] = decklog(env, "hooks", "install", "--json").json
    assert (done["agent"], done["installed"], done["changed"]) == ("claude", True, True)
    assert "hooks were there" in decklog(env, "hooks", "install", "claude").text
    states = {s["agent"]: s["installed"] for s in decklog(env, "hooks", "status", "--json").json}
    assert states == {"claude": True, "codex": False, "gemini": False}
    assert decklog(env, "hooks", "remove").text.startswith("claude: hooks removed")
    assert settings.read_text() == '{"a": 1}'
    settings.write_text("{broken")
    wrong = decklog(env, "hooks", "install", "claude", "--json")
    assert (wrong.code, wrong.error["error"]) == (2, "UsageError")
    assert str(settings) in wrong.error["message"]
    without = decklog(env, "hooks", "install", "pi")
    assert (without.code, "claude, codex, gemini" in without.err) == (2, True)
    unknown = decklog(env, "hooks", "install", "nobody")
    assert (unknown.code, "known agents: claude" in unknown.err) == (3, True)
    assert os.listdir(settings.parent) == ["settings.json"]
