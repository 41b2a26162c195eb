"""Our own files, written so that no crash and no full disk loses or tears what was acknowledged.

The rules are kept here once, for every file of ours that is not the store:

- A record is appended by **one** write under an exclusive lock. What was written short is cut off
  again, so that the file always ends with a whole record (`Appender.append`).
- *Written* survives the end of the process, *durable* the end of the machine: nothing is durable
  before `Appender.sync` has come back, a new file not before its folder is synced too.
- A failed fsync is final for its descriptor: the kernel may have dropped the pages, and a second
  fsync would succeed without them (PostgreSQL's «fsyncgate», 2018).
- A torn tail is saved beside the file before it is cut (`cut`).
- A file is replaced by temporary file, fsync, rename, fsync of the folder (`replace`).
- Locks are held on a file of their own where the file itself is replaced (`Lock`).
- Folders are 0700 and files 0600, whatever the umask.

All system calls go through `os` and `fcntl`, one at a time: tests stand in between and let each of
them fail, or end the process there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from decklog.errors import Busy, Denied, NotFound, UsageError, WriteError

TEMPORARY = ".tmp-"
"""Mark in the names of files that are about to replace another."""
LEFT_OVER_S = 3600
"""Age from which a temporary file is taken for one that a crash has left."""

_RETRYABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})
_HINTS = {
    errno.ENOSPC: "free some space on this disk; nothing is lost, the next try goes on",
    errno.EDQUOT: "your quota on this disk is used up; nothing is lost, the next try goes on",
    errno.EFBIG: "a limit on file sizes is in force (ulimit -f)",
    errno.EROFS: "the disk is read-only; point DECKLOG_HOME at a folder you can write",
    errno.EACCES: "check its permissions, or point DECKLOG_HOME at a folder you can write",
    errno.EPERM: "check its owner and permissions, or point DECKLOG_HOME elsewhere",
    errno.EIO: "the disk reports errors: check it, and copy this folder elsewhere",
}


def failed(path: str, error: OSError) -> WriteError:
    """What kept a file of ours from being written, with the remedy."""
    made = WriteError(
        f"{path}: {error.strerror or error}",
        hint=_HINTS.get(error.errno or 0, "check the disk and the permissions of this file"),
    )
    made.retryable = error.errno in _RETRYABLE
    made.errno = error.errno
    return made


# --- names and folders ------------------------------------------------------------------------

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.ASCII | re.IGNORECASE)


def safe_id(text: str) -> str:
    """The id itself, when it may stand in a file name of ours.

    Raises UsageError for anything but 1 to 128 letters, digits, ``.``, ``_`` and ``-`` that begin
    with a letter or digit and do not end with a dot, and for names that some systems reserve.
    """
    if not _ID.fullmatch(text) or text.endswith(".") or _RESERVED.fullmatch(text):
        shown = text if len(text) <= 40 else text[:40] + "..."
        raise UsageError(
            f"no id: {shown!r}", hint="ids are letters, digits, dots, underscores and hyphens"
        )
    return text


def new_id(now: int | None = None) -> str:
    """A new id that sorts by time (UUID version 7, RFC 9562): 48 bits of it, 74 of chance.

    ``now``: milliseconds UTC, if not those of the clock.
    """
    bits = (time.time_ns() // 1_000_000 if now is None else now) << 80 | int.from_bytes(
        os.urandom(10), "big"
    )
    bits = bits & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def private_folder(path: str) -> str:
    """Make a folder of ours, or tighten the one that is there to 0700; its name is durable then.

    Raises Denied when it belongs to someone else, WriteError when it cannot be made.
    """
    missing = []
    above = os.path.abspath(path)
    while not os.path.exists(above):
        missing.append(above)
        above = os.path.dirname(above)
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        st = os.stat(path)
        for folder in reversed(missing):
            sync_folder(os.path.dirname(folder))
    except OSError as error:
        raise failed(path, error) from None
    if st.st_uid != os.geteuid() and os.geteuid() != 0:
        raise Denied(
            f"{path} belongs to another user", hint="point DECKLOG_HOME at your own folder"
        )
    if stat.S_IMODE(st.st_mode) & 0o077:
        with suppress(OSError):  # a file system without modes
            os.chmod(path, 0o700)
    return path


def sync_folder(path: str) -> None:
    """Make the names in a folder durable. Raises WriteError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise failed(path, error) from None


