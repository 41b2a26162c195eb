"""What runs here now: processes, their sessions, the state they are in, panes, thoughts.

Every heuristic carries its evidence and a confidence between 0 and 1. Times are milliseconds since
the Unix epoch, UTC, as everywhere in the model.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from decklog.model.sessions import Session

State: TypeAlias = Literal[
    "starting",
    "busy",
    "waiting_approval",
    "waiting_answer",
    "idle",
    "background",
    "limited",
    "error",
    "exited",
    "lost",
    "unknown",
]
"""What an agent is doing. ``background``: its turn is over, but work it started still runs.
``lost``: it vanished with its terminal; its session can be resumed. No evidence is ``unknown``."""

Rest: TypeAlias = Literal["active", "drowsy", "sleeping", "deep_sleep"]

Role: TypeAlias = Literal["interactive", "headless", "service"]
"""``interactive`` has a person in front, ``headless`` works off one prompt and ends, ``service``
(a daemon) runs the turns of others and may hold many sessions."""

EvidenceKind: TypeAlias = Literal[
    # for a session
    "argv",
    "pid_file",
    "lock_file",
    "proc_fd",
    "ebpf_file",
    "sticky",
    "cwd_start",
    "cwd_recent",
    # for both
    "hook",
    # for a state, strongest first
    "process",
    "tmux",
    "protocol",
    "status_file",
    "transcript",
    "screen",
    "osc7501",
    "osc133",
    "title",
    "silence",
]

Says: TypeAlias = Literal[
    "",
    # facts of the kernel and of tmux
    "started",
    "exited",
    "lost",
    # a whole state, where a source states one
    "busy",
    "waiting_approval",
    "waiting_answer",
    "idle",
    "limited",
    "error",
    # turns and what is within them
    "turn_started",
    "turn_ended",
    "interrupted",
    "tool_started",
    "tool_ended",
    "background_started",
    "background_ended",
    "activity",
    "session_ended",
    # what a screen shows
    "composer_empty",
    "prompt_gone",
]
"""What a piece of evidence says, in words that are the same for every source of it."""


class Identity(NamedTuple):
    """What tells a process from a later one with the same pid."""

    boot: str
    """Boot id of the machine; empty where the system states none."""
    pid: int
    start_ticks: int


class Process(Struct, frozen=True, kw_only=True):
    """One process as it was seen."""

    pid: int
    start_ticks: int
    """Start time in clock ticks since boot (Linux: field 22 of ``/proc/PID/stat``), in
    microseconds since the epoch elsewhere."""
    boot: str = ""
    ppid: int = 0
    argv: tuple[str, ...] = ()
    exe: str = ""
    """Path of its program; empty where it may not be read."""
    cwd: str = ""
    tty: str = ""
    """Its terminal, as ``/dev/pts/3``; empty for none."""
    started_at: int | None = None
    agent: str = ""
    """The agent it belongs to by its argv; empty for a tool an agent started."""
    files: tuple[str, ...] = ()
    """Open files that an agent keeps sessions in, where they were looked for."""

    @property
    def identity(self) -> Identity:
        return Identity(self.boot, self.pid, self.start_ticks)


class AgentProcess(Struct, frozen=True, kw_only=True):
    """A running agent: the process tree whose root is ``root``, wrappers and tools included."""

    agent: str
    root: Process
    members: tuple[Process, ...] = ()
    """All processes of the tree, the root first."""
    role: Role = "interactive"
    cwd: str = ""
    """Folder that it works in, links resolved."""
    native: str = ""
    """Native id of the session that its argv names."""
    resumes: bool = False
    """True where its argv asks to go on with an older session, named or not."""
    prompt: str = ""
    """What its argv asks it to do, where it is headless."""

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(p.pid for p in self.members)


class Evidence(Struct, frozen=True, kw_only=True):
    """One observation: what it is, when it was true, what it says."""

    kind: EvidenceKind
    about: Literal["session", "state"] = "state"
    says: Says = ""
    session: str = ""
    """The session it names or belongs to, as ``agent:native``."""
    at: int | None = None
    """When the thing observed happened; for a poll, when it was looked at."""
    id: str = ""
    """Names the observation: equal when the same one is collected again."""
    ref: str = ""
    """Id of the tool call, turn or background task that it is about."""
    generation: str = ""
    """Spawn generation of the agent that it belongs to; empty where that is not known."""
    confidence: float = 0.5
    detail: str = ""
    """Its place or words, for people. Foreign text."""
    code: int | None = None
    """Exit code, with ``exited``."""


class Candidate(Struct, frozen=True, kw_only=True):
    """A session that a process may be on."""

    session: str
    confidence: float
    evidence: tuple[Evidence, ...] = ()


class Match(Struct, frozen=True, kw_only=True):
    """Which session a running agent is on, and on what evidence."""

    agent: str
    session: str = ""
    """``agent:native``; empty where none was found or several are as likely (`ambiguous`)."""
    root: Identity
    pids: tuple[int, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    """Strongest first."""
    confidence: float = 0.0
    ambiguous: bool = False
    candidates: tuple[Candidate, ...] = ()
    """The sessions it may be on, likeliest first, where `ambiguous`."""
    also: tuple[str, ...] = ()
    """Further sessions it holds: subagents, or all those of a service."""
    history: tuple[str, ...] = ()
    """Sessions it was on before, oldest first (``/clear``, resume and fork move on)."""
    source: str = "agent_session.process_match"

    @property
    def pid(self) -> int:
        return self.root.pid


class Waiting(Struct, frozen=True, kw_only=True):
    """What an agent waits for."""

    says: Says = ""
    ref: str = ""
    kind: EvidenceKind = "silence"
    misses: int = 0
    """Looks at the screen in a row that did not show it any more."""


class AgentState(Struct, frozen=True, kw_only=True):
    """The state of one agent, why it is believed, and what deciding the next one needs."""

    state: State = "unknown"
    since: int | None = None
    source: EvidenceKind | Literal[""] = ""
    """Kind of the evidence that decided."""
    evidence: tuple[Evidence, ...] = ()
    confidence: float = 0.0
    code: int | None = None
    """Exit code, with ``exited``, where it is known."""
    generation: str = ""
    """Spawn generation that evidence has to belong to."""
    session: str = ""
    started_at: int | None = None
    """Start of the generation: evidence of before is ignored."""
    turn: bool | None = None
    """Whether a turn is open; None while nothing was heard of any."""
    turn_at: int | None = None
    """When that was last heard of."""
    opened_at: int | None = None
    """When the last turn began."""
    tools: tuple[str, ...] = ()
    """Calls without a result."""
    background: tuple[str, ...] = ()
    """Tasks that outlive the turn."""
    waiting: Waiting | None = None
    growth_at: int | None = None
    """Last sign of work in the transcript or on the screen."""
    weak: Evidence | None = None
    """A weak sign that leaves the state only when another agrees."""


class Transition(Struct, frozen=True, kw_only=True):
    """A change of state: replaying the same evidence gives the same ones."""

    at: int | None
    old: State
    new: State
    evidence: tuple[Evidence, ...] = ()
    confidence: float = 0.0
    code: int | None = None


class StateEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of state as it was written down: `decklog.state.reduce` of ``before`` and ``by``
    gives it again."""

    seq: int = 0
    at: int
    """When it was noticed; ``transition.at`` is when it happened."""
    agent: str
    root: Identity
    """The first process of the agent."""
    session: str = ""
    pane: str = ""
    """Where the agent is shown, for people: ``work:1.0``; empty outside tmux."""
    transition: Transition
    before: AgentState = AgentState()
    by: Evidence


