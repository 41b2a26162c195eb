"""Agents among all processes: by argv, with their trees; identity; signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from decklog import agents, processes
from decklog.agents import Invocation
from decklog.errors import NotFound, SourceError
from decklog.model.fleet import AgentProcess, Identity, Process
from fleets import BOOT, Table, process

ID = "d24cebe2-7a2b-47ea-b035-608d61291614"
LINUX = sys.platform == "linux"


def found(*table: Process, ourselves: int | None = None) -> list[AgentProcess]:
    return processes.snapshot(agents.every(), of=Table(table), ourselves=ourselves)


@pytest.mark.parametrize(
    ("agent", "command", "exe", "expected"),
    [
        ("claude", "/opt/claude/node_modules/.bin/claude", "/b/claude.exe", Invocation()),
        ("claude", "claude", "/home/dev/.local/share/claude/versions/2.1.197", Invocation()),
        ("claude", "node /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js", "", Invocation()),
        ("claude", f"claude --resume {ID}", "", Invocation(native=ID, resumes=True)),
        ("claude", f"claude --resume={ID}", "", Invocation(native=ID, resumes=True)),
        ("claude", f"claude -r {ID} --fork-session", "", Invocation(resumes=True, forks=True)),
        ("claude", "claude -c", "", Invocation(resumes=True)),
        ("claude", f"claude -p --session-id {ID} hello", "", Invocation("headless", ID)),
        ("claude", "npm exec @anthropic-ai/claude-code@2.1 -p hi", "",
         Invocation("headless", runner=True)),
        ("claude", "npx -y @anthropic-ai/claude-code", "", Invocation(runner=True)),
        ("claude", "bunx @anthropic-ai/claude-code", "", Invocation(runner=True)),
        ("claude", "claude mcp serve", "", None),
        ("claude", "claude --version", "", None),
        ("claude", "node claude.js", "", None),
        ("claude", "vim claude", "", None),
        ("claude", "grep -r claude .", "", None),
        ("claude", "tail -f /home/dev/.claude/projects/x.jsonl", "", None),
        ("codex", "node /opt/codex/node_modules/.bin/codex", "/usr/bin/node", Invocation()),
        ("codex", "/v/codex-linux-x64/vendor/x86_64/bin/codex", "", Invocation()),
        ("codex", "codex exec --json -C /work do it", "",
         Invocation("headless", cwd="/work", prompt="do it")),
        ("codex", "codex -c model=o3 exec resume " + ID, "",
         Invocation("headless", ID, resumes=True)),
        ("codex", f"codex resume {ID}", "", Invocation(native=ID, resumes=True)),
        ("codex", "codex resume --last", "", Invocation(resumes=True)),
        ("codex", f"codex fork {ID}", "", Invocation(resumes=True, forks=True)),
        ("codex", "codex app-server --listen unix:// --managed-daemon", "", Invocation("service")),
        ("codex", "codex app-server daemon pid-update-loop", "", None),
        ("codex", "codex login", "", None),
        ("gemini", "node /opt/agents/gemini/node_modules/.bin/gemini", "", Invocation()),
        ("gemini", "/usr/bin/node --max-old-space-size=12052 /n/.bin/gemini -p x", "",
         Invocation("headless")),
        ("gemini", "gemini --resume latest", "", Invocation(resumes=True)),
        ("gemini", "python gemini.py", "", None),
        ("copilot", "node /n/.bin/copilot", "/usr/bin/node", Invocation()),
        ("copilot", "/n/node_modules/@github/copilot-linux-x64/copilot --continue", "",
         Invocation(resumes=True)),
        ("opencode", "/n/.bin/opencode -s ses_0123456789abcdef", "",
         Invocation(native="ses_0123456789abcdef", resumes=True)),
        ("opencode", "opencode serve --port 4096", "", Invocation("service")),
        ("opencode", "opencode run hello", "", Invocation("headless")),
        ("pi", "pi", "/usr/bin/node", Invocation()),
        ("pi", "pi", "/usr/bin/raspberry", None),
        ("pi", f"pi --session 2026-11-20T22-30-38-316Z_{ID}.jsonl", "/usr/bin/node",
         Invocation(native=ID, resumes=True)),
    ],
)  # fmt: skip
def test_what_a_command_line_says(
    agent: str, command: str, exe: str, expected: Invocation | None
) -> None:
    argv = command.split()
    assert agents.get(agent).process(argv, exe) == expected
    for other in agents.every():
        if other.name != agent:
            assert other.process(argv, exe) is None


@pytest.mark.spec("A50", "AW19")
@pytest.mark.parametrize(
    ("argv", "prompt"),
    [
        (("codex", "exec", "--json", "-s", "read-only", "say 'hi' -- now"), "say 'hi' -- now"),
        (("codex", "exec", "--output-schema", "a b.json", "-m", "o3", "do it"), "do it"),
        (("codex", "exec", "--skip-git-repo-check", "--", "-x is an option"), "-x is an option"),
        (("codex", "exec", "resume", "--last", "go on"), "go on"),
        (("codex", "exec", "-"), ""),
        (("codex", "exec", "-m"), ""),
        (("codex", "an interactive prompt"), ""),
    ],
)
def test_what_a_headless_codex_is_asked(argv: tuple[str, ...], prompt: str) -> None:
    said = agents.get("codex").process(argv, "")
    assert said is not None
    assert said.prompt == prompt


def test_npm_writes_its_whole_command_line_into_one_word() -> None:
    said = agents.get("codex").process(["npm exec @openai/codex exec hi"], "")
    assert said == Invocation("headless", runner=True, prompt="hi")


def test_wrappers_shims_and_tools_are_one_tree() -> None:
    shim = process(10, argv=("node", "/n/.bin/codex", "exec", "hi"), ppid=9, tty="/dev/pts/3")
    native = process(11, argv=("/v/bin/codex", "exec", "hi"), ppid=10, cwd="/work/app")
    tool = process(12, argv=("bash", "-lc", "make"), ppid=11)
    build = process(13, argv=("make",), ppid=12)
    shell = process(9, argv=("zsh",), ppid=1)
    [t] = found(build, tool, shell, native, shim)
    assert (t.agent, t.role, t.cwd, t.root.tty) == ("codex", "headless", "/work/app", "/dev/pts/3")
    assert t.pids == (10, 11, 12, 13)
    assert [p.agent for p in t.members] == ["codex", "codex", "", ""]


def test_package_runners_are_part_of_what_they_run() -> None:
    npm = process(20, argv=("npm exec @google/gemini-cli --model x",), ppid=1)
    shell = process(21, argv=("sh", "-c", "gemini --model x"), ppid=20)
    node = process(22, argv=("node", "/c/.bin/gemini", "--model", "x"), ppid=21)
    again = process(
        23,
        argv=("/usr/bin/node", "--max-old-space-size=9", "/c/.bin/gemini", "--model", "x"),
        ppid=22,
    )
    [t] = found(npm, shell, node, again)
    assert t.pids == (20, 21, 22, 23)


def test_an_agent_started_by_an_agent_is_another() -> None:
    outer = process(30, argv=("claude",), ppid=1)
    shell = process(31, argv=("/bin/bash", "-c", "claude -p hi"), ppid=30)
    inner = process(32, argv=("claude", "-p", "hi"), ppid=31)
    direct = process(33, argv=("claude", "-p", "ho"), ppid=30)
    other = process(34, argv=("codex", "exec", "x"), ppid=31)
    assert {t.root.pid: t.pids for t in found(outer, shell, inner, direct, other)} == {
        30: (30, 31), 32: (32,), 33: (33,), 34: (34,),
    }  # fmt: skip


def test_what_decklog_itself_started_is_left_out() -> None:
    agent = process(40, argv=("claude",), ppid=1)
    ours = process(41, argv=("python", "-m", "decklog", "ps"), ppid=40)
    child = process(42, argv=("claude", "-p", "hi"), ppid=41)
    assert [t.pids for t in found(agent, ours, child, ourselves=41)] == [(40, 41)]


def test_an_installed_agent_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(agents.Agent):
        name = "failing"

        def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
            raise KeyError("its own bug")

    monkeypatch.setattr(agents, "broken", {})
    table = Table([process(7, argv=("claude",))])
    seen = processes.snapshot([Failing(), *agents.every()], of=table)
    assert [t.agent for t in seen] == ["claude"]
    assert agents.broken == {"failing": "KeyError: 'its own bug'"}


@pytest.mark.spec("R76")
def test_a_look_that_fails_raises_and_half_a_table_is_never_the_whole() -> None:
    with pytest.raises(SourceError, match="Permission denied"):
        processes.snapshot(agents.every(), of=Table([], fails=True))
    if LINUX:
        with pytest.raises(SourceError, match="too long"):
            processes.snapshot(agents.every(), of=processes.Linux(), timeout=-1)


@pytest.mark.spec("A63", "R75")
def test_a_process_replaced_while_it_is_looked_at_is_not_seen() -> None:
    class Recycling(Table):
        def list(self, deadline: float) -> list[Process]:
            listed = super().list(deadline)
            self.processes[7] = process(7, start=999, argv=("bash",), cwd="/other")
            return listed

    table = Recycling([process(7, argv=("claude",), cwd="/work")])
    assert processes.snapshot(agents.every(), of=table) == []


@pytest.mark.spec("R75")
@pytest.mark.parametrize("who", [Identity(BOOT, 7, 8), Identity("another boot", 7, 7)])
def test_identity_is_boot_pid_and_start_time(who: Identity) -> None:
    table = Table([process(7)])
    assert processes.alive(Identity(BOOT, 7, 7), of=table)
    assert not processes.alive(who, of=table)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def identity_of(pid: int) -> Identity:
    table = processes.table()
    start = table.start_ticks(pid)
    assert start is not None
    return Identity(table.boot, pid, start)


@pytest.mark.spec("R75")
def test_a_signal_reaches_exactly_the_process_it_is_meant_for(
    sleeper: subprocess.Popen[bytes],
) -> None:
    who = identity_of(sleeper.pid)
    for wrong in (who._replace(start_ticks=who.start_ticks + 1), who._replace(boot="other")):
        with pytest.raises(NotFound, match="may be another's"):
            processes.send_signal(wrong, signal.SIGKILL)
    assert sleeper.poll() is None
    processes.send_signal(who, signal.SIGTERM)
    assert sleeper.wait(10) == -signal.SIGTERM
    with pytest.raises(NotFound):
        processes.send_signal(who, signal.SIGTERM)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_a_real_process_as_it_is(sleeper: subprocess.Popen[bytes]) -> None:
    table = processes.Linux()
    [p] = [p for p in table.list(time.monotonic() + 30) if p.pid == sleeper.pid]
    seen = table.look(p, files=True)
    assert seen is not None
    assert (seen.argv, seen.ppid, seen.cwd) == (("sleep", "60"), os.getpid(), os.getcwd())
    assert seen.exe == os.path.realpath(f"/proc/{sleeper.pid}/exe")
    assert p.started_at is not None
    assert abs(p.started_at - time.time() * 1000) < 30_000


@pytest.mark.spec("A19")
@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_open_files_are_listed_by_path_without_the_mark_of_deletion(tmp_path: Path) -> None:
    odd = tmp_path / "s (deleted) (deleted)"
    code = f"f = open({str(odd)!r}, 'w'); import os; os.unlink(f.name); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:  # type: ignore[call-overload]
        child.stdout.readline()
        table = processes.Linux()
        [p] = [p for p in table.list(time.monotonic() + 30) if p.pid == child.pid]
        seen = table.look(p, files=True)
        child.communicate(b"\n", timeout=10)
    assert seen is not None
    assert [f for f in seen.files if f.startswith(str(tmp_path))] == [str(tmp_path / "s")]


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_psutil_and_proc_see_the_same(sleeper: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    [mine] = [p for p in processes.Linux().list(deadline) if p.pid == sleeper.pid]
    other = processes.Elsewhere()
    for _ in range(5):  # here psutil reckons from a boot time that the kernel rounds to seconds
        [its] = [p for p in other.list(deadline) if p.pid == sleeper.pid]
        if (looked := other.look(its, files=True)) is not None:
            break
    assert looked is not None
    assert (its.argv, its.ppid, its.tty) == (mine.argv, mine.ppid, mine.tty)
    assert abs((its.started_at or 0) - (mine.started_at or 0)) < 3000
    assert looked.cwd == os.getcwd()
    assert not processes.alive(its.identity._replace(start_ticks=5), of=other)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_names_with_parentheses_and_spaces_do_not_confuse_the_start_time() -> None:
    code = (
        "import ctypes, time; "
        "ctypes.CDLL(None).prctl(15, b') R 1 2 (x', 0, 0, 0); print('go', flush=True); "
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        [p] = [p for p in processes.Linux().list(time.monotonic() + 30) if p.pid == child.pid]
        child.kill()
    assert p.ppid == os.getpid()
    assert p.start_ticks > 0


@pytest.mark.spec("A63")
@pytest.mark.skipif(not LINUX, reason="reads /proc")
@pytest.mark.skipif(not LINUX, reason="/proc")
def test_a_second_look_reads_one_file_of_each_process() -> None:
    class Counting(processes.Linux):
        read = 0

        def _read(self, pid: str, name: str) -> bytes:
            self.read += 1
            return super()._read(pid, name)

    table = Counting()
    table.list(time.monotonic() + 10)
    table.read = 0
    seen = table.list(time.monotonic() + 10)
    new = 20  # that came meanwhile, or are threads of the kernel
    assert table.read <= len(table.numbers()) + new
    table.read = 0
    for one in seen[:5]:
        table.look(one, files=True)
    assert table.read == 5


def test_zombies_are_no_processes() -> None:
    child = subprocess.Popen(["true"])
    deadline = time.monotonic() + 10
    while processes.table().start_ticks(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert processes.table().start_ticks(child.pid) is None
    child.wait()


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_churn_of_processes_neither_fails_nor_invents_an_agent() -> None:
    """Agents that come and go while the table is read: what is seen was there, whole."""
    script = "i=0; while [ $i -lt 150 ]; do (exec -a claude sleep 0); i=$((i+1)); done"
    churn = [subprocess.Popen(["bash", "-c", script]) for _ in range(2)]
    try:
        while any(c.poll() is None for c in churn):
            seen = processes.snapshot(agents.every(), timeout=30)
            for t in (t for t in seen if t.root.ppid in {c.pid for c in churn}):
                assert (t.agent, t.root.argv, t.cwd) == ("claude", ("claude", "0"), os.getcwd())
    finally:
        for c in churn:
            c.kill()
            c.wait()
