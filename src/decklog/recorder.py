"""Recording one run of an agent into our own log, while it goes on.

What the agent writes is read by the reader that reads it always, as `decklog.live` tells it: events
in the log are those that any later reading of the transcript gives. The recorder adds what only it
knows: when the run began and with what command, its prompt, its signs of life, and how it ended.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from decklog.errors import DecklogError
from decklog.log import Entry, Subscription, Writer
from decklog.model import (
    Change,
    Event,
    Forked,
    Happened,
    Lagged,
    ParseWarning,
    SessionCleared,
    SessionStarted,
    UsageLimitHit,
    UserMessage,
)
from decklog.outputs import Output, to_events

HEARTBEAT_S = 10.0
LOOK_S = 0.25
"""Seconds between two looks at what there is; events are taken at once."""
REST_S = 5.0
"""Seconds that are waited at the end for what was read to be told."""
EARLY_MS = 2_000
"""Milliseconds by which a session may say it began before the run did: clocks are rounded."""
HELD = 4_096
"""Events of sessions of which it is not known yet whether they are of this run."""


class Follows(Protocol):
    """Where events come from: `decklog.hub.following.Changes`."""

    seq: int

    def poll(self, timeout: float) -> Change | None: ...
    def close(self) -> None: ...


class Recorder:
    """Records one run. Use it in a ``with`` block, or see to it that `finish` is called.

    ``native`` is the native id of the session if it is known; otherwise the first session of this
    agent that begins after ``started_at`` in ``cwd`` is taken for it, and those that begin there
    later for what it went on in (``/clear``). ``named`` gives the session that the agent itself
    says it is on: that decides, where it says one.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        agent: str,
        started_at: int,
        cwd: str = "",
        native: str = "",
        changes: Follows | None = None,
        catch_up: Callable[[], int] = lambda: 0,
        named: Callable[[], str] = lambda: "",
        heartbeat: float = HEARTBEAT_S,
    ) -> None:
        self.writer, self.agent, self.started_at = writer, agent, started_at
        self.cwd = os.path.realpath(cwd) if cwd else ""
        self.sessions: list[str] = []
        """Sessions of this run, the one it is on last."""
        self.family: set[str] = set()
        """These and their subagents."""
        self.limit: UsageLimitHit | None = None
        """The last usage limit it ran into, until something came after it."""
        self.failure: Exception | None = None
        """What the last look failed with; the next one goes on."""
        self._changes, self._catch_up, self._named = changes, catch_up, named
        self._heartbeat = heartbeat
        self._waiting: list[Event] = []
        """Events that the log did not take yet: its disk is full, say."""
        self._strange: dict[str, list[Event]] = {}
        """Events of sessions that may turn out to be of this run."""
        self._prompt, self._prompt_seq = "", 0
        self._stop = threading.Event()
        self._finished: bool | None = None
        self._one = threading.RLock()
        if native:
            self._adopt(f"{agent}:{native}")
        self._thread: threading.Thread | None = None
        self._end = weakref.finalize(self, _dropped, writer, self._stop)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        said = None if error is None else f"{type(error).__name__}: {error}"
        self.finish(error is None, said)

    # -- what only the recorder knows ------------------------------------------------------------

    def start(
        self,
        *,
        command: str = "",
        model: str | None = None,
        resumed: bool = False,
        prompt: str | None = None,
        callback: Callable[[Entry], object] | None = None,
    ) -> Subscription | None:
        """Say that the run begins, and begin to follow. ``callback`` gets every event of the log
        from the first on, in order, on a thread of its own."""
        subscription = self.writer.subscribe(callback) if callback else None
        self.writer.emit(
            SessionStarted(
                agent=self.agent, origin="wrapper", at=self.started_at, command=command,
                model=model, cwd=self.cwd or None, resumed=resumed,
            )
        )  # fmt: skip
        self.prompt(prompt)
        weak = weakref.ref(self)
        self._thread = threading.Thread(
            target=_look_on, args=(weak, self._stop, self._heartbeat), name="recorder", daemon=True
        )
        self._thread.start()
        return subscription

    def prompt(self, text: str | None) -> None:
        """A prompt that was given to the agent; blank ones are none.

        When the transcript tells it too, that line of the log says which one it repeats.
        """
        if not text or not text.strip():
            return
        receipt = self.writer.emit(
            UserMessage(agent=self.agent, origin="wrapper", role="user", content=text)
        )
        self._prompt, self._prompt_seq = text.strip(), receipt.seq

    def record_output(self, output: Output) -> None:
        """What an agent whose transcript is not read said on its output. Raises WriteError."""
        if output.native:
            self.native(output.native)
        for event in to_events(output, self.agent):
            self._note(event)
            self._waiting.append(event)
        self._write()

    # -- following -------------------------------------------------------------------------------

    def look(self, timeout: float = 0.0) -> None:
        """Take what happened. Never raises: what failed is kept for the next look."""
        with self._one:
            try:
                self._look(timeout)
                self.failure = None
            except Exception as error:
                self.failure = error

    def _look(self, timeout: float) -> None:
        self._write()
        while self._changes is not None:
            change = self._changes.poll(timeout)
            if change is None:
                break
            timeout = 0.0
            self._take(change)
            if len(self._waiting) >= 256:
                self._write()
        self._write()

    def _take(self, change: Change) -> None:
        if isinstance(change, Lagged):
            self._waiting.append(
                ParseWarning(
                    agent=self.agent, origin="wrapper", reason="lagged",
                    message="some events could not be told any more",
                )
            )  # fmt: skip
            return
        if not isinstance(change, Happened) or change.event.agent != self.agent:
            return
        event = change.event
        if event.session not in self.family and not self._ours(event):
            held = self._strange.setdefault(event.session, [])
            if sum(map(len, self._strange.values())) < HELD:
                held.append(event)
            return
        self._note(event)
        self._waiting.append(event)
        self.writer.add_source_path(event.ref.source)

    def _ours(self, event: Event) -> bool:
        """Whether an event of a session not seen before makes that one of this run."""
        session = event.session
        if isinstance(event, Forked) and event.parent in self.family:
            if event.relation == "subagent":
                self._join(session)
            else:
                self._switch(session)
            return True
        if any(session.startswith(f"{own}.") for own in self.family):
            self._join(session)
            return True
        named = self._named()
        if named:
            if session == f"{self.agent}:{named}":
                self._switch(session)
                return True
            return False
        begins = isinstance(event, SessionStarted) and (event.at or 0) >= self.started_at - EARLY_MS
        if begins and self.cwd and os.path.realpath(getattr(event, "cwd", "") or "") == self.cwd:
            self._switch(session)
            return True
        return False

    def _switch(self, session: str) -> None:
        """The run is on another session now."""
        before = self.sessions[-1] if self.sessions else None
        self._adopt(session)
        if before is not None:
            self._waiting.append(
                SessionCleared(
                    agent=self.agent, origin="wrapper", old_session_id=_native(before),
                    new_session_id=_native(session),
                )
            )  # fmt: skip

    def _adopt(self, session: str) -> None:
        if session in self.sessions:
            self.sessions.remove(session)
        self.sessions.append(session)
        self._join(session)
        self.writer.set_provider_session_id(_native(session))

    def _join(self, session: str) -> None:
        self.family.add(session)
        for event in self._strange.pop(session, ()):
            self._note(event)
            self._waiting.append(event)

    def native(self, native: str) -> None:
        """The agent has told its own id of the session."""
        session = f"{self.agent}:{native}"
        if native and session not in self.family:
            self._switch(session)

    def _note(self, event: Event) -> None:
        if isinstance(event, UsageLimitHit):
            self.limit = event
        elif event.origin != "wrapper" and type(event).__name__ in _GOES_ON:
            self.limit = None

    def _write(self) -> None:
        """Give the log what is waiting. Raises WriteError; nothing is lost then."""
        while self._waiting:
            event, extra = self._waiting[0], None
            if self._prompt and event.origin != "wrapper" and self._prompt == _said(event):
                extra = {"repeats": self._prompt_seq}
                self._prompt = ""
            self.writer.emit(event, extra=extra)
            self._waiting.pop(0)

    def beat(self) -> None:
        """Say that the run is looked after; trouble with that is no trouble for the run."""
        try:
            self.writer.heartbeat(int(self._heartbeat))
        except DecklogError as error:
            self.failure = error

    # -- the end ---------------------------------------------------------------------------------

    def finish(
        self, success: bool = True, error: str | None = None, *, exit_code: int | None = None
    ) -> bool:
        """Take what is left and say how the run ended; False when that was said before.

        The end is said even where the last look fails. Raises WriteError when the log cannot take
        it; it may be called again then.
        """
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._one:
            if self._finished is None:
                self._take_the_rest()
            self._finished = self.writer.finish(success, error, exit_code=exit_code)
            self._end.detach()
            if self._changes is not None:
                self._changes.close()
            return self._finished

    def rest(self) -> None:
        """Take all there is by now, while the run goes on."""
        with self._one:
            self._take_the_rest()

    def _take_the_rest(self) -> None:
        failure, until = None, 0
        try:
            until = self._catch_up()
        except Exception as error:
            failure = error
        deadline = time.monotonic() + REST_S
        self.look()
        while self._changes and self._changes.seq < until and time.monotonic() < deadline:
            self.look(0.05)
        self.failure = failure or self.failure


_GOES_ON = frozenset(("AssistantMessage", "ToolCalled", "ToolReturned"))


def _said(event: Event) -> str:
    return event.content.strip() if isinstance(event, UserMessage) else ""


def _native(session: str) -> str:
    return session.partition(":")[2]


def _look_on(weak: weakref.ref[Recorder], stop: threading.Event, heartbeat: float) -> None:
    """The recorder's thread. It holds no recorder: one that is dropped ends it."""
    due = 0.0
    while not stop.is_set():
        recorder = weak()
        if recorder is None:
            return
        if time.monotonic() >= due:
            recorder.beat()
            due = time.monotonic() + heartbeat
        recorder.look(LOOK_S)
        if recorder._changes is None:
            stop.wait(min(LOOK_S, heartbeat))
        del recorder


def _dropped(writer: Writer, stop: threading.Event) -> None:
    """Nobody called `finish`: the end of the run is said all the same."""
    stop.set()
    with suppress(DecklogError):  # its disk is full, or it is closed already
        writer.finish(False, "the recorder was dropped before the run ended")
