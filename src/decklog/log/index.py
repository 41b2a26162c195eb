"""The list of logged sessions: `index.json`, and `sessions_index.json` for other programs.

Both are derived. What they say of a session is a fold over its log (`folded`), so they can be made
anew at any time; a byte that went bad in them costs a rebuild and no session. They are replaced
under a lock, and keep the form that other readers of such logs know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from zlib import crc32

import msgspec
from msgspec import Struct

from decklog import durable
from decklog.errors import Busy, WriteError
from decklog.log import reading, segments, wire
from decklog.model import Completeness, Event, SessionEnded, SessionStarted

HELD = 512
"""Changes that are gathered at most."""
WORST = ("full", "partial", "metadata_only")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


class Logged(Struct, frozen=True, kw_only=True):
    """One logged session."""

    wrapper_session_id: str
    """Name of the log."""
    provider: str = ""
    """The agent."""
    provider_session_id: str | None = None
    """Native id of the session."""
    log_path: str = ""
    """The segment written to last."""
    completeness: Completeness = "full"
    started_at: str = ""
    """RFC 3339, as all times here; native ones also where the session was logged later."""
    ended_at: str | None = None
    """None while it has not ended, also of one that was taken up again."""
    workspace_path: str | None = None
    command: str | None = None
    source_paths: tuple[str, ...] = ()
    backfilled: bool = False
    success: bool | None = None
    """How it ended."""
    error: str | None = None
    exit_code: int | None = None
    events: int = 0
    """Number of the last event when this was written."""

    @property
    def began_at(self) -> int:
        """``started_at`` in milliseconds since the epoch."""
        return wire.at(self.started_at) or 0

    @property
    def session(self) -> str:
        """Session id (``agent:native``); empty before the native id is known."""
        return f"{self.provider}:{self.provider_session_id}" if self.provider_session_id else ""


def folded(
    logged: Logged, event: Event, *, seq: int, ts: str, exit_code: int | None = None
) -> Logged:
    """What is known of a session once one more of its events is."""
    changes: dict[str, object] = {"events": seq}
    if event.agent and not logged.provider:
        changes["provider"] = event.agent
    agent, colon, native = event.session.partition(":")
    if colon and agent == (logged.provider or event.agent):
        changes["provider_session_id"] = logged.provider_session_id or native
    if not logged.events:
        changes["started_at"] = ts
        changes["backfilled"] = event.origin == "backfill"
    if WORST.index(event.completeness) > WORST.index(logged.completeness):
        changes["completeness"] = event.completeness
    source = event.ref.source
    if source and source not in logged.source_paths:
        changes["source_paths"] = (*logged.source_paths, source)
    if isinstance(event, SessionStarted):
        changes |= {"ended_at": None, "success": None, "error": None, "exit_code": None}
        changes["command"] = event.command or logged.command
        changes["workspace_path"] = event.cwd or logged.workspace_path
    elif isinstance(event, SessionEnded):
        changes |= {"ended_at": ts, "success": event.success, "error": event.error}
        changes["exit_code"] = exit_code
    return msgspec.structs.replace(logged, **changes)


def read_back(logged: Logged, entry: wire.Entry) -> Logged:
    """`folded`, for an event that is in the log already."""
    code = entry.extra.get("exit_code")
    exit_code = None if code is None else msgspec.json.decode(code)
    return folded(logged, entry.event, seq=entry.seq, ts=entry.ts, exit_code=exit_code)


class _File(Struct):
    sessions: list[Logged]
    crc: str = ""


class Index:
    """The sessions below ``<folder>/sessions``, by name."""

    def __init__(self, folder: str, outside: str = "", *, clock: Callable[[], int]) -> None:
        self.folder = folder
        self.path = f"{folder}/index.json"
        self.outside = outside
        """Path of the index for all projects; empty for none."""
        self._clock = clock
        self._lock = durable.Lock(f"{folder}/index.lock")
        self._held: dict[str, Logged] | None = None
        self._before: dict[str, Logged] = {}

    def all(self) -> dict[str, Logged]:
        """Every logged session, also those that the file does not name yet. Raises WriteError."""
        known = self._load()
        if known is None:
            return self.rebuild()
        names = set(self.names())
        found = {n: logged for n, logged in known.items() if n in names}
        missing = {name: self.derived(name) for name in sorted(names - set(found))}
        if missing:
            with suppress(WriteError, Busy):  # the answer stands without
                self.put(*missing.values())
        return found | missing

    def get(self, name: str) -> Logged | None:
        """What the file says of one session."""
        if self._held is not None:
            if name not in self._held:
                return self._before.get(name)
            return self._held[name]
        return (self._load() or {}).get(name)

    def names(self) -> Iterator[str]:
        """Names of all logs there are."""
        with suppress(FileNotFoundError), os.scandir(f"{self.folder}/sessions") as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield entry.name

    def put(self, *changed: Logged) -> None:
        """Put what is known of these sessions in place of what was. Raises WriteError, Busy."""
        if self._held is not None:
            self._held |= {logged.wrapper_session_id: logged for logged in changed}
            if len(self._held) >= HELD:
                self._let_go()
            return
        with self._lock.held():
            known = self._load()
            if known is None:
                known = self._derive()
            for logged in changed:
                known[logged.wrapper_session_id] = logged
            self._save(known)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within this block changes are gathered, and saved a few hundred at a time: for one who
        writes many logs. A crash leaves the index behind, and `all` finds what it lacks."""
        self._before = self._load() or {}
        self._held = {}
        try:
            yield
        finally:
            self._let_go()
            self._held = None

    def _let_go(self) -> None:
        gathered, self._held = self._held or {}, None
        if gathered:
            self.put(*gathered.values())
        self._before |= gathered
        self._held = {}

    def remove(self, *names: str) -> None:
        with self._lock.held():
            known = self._load() or {}
            self._save({n: logged for n, logged in known.items() if n not in names})

    def rebuild(self) -> dict[str, Logged]:
        """Derive everything from the logs once more, and save it."""
        with self._lock.held():
            known = self._derive()
            self._save(known)
        return known

    def derived(self, name: str) -> Logged:
        """What a log itself says of its session."""
        folder = f"{self.folder}/sessions/{name}"
        logged = Logged(wrapper_session_id=name)
        for item in reading.read(folder):
            if isinstance(item, reading.Record):
                with suppress(msgspec.MsgspecError):
                    logged = read_back(logged, wire.decode(item.line))
        return msgspec.structs.replace(logged, log_path=latest(folder))

    def renew(self, logged: Logged) -> Logged:
        """Derive what is known of a session once more, and keep what only the index knows."""
        derived = self.derived(logged.wrapper_session_id)
        paths = dict.fromkeys((*logged.source_paths, *derived.source_paths))
        renewed = msgspec.structs.replace(
            derived,
            provider=derived.provider or logged.provider,
            provider_session_id=derived.provider_session_id or logged.provider_session_id,
            started_at=derived.started_at or logged.started_at,
            source_paths=tuple(paths),
        )
        with suppress(WriteError, Busy):  # the answer stands without
            self.put(renewed)
        return renewed

    def _derive(self) -> dict[str, Logged]:
        return {name: self.derived(name) for name in sorted(self.names())}

    def _load(self) -> dict[str, Logged] | None:
        """What the file says; None where it has to be made anew. A bad one is set aside."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise durable.failed(self.path, error) from None
        try:
            made = msgspec.json.decode(data, type=_File)
        except msgspec.MsgspecError:
            made = None
        if made and (not made.crc or made.crc == _crc(made.sessions)):
            return {logged.wrapper_session_id: logged for logged in made.sessions}
        with suppress(WriteError):  # another process may have done so
            durable.set_aside(self.path, str(self._clock()))
        return None

    def _save(self, known: dict[str, Logged]) -> None:
        sessions = [known[name] for name in sorted(known)]
        file = _File(sessions, _crc(sessions))
        durable.replace(self.path, msgspec.json.format(msgspec.json.encode(file)))
        if self.outside:
            rows = [
                {
                    "session_id": s.wrapper_session_id,
                    "project": os.path.basename(s.workspace_path or ""),
                    "log_path": s.log_path,
                    "provider": s.provider,
                    "started_at": s.started_at,
                }
                for s in sessions
            ]
            body = msgspec.json.format(msgspec.json.encode({"sessions": rows}))
            with suppress(WriteError):
                if body != _contents(self.outside):
                    durable.replace(self.outside, body)


def latest(folder: str) -> str:
    """Path of the last segment of a log."""
    found = segments.listed(folder)
    return found[-1].path if found else ""


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _crc(sessions: list[Logged]) -> str:
    return f"{crc32(msgspec.json.encode(sessions)):08x}"
