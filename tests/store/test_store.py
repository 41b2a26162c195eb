"""The contract of a store: one writer, readers that never wait, failures that change nothing."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from decklog import connection
from decklog import store as stores
from decklog.errors import StoreBusy
from decklog.model import Event, Facts, Ref, ToolCalled, ToolReturned, Usage, UsageReported
from decklog.store.rows import Batch, Rows
from decklog.store.sqlite import FILE, SqliteStore
from forked import in_child, killed, start, suicide
from homes import Claude, Synced, different

# --- what is kept ---------------------------------------------------------------------------------


def test_what_one_store_writes_the_other_reads(store: SqliteStore, folder: Path) -> None:
    with store.writing():
        store.put_all({"a": "1", "b": "2"})
        ids = store.reserve_all([("claude", "/x", "jsonl"), ("codex", "/y", "json")])
    other = stores.open(str(folder))
    assert (other.get("a"), other.get("b"), other.get("c")) == ("1", "2", None)
    assert {uri: row[:3] for uri, row in other.known().items()} == {
        "/x": (ids[0], "claude", "jsonl"),
        "/y": (ids[1], "codex", "json"),
    }
    assert other.reserve_all([("codex", "/y", "json")]) == ids[1:]
    other.close()


def test_sources_with_names_that_are_no_text(store: SqliteStore) -> None:
    uri = os.fsdecode(b"/caf\xe9.jsonl")
    (source,) = store.reserve_all([("claude", uri, "jsonl")])
    store.retire(source, uri)
    store.retire(*store.reserve_all([("claude", uri, "jsonl")]), uri)
    assert set(store.known()) == {f"{uri}#rewritten-1", f"{uri}#rewritten-2"}
    assert [f["source"] for f in store.findings()] == sorted(store.known())
    store.move(source, uri)  # it had only been renamed
    assert uri in store.known()
    assert [f["source"] for f in store.findings()] == [f"{uri}#rewritten-2"]


@pytest.mark.spec("AW15")
def test_all_sessions_are_listed_a_page_at_a_time(deck: Synced) -> None:
    whole = [s["id"] for s in deck.store.sessions({})]
    pages = [list(deck.store.sessions({"limit": 4, "offset": n})) for n in (0, 4, 8, 12)]
    assert len(whole) == 10
    assert [len(p) for p in pages] == [4, 4, 2, 0]
    assert [s["id"] for page in pages for s in page] == whole


@pytest.mark.spec("R70", "AW16", "R107")
def test_an_id_is_looked_up_as_it_is(deck: Synced) -> None:
    resolve = deck.store.resolve
    assert resolve("claude:talk") == resolve("talk") == ["claude:talk"]
    assert resolve("claude:talk.agent-x") == ["claude:talk.agent-x"]
    assert resolve("019b7000-0000-7000-8000-000000000003")[0].endswith("003")
    assert len(resolve("codex:019b")) == 8
    assert resolve("tal") == ["claude:talk"]  # its subagent does not make it ambiguous
    for odd in ("%", "_alk", "ta%", "talk'--", "../talk", "\x00", "", "' or 1=1", "TALK\\"):
        assert resolve(odd) == []
    assert resolve("latest") == ["claude:talk"]


@pytest.mark.spec("R107")
def test_wildcards_in_a_filter_are_plain_text(deck: Synced) -> None:
    def count(project: str) -> int:
        return len(list(deck.store.sessions({"projects": [project]})))

    assert count("/home/me/work") == count("me/wo") == 10
    assert count("me%work") == count("me_work") == count("\\") == count("' or 1=1 --") == 0


# --- one writer -----------------------------------------------------------------------------------


def held(folder: Path, go: Callable[[SqliteStore], object]) -> int:
    """A child that is the writer, and tells so by a file; its process id."""

    def work() -> None:
        made = stores.open(str(folder))
        assert isinstance(made, SqliteStore)
        with made.writing():
            go(made)
            (folder / "held").touch()
            time.sleep(60)

    return awaited(start(work), folder)


def awaited(pid: int, folder: Path) -> int:
    """The process, once it has told by a file that it holds what it is to hold."""
    until = time.monotonic() + 20
    while not (folder / "held").exists():
        assert time.monotonic() < until, "the child did not come to write"
        time.sleep(0.005)
    return pid


@pytest.mark.spec("X3")
def test_another_process_that_writes_is_waited_for_and_then_told_of(
    store: SqliteStore, folder: Path
) -> None:
    pid = held(folder, lambda made: None)
    try:
        before = time.monotonic()
        with (
            pytest.raises(StoreBusy, match="another decklog is writing") as caught,
            store.writing(0.2),
        ):
            pass
        assert 0.2 <= time.monotonic() - before < 10
        assert caught.value.retryable
        assert store.get("a") is None  # reading goes on
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    with store.writing(0.2):  # the end of a process frees what it held
        store.put("a", "1")


def test_two_stores_of_one_process_exclude_each_other_too(store: SqliteStore, folder: Path) -> None:
    other = stores.open(str(folder))
    with store.writing(), store.writing():  # within itself it may be asked for again
        with pytest.raises(StoreBusy), other.writing(0.01):
            pass
        store.put("a", "1")
    with other.writing(0.01):
        other.put("a", "2")
    assert store.get("a") == "2"
    other.close()


@pytest.mark.spec("X3")
def test_a_refresh_while_another_writes_gives_a_note_and_old_answers(
    deck: Synced, home: Path, folder: Path
) -> None:
    pid = held(folder, lambda made: None)
    try:
        Claude("new").write(home)
        assert "another decklog" in deck.deck.refresh()
        assert len(deck.sessions()) == 10
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


# --- readers never wait ---------------------------------------------------------------------------


def patient(monkeypatch: pytest.MonkeyPatch, deck: Synced) -> None:
    """Who has to wait waits for a minute: longer than a busy machine takes for the test."""
    monkeypatch.setattr(connection, "BUSY_MS", 60_000)
    deck.store.db.set_busy_timeout(60_000)


@pytest.mark.spec("X3")
def test_readers_see_the_state_before_a_transaction_while_it_lasts(
    deck: Synced, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(made: SqliteStore) -> None:
        made.db.execute("begin immediate")
        made.db.execute("delete from session")
        made.db.execute("update usage set output = 1000000")

    patient(monkeypatch, deck)
    before = deck.total()
    pid = held(folder, write)
    try:
        started = time.monotonic()
        with Synced(Path(deck.deck.config.env["HOME"]), folder) as other:
            for reader in (deck, other):
                assert len(reader.sessions()) == 10
                assert reader.total() == before
                assert sum(1 for _ in reader.store.ledger({})) > 30
        assert time.monotonic() - started < 30  # half of what a blocked reader would wait
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert deck.total() == before


@pytest.mark.spec("R40")
def test_readers_keep_their_answers_while_a_store_is_built_anew(deck: Synced, folder: Path) -> None:
    rows = deck.store.sessions({})
    first = next(rows)
    with Synced(Path(deck.deck.config.env["HOME"]), folder) as other:
        other.deck.sync(rebuild=True)
        assert len([first, *rows]) == 10
        assert deck.dump() == other.dump()


@pytest.mark.skipif(not Path("/proc").exists(), reason="reboots can be told on Linux alone")
def test_a_new_store_is_trusted_after_a_reboot_only_once_it_was_flushed(
    deck: Synced, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushed by the writer after the one that filled it, unless a reader is in the way."""
    patient(monkeypatch, deck)
    before = deck.dump()
    rows = deck.store.sessions({})
    next(rows)  # looks at the state before the flush as long as it is not at its end
    with Synced(home, folder) as other:
        started = time.monotonic()
        other.sync()
        assert time.monotonic() - started < 30  # nobody waits for the reader
    assert deck.store.get("unsynced") is not None
    assert len(list(rows)) == 9
    deck.deck.close()
    with monkeypatch.context() as patch:
        patch.setattr("decklog.store.sqlite.boot", lambda: "another boot")
        with Synced(home, folder) as other:
            assert other.dump() == []
            other.sync()
            other.sync()
            assert other.store.get("unsynced") is None
    with Synced(home, folder) as other:
        assert other.dump() == before


