"""What we know of each agent: the contract, and the registry.

An agent is one value in one file of this package (or in another distribution, through the entry
point group ``decklog.agents``; built-ins and strangers come through the same door). Everything
here is pure: no file is opened, no clock read, no process started. `sources` walks and reads, and
hands in bytes.

A minimal agent answers three questions: its names, `Agent.roots` and `Agent.claim` (where its
transcripts are), and `Agent.reader` (bytes to events). All else has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias
from zlib import crc32

from decklog.agents._terminal import Composer, Headless, Launch, Rule, Screen
from decklog.errors import NotFound
from decklog.model import Conversation, Cursor, Event, Facts, Ref, Transcript
from decklog.model.fleet import EvidenceKind, Role, Says
from decklog.model.turns import AnyBlock

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "Agent",
    "Claim",
    "Composer",
    "Headless",
    "Launch",
    "Queries",
    "Reader",
    "Root",
    "Rule",
    "Screen",
    "every",
    "get",
    "names",
]

BUILT_IN = ("claude", "codex", "gemini", "copilot", "opencode", "pi")
"""Modules of this package; each holds its agent as ``AGENT``."""

ENTRY_POINTS = "decklog.agents"

Claim: TypeAlias = Literal["jsonl", "json", "sqlite", "dir", "companion", "ignore"]


class Root(NamedTuple):
    """A folder that an agent keeps its transcripts in."""

    path: str
    only: tuple[str, ...] = ()
    """Names directly below ``path`` that are looked at; empty for all."""
    skip: tuple[str, ...] = ()
    """Folder names that are never entered, at any depth."""


class CleanUp(NamedTuple):
    """When an agent deletes transcripts by their age."""

    days: float
    """Days since their last change."""
    origin: str
    """The settings file that says so; ``default`` when none does."""
    key: str
    """The setting."""


class Queries(NamedTuple):
    """How a SQLite agent's sessions are read. Statements run on a read-only connection."""

    documents: str
    """Gives (document id, version): the version changes whenever the document does."""
    document: str
    """Gives one row with one JSON text for ``:id``: what `Reader.feed` is fed."""


class Invocation(NamedTuple):
    """What the argv of a process says, where it is the agent's."""

    role: Role = "interactive"
    native: str = ""
    """Native id of the session it names, and goes on with or opens under that id."""
    resumes: bool = False
    """True where it asks for an older session, by its id or as the latest one."""
    forks: bool = False
    """True where the session named is only the parent of the one it opens."""
    runner: bool = False
    """True for a launcher (``npm exec``) whose child is the agent proper."""
    cwd: str = ""
    """Folder it is told to work in; empty for its own."""
    prompt: str = ""
    """What a headless run is asked to do, where its command line says so."""


class Own(NamedTuple):
    """What a file says that an agent keeps of its own running process."""

    pid: int
    native: str
    kind: EvidenceKind = "pid_file"
    start_ticks: int = 0
    """Start time of the process as the file states it; 0 where it does not."""
    at: int | None = None
    """When the file was last told something, as it states itself."""
    says: Says = ""
    """The state it states, if it does."""
    said_at: int | None = None
    """Since when it is in that state."""
    detail: str = ""


class Sign(NamedTuple):
    """What one record says about the turn it belongs to."""

    says: Says
    ref: str = ""
    """Id of the tool call or background task it is about."""
    detail: str = ""
    confidence: float | None = None
    """How sure it is, where it is less so than transcripts are."""


class Hook(NamedTuple):
    """A hook of an agent that says something about its state."""

    event: str
    """Its name in the agent's settings."""
    says: Says = ""
    matcher: str = ""
    """Which tools it is for, where not for all."""


