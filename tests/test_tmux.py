"""decklog.tmux against real tmux servers."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import msgspec
import pytest

from decklog import tmux
from decklog.errors import NoServer, PaneGone, TmuxError, TmuxMissing, TmuxTimeout
from decklog.tmux import Server, Status, call
from decklog.tmux.control import Control, Reply, _replies
from tmux_server import Room, needs_tmux, rooms
from waiting import until

pytestmark = needs_tmux


@pytest.fixture
def room() -> Iterator[Room]:
    yield from rooms()


def started(room: Room, name: str = "t", *commands: str) -> Server:
    """A server with one session ``$0`` that runs a quiet program."""
    room.tmux(
        name,
        "new-session",
        "-d",
        "-s",
        "first",
        "-x",
        "80",
        "-y",
        "10",
        "--",
        *commands or ("sleep", "600"),
    )
    room.servers.append(Server(room.socket(name), room.env))
    return room.servers[-1]


@pytest.mark.spec("R78", "R79", "D12")
def test_panes_are_told_whole(room: Room) -> None:
    server = started(room)
    until(lambda: server.panes()[0].command == "sleep")  # it was a copy of tmux for a moment
    (pane,) = server.panes()
    status = server.status()
    pid = int(room.tmux("t", "display-message", "-p", "-t", "%0", "#{pane_pid}"))
    assert pane == msgspec.structs.replace(
        pane,
        id="%0",
        window="@0",
        group="$0",
        name="first:0.0",
        socket=room.socket("t"),
        server_pid=status.pid,
        server_started=status.started,
        pid=pid,
        width=80,
        height=10,
        command="sleep",
        cwd=os.getcwd(),
        dead=False,
        exit_code=None,
        in_mode=False,
        agent="",
        session="",
        ours="",
    )
    assert pane.tty.startswith("/dev/")
    assert abs((pane.created_at or 0) / 1000 - time.time()) < 30
    assert server.panes() is server.panes()  # nothing changed: nothing was read anew


NAMES = [
    "plain",
    "a.b",
    "c:d",
    "$m",
    "tab\there",
    "-N5",
    "=name",
    "#{pid}",
    "#(touch /tmp/decklog-owned)",
    "7",
    "é–日本 🙂",
    "'quoted\" \\ name;",
    " ",
    "%end 1 2 1",
    "x" * 300,
]


@pytest.mark.spec("R78", "DW12", "D23")
@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_kind(room: Room, name: str) -> None:
    server = started(room)
    room.tmux("t", "new-session", "-d", "-s", "second", "--", "sleep", "600")
    room.tmux("t", "rename-window", "-t", "@1", "--", name)
    with suppress(CalledProcessError):  # tmux itself refuses a few
        room.tmux("t", "rename-session", "-t", "$1", "--", name)
    panes = {p.id: p for p in server.panes()}
    assert set(panes) == {"%0", "%1"}
    server.act(panes["%1"], ["kill-pane", "-t", "%1"])
    assert [p.id for p in server.panes()] == ["%0"]


@pytest.mark.spec("R79", "DW2")
def test_the_server_of_this_terminal_does_not_lead_astray(room: Room) -> None:
    started(room, "other")
    server = started(room, "t")
    room.env["TMUX"] = f"{room.socket('other')},1,0"
    room.env["TMUX_PANE"] = "%0"
    assert {p.socket for p in server.panes()} == {room.socket("t")}
    found = {s.socket for s in tmux.servers(room.env)}
    assert found == {room.socket("other"), room.socket("t")}
    assert {p.socket for p in tmux.panes(room.env)} == found


@pytest.mark.spec("R80", "DW1", "D22", "Y5")
def test_no_server_never_was(room: Room) -> None:
    server = Server(room.socket("t"), room.env)
    assert server.status() == Status("none")
    assert server.panes() == ()
    assert server.capture(["%0"]) == {}
    with pytest.raises(NoServer):
        server.call(["list-sessions"])


@pytest.mark.spec("R80", "Y5")
def test_no_server_any_more(room: Room) -> None:
    server = started(room)
    pid = server.status().pid
    room.pids.add(pid)
    os.kill(pid, signal.SIGKILL)  # leaves its socket behind
    until(lambda: server.status() == Status("none"))
    assert Path(server.socket).exists()
    assert server.panes() == ()


@pytest.mark.spec("R80", "DW2", "D3")
def test_a_stopped_server_hangs(room: Room) -> None:
    server = started(room)
    server.deadline = 0.3
    pid = server.status().pid
    room.pids.add(pid)
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    status = server.status()
    assert (status.state, status.pid) == ("hung", pid)
    with pytest.raises(TmuxTimeout):
        server.panes()
    assert time.monotonic() - begun < 10
    os.kill(pid, signal.SIGCONT)
    until(lambda: server.status().state == "running")


@pytest.mark.spec("R80")
def test_a_server_that_ends_every_connection_is_dying(room: Room) -> None:
    """What tmux does while it shuts down lasts microseconds; a socket that behaves so stands in."""
    folder = Path(room.socket("t"))
    folder.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(room.socket("t"))
        listener.listen()
        listener.settimeout(5)
        import threading

        def refuse() -> None:
            for _ in range(2):
                listener.accept()[0].close()

        thread = threading.Thread(target=refuse)
        thread.start()
        status = Server(room.socket("t"), room.env).status()
        thread.join()
    assert (status.state, status.pid) == ("dying", os.getpid())


def test_tmux_missing(room: Room) -> None:
    server = Server(room.socket("t"), {**room.env, "PATH": str(room.folder)})
    with pytest.raises(TmuxMissing, match="not installed") as caught:
        server.panes()
    assert "apt install tmux" in caught.value.hint


@pytest.mark.spec("R78", "DW13")
def test_another_pane_with_the_same_id_is_not_touched(room: Room) -> None:
    server = started(room)
    (before,) = server.panes()
    room.tmux("t", "respawn-pane", "-k", "-t", "%0", "--", "sleep", "601")
    with pytest.raises(PaneGone):
        server.act(before, ["kill-pane", "-t", "%0"])
    (after,) = server.panes()
    assert (after.id, after.pid == before.pid) == (before.id, False)
    os.kill(after.server_pid, signal.SIGKILL)
    until(lambda: server.status().state == "none")
    started(room)
    with pytest.raises(PaneGone):
        server.act(after, ["kill-pane", "-t", "%0"])
    assert len(server.panes()) == 1


@pytest.mark.spec("R78", "R83")
def test_panes_that_are_gone(room: Room) -> None:
    server = started(room)
    (pane,) = server.panes()
    room.tmux("t", "new-session", "-d", "--", "sleep", "600")
    server.act(pane, ["kill-pane", "-t", pane.id])
    with pytest.raises(PaneGone):
        server.act(pane, ["send-keys", "-t", pane.id, "x"])
    assert set(server.capture(["%0", "%1", "%77"])) == {"%1"}


@pytest.mark.spec("R79", "D31", "R108")
def test_created_panes_run_in_our_environment(room: Room) -> None:
    server = tmux.own({**room.env, "MINE": "first"})
    server.create(["sleep", "600"], name="one", cwd="/", mark="aaa", variables={})
    server = tmux.own({**room.env, "MINE": "second; 'x' $HOME", "OTHER": "o"})
    script = 'printf "<%s>" "$MINE" "$OTHER" "$DECKLOG_PANE" "$TMUX_TMPDIR"; exec sleep 600'
    pane = server.create(
        ["sh", "-c", script], name="two", cwd="/usr", mark="bbb", variables={"DECKLOG_PANE": "bbb"}
    )
    assert (pane.ours, pane.cwd or "/usr", pane.socket) == ("bbb", "/usr", server.socket)
    until(lambda: "<bbb>" in server.capture([pane.id])[pane.id])
    assert server.capture([pane.id])[pane.id].startswith("<second; 'x' $HOME><o><bbb>")
    assert [p.ours for p in server.panes()] == ["aaa", "bbb"]


def test_all_panes_and_their_screens_take_one_process_each(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = started(room)
    for _ in range(5):
        room.tmux("t", "new-session", "-d", "--", "sleep", "600")
    calls: list[Sequence[str]] = []
    real = call.run

    def counted(arguments: Sequence[str], *rest: Any, **more: Any) -> tuple[int, str, str]:
        calls.append(arguments)
        return real(arguments, *rest, **more)

    monkeypatch.setattr("decklog.tmux.server.run", counted)
    panes = tmux.panes(room.env)
    assert (len(panes), len(calls)) == (6, 1)
    assert len(server.capture([p.id for p in panes])) == 6
    assert len(calls) == 2


@pytest.mark.spec("R79")
def test_a_lasting_connection(room: Room) -> None:
    server = started(room, "t", "sh", "-c", "printf '%%end 1 2 1\\nhello'; exec sleep 600")
    until(lambda: server.panes()[0].command == "sleep")  # all is said, and nothing changes any more
    (pane,) = server.panes()
    plain = server.capture(["%0"])
    assert "hello" in plain["%0"]
    server.connect()
    assert server.connected
    assert server.panes() == (pane,)
    assert server.capture(["%0", "%9"]) == plain  # forged lines cut nothing short
    assert room.tmux("t", "list-sessions", "-F", "#{session_id} #{session_attached}") == "$0 1"
    assert room.tmux("t", "list-panes", "-a", "-F", "#{pane_width}x#{pane_height}") == "80x10"
    server.disconnect()
    until(lambda: room.tmux("t", "list-clients") == "")
    assert room.tmux("t", "list-sessions", "-F", "#{session_id}") == "$0"  # none came, none went


@pytest.mark.spec("R79", "R80")
def test_a_lasting_connection_breaks(room: Room) -> None:
    server = started(room)
    room.tmux("t", "new-session", "-d", "-s", "second", "--", "sleep", "600")
    server.connect()
    assert len(server.panes()) == 2
    room.tmux("t", "kill-session", "-t", "$0")  # the one it was attached to
    until(lambda: [p.id for p in server.panes()] == ["%1"])
    server.connect()
    assert [p.id for p in server.panes()] == ["%1"]
    pid = server.status().pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.status().state == "none")
    assert server.panes() == ()
    assert not server.connected


@pytest.mark.spec("R79")
def test_a_connection_ends_with_its_owner(room: Room) -> None:
    started(room)
    control = Control(room.socket("t"), room.env, "$0")
    assert control.ask([["display-message", "-p", "#{session_id}"]]) == [Reply(True, "$0")]
    control._process.stdin.close()  # type: ignore[union-attr]  # what the end of a process does
    until(lambda: room.tmux("t", "list-clients") == "")
    with pytest.raises(TmuxError):
        control.ask([["list-panes"]], deadline=1)
    control.close()


def test_answers_are_told_apart() -> None:
    """Notifications around them, forged ends within them, errors, empty ones."""
    text = """\
%end 1 9 0
%begin 1 8 1
M:start
%end 1 8 1
%sessions-changed
%begin 1 10 1
one
%end 1 10 1
%begin 1 11 1
two
%end 1 10 1
%window-renamed @1 x
%begin 1 11 1
M:0
%end 1 11 1
%begin 1 12 1
no such pane
%error 1 12 1
%begin 1 13 1
M:1
%end 1 13 1
%begin 1 14 1
%end 1 14 1
%begin 1 15 1
M:2
"""
    assert _replies(text, "M", 3) == [
        Reply(True, "one\n%end 1 10 1\n%begin 1 11 1\ntwo"),
        Reply(False, "no such pane"),
        Reply(True, ""),
    ]