# --- rows in any number of batches ----------------------------------------------------------------


def _events(random: Random) -> list[Event]:
    """Calls and results in any order, repeated, and responses recorded again and again."""
    made: list[Event] = []
    for seq in range(1, 25):
        common: dict[str, Any] = {
            "seq": seq,
            "session": "claude:s",
            "agent": "claude",
            "ref": Ref("/s", seq * 10, 9, seq),
            "at": random.choice([None, 1000 + seq]),
        }
        name = random.choice("abc")
        match random.randrange(3):
            case 0:
                made.append(ToolCalled(**common, tool_name="Edit", tool_kind="file_edit",
                                       tool_id=name, paths=(f"/{name}",)))  # fmt: skip
            case 1:
                made.append(ToolReturned(**common, tool_id=name, child=random.choice([None, "x"]),
                                         success=random.choice([None, True, False]),
                                         duration_ms=random.choice([None, seq])))  # fmt: skip
            case _:
                usage = Usage(input=random.randint(0, 3), output=random.randint(0, 3))
                made.append(UsageReported(**common, key=name, usage=usage, model="m",
                                          rank=random.choice([1, 2])))  # fmt: skip
    return made


@pytest.mark.spec("R41", "R43", "A7")
@pytest.mark.parametrize("seed", range(40))
def test_rows_are_the_same_in_any_number_of_batches(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    events = _events(random)
    dumps = []
    for batched, committed in ((99, 99), (1, 1), (1, 99), (3, 2), (5, 1)):
        place = tmp_path / f"{batched}-{committed}"
        place.mkdir()
        store = SqliteStore(str(place))
        (source,) = store.reserve_all([("claude", "/s", "jsonl")])
        rows = Rows(source, "claude", lambda *_: None, str, {"s": Facts(native="s")})
        batches: list[Batch] = []
        for i in range(0, len(events), batched):
            rows.add(events[i : i + batched])
            batches.append(rows.batch((1, 1, 1, 1), 1, 1, b"", b""))
        for i in range(0, len(batches), committed):
            store.apply(batches[i : i + committed])
        store.link()
        dumps.append(list(store.dump()))
        store.close()
    for other in dumps[1:]:
        assert other == dumps[0], different(dumps[0], other)


def test_a_result_belongs_to_a_call_before_it(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path))
    (source,) = store.reserve_all([("claude", "/s", "jsonl")])
    rows = Rows(source, "claude", lambda *_: None, str, {"s": Facts(native="s")})
    common: dict[str, Any] = {"session": "claude:s", "agent": "claude", "tool_id": "t"}
    rows.add([ToolReturned(**common, seq=1, success=False, ref=Ref("/s", 10))])
    rows.add([ToolCalled(**common, seq=2, tool_name="Edit", ref=Ref("/s", 20))])
    store.apply([rows.batch((1, 1, 1, 1), 1, 1, b"", b"")])
    ok = "select ok from tool"
    assert store.db.execute(ok).fetchall() == [(None,)]
    rows.add([ToolReturned(**common, seq=3, success=True, ref=Ref("/s", 30))])
    rows.add([ToolCalled(**common, seq=4, tool_name="Edit", ref=Ref("/s", 40))])
    store.apply([rows.batch((1, 1, 1, 1), 1, 1, b"", b"")])
    assert store.db.execute(ok).fetchall() == [(1,)]
    store.close()