class Thought(Struct, frozen=True, kw_only=True):
    """The one line of what an agent is doing now. All text in it is foreign."""

    session: str = ""
    text: str = ""
    kind: Literal["", "prompt", "reasoning", "text", "tool", "todo", "summary"] = ""
    at: int | None = None
    rest: Rest = "drowsy"
    objective: str = ""
    """What it was last asked to do."""
    fingerprint: str = ""
    """Digest of the objective: equal while it is the same one."""
    objective_changed_at: int | None = None
    edited: bool = False
    """True when it changed files since it last committed."""
    commit_candidate: bool = False
    """True when its turn is over and it changed files that it did not commit."""
    tokens: int = 0
    """Tokens in the context of the last response; 0 where not known."""
    context_limit: int = 0
    stream: str = ""
    """The stream it was told in; a new one begins with each generation of the agent."""
    seq: int = 0
    """Its place in that stream: what is older never replaces what is newer."""
    stream_at: int = 0
    """When the stream began; streams are ordered by it."""


class Pane(Struct, frozen=True, kw_only=True):
    """One pane of a tmux server, by its ids; names are for display only."""

    id: str
    """``%3``"""
    window: str = ""
    """``@2``"""
    group: str = ""
    """tmux's own session id, ``$1``."""
    name: str = ""
    """Name of the tmux session and window for people, ``work:1.0``."""
    socket: str = ""
    server_pid: int = 0
    server_started: int = 0
    """Start of the server in seconds since the epoch; with its pid, which server it is."""
    pid: int = 0
    tty: str = ""
    cwd: str = ""
    width: int = 0
    height: int = 0
    title: str = ""
    command: str = ""
    dead: bool = False
    exit_code: int | None = None
    """Of a dead one; negative where a signal ended it."""
    created_at: int | None = None
    activity_at: int | None = None
    """Last output in its window, to the second."""
    in_mode: bool = False
    """True while somebody looks at its history (copy mode): keys would not reach the program."""
    agent: str = ""
    session: str = ""
    state: State = "unknown"
    since: int | None = None
    evidence: tuple[Evidence, ...] = ()
    ours: str = ""
    """Id under which decklog supervises it; empty for panes it only sees."""


class Running(Struct, frozen=True, kw_only=True):
    """A running agent with all that is known of it."""

    process: AgentProcess
    match: Match
    state: AgentState = AgentState()
    thought: Thought | None = None
    pane: Pane | None = None
    session: Session | None = None
    """Its session as the store has it; None before anything of it was read."""