# --- locks ------------------------------------------------------------------------------------


class Lock:
    """An advisory lock between processes, on a file of its own; a crash releases it.

    >>> with Lock(f"{folder}/index.lock").held():
    ...     replace(f"{folder}/index.json", data)
    """

    def __init__(self, path: str) -> None:
        self.path = path

    @contextmanager
    def held(self, wait: float = 30.0, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock. Raises Busy when others keep it for ``wait`` seconds, WriteError."""
        fd = self.acquire(wait, shared=shared)
        try:
            yield
        finally:
            os.close(fd)

    def acquire(self, wait: float = 30.0, *, shared: bool = False) -> int:
        """The lock as a descriptor: closing it, or the end of the process, releases it."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failed(self.path, error) from None
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        until = time.monotonic() + wait
        pause = 0.002
        while True:
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                return fd
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                    os.close(fd)
                    raise failed(self.path, error) from None
                if time.monotonic() >= until:
                    os.close(fd)
                    raise Busy(
                        f"{self.path} is held by another process", hint="try again"
                    ) from None
            time.sleep(pause)
            pause = min(0.05, pause * 2)


# --- appending --------------------------------------------------------------------------------


class Appender:
    """A file that only grows, a record at a time, also from several processes at once.

    >>> with Appender(path) as file, file.locked() as end:
    ...     file.append(record)
    ...     file.sync()
    """

    def __init__(self, path: str, *, create: bool = True, new: bool = False) -> None:
        """Open ``path`` for appending; ``new`` insists that it is not there yet.

        Raises NotFound when it is missing and may not be made, WriteError.
        """
        self.path = path
        self.dead = False
        """True after a failure that leaves unknown what is on disk: open the next file."""
        self.named = False
        """Whether the name of the file is durable: whoever made it may have died before that.
        `sync` sees to it; one who knows may say so."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        if new:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            try:
                self.fd = os.open(path, flags, 0o600)
            except FileNotFoundError:
                if not create:
                    raise NotFound(f"no file {path}") from None
                self.fd = os.open(path, flags | os.O_CREAT, 0o600)
        except OSError as error:
            raise failed(path, error) from None

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close without waiting for the disk."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Be the one process that appends; gives the end of the file."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as error:
            raise failed(self.path, error) from None
        try:
            yield self.size()
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def size(self) -> int:
        try:
            return os.fstat(self.fd).st_size
        except OSError as error:
            raise failed(self.path, error) from None

    def append(self, record: bytes) -> int:
        """Write one record at the end, whole or not at all; gives the offset it stands at.

        Only inside `locked`. It is *written* when this returns, *durable* after `sync`. Raises
        WriteError, and then the file ends where it ended before.
        """
        if self.dead:
            raise WriteError(f"{self.path}: an earlier write to it failed for good")
        start = self.size()
        try:
            done = os.write(self.fd, record)
            if done != len(record):
                raise OSError(errno.ENOSPC, f"only {done} of {len(record)} bytes were written")
        except OSError as error:
            self.cut_back(start)
            raise failed(self.path, error) from None
        return start

    def cut_back(self, start: int) -> None:
        """Take back what was appended from ``start`` on, as nobody has been told of it yet."""
        try:
            if os.fstat(self.fd).st_size != start:
                os.ftruncate(self.fd, start)
        except OSError:
            self.dead = True  # a torn record may stand at its end: the next to open it cuts it

    def sync(self) -> None:
        """Wait until all that was written is on disk. Raises WriteError, and is dead then."""
        if self.dead:
            raise WriteError(f"{self.path}: an earlier write to it failed for good")
        try:
            flush(self.fd)
            if not self.named:
                sync_folder(os.path.dirname(self.path) or ".")
                self.named = True
        except OSError as error:
            self.dead = True
            raise failed(self.path, error) from None
        except WriteError:
            self.dead = True
            raise


def flush(fd: int) -> None:
    """fdatasync, or what does as much: macOS keeps data in the drive unless asked otherwise."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # not on every file system
            fcntl.fcntl(fd, full)
            return
    getattr(os, "fdatasync", os.fsync)(fd)


def cut(fd: int, path: str, end: int) -> str:
    """Cut a torn tail at ``end``; what is cut is saved beside, durable, before.

    Gives the path of the saved bytes (``<path>.torn-<n>``), or an empty text when nothing stands
    after ``end``. Only under the lock of the file. Raises WriteError.
    """
    try:
        size = os.fstat(fd).st_size
        if size <= end:
            return ""
        saved = _save_tail(fd, path, end, size)
        os.ftruncate(fd, end)
        flush(fd)
    except OSError as error:
        raise failed(path, error) from None
    return saved


def _save_tail(fd: int, path: str, at: int, size: int) -> str:
    n = 1
    while True:
        name = f"{path}.torn-{n}"
        try:
            out = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            break
        except FileExistsError:
            n += 1
    try:
        while at < size:
            data = os.pread(fd, min(1 << 20, size - at), at)
            if not data:
                break
            write_all(out, data)
            at += len(data)
        flush(out)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    finally:
        os.close(out)
    sync_folder(os.path.dirname(path) or ".")
    return name


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, in as many calls as it takes: for files nobody else sees yet."""
    view = memoryview(data)
    while view:
        done = os.write(fd, view)
        if not done:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        view = view[done:]


# --- replacing --------------------------------------------------------------------------------


def replace(path: str, data: bytes, *, wait: bool = True) -> None:
    """Put ``data`` in place of a file: at every moment the old or the new content is there.

    It is durable when this returns, unless it is told not to ``wait`` for the disk. The mode of
    the old file is kept (0600 for a new one). Raises WriteError, and then the old content stands;
    also where ``path`` is a symbolic link.
    """
    replace_with(path, lambda fd: write_all(fd, data), wait=wait)


def replace_with(path: str, fill: Callable[[int], object], *, wait: bool = True) -> None:
    """`replace`, with what ``fill`` writes to the descriptor it is given."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}{TEMPORARY}{os.getpid()}-{os.urandom(6).hex()}")
    try:
        mode = 0o600
        with suppress(FileNotFoundError):
            st = os.lstat(path)
            if stat.S_ISLNK(st.st_mode):
                raise OSError(errno.ELOOP, "is a symbolic link, and is not written through")
            mode = stat.S_IMODE(st.st_mode)
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            try:
                fill(fd)
                if wait:
                    flush(fd)
            finally:
                os.close(fd)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise failed(path, error) from None
    if wait:
        sync_folder(folder or ".")