class Reader(Protocol):
    """Turns records into events. The same bytes give the same events, however they are cut."""

    facts: dict[str, Facts]
    """What is known so far of each session met, by native id."""

    def feed(self, line: bytes, ref: Ref) -> list[Event]:
        """Read one record: a line without its newline, or a whole document.

        Never raises for what is in the record: what is not understood comes back as
        `decklog.model.ParseWarning`.
        """

    def state(self) -> bytes:
        """The continuation: a reader made from a cursor that carries it goes on from here."""


class Agent:
    """What one agent answers. Subclass it, fill in the names, override what the agent can do."""

    name: str = ""
    """Short lower-case word, first half of every session id."""
    title: str = ""
    provider: str = ""
    """Vendor of its usual models, in the words of OpenTelemetry (``anthropic``, ``openai``)."""
    variables: tuple[str, ...] = ()
    """Environment variables (besides HOME) that `roots` looks at."""
    screen: Screen | None = None
    """How its screen is read; None: it is not."""
    launch: Launch | None = None
    """How it is started and driven in a terminal; None: it cannot be."""

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        """Where transcripts are, most specific first; ``env`` always holds HOME."""
        raise NotImplementedError

    def claim(self, relative: str) -> Claim | None:
        """What the file at this path below a root is; None for one no rule knows.

        ``jsonl`` is a file of lines that is appended to (``.zst`` twins too), ``json`` a document
        rewritten whole, ``sqlite`` a database, ``dir`` one of the files that together make a
        document (see `gather`), ``companion`` a file read along with a source, ``ignore`` a file
        that is known and holds no session.
        """
        raise NotImplementedError

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        """A reader that starts at ``cursor`` (None: at the beginning of an unknown source).

        Without ``text`` message bodies may be left empty; kinds, places, times and numbers are
        the same. ``companions`` holds the files of `companions` that exist, by path.
        """
        raise NotImplementedError

    def companions(self, uri: str) -> tuple[str, ...]:
        """Paths of small files beside the source that its reader wants to see.

        A change in one is noticed where `claim` calls it a ``companion`` below a root.
        """
        return ()

    def mark(self, uri: str, companions: Mapping[str, bytes]) -> str:
        """What its companions say of a source, in short: the source is read anew when it changes.

        Where companions change often: of that which `reader` takes from them, and no more.
        """
        data = b"\n".join(companions[p] for p in sorted(companions))
        return f"{crc32(data):08x}" if companions else ""

    def queries(self, tables: Mapping[str, frozenset[str]]) -> Queries | None:
        """For a ``sqlite`` source with these tables and columns; None: schema not known."""
        return None

    def gather(self, relatives: Iterable[str]) -> dict[str, list[str]]:
        """Group the ``dir`` files below a root into documents: id to relative paths."""
        return {}

    def assemble(self, document: str, files: Mapping[str, bytes]) -> bytes:
        """Make one JSON text of the files of a document: what `Reader.feed` is fed."""
        raise NotImplementedError

    def parts(self, record: bytes) -> tuple[AnyBlock, ...]:
        """What the events of one record of a transcript do not carry: images with their data,
        thoughts with their signature, in the order they stand there."""
        return ()

    def transcript(self, conversation: Conversation, native: str, at: int) -> Transcript | None:
        """A conversation as this agent would have written it, so that it can be resumed here.

        Its entries are what the model is to be shown. ``native`` is the id that the session is to
        have, ``at`` the time now (milliseconds, UTC). None: this cannot be done. Raises
        UsageError where the conversation lacks what the agent needs.
        """
        return None

    clean_up: str = ""
    """What the agent itself deletes and when, in a sentence."""

    def clean_up_files(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Settings files that decide when it deletes transcripts, the one that binds most first."""
        return ()

    def clean_up_after(self, settings: Mapping[str, bytes]) -> CleanUp | None:
        """When it deletes transcripts; None when it deletes none by their age. ``settings`` holds
        the files of `clean_up_files` that exist, by path in the same order."""
        return None

    # -- the running agent -----------------------------------------------------------------------

    holds_files: bool = False
    """True where its processes keep files open that `held` can tell a session from."""
    questions: tuple[str, ...] = ()
    """Names of its tools that ask the user something and wait for the answer."""

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        """What a process is, by its argv (and the path of its program, where known); None for
        one that is not this agent, or is it for another purpose than a session."""
        return None

    def held(self, path: str) -> str:
        """Native id of the session that whoever holds this file open is on; empty for none."""
        return ""

    def own_files(self, env: Mapping[str, str]) -> tuple[str, ...]:
        """Patterns of the files it keeps of its running processes; ``{pid}`` stands for the pid,
        ``*`` for one name. ``env`` always holds HOME."""
        return ()

    def own(self, path: str, data: bytes) -> Own | None:
        """What such a file says; None for one that is torn or says nothing."""
        return None

    hook_reply: str = ""
    """What a hook has to print."""
    hook_time_unit: int = 1
    """How the agent counts the time a hook may take: so many to the second."""
    hook_note: str = ""
    """What else the user has to do before hooks run."""

    def hooks(self) -> tuple[Hook, ...]:
        """Hooks that tell its state, as its settings name them."""
        return ()

    def hook_file(self, env: Mapping[str, str]) -> str:
        """The settings that hooks go into; ``env`` always holds HOME."""
        return ""

    def hook_session(self, data: Mapping[str, Any]) -> str:
        """Native id of the session, of what the agent tells its hook."""
        found = data.get("session_id")
        return found if isinstance(found, str) else ""

    def hook_sign(self, event: str, data: Mapping[str, Any]) -> Sign:
        """What a hook says about the state, of its name and what the agent tells it."""
        says: Says = next((h.says for h in self.hooks() if h.event == event), "")
        ref = data.get("tool_use_id")
        return Sign(says, ref if isinstance(ref, str) else "")

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        """What one record of a transcript says about its turn that its events do not: its end,
        work that outlives it, a question to the user. Never raises."""
        return ()


def _entry_points() -> dict[str, Callable[[], object]]:
    from importlib.metadata import entry_points

    return {e.name: e.load for e in entry_points(group=ENTRY_POINTS)}


_loaded: dict[str, Agent] = {}


def get(name: str) -> Agent:
    """The agent of that name.

    Raises `decklog.errors.NotFound` when no built-in or installed agent has it.
    """
    if name in _loaded:
        return _loaded[name]
    if name in BUILT_IN:
        agent: object = import_module(f"{__name__}.{name}").AGENT
    else:
        found = _entry_points()
        if name not in found:
            known = ", ".join(sorted({*BUILT_IN, *found}))
            raise NotFound(f"no agent {name!r}", hint=f"known agents: {known}")
        agent = found[name]()
        if isinstance(agent, type):
            agent = agent()
    if not isinstance(agent, Agent):
        raise NotFound(f"entry point {name!r} of {ENTRY_POINTS} is not an Agent")
    _loaded[name] = agent
    return agent


installed: tuple[str, ...] | None = None
"""Names of agents from other distributions, where the caller knows them; None: look."""


def names() -> tuple[str, ...]:
    """All agents, built-in ones first."""
    others = _entry_points() if installed is None else installed
    return (*BUILT_IN, *sorted(n for n in others if n not in BUILT_IN))


broken: dict[str, str] = {}
"""Installed agents that failed, and how; they are left out, not fatal."""


def set_aside(name: str, error: Exception) -> None:
    """Go on without an installed agent, whatever its code raised. Of ours an error is a bug."""
    if name in BUILT_IN:
        raise error
    broken[name] = f"{type(error).__name__}: {error}"


def every() -> tuple[Agent, ...]:
    """All agents that can be loaded, built-in ones first."""
    found = [get(n) for n in BUILT_IN]
    for name in names()[len(BUILT_IN) :]:
        try:
            found.append(get(name))
        except Exception as error:
            set_aside(name, error)
    return tuple(found)
