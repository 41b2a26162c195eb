"""Running an agent and recording what it does."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct

from decklog.agents import Agent
from decklog.errors import NotFound, UsageError
from decklog.log import Entry
from decklog.model import UsageLimitHit, UsageLimitResumed, UsageLimitResumeFailed
from decklog.recorder import Recorder
from decklog.running import passing
from decklog.running.limits import ATTEMPTS, MESSAGE, Limits, Pending, resume_at
from decklog.running.resets import reset_time

CANCEL_LOOK_S = 1.0
"""How often one who waits looks whether it was cancelled."""


class Ran(Struct, frozen=True, kw_only=True):
    """How a run ended."""

    code: int
    """Exit code of the agent: 128 and the number where a signal ended it."""
    log: str
    """Id of the log of the run."""
    session: str = ""
    """The session it was on last; empty where none was found."""


class Start(Struct, frozen=True, kw_only=True):
    """What is to be run."""

    agent: Agent
    prompt: str | None = None
    """None: with its own screen."""
    args: tuple[str, ...] = ()
    native: str = ""
    """Of a session to go on with."""
    stream: bool = False
    """Whether its output is to be its JSON, for us and not for the caller."""

    def command(self) -> tuple[tuple[str, ...], str]:
        """(argv, native id of the session where it is known). Raises UsageError, NotFound."""
        a = self.agent
        if a.launch is None:
            raise UsageError(f"decklog does not know how {a.title or a.name} is started")
        if shutil.which(a.launch.program) is None:
            raise NotFound(f"{a.launch.program} is not installed", hint=f"install {a.title} first")
        words, native = self._arguments()
        argv = (a.launch.program, *words)
        said = a.process(argv, "")
        if said is None or not (said.native or said.resumes):
            if a.launch.session and not native:
                native = str(uuid4())
                own = (w.replace("{id}", native) for w in a.launch.session)
                argv = (argv[0], *own, *argv[1:])
        elif said.native and not said.forks:
            native = native or said.native
        return argv, native

    def _arguments(self) -> tuple[tuple[str, ...], str]:
        launch = self.agent.launch
        assert launch is not None
        if self.prompt is None:
            resume = launch.resuming(self.native)[1:] if self.native else ()
            return (*resume, *self.args), self.native
        headless = launch.headless
        if headless is None or (self.native and not headless.resume):
            raise UsageError(f"{self.agent.title} cannot be run with a prompt alone")
        words = headless.arguments(self.prompt, self.args, self.native, stream=self.stream)
        return words, self.native


class Runner:
    """Runs one agent; ``record`` makes the recorder (see `decklog.hub.following`)."""

    def __init__(
        self,
        record: Callable[..., Recorder],
        limits: Limits,
        *,
        env: Mapping[str, str],
        cwd: str,
        told: Callable[[Entry], object] | None = None,
        note: Callable[[str], object] = lambda text: None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.record, self.limits = record, limits
        self.env, self.cwd = env, cwd
        self.told, self.note = told, note
        self.clock, self.sleep = clock, sleep
        self.pid = 0

    def run(
        self, start: Start, *, resume_after_limit: bool = False, resumes: Pending | None = None
    ) -> Ran:
        """Run it to its end, and on after usage limits where that is wanted. ``resumes`` is the
        resumption that this run is.

        Raises UsageError, NotFound, WriteError before anything was started.
        """
        argv, native = start.command()
        recorder = self.record(
            start.agent.name, native=native, cwd=self.cwd, named=self._named(start)
        )
        recorder.start(
            command=shlex.join(argv), resumed=bool(start.native), prompt=start.prompt,
            callback=self.told,
        )  # fmt: skip
        status = 1
        try:
            if resumes is None:
                status = self._start(start, argv, recorder)
            else:
                status = self._start_again(resumes, start, argv, recorder)
            if resume_after_limit:
                attempt = resumes.attempt + 1 if resumes else 1
                status = self._go_on(start, recorder, status, attempt)
        finally:
            code, said = passing.ended(status)
            recorder.finish(code == 0, said or None, exit_code=code)
            recorder.writer.close()
        session = recorder.sessions[-1] if recorder.sessions else ""
        return Ran(code=code, log=recorder.writer.id, session=session)

    def _start(self, start: Start, argv: Sequence[str], recorder: Recorder) -> int:
        run: Callable[..., int] = passing.plain
        further: dict[str, Any] = {}
        if start.prompt is None and os.isatty(0) and os.isatty(1):
            run = passing.terminal
        elif start.stream:
            further["line"] = _listener(start, recorder)
        try:
            return run(argv, cwd=self.cwd, env=self.env, begun=self._begun, **further)
        except OSError as error:
            raise UsageError(f"{argv[0]} cannot be run: {error.strerror}") from None
        finally:
            self.pid = 0

    def _begun(self, pid: int) -> None:
        self.pid = pid

    def _named(self, start: Start) -> Callable[[], str]:
        """What the agent itself says of the session it is on, in a file of its own."""
        a, patterns = start.agent, start.agent.own_files(self.env)

        def named() -> str:
            for pattern in patterns if self.pid else ():
                if "*" in pattern or "{pid}" not in pattern:
                    continue
                path = pattern.replace("{pid}", str(self.pid))
                try:
                    with open(path, "rb") as file:
                        own = a.own(path, file.read(1 << 16))
                except OSError:
                    continue
                if own is not None and own.pid == self.pid and own.native:
                    return own.native
            return ""

        return named

    # -- usage limits ----------------------------------------------------------------------------

    def _go_on(self, start: Start, recorder: Recorder, status: int, attempt: int) -> int:
        """As long as the run ended at a usage limit: wait until that ends, and go on."""
        while attempt <= ATTEMPTS:
            recorder.rest()
            hit = recorder.limit
            if hit is None or not recorder.sessions:
                return status
            pending = self._schedule(start, recorder, hit, attempt)
            with self.limits.waiting(pending):
                if not self._wait(pending):
                    self.note("cancelled")
                    return status
                status = self._resume(start, recorder, pending)
            attempt += 1
        self.note(f"given up after {ATTEMPTS} attempts")
        return status

    def _schedule(
        self, start: Start, recorder: Recorder, hit: UsageLimitHit, attempt: int
    ) -> Pending:
        now = self.clock()
        reset = reset_time(hit.reset_at, hit.at or now)
        pending = Pending(
            id=f"{recorder.writer.id}-{attempt}",
            log=recorder.writer.id,
            agent=start.agent.name,
            native=recorder.sessions[-1].partition(":")[2],
            cwd=self.cwd,
            args=start.args,
            scheduled_at=now,
            resume_at=resume_at(reset, now),
            attempt=attempt,
            fallback=reset is None,
            scope=hit.scope,
        )
        self.limits.put(pending)
        when = _stamp(pending.resume_at)
        recorder.writer.emit(
            msgspec.structs.replace(
                hit, origin="wrapper", at=now, uid="", scheduled_resume_at=when,
                fallback_used=pending.fallback, incident_id=pending.id,
            )
        )  # fmt: skip
        self.note(f"usage limit; going on at {when} (decklog log limits --cancel {pending.id})")
        return pending

    def _wait(self, pending: Pending) -> bool:
        """Until its time has come; False when it was cancelled."""
        while True:
            if self.limits.get(pending.id).state != "scheduled":
                return False
            left = (pending.resume_at - self.clock()) / 1000
            if left <= 0:
                return True
            self.sleep(min(left, CANCEL_LOOK_S))

    def _resume(self, start: Start, recorder: Recorder, pending: Pending) -> int:
        recorder.limit = None
        again = msgspec.structs.replace(start, prompt=MESSAGE, native=pending.native)
        try:
            argv, _ = again.command()
            recorder.writer.emit(
                UsageLimitResumed(
                    agent=pending.agent, origin="wrapper", incident_id=pending.id,
                    resume_message=MESSAGE, attempt=pending.attempt,
                )
            )  # fmt: skip
            return self._start_again(pending, again, argv, recorder)
        except (UsageError, NotFound) as error:
            recorder.writer.emit(
                UsageLimitResumeFailed(
                    agent=pending.agent, origin="wrapper", incident_id=pending.id,
                    error=str(error), attempt=pending.attempt,
                )
            )  # fmt: skip
            self.limits.put(msgspec.structs.replace(pending, state="failed", error=str(error)))
            raise

    def _start_again(
        self, pending: Pending, start: Start, argv: Sequence[str], recorder: Recorder
    ) -> int:
        self.limits.put(msgspec.structs.replace(pending, state="started"))
        status = self._start(start, argv, recorder)
        self.limits.put(msgspec.structs.replace(pending, state="completed"))
        return status

    def take_up(self, pending: Pending, agent: Agent, *, stream: bool = False) -> Ran:
        """Wait for a resumption that nobody waits for any more (its process has ended), and go on.

        Raises Busy where someone does, UsageError where there is nothing to be resumed.
        """
        if pending.state == "started":
            raise UsageError(
                f"{pending.id} was started: whether the agent was asked to go on is not known",
                hint=f"look at it: decklog show {pending.agent}:{pending.native}",
            )
        if pending.state != "scheduled":
            raise UsageError(f"{pending.id} is {pending.state}")
        start = Start(
            agent=agent, prompt=MESSAGE, args=pending.args, native=pending.native, stream=stream
        )
        start.command()
        with self.limits.waiting(pending):
            if not self._wait(pending):
                raise UsageError(f"{pending.id} was cancelled")
            return self.run(start, resume_after_limit=True, resumes=pending)


def _listener(start: Start, recorder: Recorder) -> Callable[[bytes], None]:
    """Learns the native id from the records that the agent writes to its output."""
    launch = start.agent.launch
    keys = launch.headless.named if launch and launch.headless else ()

    def line(data: bytes) -> None:
        if recorder.sessions:
            return
        try:
            record = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        for key in keys:
            value = record
            for name in key.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str) and value:
                recorder.native(value)
                return

    return line


def _stamp(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))