def create(path: str, data: bytes) -> bool:
    """Make a file that is not there yet, with all of its content at once; False: it is there.

    It is durable when this returns. Raises WriteError, and then it is not there.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}{TEMPORARY}{os.getpid()}-{os.urandom(6).hex()}")
    made = False
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                write_all(fd, data)
                flush(fd)
            finally:
                os.close(fd)
            os.link(temporary, path)
            made = True
            sync_folder(folder or ".")
        except BaseException as error:
            if made:
                with suppress(OSError):
                    os.unlink(path)
            if isinstance(error, FileExistsError):
                return False
            raise
        finally:
            with suppress(OSError):
                os.unlink(temporary)
    except OSError as error:
        raise failed(path, error) from None
    return True


def sweep(folder: str, now: float) -> None:
    """Remove temporary files that a crash left in a folder an hour ago or earlier."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and TEMPORARY in entry.name:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < now - LEFT_OVER_S:
                        os.unlink(entry.path)


def set_aside(path: str, stamp: str) -> str:
    """Move a control file that does not parse out of the way, to ``<path>.corrupt-<stamp>``.

    Gives the new name. Nothing is deleted. Raises WriteError.
    """
    name = f"{path}.corrupt-{stamp}"
    n = 1
    while os.path.lexists(name):
        n += 1
        name = f"{path}.corrupt-{stamp}-{n}"
    try:
        os.rename(path, name)
    except OSError as error:
        raise failed(path, error) from None
    sync_folder(os.path.dirname(path) or ".")
    return name