# --- other programs -------------------------------------------------------------------------------


def test_the_store_is_a_plain_database_that_others_may_read(deck: Synced, folder: Path) -> None:
    def read() -> Any:
        db = sqlite3.connect(f"file:{folder / FILE}?mode=ro", uri=True)
        return db.execute("select count(*) from session").fetchone()

    assert in_child(read) == [10]


def test_a_program_that_holds_the_database_is_told_of(
    deck: Synced, folder: Path, home: Path
) -> None:
    def hold() -> None:
        db = sqlite3.connect(folder / FILE, isolation_level=None)
        db.execute("begin immediate")
        (folder / "held").touch()
        time.sleep(60)

    Claude("new").write(home)
    deck.store.db.set_busy_timeout(50)
    pid = awaited(start(hold), folder)
    try:
        with pytest.raises(StoreBusy) as caught:
            deck.sync()
        assert caught.value.retryable
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    deck.sync()


def test_killed_while_it_was_made_a_store_opens(folder: Path, home: Path) -> None:
    def work() -> None:
        folder.mkdir(mode=0o700)
        SqliteStore.__init__.__globals__["SCHEMA"] = "create table meta(key text); select suicide()"
        made = SqliteStore.__new__(SqliteStore)

        class Dying(apsw.Connection):
            def __init__(self, path: str) -> None:
                super().__init__(path)
                self.create_scalar_function("suicide", suicide, 0)

        SqliteStore.__init__.__globals__["opened"] = Dying
        made.__init__(str(folder))  # type: ignore[misc]

    assert killed(work, 20.0)
    assert (folder / FILE).exists()
    with Synced(home, folder) as made:
        made.sync()
