"""Search and its index, as sessions come and go."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from decklog import hub
from decklog.model import Hit
from homes import Claude, Codex, Synced, clean


def test_rows_come_first_where_there_is_much_and_search_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.sync.INLINE_BYTES", 1_000)
    home = tmp_path / "home"
    for n in range(4):
        talk = Claude(f"talk{n}")
        talk.prompt("marmalade " * 50)
        talk.write(home)
    with Synced(home, tmp_path / "own") as deck:
        assert deck.deck.refresh() == ""
        assert len(deck.sessions()) == 4
        page = deck.deck.search("marmalade")
        assert page.hits == ()
        assert (page.covered.complete, page.covered.behind) == (False, 4)
        assert deck.deck.refresh(complete=True) == ""
        page = deck.deck.search("marmalade")
        assert len(page.hits) == 4
        assert page.covered.complete
        rows = deck.dump()
    with Synced(home, tmp_path / "other") as deck:
        deck.sync()
        assert deck.dump() == rows


def test_shards_that_are_lost_are_made_again(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    for n in range(3):
        talk = Claude(f"talk{n}")
        talk.prompt("marmalade")
        talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
        before = deck.dump()
    for shard in own.glob("text-*.db*"):
        shard.unlink()
    with Synced(home, own) as deck:
        page = deck.deck.search("marmalade")
        assert (page.hits, page.covered.complete) == ((), False)
        assert deck.deck.refresh(complete=True) == ""
        assert len(deck.deck.search("marmalade").hits) == 3
        assert deck.dump() == before


def test_a_hit_as_json_has_the_documented_fields(everything: hub.Decklog) -> None:
    page = everything.search_rows("hello", limit=1)
    assert set(page) == {"hits", "next", "covered"}
    assert set(page["hits"][0]) == set(Hit.__struct_fields__)
    json.dumps(page)


def test_searches_between_syncs_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decklog.sync.FORK_BYTES", 0)
    home = tmp_path / "home"
    with Synced(home, tmp_path / "own", jobs=2) as deck, Synced(home, tmp_path / "own") as other:
        for n in range(6):
            for talk in (Claude(f"talk{n}"), Codex(f"019b7000-0000-7000-8000-{n:012}")):
                talk.prompt(f"marmalade number {n}")
                talk.write(home)
            deck.sync()
            assert deck.deck.search_count("marmalade") == 2 * n + 2
            if n % 2:  # shards that another deck of this process has open
                assert len(other.deck.search("marmalade", limit=50).hits) == 2 * n + 2
        assert deck.dump() == clean(home, tmp_path / "new")


def test_a_store_of_an_older_format_goes_on(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    talk = Claude("talk")
    talk.prompt("marmalade")
    talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
        before = deck.dump()
        db = deck.store.db
        db.create_scalar_function("unpacked", zlib.decompress, 1)
        db.execute("update event set body = unpacked(body)")
        db.execute("drop table renamed")
        db.pragma("user_version", 2)
    for shard in own.glob("text-*.db*"):
        shard.unlink()
    with Synced(home, own) as deck:
        deck.sync()
        assert deck.dump() == before


HARM: dict[str, Callable[[bytes], bytes | None]] = {
    "garbage": lambda data: b"garbage" * 1_000,
    "empty": lambda data: b"",
    "deleted": lambda data: None,
    "half a header": lambda data: data[:60],
    "half a page": lambda data: data[:2_000],
    "one page": lambda data: data[:4_096],
    "half": lambda data: data[: len(data) // 2],
    "all but the last page": lambda data: data[:-4_096],
    "all but the last byte": lambda data: data[:-1],
    "other bytes behind the first page": lambda data: data[:4_096] + b"x" * (len(data) - 4_096),
    "other bytes at the end": lambda data: data[:-20_000] + b"x" * 20_000,
}
"""What becomes of a file of the index."""
UNSEEN = {"empty", "deleted", "all but the last byte"}
"""Of these nothing is kept aside: there is nothing left, or nothing that a search stumbles over."""


@pytest.mark.spec("R38", "R39")
@pytest.mark.parametrize(
    ("how", "by"), [*((h, "search") for h in HARM), ("garbage", "sync"), ("empty", "sync")]
)
def test_a_damaged_file_is_made_anew(how: str, by: str, tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    for n in range(2):
        talk = Claude(f"talk{n}")
        for i in range(40):
            talk.prompt(f"marmalade {i} " + " ".join(f"word{i * j}" for j in range(40)))
        talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
        before = deck.dump()
    for beside in own.glob("text-0.db-*"):
        beside.unlink()
    shard = own / "text-0.db"
    data = HARM[how](shard.read_bytes())
    shard.unlink()
    if data is not None:
        shard.write_bytes(data)
    with Synced(home, own) as deck:
        if by == "sync":
            deck.deck.sync_if_news()
        else:
            deck.deck.refresh(complete=True)
        page = deck.deck.search("marmalade", limit=100)
        assert (len(page.hits), page.covered.complete) == (80, True)
        assert deck.dump() == before
        assert deck.deck.mended == ([] if how in UNSEEN else ["text-0.db"])
        assert deck.deck.sync_if_news() is None
    kept = list(own.glob("text-0.db.corrupt-*"))
    assert [k.read_bytes() for k in kept] == ([] if how in UNSEEN else [data])


@pytest.mark.spec("R38")
def test_an_older_file_of_the_index_is_no_complete_one(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    talk = Claude("talk")
    talk.prompt("marmalade")
    talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
    older = {p: p.read_bytes() for p in own.glob("text-*.db")}
    talk.prompt("marmalade again")
    talk.write(home)
    with Synced(home, own) as deck:
        deck.sync()
    for path, data in older.items():
        path.write_bytes(data)
    with Synced(home, own) as deck:
        assert not deck.deck.search("again").covered.complete
        deck.deck.refresh(complete=True)
        page = deck.deck.search("again")
        assert (len(page.hits), page.covered.complete) == (1, True)
