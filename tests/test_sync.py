"""What one sync does: trouble with files, companions, days and prices, roots."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from decklog import agents, hub, pricing, sources
from decklog.agents import Agent, Claim, Reader, Root
from decklog.model import Cursor, Ref
from forked import in_child
from homes import Claude, Synced, clean, different, line, truth
from talks import ANSWER, rollout, talk

# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.spec("R37", "R42", "R11")
def test_trouble_with_a_file_holds_up_no_other_and_ends_with_it(home: Path, deck: Synced) -> None:
    good, bad = rollout(1), rollout(2)
    good.write(home)
    path = home / bad.twin(packed=True).path
    path.write_bytes(b"this is not compressed")
    os.mkfifo(path.with_name("rollout-pipe.jsonl"))
    for _ in range(3):
        report = deck.sync()
        assert report.problems == 2
        assert sorted((f["reason"], f["count"]) for f in deck.store.findings()) == [
            ("unreadable", 1), ("unreadable", 1),
        ]  # fmt: skip
    assert not deck.deck.unchanged()  # it is tried again
    assert deck.total() == truth(good.lines)
    path.write_bytes(zstandard.compress(bad.data))
    path.with_name("rollout-pipe.jsonl").unlink()
    assert deck.sync().problems == 0
    assert deck.total() == truth([*good.lines, *bad.lines])
    assert list(deck.store.findings()) == []
    assert deck.deck.unchanged()


@pytest.mark.spec("R31", "R36")
def test_a_packed_file_that_grows_is_read_on(home: Path, tmp_path: Path, deck: Synced) -> None:
    made = rollout(1)
    packed = made.twin(packed=True)
    path = home / packed.path
    path.parent.mkdir(parents=True)
    half = len(made.lines) // 2
    first, second = (
        b"".join(x.data for x in made.lines[s]) for s in (slice(half), slice(half, None))
    )
    path.write_bytes(zstandard.compress(first))
    deck.sync()
    for rest in (zstandard.compress(second)[:20], zstandard.compress(second)[20:]):
        with path.open("ab") as f:
            f.write(rest)
        deck.sync()
    assert deck.total() == truth(made.lines)
    assert deck.dump() == clean(home, tmp_path / "clean")


@pytest.mark.spec("R28", "R37")
def test_a_packed_file_that_is_replaced_by_what_cannot_be_unpacked(
    home: Path, deck: Synced
) -> None:
    """Nothing that was read of it is lost, and what is in its place in the end is read."""
    first, second = talk("first"), talk("second")
    path = talk("first", packed=True).write(home)
    deck.sync()
    assert deck.total() == truth(first.lines)
    path.write_bytes(b"no frame at all" * 9)
    for _ in range(2):
        deck.sync()
        assert deck.total() == truth(first.lines)
        assert [(f.reason, f.source) for f in deck.deck.findings()] == [("unreadable", str(path))]
    path.write_bytes(zstandard.compress(second.data))
    deck.sync()
    assert deck.total() == truth([*first.lines, *second.lines])
    assert {f.reason for f in deck.deck.findings()} == {"rewritten"}


@pytest.mark.spec("R34", "R42")
def test_trouble_in_the_middle_of_a_file_loses_nothing_of_it(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = talk(answers=20)
    made.write(home)
    monkeypatch.setattr("decklog.reading.ROWS_PER_BATCH", 1)
    monkeypatch.setattr(sources, "CHUNK", 600)
    read, left = os.pread, [10]

    def failing(fd: int, size: int, at: int) -> bytes:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(5, "the disk is ill")
        return read(fd, size, at)

    monkeypatch.setattr(os, "pread", failing)
    assert deck.sync().problems == 1
    assert 0 < deck.total()[3] < truth(made.lines)[3]
    assert "the disk is ill" in next(deck.store.findings())["detail"]
    assert deck.sync().problems == 0
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R34", "R42", "R73")
def test_a_reader_that_fails_costs_only_its_file(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decklog.agents.claude.reader import ClaudeReader

    feed = ClaudeReader.feed

    def failing(self: ClaudeReader, record: bytes, ref: Ref) -> Any:
        if b"secret" in record:
            raise KeyError(record)
        return feed(self, record, ref)

    monkeypatch.setattr(ClaudeReader, "feed", failing)
    good, bad = talk("good"), talk("bad")
    bad.prompt("a secret")
    for m in (good, bad):
        m.write(home)
    assert deck.sync().problems == 1
    assert "claude:good" in deck.sessions()
    (finding,) = deck.store.findings()
    assert finding["source"] == str(home / bad.path)
    assert "KeyError in test_sync.py" in finding["detail"]
    assert "secret" not in finding["detail"]
    monkeypatch.undo()
    assert deck.sync().problems == 0
    assert deck.total() == truth([*good.lines, *bad.lines])


@pytest.mark.spec("R10", "R37")
def test_a_file_nobody_knows_is_told_of_as_long_as_it_is_there(home: Path, deck: Synced) -> None:
    path = home / ".codex/sessions/notes.txt"
    path.parent.mkdir(parents=True)
    for _ in range(2):
        path.write_text("hello")
        for _ in range(2):
            deck.sync()
            (finding,) = deck.store.findings()
            assert (finding["reason"], finding["source"]) == ("unrecognized", str(path))
        path.unlink()
        deck.sync()
        assert list(deck.store.findings()) == []


def test_a_file_that_an_agent_learns_to_read_is_read(
    home: Path, deck: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rollout()
    monkeypatch.setattr(type(agents.get("codex")), "claim", lambda self, relative: None)
    made.write(home)
    deck.sync()
    assert [f["reason"] for f in deck.store.findings()] == ["unrecognized"]
    monkeypatch.undo()
    deck.sync()
    assert deck.dump() == clean(home, home.parent / "new")


@pytest.mark.spec("R8")
@pytest.mark.parametrize(
    "name", [b"caf\xe9 \xff.jsonl", b"two\nlines.jsonl", b"a\x1b[31m'\".jsonl"]
)
def test_names_that_are_no_text(name: bytes, home: Path, deck: Synced) -> None:
    made = talk()
    path = made.write(home)
    odd = os.fsencode(path.parent) + b"/" + name
    os.rename(path, odd)
    for _ in range(2):
        deck.sync()
        (found,) = deck.sessions().values()
        assert os.fsencode(found["sources"][0]) == odd
    with open(odd, "ab") as f:
        f.write(talk("talk", answers=3).lines[-1].data)
    assert deck.sync().lines == 1
    Path(os.fsdecode(odd)).write_bytes(b"")
    deck.sync()
    Path(os.fsdecode(odd)).unlink()
    deck.sync()
    assert [s["gone"] for s in deck.sessions().values()] == [True]
    assert next(deck.store.findings())["source"] == os.fsdecode(odd) + "#rewritten-1"


# --- companions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("companion_first", [True, False])
def test_what_a_companion_says_is_found_whenever_it_comes(
    companion_first: bool, home: Path, deck: Synced
) -> None:
    child = Claude("main", agent="x")
    child.prompt("task")
    path = home / child.path
    meta = path.with_name("agent-x.meta.json")
    path.parent.mkdir(parents=True)
    steps = [lambda: meta.write_text('{"description": "Count the boats"}'),
             lambda: child.write(home)]  # fmt: skip
    for step in steps if companion_first else reversed(steps):
        step()
        deck.sync()
    assert deck.sessions()[child.id]["title"] == "Count the boats"
    meta.write_text('{"description": "Count the ships"}')
    deck.sync()
    assert deck.sessions()[child.id]["title"] == "Count the ships"
    assert deck.dump() == clean(home, home.parent / "new")
    assert deck.sync().read == 0


def test_a_new_name_in_the_index_renews_the_session_it_names_and_no_other(
    home: Path, deck: Synced
) -> None:
    members = [rollout(n) for n in range(1, 6)]
    for m in members:
        m.write(home)
    index = home / ".codex/session_index.jsonl"
    index.write_bytes(line({"id": members[0].name, "thread_name": "Boats"}).data)
    deck.sync()
    with index.open("ab") as f:
        f.write(line({"id": members[1].name, "thread_name": "Ships"}).data)
    report = deck.sync()
    assert report.read == 1
    titles = {s: f["title"] for s, f in deck.sessions().items()}
    assert (titles[members[0].id], titles[members[1].id]) == ("Boats", "Ships")
    assert deck.dump() == clean(home, home.parent / "new")


# --- two at once ----------------------------------------------------------------------------------


@pytest.mark.spec("X3")
def test_two_syncs_at_once_make_one_store(home: Path, tmp_path: Path) -> None:
    members = [talk(f"t{n}", answers=8) for n in range(30)]
    own = tmp_path / "own"

    def four() -> Any:
        done = []
        for _ in range(4):
            reading, writing = os.pipe()
            if os.fork() == 0:
                try:
                    with Synced(home, own) as deck:
                        for _ in range(5):
                            os.write(writing, b"%d " % deck.sync().lines)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(0)
            os.close(writing)
            done.append(reading)
        for m in members:
            m.write(home)
            time.sleep(0.002)
        return [os.fdopen(fd, "rb").read().decode() for fd in done]

    lines = [int(n) for text in in_child(four) for n in text.split()]
    assert len(lines) == 20
    with Synced(home, own) as deck:
        last = deck.sync().lines
        assert sum(lines) + last == sum(len(m.lines) for m in members)  # each was read once
        seen, new = deck.dump(), clean(home, tmp_path / "new")
        assert seen == new, different(seen, new)


@pytest.mark.spec("X3", "R28")
def test_a_look_that_is_older_than_what_another_process_wrote_is_repeated(
    home: Path, deck: Synced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = talk()
    made.write(home, slice(2))
    deck.sync()
    survey = sources.survey

    def overtaken(roots: Any) -> Any:
        seen = survey(roots)
        if not monkeypatch_done:
            monkeypatch_done.append(True)
            made.write(home)
            with Synced(home, tmp_path / "own") as other:
                other.sync()
        return seen

    monkeypatch_done: list[bool] = []
    made.write(home, slice(3))
    monkeypatch.setattr(sources, "survey", overtaken)
    deck.sync()
    assert not [uri for uri in deck.store.known() if "#rewritten" in uri]
    assert deck.total() == truth(made.lines)
    assert deck.dump() == clean(home, tmp_path / "new")


# --- what days and prices are reckoned by ---------------------------------------------------------


@pytest.mark.spec("R46")
def test_another_time_zone_moves_facts_to_their_days_there(home: Path, tmp_path: Path) -> None:
    made = Claude("talk", 1_767_261_600_000)  # 2026-01-01T10:00Z
    made.answer("a", ANSWER)
    made.now += 13 * 3_600_000
    made.answer("b", ANSWER)
    made.write(home)

    def days(tz: str) -> dict[str, int]:
        with Synced(home, tmp_path / "own", tz=tz) as deck:
            deck.sync()
            assert deck.dump() == clean(home, tmp_path / f"new-{tz.replace('/', '-')}", tz=tz)
            rows = deck.deck.usage_rows("daily")
            return {r["date"]: r["output"] for r in rows}

    assert days("UTC") == {"2026-01-01": 80}
    assert days("Pacific/Kiritimati") == {"2026-01-02": 80}
    assert days("Asia/Tokyo") == {"2026-01-01": 40, "2026-01-02": 40}
    assert days("UTC") == {"2026-01-01": 80}


@pytest.mark.spec("R46")
def test_a_sync_that_was_stopped_in_one_zone_goes_on_in_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Claude("talk", 1_767_261_600_000)
    made.answer("a", ANSWER)
    made.write(home)
    with Synced(home, tmp_path / "own", tz="Pacific/Kiritimati") as deck:
        monkeypatch.setattr(deck.store, "link", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deck.sync()
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        assert deck.dump() == clean(home, tmp_path / "new")


@pytest.mark.spec("R46")
def test_a_change_of_zone_that_was_stopped_is_made_up_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk().write(home)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
    with Synced(home, tmp_path / "own", tz="Pacific/Kiritimati") as deck:
        monkeypatch.setattr(deck.store, "link", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deck.sync()
    with Synced(home, tmp_path / "own", tz="Pacific/Kiritimati") as deck:
        assert not deck.deck.unchanged()
        deck.sync()
        assert deck.dump() == clean(home, tmp_path / "new", tz="Pacific/Kiritimati")


def test_another_price_list_prices_everything_anew(
    home: Path, deck: Synced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for m in (talk(), rollout()):
        m.write(home)
    deck.sync()
    before = deck.deck.usage_rows("models")
    assert all(r["cost_micro_usd"] for r in before)
    monkeypatch.setattr(pricing, "price", lambda *_: 5)
    deck.sync()
    assert deck.deck.usage_rows("models") == before  # the same list is not asked again
    monkeypatch.setattr(pricing, "prices_date", lambda: "2099-01-01")
    deck.sync()
    assert [r["cost_micro_usd"] for r in deck.deck.usage_rows("models")] == [10, 10]
    assert {s["cost"]["prices_date"] for s in deck.sessions().values()} == {"2099-01-01"}
    assert deck.dump() == clean(home, tmp_path / "new")


# --- roots that move ------------------------------------------------------------------------------


@pytest.mark.spec("AW14")
def test_variables_move_the_roots(home: Path, tmp_path: Path) -> None:
    talk().write(home)
    rollout().write(home)
    elsewhere = tmp_path / "elsewhere"
    (home / ".codex").rename(elsewhere)
    env = {"HOME": str(home), "DECKLOG_HOME": str(tmp_path / "own"), "TZ": "UTC"}
    with hub.open(env=env) as deck:
        deck.sync()
        assert {s.agent for s in deck.sessions()} == {"claude"}
    with hub.open(env={**env, "CODEX_HOME": str(elsewhere)}) as deck:
        assert not deck.unchanged()
        deck.sync()
        assert {s.agent for s in deck.sessions()} == {"claude", "codex"}
        assert deck.unchanged()


class Strange(Agent):
    """An agent of somebody else, which reads lines of JSON and fails where it is told to."""

    name = "strange"
    fails = ""

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        if self.fails == "roots":
            raise RuntimeError("no idea")
        return (Root(f"{env['HOME']}/.strange"),)

    def claim(self, relative: str) -> Claim | None:
        if self.fails == "claim":
            raise RuntimeError("no idea")
        return "jsonl"

    def reader(self, cursor: Cursor | None = None, **_: Any) -> Reader:
        if self.fails == "reader":
            raise RuntimeError("no idea")
        return agents.get("claude").reader(cursor)


@pytest.mark.spec("R34")
@pytest.mark.parametrize("where", ["load", "roots", "claim", "reader"])
def test_an_agent_of_somebody_else_that_fails_is_set_aside(
    where: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> type[Agent]:
        if Strange.fails == "load":
            raise ImportError("no idea")
        return Strange

    monkeypatch.setattr(agents, "_entry_points", lambda: {"strange": load})
    monkeypatch.setattr(agents, "_loaded", dict(agents._loaded))
    monkeypatch.setattr(agents, "broken", {})
    made, its = talk(), talk("its")
    made.write(home)
    path = home / ".strange/its.jsonl"
    path.parent.mkdir()
    path.write_bytes(its.data)
    with Synced(home, tmp_path / "own") as deck:
        deck.sync()
        assert len(deck.sessions()) == 2
        before = deck.total()
        agents._loaded.pop("strange")
        monkeypatch.setattr(Strange, "fails", where)
        monkeypatch.setattr(hub.lookout, "code", lambda: "something was installed")
        for made_again in (talk(answers=3), talk(answers=4)):
            made_again.write(home)
            its.prompt("more")
            path.write_bytes(its.data)
            deck.sync()
            assert len(deck.sessions()) == 2  # what it told before is not forgotten
            assert deck.total()[3] > before[3]
            assert where == "reader" or "no idea" in agents.broken["strange"]
        if where == "claim":
            assert not any(s["gone"] for s in deck.sessions().values())
