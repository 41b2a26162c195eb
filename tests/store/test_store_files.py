"""The files of the store: damaged, refused, full, and whose they are."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from decklog import store as stores
from decklog.errors import DecklogError, StoreCorrupt, StoreError, StoreTooNew
from decklog.store.rows import Batch
from decklog.store.sqlite import FILE, LOCK
from forked import in_child
from homes import Claude, Synced, clean, different

# --- what cannot be opened ------------------------------------------------------------------------


def test_a_store_of_a_newer_version_is_refused_and_left_alone(
    deck: Synced, folder: Path, home: Path
) -> None:
    deck.store.db.pragma("user_version", 99)
    before = closed(deck).read_bytes()
    for attempt in (lambda: Synced(home, folder), lambda: rebuild(home, folder)):
        with pytest.raises(StoreTooNew) as caught:
            attempt()
        assert "DECKLOG_HOME" in caught.value.hint
    assert (folder / FILE).read_bytes() == before


def rebuild(home: Path, folder: Path) -> list[str]:
    from decklog import config, hub

    settings = config.load({"HOME": str(home), "DECKLOG_HOME": str(folder), "TZ": "UTC"})
    hub.rebuild_store(settings)
    with Synced(home, folder) as made:
        assert made.store.db.pragma("integrity_check") == "ok"
        return made.dump()


def closed(deck: Synced) -> Path:
    """The database, with nothing of it left in its write-ahead log."""
    folder = Path(deck.deck.config.data_dir)
    deck.deck.close()
    db = apsw.Connection(str(folder / FILE))
    db.pragma("wal_checkpoint", "truncate")
    db.close()
    assert not list(folder.glob(f"{FILE}-*"))
    return folder / FILE


def _garble(path: Path, start: float, size: int) -> None:
    data = bytearray(path.read_bytes())
    at = int(len(data) * start)
    data[at : at + size] = Random(at).randbytes(len(data[at : at + size]))
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no database at all": lambda path: path.write_bytes(b"this is no database " * 1000),
    "its beginning": lambda path: _garble(path, 0, 100),
    "its schema": lambda path: _garble(path, 0.0001, 4000),
    "its middle": lambda path: _garble(path, 0.2, 200_000),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut to a page": lambda path: os.truncate(path, 8192),
    "cut to less": lambda path: os.truncate(path, 100),
}


@pytest.mark.spec("R39", "R12")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_says_so_and_can_be_built_anew(
    damage: str, deck: Synced, folder: Path, home: Path
) -> None:
    before = deck.dump()
    DAMAGES[damage](closed(deck))
    with pytest.raises(StoreCorrupt) as caught:
        use(home, folder)
    assert caught.value.hint == "decklog sync --rebuild"
    assert caught.value.exit_code == 1
    assert rebuild(home, folder) == before
    use(home, folder)


def use(home: Path, folder: Path) -> None:
    """All that reads or writes."""
    with Synced(home, folder) as made:
        made.dump()
        made.total()
        made.sessions()
        for made_up in ("one", "other"):
            Claude(made_up).write(home)
            made.sync()
            (home / Claude(made_up).path).unlink()
        made.sync()
        made.store.db.execute("delete from source where uri like '%one%' or uri like '%other%'")


def test_an_empty_file_is_a_new_store(deck: Synced, folder: Path, home: Path) -> None:
    before = deck.dump()
    closed(deck).write_bytes(b"")
    with Synced(home, folder) as made:
        made.sync()
        assert made.dump() == before


def test_a_damaged_store_is_set_aside_and_not_deleted(
    deck: Synced, folder: Path, home: Path
) -> None:
    closed(deck).write_bytes(b"precious?" * 1000)
    rebuild(home, folder)
    (aside,) = folder.glob(f"{FILE}.corrupt-*")
    assert aside.read_bytes() == b"precious?" * 1000


BLOCKED: dict[str, Callable[[Path], object]] = {
    "the folder is a file": lambda folder: folder.write_text(""),
    "the folder is below a file": lambda folder: folder.parent.write_text(""),
    "the database is a folder": lambda folder: (folder / FILE).mkdir(parents=True),
    "the lock is a folder": lambda folder: (folder / LOCK).mkdir(parents=True),
}


@pytest.mark.spec("R12")
@pytest.mark.parametrize("what", BLOCKED)
def test_a_place_that_cannot_be_used_is_told_with_a_remedy(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "a/own"
    if "below" not in what:
        folder.parent.mkdir()
    BLOCKED[what](folder)
    with pytest.raises(StoreError) as caught:
        stores.open(str(folder))
    assert "DECKLOG_HOME" in caught.value.hint
    assert str(folder.parent) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(StoreError, match="another user"):
        stores.open(str(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(deck: Synced, folder: Path, home: Path) -> None:
    deck.deck.close()
    folder.chmod(0o500)
    try:
        with pytest.raises(StoreError):
            Synced(home, folder)
    finally:
        folder.chmod(0o700)


# --- a disk that is full --------------------------------------------------------------------------


@pytest.mark.spec("R41", "R12")
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_full_disk_changes_nothing_and_the_next_sync_goes_on(
    rebuild: bool, deck: Synced, folder: Path, home: Path
) -> None:
    """Files may not grow beyond a limit here, which the database meets like a full disk."""
    before = deck.dump()
    database = closed(deck)
    for i in range(20):
        talk = Claude(f"more{i}")
        for n in range(30):
            talk.prompt(f"prompt {n} " + "x" * 300)
        talk.write(home)
    limit = database.stat().st_size + 60_000

    def sync() -> Any:
        with Synced(home, folder) as made:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                made.deck.sync(rebuild=rebuild)
            except DecklogError as error:
                return [type(error).__name__, error.hint, error.exit_code]
        return None

    name, hint, code = in_child(sync)
    assert (name, code) == ("StoreError", 1)
    assert "space" in hint
    if rebuild:
        with Synced(home, folder) as made:
            assert made.dump() == before
    with Synced(home, folder) as made:
        assert made.store.db.pragma("integrity_check") == "ok"
        made.sync()
        assert len(made.sessions()) == 30
        seen, new = made.dump(), clean(home, folder.parent / "new")
        assert seen == new, different(seen, new)


@pytest.mark.spec("R41")
def test_a_failing_write_leaves_rows_and_cursors_as_they_were(deck: Synced) -> None:
    known = deck.store.known()
    before = deck.dump()
    source = next(iter(known.values()))[0]
    nothing: list[Any] = []
    prompt = (source, 999, 0, "uid", 1, "text", 0, 0)
    broken = Batch(
        source, (1, 2, 3, 4), 99, 99, b"", b"", "", nothing, nothing, nothing, nothing, nothing,
        nothing, [prompt, ("too", "short")], nothing,
    )  # fmt: skip
    with deck.store.writing(), pytest.raises(Exception, match="bindings"):
        deck.store.apply([broken])
    assert deck.dump() == before
    assert deck.store.known() == known


# --- whose files they are -------------------------------------------------------------------------


@pytest.mark.spec("R72")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_and_files_are_the_users_alone(umask: int, home: Path, folder: Path) -> None:
    Claude("talk").write(home)

    def modes() -> Any:
        os.umask(umask)
        folder.parent.joinpath("deep").mkdir()
        with Synced(home, folder) as made:
            made.sync()
            found = [(p.is_dir(), p.stat().st_mode & 0o777) for p in [folder, *folder.rglob("*")]]
            made.deck.sync(rebuild=True)
            found += [(p.is_dir(), p.stat().st_mode & 0o777) for p in folder.rglob("*")]
            names = sorted(p.name for p in folder.iterdir())
        return found, names

    found, names = in_child(modes)
    assert {tuple(f) for f in found} == {(True, 0o700), (False, 0o600)}
    store = ["archive", "decklog.db", "decklog.db-shm", "decklog.db-wal"]
    assert names == [*store, "text-1.db", "write.lock"]  # the one source is in that shard


@pytest.mark.spec("R72")
def test_a_looser_folder_is_tightened(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    stores.open(str(folder)).close()
    assert folder.stat().st_mode & 0o777 == 0o700
