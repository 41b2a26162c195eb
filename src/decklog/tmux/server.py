"""One tmux server."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from msgspec import structs

from decklog.errors import NoServer, PaneGone, TmuxError, TmuxTimeout
from decklog.model.fleet import Pane
from decklog.tmux.call import DEADLINE, Status, line, run, socket_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.tmux.control import Control

FIELDS = (
    "pane_id",
    "window_id",
    "session_id",
    "pid",
    "start_time",
    "pane_pid",
    "pane_dead",
    "pane_dead_status",
    "pane_dead_signal",
    "pane_width",
    "pane_height",
    "session_created",
    "window_activity",
    "pane_in_mode",
    "pane_tty",
    "window_index",
    "pane_index",
    "session_name",
    "pane_title",
    "pane_current_command",
    "pane_current_path",
    "@decklog_id",
)
SIGNS = (
    "list-panes",
    "-a",
    "-F",
    "#{pane_id} #{pane_pid} #{pane_dead}#{pane_dead_status} #{pane_in_mode} #{window_activity} "
    "#{session_id}#{session_name} #{pane_title}",
)
"""What changes when anything does, at a fifth of the cost of all fields."""
MARK = "@decklog_id"
"""User option of a pane that holds the id under which decklog supervises it."""

START = 10.0
"""Seconds that starting a server may take."""

_GONE = re.compile(r"can't find (pane|window|session)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Server:
    """A tmux server, by the path of its socket. It need not run."""

    def __init__(
        self,
        socket: str,
        env: Mapping[str, str],
        *,
        config: str = "",
        deadline: float = DEADLINE,
    ) -> None:
        self.socket = socket
        self.env = env
        self.config = config
        """Configuration file that it starts with."""
        self.deadline = deadline
        self._mark = os.urandom(6).hex()
        self._form = self._mark + self._mark.join(f"#{{{f}}}" for f in FIELDS)
        self._list = ("list-panes", "-a", "-F", self._form)
        self._control: Control | None = None
        self._signs = ""
        self._last: tuple[str, tuple[Pane, ...]] = ("", ())

    def __repr__(self) -> str:
        return f"Server({self.socket!r})"

    # -- calls -----------------------------------------------------------------------------------

    def call(
        self, *commands: Sequence[str], stdin: bytes = b"", deadline: float | None = None
    ) -> str:
        """Run commands, chained, in one process; what they print.

        The first that fails ends the chain. Raises NoServer, TmuxTimeout, PaneGone, TmuxMissing or,
        for all else that tmux refuses, TmuxError.
        """
        words: list[str] = []
        for command in commands:
            # a word that ends with ``;`` would end its command
            safe = [f"{w[:-1]}\\;" if w.endswith(";") else w for w in command]
            words += [";", *safe] if words else safe
        start = ["-f", self.config] if self.config else []
        code, out, err = run(
            ["-S", self.socket, *start, *words],
            self.env,
            stdin=stdin,
            deadline=deadline or self.deadline,
        )
        if code == 0:
            return out.rstrip("\n")
        problem = err.strip() or f"exit code {code}"
        if _GONE.search(problem):
            raise PaneGone(problem)
        if socket_state(self.socket)[0] == "none":
            raise NoServer(f"no tmux server at {self.socket}")
        raise TmuxError(f"tmux: {problem}")

    def status(self) -> Status:
        """Whether it runs, decided by its answer, its socket and the deadline."""
        try:
            pid, started = self.call(["display-message", "-p", "#{pid} #{start_time}"]).split()
            return Status("running", int(pid), int(started))
        except NoServer:
            return Status("none")
        except TmuxTimeout as error:
            return Status("hung", socket_state(self.socket)[1], detail=str(error))
        except (TmuxError, ValueError) as error:
            state, pid_at_socket = socket_state(self.socket)
            if state == "none":
                return Status("none")
            return Status("dying" if state == "open" else "hung", pid_at_socket, 0, str(error))

    # -- watching --------------------------------------------------------------------------------

    def connect(self) -> None:
        """Ask over one lasting connection from now on, where there is a session to attach to.

        When it breaks, calls go on one by one and the next `connect` tries again.
        """
        self._signs = ""
        if self._control is None:
            session = self.call(["list-sessions", "-F", "#{session_id}"]).split("\n")[0]
            if session:
                from decklog.tmux.control import Control

                self._control = Control(self.socket, self.env, session)

    def disconnect(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    @property
    def connected(self) -> bool:
        return self._control is not None

    def _ask(self, commands: Sequence[Sequence[str]]) -> list[str | None]:
        """What each command prints; None for one that failed."""
        if self._control is not None:
            try:
                replies = self._control.ask(commands, self.deadline)
                return [r.text if r.ok else None for r in replies]
            except TmuxTimeout:
                self.disconnect()
                raise
            except TmuxError:
                self.disconnect()
        cut = os.urandom(8).hex()  # printed after each answer, to tell them apart
        chain: list[Sequence[str]] = []
        for command in commands:
            chain += [command, ["display-message", "-p", cut]]
        try:
            parts = f"{self.call(*chain)}\n".split(f"{cut}\n")
        except PaneGone:  # and with it the rest of the chain
            return [self._one(command) for command in commands]
        return [p.removesuffix("\n") for p in parts[: len(commands)]]

    def _one(self, command: Sequence[str]) -> str | None:
        try:
            return self.call(command)
        except PaneGone:
            return None

    # -- questions -------------------------------------------------------------------------------

    def panes(self) -> tuple[Pane, ...]:
        """All panes; none where no server runs. The same value while nothing changed.

        Raises TmuxTimeout, TmuxMissing, TmuxError.
        """
        try:
            if self._control is not None:
                (signs,) = self._ask([SIGNS])
                if signs and signs == self._signs:
                    return self._last[1]
                self._signs = signs or ""
            (text,) = self._ask([self._list])
        except NoServer:
            return ()
        if text is None:
            raise TmuxError("tmux would not list its panes")
        if text != self._last[0]:
            self._last = (text, self._parse(text))
        return self._last[1]

    def _parse(self, text: str) -> tuple[Pane, ...]:
        found: dict[str, Pane] = {}
        values = text.split(self._mark)[1:]
        for i in range(0, len(values) - len(FIELDS) + 1, len(FIELDS)):
            row = values[i : i + len(FIELDS)]
            pane = _pane(dict(zip(FIELDS, row, strict=True)), self.socket)
            found.setdefault(pane.id, pane)  # a linked window is listed once for each session
        return tuple(found.values())

    def capture(self, panes: Sequence[str], *, escapes: bool = False) -> dict[str, str]:
        """The rendered screens of these panes (``%3``), without those that are gone."""
        if not panes:
            return {}
        how = ["capture-pane", "-p", *(["-e"] if escapes else [])]
        try:
            texts = self._ask([[*how, "-t", pane] for pane in panes])
        except NoServer:
            return {}
        return {p: t for p, t in zip(panes, texts, strict=True) if t is not None}

    # -- acts ------------------------------------------------------------------------------------

    def create(
        self,
        argv: Sequence[str],
        *,
        name: str,
        cwd: str,
        mark: str,
        variables: Mapping[str, str],
        size: tuple[int, int] = (120, 40),
    ) -> Pane:
        """Start a program in a session of its own; the server too, if need be.

        ``mark`` is kept in the pane (`Pane.ours`). ``variables`` are added to the environment of
        the program, which is otherwise ours; they must hold nothing secret (they stand in argv).
        """
        # tmux takes from its client those variables whose names are listed, values never in argv
        os.makedirs(os.path.dirname(self.socket), mode=0o700, exist_ok=True)
        names = " ".join(k for k in self.env if _NAME.fullmatch(k) and not k.startswith("TMUX"))
        given = [w for k, v in variables.items() for w in ("-e", f"{k}={v}")]
        width, height = size
        making = (
            ["start-server"],
            ["set-option", "-g", "update-environment", names],
            [
                *("new-session", "-d", "-P", "-F", self._form, "-s", name, "-c", cwd),
                *("-x", str(width), "-y", str(height), *given, "--"),
                *("env", *argv),  # one word alone would go through a shell
            ],
            ["set-option", "-p", MARK, mark],
        )
        try:
            text = self.call(*making, deadline=START)
        except NoServer:  # the one that was there ended meanwhile, with whatever was made in it
            text = self.call(*making, deadline=START)
        made = self._parse(text)
        if len(made) != 1:
            raise TmuxError(f"tmux said nothing of the pane it was to make at {self.socket}")
        return structs.replace(made[0], ours=mark)

    def act(self, pane: Pane, *commands: Sequence[str], stdin: bytes = b"") -> None:
        """Run commands if that very pane is still there, with the same process in it.

        tmux checks and acts in one step, so that no key ever reaches another pane that has its id
        after a restart. Raises PaneGone. ``stdin`` is what a first ``load-buffer`` reads.
        """
        first: list[Sequence[str]] = []
        if commands and commands[0][0] == "load-buffer":
            first, commands = [commands[0]], commands[1:]
        expected = f"{pane.server_pid}.{pane.server_started}.{pane.pid}"
        test = f"#{{==:#{{pid}}.#{{start_time}}.#{{pane_pid}},{expected}}}"
        otherwise = os.urandom(8).hex()
        acts = " ; ".join(line(c) for c in commands)
        try:
            said = self.call(
                *first,
                ["if-shell", "-F", "-t", pane.id, test, acts, f"display-message -p {otherwise}"],
                stdin=stdin,
            )
        except NoServer as error:
            raise PaneGone(f"pane {pane.id} is gone: {error}") from None
        if otherwise in said:
            raise PaneGone(f"pane {pane.id} is no longer the one it was")


def _pane(row: dict[str, str], socket: str) -> Pane:
    def number(field: str) -> int:
        return int(row[field]) if row[field].isdigit() else 0

    code = number("pane_dead_status") if row["pane_dead_status"] else None
    if row["pane_dead_signal"]:
        code = -number("pane_dead_signal")
    created, activity = number("session_created"), number("window_activity")
    return Pane(
        id=row["pane_id"],
        window=row["window_id"],
        group=row["session_id"],
        name=f"{row['session_name']}:{row['window_index']}.{row['pane_index']}",
        socket=socket,
        server_pid=number("pid"),
        server_started=number("start_time"),
        pid=number("pane_pid"),
        tty=row["pane_tty"],
        cwd=row["pane_current_path"],
        width=number("pane_width"),
        height=number("pane_height"),
        title=row["pane_title"],
        command=row["pane_current_command"],
        dead=row["pane_dead"] == "1",
        exit_code=code,
        created_at=created * 1000 if created else None,
        activity_at=activity * 1000 if activity else None,
        in_mode=row["pane_in_mode"] not in ("", "0"),
        ours=row[MARK].rstrip("\n"),
    )
