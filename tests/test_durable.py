"""Our own files: appending, cutting, replacing, locking, names."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from decklog import durable
from decklog.errors import Busy, Denied, NotFound, UsageError, WriteError
from forked import in_child, killed, suicide


def append(path: Path, *records: bytes) -> list[int]:
    with durable.Appender(str(path)) as file, file.locked():
        return [file.append(r) for r in records]


def test_records_stand_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert append(path, b"one\n", b"two\n") == [0, 4]
    assert append(path, b"three\n") == [8]
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_file_is_new_and_a_missing_one_may_not_be_made(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(NotFound):
        durable.Appender(str(path), create=False)
    durable.Appender(str(path), new=True).close()
    with pytest.raises(WriteError, match="File exists"):
        durable.Appender(str(path), new=True)


@pytest.mark.spec("R13")
def test_what_was_written_short_is_cut_off_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"first\n")

    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        with durable.Appender(str(path)) as file, file.locked():
            with pytest.raises(WriteError) as caught:
                file.append(b"does not fit\n")
            assert caught.value.hint
            assert not file.dead
            assert file.append(b"2nd\n") == 6

    in_child(full_disk)
    assert path.read_bytes() == b"first\n2nd\n"


@pytest.mark.spec("R61")
def test_several_processes_do_not_interleave(tmp_path: Path) -> None:
    path = tmp_path / "log"
    children = []
    for who in b"abcd":
        pid = os.fork()
        if pid == 0:
            for n in range(50):
                append(path, bytes([who]) * (1 + n * 997) + b"\n")
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(p, 0)[1] for p in children] == [0] * 4
    lines = path.read_bytes().split(b"\n")[:-1]
    assert sorted((line[:1], len(line)) for line in lines) == [
        (bytes([who]), 1 + n * 997) for who in b"abcd" for n in range(50)
    ]
    assert all(len(set(line)) == 1 for line in lines)


@pytest.mark.spec("R19")
def test_a_failed_fsync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with durable.Appender(str(path)) as file, file.locked():
        file.append(b"one\n")

        def fail(fd: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr(durable, "flush", fail)
            with pytest.raises(WriteError) as caught:
                file.sync()
            assert (caught.value.errno, caught.value.retryable) == (errno.EIO, True)
        for call in (file.sync, lambda: file.append(b"two\n")):
            with pytest.raises(WriteError, match="for good"):
                call()


@pytest.mark.spec("R14")
def test_a_torn_tail_is_saved_before_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for n in (1, 2):
        append(path, b"whole\n" if n == 1 else b"", b"torn")
        with durable.Appender(str(path)) as file, file.locked():
            assert durable.cut(file.fd, str(path), 6) == f"{path}.torn-{n}"
            assert durable.cut(file.fd, str(path), 6) == ""
        assert path.read_bytes() == b"whole\n"
        assert Path(f"{path}.torn-{n}").read_bytes() == b"torn"


@pytest.mark.spec("R21")
def test_replacing_keeps_the_mode_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    durable.replace(str(path), b"1")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"1", 0o600)
    path.chmod(0o640)
    durable.replace(str(path), b"2")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"2", 0o640)

    def break_off(fd: int) -> None:
        os.write(fd, b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WriteError):
        durable.replace_with(str(path), break_off)
    assert path.read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["index.json"]


@pytest.mark.spec("R22")
def test_links_are_not_written_through_and_old_temporaries_go(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"theirs")
    link.symlink_to(target)
    with pytest.raises(WriteError, match="symbolic link"):
        durable.replace(str(link), b"ours")
    assert target.read_bytes() == b"theirs"
    old, young = tmp_path / ".a.tmp-1-x", tmp_path / ".b.tmp-1-x"
    old.write_bytes(b"")
    young.write_bytes(b"")
    now = young.stat().st_mtime
    os.utime(old, (now - 4000, now - 4000))
    durable.sweep(str(tmp_path), now)
    assert sorted(os.listdir(tmp_path)) == [".b.tmp-1-x", "link", "target"]


@pytest.mark.spec("R23")
def test_what_does_not_parse_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for expected in ("state.json.corrupt-t", "state.json.corrupt-t-2"):
        path.write_bytes(b"{")
        assert durable.set_aside(str(path), "t") == str(tmp_path / expected)
    assert not path.exists()


@pytest.mark.spec("R62")
def test_a_lock_keeps_others_out_until_its_holder_ends(tmp_path: Path) -> None:
    lock = durable.Lock(str(tmp_path / "x.lock"))

    def hold() -> None:
        lock.acquire()
        suicide()

    with lock.held(), pytest.raises(Busy), lock.held(wait=0.01):
        pass
    assert killed(hold, after=30)
    with lock.held(wait=0.01, shared=True), lock.held(wait=0.01, shared=True):
        pass


@pytest.mark.spec("R70")
@pytest.mark.parametrize(
    "text",
    ["", "..", ".x", "a/b", "a\\b", "%2e%2e", "a\0", "CON", "nul.txt", "a.", "a" * 129, "a\n", "é"],
)
def test_ids_that_are_no_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        durable.safe_id(text)


def test_ids_that_are_names_pass() -> None:
    for text in ("a", "019a-b_c.d", "X" * 128, "console"):
        assert durable.safe_id(text) == text


@pytest.mark.spec("R72")
def test_folders_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    assert durable.private_folder(str(folder)) == str(folder)
    folder.chmod(0o755)
    durable.private_folder(str(folder))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(Denied):
        durable.private_folder(str(folder))
