"""decklog.supervisor: fake agents, real tmux servers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from crew import Crew, crews
from decklog import processes
from decklog.errors import Busy, NotFound, UsageError
from decklog.model.fleet import Identity
from decklog.model.panes import Supervised
from decklog.supervisor import Request
from tmux_server import needs_tmux
from waiting import until

pytestmark = needs_tmux


@pytest.fixture
def crew() -> Iterator[Crew]:
    yield from crews()


def request(crew: Crew, name: str = "", **more: object) -> Request:
    return Request("claude", name=name, cwd=str(crew.project), **more)  # type: ignore[arg-type]


def alive(one: Supervised) -> bool:
    return processes.alive(Identity(one.boot, one.pid, one.start_ticks))


@pytest.mark.spec("D27", "D31", "D32", "D41", "DW16", "R79")
def test_create(crew: Crew) -> None:
    begun = time.time_ns() // 1_000_000
    one, delivery = crew.boss.create(request(crew))
    assert delivery is None
    assert one == Supervised(
        id=one.id,
        name="project",
        agent="claude",
        cwd=str(crew.project),
        session=f"claude:{one.argv[1]}",
        argv=("--session-id", one.argv[1]),
        origin="created",
        socket=crew.room.socket("decklog"),
        server_pid=one.server_pid,
        server_started=one.server_started,
        pane="%0",
        place=f"project-{one.id}:0.0",
        pid=one.pid,
        start_ticks=one.start_ticks,
        boot=one.boot,
        host=os.uname().nodename,
        generation=one.generation,
        created_at=one.created_at,
    )
    assert one.id.isalnum()
    assert begun <= one.created_at
    assert [(e.seq, e.happened, e.pane) for e in crew.boss.events()] == [(1, "created", one)]
    (row,) = crew.boss.rows()
    assert (row.supervised, row.pane and row.pane.pid) == (one, one.pid)
    assert row.occupant
    assert row.occupant.session == one.session
    second, _ = crew.boss.create(request(crew))
    assert second.name == "project-2"


@pytest.mark.spec("DW11", "D31", "R84")
def test_what_cannot_be_created(crew: Crew) -> None:
    with pytest.raises(UsageError, match="no folder"):
        crew.boss.create(Request("claude", cwd="/nowhere/at/all"))
    with pytest.raises(NotFound, match="no agent 'emacs'"):
        crew.boss.create(Request("emacs", cwd="/"))
    with pytest.raises(NotFound, match="codex is not installed"):
        crew.boss.create(Request("codex", cwd="/"))
    one, _ = crew.boss.create(request(crew, "fixed"))
    with pytest.raises(UsageError, match="called 'fixed' already"):
        crew.boss.create(request(crew, "fixed"))
    with pytest.raises(Busy, match="open in process"):
        crew.boss.create(request(crew, "again", session=one.session))
    forced, _ = crew.boss.create(request(crew, "again", session=one.session, force=True))
    assert forced.forced
    assert [e.happened for e in crew.boss.events()] == ["created", "created"]


@pytest.mark.spec("D33", "D35", "DW10", "R86")
def test_the_first_request_waits_for_the_agent(crew: Crew) -> None:
    crew.fake(start=1.0)
    text = "-N5 'quoted' $HOME `x`\nsecond line; \"done\""
    one, delivery = crew.boss.create(request(crew, prompt=text))
    assert delivery is not None
    assert (delivery.outcome, crew.given()) == ("submitted", [text])
    argv = Path(f"/proc/{one.pid}/cmdline").read_bytes()
    assert b"quoted" not in argv
    assert [e.happened for e in crew.boss.events()] == ["created", "sent"]


@pytest.mark.spec("R85", "R88", "DW11")
def test_a_dialog_is_not_answered(crew: Crew) -> None:
    crew.fake(dialog=1)
    crew.boss.create(request(crew, "asks"))
    until(lambda: "trust" in crew.boss.rows(screen=True)[0].screen)
    delivery = crew.boss.send("asks", "Hello")
    assert (delivery.outcome, delivery.enters) == ("not_sent", 0)
    assert "trust this folder" in delivery.why
    assert crew.given() == []


@pytest.mark.spec("D26", "D30", "D24", "D25", "D43", "DW7")
def test_adopt(crew: Crew) -> None:
    command = ["new-session", "-d", "-s", "work", "-c", str(crew.project), "--", "env", "claude"]
    crew.room.tmux("mine", *command)
    until(lambda: crew.boss.rows() and crew.boss.rows()[0].occupant)
    (row,) = crew.boss.rows()
    assert (row.supervised, row.pane and row.pane.name) == (None, "work:0.0")
    one = crew.boss.adopt("work:0.0", "the old one")
    assert (one.origin, one.agent, one.name) == ("adopted", "claude", "the old one")
    assert crew.boss.adopt("work:0.0") == one == crew.boss.adopt(one.id)
    assert [e.happened for e in crew.boss.events()] == ["adopted"]
    with pytest.raises(NotFound):
        crew.boss.adopt("%99")
    delivery = crew.boss.send("the old one", "Hello")
    assert (delivery.outcome, delivery.why) == ("submitted", "the screen shows it as said")
    released = crew.boss.release(one.id)
    assert released.standing == "released"
    assert crew.room.tmux("mine", "show-options", "-p", "-t", "%0") == ""
    again = crew.boss.adopt("work:0.0")
    assert again.id != one.id


@pytest.mark.spec("D37")
def test_find(crew: Crew) -> None:
    one, _ = crew.boss.create(request(crew, "fixed"))
    crew.room.tmux("other", "new-session", "-d", "-s", "fixed", "--", "sleep", "600")
    refs = [one.id, "fixed", "decklog/%0", one.place, one.session, one.session[7:], str(one.pid)]
    for ref in refs:
        row = crew.boss.find(ref)
        assert row.supervised == one
    with pytest.raises(UsageError, match="several panes are '%0': decklog/%0, other/%0"):
        crew.boss.find("%0")
    for nothing in ("", "nope", "%77", "0"):
        with pytest.raises(NotFound):
            crew.boss.find(nothing)


@pytest.mark.spec("D34", "R86")
def test_a_key_sends_once(crew: Crew) -> None:
    crew.boss.create(request(crew, "one"))
    first = crew.boss.send("one", "Just once", key="k1")
    again = crew.supervisor().send("one", "Just once", key="k1")
    assert (first.outcome, again) == ("submitted", first)
    assert crew.given() == ["Just once"]


@pytest.mark.spec("D36", "DW15", "R83")
def test_end(crew: Crew) -> None:
    one, _ = crew.boss.create(request(crew, "one"))
    other, _ = crew.boss.create(request(crew, "other"))
    until(lambda: all(r.occupant for r in crew.boss.rows()))
    ended = crew.boss.end("one")
    assert (ended.gone, ended.left) == (True, ())
    assert ended.steps == ("interrupted its turn", "asked it to end", "closed the pane")
    assert not alive(one)
    assert [r.id for r in crew.boss.rows()] == [other.id]
    assert crew.boss.end("one").gone  # gone already counts as done
    assert crew.boss.end("other", grace=0).gone
    standings = {p.id: p.standing for p in crew.boss.registry.panes().values()}
    assert standings == {one.id: "killed", other.id: "killed"}
    with pytest.raises(NotFound):
        crew.boss.end("nobody")


@pytest.mark.spec("DW15", "R83")
def test_a_stubborn_agent_is_killed(crew: Crew) -> None:
    crew.fake(stubborn=1)
    one, _ = crew.boss.create(request(crew, "one"))
    until(lambda: "?" in crew.boss.rows(screen=True)[0].screen)
    ended = crew.boss.end("one", grace=0.3)
    assert ended.gone
    assert ended.steps[-1] == "killed it"
    assert not alive(one)


@pytest.mark.spec("D40", "D1", "R89")
def test_a_program_that_ends_is_reaped(crew: Crew) -> None:
    crew.fake(dies=1)
    one, delivery = crew.boss.create(request(crew, "one", prompt="Hello"))
    assert delivery is not None
    assert delivery.outcome in ("submitted", "unknown")
    until(lambda: crew.boss.find("one").pane.dead)  # type: ignore[union-attr]
    (gone,) = until(crew.boss.reap)
    assert (gone.id, gone.standing) == (one.id, "exited")
    assert gone.code in (7, None)  # tmux does not always learn it on a busy machine
    assert crew.boss.rows() == []
    assert [e.happened for e in crew.boss.events()] == ["created", "sent", "exited"]


@pytest.mark.spec("R81", "DW6", "D28", "D15", "D29")
def test_a_pane_that_is_closed_is_lost_and_known(crew: Crew) -> None:
    one, _ = crew.boss.create(request(crew, "one"))
    crew.boss.create(request(crew, "other"))
    crew.room.tmux("decklog", "kill-pane", "-t", one.pane)
    rows = {r.id: r for r in crew.boss.rows()}
    gone = rows[one.id].supervised
    assert gone is not None
    assert (gone.standing, gone.why, rows[one.id].pane) == ("lost", "its pane was closed", None)
    assert gone.session == one.session


def test_panes_of_another_container_with_the_same_folder_are_left_alone(crew: Crew) -> None:
    theirs = Supervised(
        id="theirs", name="far", agent="claude", cwd=str(crew.project), session="claude:x",
        socket="/nowhere/decklog", pid=1, start_ticks=2, boot="another", host="another",
    )  # fmt: skip
    ours = structs.replace(theirs, id="ours", name="near", host="")
    for one in (theirs, ours):
        crew.boss.registry.add("created", one, 1)
    assert [r.id for r in crew.boss.rows()] == ["ours"]
    assert {n: p.standing for n, p in crew.boss.registry.panes().items()} == {
        "theirs": "live",
        "ours": "lost",
    }
    assert [r.id for r in crew.boss.rows(everything=True)] == ["theirs", "ours"]
    crew.boss.registry.add("lost", structs.replace(theirs, standing="lost"), 2)
    assert [p.pane.id for p in crew.boss.plan()] == ["ours"]
    assert "another machine" in crew.boss.plan(["far"])[0].problem


@pytest.mark.spec("R81", "R82", "D22", "DW1", "DW5")
def test_servers_that_hang_or_end(crew: Crew) -> None:
    one, _ = crew.boss.create(request(crew, "one"))
    crew.room.tmux("mine", "new-session", "-d", "-s", "w", "--", "env", "claude")
    until(lambda: len(crew.boss.rows()) == 2)
    pid = one.server_pid
    crew.room.pids.add(pid)
    for server in crew.boss.servers.values():
        server.deadline = 1.0
    os.kill(pid, signal.SIGSTOP)
    rows = crew.boss.rows()
    assert [(r.pane is None, r.supervised and r.supervised.standing) for r in rows] == [
        (False, None),
        (True, "live"),
    ]  # the other server is listed, ours stays known
    assert list(crew.boss.troubles) == [one.socket]
    os.kill(pid, signal.SIGCONT)
    crew.boss._asleep.clear()
    until(lambda: all(r.pane for r in crew.boss.rows()))
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    (_, lost) = crew.boss.rows()
    assert lost.supervised is not None
    assert (lost.supervised.standing, lost.supervised.why) == ("lost", "its tmux server ended")


@pytest.mark.spec("R84", "D15")
def test_restore(crew: Crew) -> None:
    one, _ = crew.boss.create(request(crew, "one", prompt="Remember this"))
    two, _ = crew.boss.create(request(crew, "two"))
    crew.room.pids.add(one.server_pid)
    os.kill(one.server_pid, signal.SIGKILL)
    until(lambda: not alive(one) and not alive(two))
    boss = crew.supervisor(written=lambda session: session == one.session)
    native, fresh = one.session[7:], two.session[7:]
    plans = boss.plan()
    assert [(p.pane.id, p.argv, p.problem) for p in plans] == [
        (one.id, ("claude", "--resume", native), ""),
        (two.id, ("claude", "--session-id", fresh), ""),  # nothing was said in it
    ]
    assert boss.rows()[0].pane is None  # a plan starts nothing
    done = boss.restore(["one"])
    new = done[0].restored
    assert new is not None
    assert (new.name, new.session, new.origin) == ("one", one.session, "restored")
    assert new.id != one.id
    old = boss.registry.get(one.id)
    assert old == structs.replace(old, standing="lost", restored_as=new.id)
    assert [p.pane.id for p in boss.plan()] == [two.id]
    assert boss.send("one", "And go on").outcome == "submitted"
    assert [e["native"] for e in crew.entries()] == [native, native]
    boss.end("one")
    (again,) = boss.plan(["one"])  # named, it may have been ended by us
    assert (again.pane.id, again.argv) == (new.id, ("claude", "--resume", native))
    with pytest.raises(NotFound):
        boss.plan([one.id])


@pytest.mark.spec("R84")
def test_a_session_that_lives_on_is_not_opened_twice(crew: Crew) -> None:
    crew.fake(stubborn=1)
    one, _ = crew.boss.create(request(crew, "one"))
    until(lambda: "?" in crew.boss.rows(screen=True)[0].screen)
    crew.room.pids.add(one.server_pid)
    os.kill(one.server_pid, signal.SIGKILL)  # its agent ignores that
    time.sleep(0.3)
    assert alive(one)
    (plan,) = crew.boss.plan()
    assert f"is open in process {one.pid}" in plan.problem
    os.kill(one.pid, signal.SIGKILL)


@pytest.mark.spec("R82", "D14")
def test_a_crash_between_making_and_writing_down(crew: Crew) -> None:
    """The pane carries its id: whoever looks next knows it."""
    one, _ = crew.boss.create(request(crew, "one"))
    Path(crew.boss.registry.path).unlink()
    boss = crew.supervisor()
    (row,) = boss.rows()
    assert row.supervised is not None
    assert (row.supervised.id, row.supervised.pid) == (one.id, one.pid)
    assert row.supervised.session == one.session  # from its process


@pytest.mark.spec("R78", "DW13")
def test_another_program_in_its_pane(crew: Crew) -> None:
    one, _ = crew.boss.create(request(crew, "one"))
    crew.room.tmux("decklog", "respawn-pane", "-k", "-t", one.pane, "--", "sleep", "600")
    crew.boss.look()
    gone = crew.boss.registry.get(one.id)
    assert gone is not None
    assert (gone.standing, gone.why) == ("exited", "another program was started in its pane")


@pytest.mark.spec("D39", "D38", "D10")
def test_snapshots_have_the_tail_of_the_screen(crew: Crew) -> None:
    crew.boss.create(request(crew, "one", prompt="Hello there"))
    (row,) = crew.boss.rows(screen=True)
    assert "❯ Hello there" in row.screen
    assert len(row.screen) <= 500
    assert row.pane is not None
    assert row.pane.name.endswith(":0.0")
