"""The one line of what an agent is doing now, from what it writes in its transcript.

`think` takes a thought and the events that followed it to the next thought: the last reasoning,
text, tool or plan item; what it was asked (the objective) and since when; whether it changed files
it has not committed. `settle` adds what only the state and the clock tell: rest, and whether there
is something to commit. All of it is pure and bounded.

A thought has a place: the stream it was told in (one for each generation of the agent) and a
sequence within. `Book` keeps the newest of each session; a late delivery replaces nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias
from zlib import crc32

from msgspec.structs import replace

from decklog.model import (
    AssistantMessage,
    Event,
    Reasoning,
    ToolCalled,
    UsageReported,
    UserMessage,
)
from decklog.model.fleet import AgentState, Rest, Thought

LENGTH = 200
"""Characters of a line, at most."""
DROWSY = 30_000
"""An idle agent is drowsy after so long (ms)."""
SLEEPING = 10 * 60_000
"""One that finished what it was asked sleeps after so long (ms)."""
WORKING = frozenset(
    ("starting", "busy", "waiting_approval", "waiting_answer", "background", "limited", "error")
)
PLANS = frozenset(("TodoWrite", "update_plan", "TaskCreate", "TaskUpdate", "write_todos", "todo"))
"""Tools with which agents keep their plan."""
TOLD = (
    "description", "command", "cmd", "file_path", "notebook_path", "path", "pattern", "query",
    "url", "prompt", "explanation", "subject",
)  # fmt: skip
"""Arguments that say what a call is for, most telling first."""

Kind: TypeAlias = Literal["", "prompt", "reasoning", "text", "tool", "todo", "summary"]
Summariser = Callable[[Thought, Sequence[Event]], str | None]
"""Replaces the line: given the thought and the events behind it; None keeps the line."""

CONTEXT = 128_000
CONTEXTS = {"claude": 200_000, "codex": 192_000}
"""Tokens that fit in the context, where the agent says no other."""


def context_limit(agent: str) -> int:
    return CONTEXTS.get(agent, CONTEXT)


def think(thought: Thought, events: Sequence[Event]) -> Thought:
    """The thought after these events, which follow those it was made of.

    They stand in the order they were written, and some agents write a prompt only after the answer
    to it has begun: the line is that of the latest by its time.
    """
    latest: Event | None = None
    asked: list[UserMessage] = []
    new = thought
    edited: bool | None = None
    tokens: int | None = None
    for e in reversed(events):  # the latest counts: most need no second look
        if isinstance(e, UserMessage):
            if not e.injected and (not asked or e.content == asked[-1].content):
                asked.append(e)
        elif isinstance(e, ToolCalled):
            if edited is None:
                edited = _edits(e)
        elif isinstance(e, UsageReported) and tokens is None and e.rank == 2:
            tokens = e.usage.total
        if _later(e, latest or thought) and (said := _line_of(e)) is not None:
            latest = e
            new = replace(new, text=said[1], kind=said[0], at=e.at)
    if asked:
        new = _asked(new, asked[-1])
    return replace(
        new,
        edited=thought.edited if edited is None else edited,
        tokens=thought.tokens if tokens is None else tokens,
        session=thought.session or next((e.session for e in events if e.session), ""),
        seq=thought.seq + len(events),
    )


def _later(e: Event, than: Event | Thought) -> bool:
    """Whether an event counts rather than another one, or the line there is."""
    if e.at is None or than.at is None:
        return isinstance(than, Thought)
    if isinstance(than, Thought):
        return e.at >= than.at or not isinstance(e, UserMessage)
    return e.at > than.at


def _line_of(e: Event) -> tuple[Kind, str] | None:
    """What an event has to say for itself, if anything."""
    kind: Kind = ""
    text = ""
    match e:
        case UserMessage(injected=False):
            kind, text = "prompt", line(e.content)
        case Reasoning():
            kind, text = "reasoning", line(e.content)
        case AssistantMessage():
            kind, text = "text", line(e.content)
        case ToolCalled():
            given = _given(e)
            step = _step(given) if e.tool_name in PLANS else ""
            told = line(_told(given) or (e.paths[0] if e.paths else ""))
            kind = "todo" if step else "tool"
            text = step or line(f"{e.tool_name}: {told}" if told else e.tool_name)
    return (kind, text) if text else None


def _asked(t: Thought, e: UserMessage) -> Thought:
    objective = line(e.content)
    if not objective:
        return t
    fingerprint = _print(e)
    changed = t.objective_changed_at if fingerprint == t.fingerprint else e.at
    return replace(t, objective=objective, fingerprint=fingerprint, objective_changed_at=changed)


def _print(e: UserMessage) -> str:
    return f"{crc32(' '.join(e.content.split()).encode('utf-8', 'replace')):08x}"


def _given(e: ToolCalled) -> object:
    try:
        return json.loads(bytes(e.input))
    except (ValueError, RecursionError):
        return None


def _edits(e: ToolCalled) -> bool | None:
    """Whether there are uncommitted changes after this call; None where it changes nothing."""
    if e.tool_kind in ("file_edit", "file_write"):
        return True
    return False if e.tool_kind == "shell" and _commits(_given(e)) else None


def _told(given: object) -> str:
    if isinstance(given, str):
        return given
    if not isinstance(given, dict):
        return ""
    for name in TOLD:
        value = given.get(name)
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            value = " ".join(value)
        if isinstance(value, str) and value.strip():
            return value
    return ""


def _step(given: object) -> str:
    """The plan item that is in progress."""
    if not isinstance(given, dict):
        return ""
    items = next((v for v in given.values() if isinstance(v, list)), [])
    for item in [given, *items]:
        if isinstance(item, dict) and item.get("status") in ("in_progress", "in-progress"):
            for name in ("activeForm", "step", "content", "title", "subject", "description"):
                if isinstance(item.get(name), str) and item[name].strip():
                    return line(item[name])
    return ""


_commit = re.compile(r"\bgit\b(?: -[^\s]+(?: [^-\s][^\s]*)?)? commit\b")


def _commits(given: object) -> bool:
    words = given.get("command") or given.get("cmd") if isinstance(given, dict) else given
    text = " ".join(map(str, words)) if isinstance(words, list) else str(words or "")
    return _commit.search(text[:10_000]) is not None


# -- what may be shown -----------------------------------------------------------------------------

_SECRET = r"""(?x)
    \b(?:[spr]k[-_]|xox[abeprs]-|gh[pousr]_|github_pat_|glpat-|hf_|npm_|pypi-
        |AIza|AKIA|ASIA|ya29\.|eyJ)
        [-_A-Za-z0-9.]{12,400}
    | (?<=[Bb]earer\x20)[^\s'"]{6,400}
    | (?<=:\/\/)[^\s:\/@'"]{1,100}:[^\s@'"\/]{1,200}(?=@)
    | (?<=-----BEGIN\x20)[A-Z\x20]{0,20}PRIVATE\x20KEY.{0,2000}
"""
_NAMED = r"""(?ix)
    \b([\w-]{0,40}(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\w-]{0,20}
        ["']?\s?[=:]\s?["']?)
    [^\s'"]{4,400}
"""
_SECRET_SIGNS = (
    *("sk-", "sk_", "pk_", "rk_", "xox", "gh", "glpat-", "hf_", "AIza", "AKIA", "ASIA", "ya29."),
    *("npm_", "pypi-", "eyJ", "earer ", "://", "-----BEGIN "),
)
_NAMED_SIGNS = ("password", "passwd", "secret", "token", "key")
"""Without one of these the patterns, which take longer, find nothing."""
HIDDEN = "[hidden]"


def line(text: str) -> str:
    """One line for people: the first with words in it, no markup, no secrets, `LENGTH` at most."""
    for part in text[:20_000].split("\n"):
        if any(c.isalnum() for c in part):
            most = 3 * LENGTH
            words = scrub(" ".join(part.split(maxsplit=most)[:most])[:most])
            words = " ".join(words.strip("*#>` ").replace("**", "").split())
            return words if len(words) <= LENGTH else words[: LENGTH - 1] + "…"
    return ""


def scrub(text: str) -> str:
    """The text with what looks like a key, token or password hidden."""
    if any(sign in text for sign in _SECRET_SIGNS):
        text = re.sub(_SECRET, HIDDEN, text)
    small = text.lower()
    if any(sign in small for sign in _NAMED_SIGNS):
        text = re.sub(_NAMED, lambda m: m[1] + HIDDEN, text)
    return text


# -- rest ------------------------------------------------------------------------------------------


def rest(state: AgentState, *, now: int, finished: bool = False) -> Rest:
    """How awake an agent is. ``finished``: its transcript says that it did what it was asked."""
    if state.state in ("exited", "lost"):
        return "deep_sleep"
    if state.state in WORKING:
        return "active"
    quiet = now - (state.since or now)
    if state.state == "idle" and quiet < DROWSY:
        return "active"
    return "sleeping" if finished and quiet >= SLEEPING and state.state == "idle" else "drowsy"


def settle(thought: Thought, state: AgentState, *, now: int, agent: str = "") -> Thought:
    """The thought with what the state and the clock say."""
    finished = bool(thought.objective) and thought.kind == "text"
    over = state.state in ("idle", "exited", "lost")
    return replace(
        thought,
        rest=rest(state, now=now, finished=finished),
        commit_candidate=thought.edited and over,
        context_limit=thought.context_limit or (context_limit(agent) if agent else 0),
    )


def summarised(thought: Thought, events: Sequence[Event], summariser: Summariser) -> Thought:
    """The thought with the line of a summariser; its own where that has none, or fails."""
    try:
        text = summariser(thought, events)
    except Exception:  # a stranger's code: the line we have is good enough
        return thought
    return replace(thought, text=line(text), kind="summary") if text and line(text) else thought


# -- the newest of each ----------------------------------------------------------------------------


def place(thought: Thought) -> tuple[int, str, int]:
    """Where it stands among all thoughts of its session."""
    return thought.stream_at, thought.stream, thought.seq


class Book:
    """The newest thought of each session, and no more than ``limit`` of them.

    Full, it forgets the session that was silent longest.
    """

    def __init__(self, limit: int = 1_000) -> None:
        self.limit = limit
        self.thoughts: dict[str, Thought] = {}

    def offer(self, thought: Thought) -> bool:
        """Keep it if it is newer than what is there; says whether it was."""
        old = self.thoughts.get(thought.session)
        if old is not None:
            if place(thought) <= place(old):
                return False
            if thought.fingerprint == old.fingerprint and old.objective_changed_at is not None:
                changed = old.objective_changed_at
                thought = replace(thought, objective_changed_at=changed)
            del self.thoughts[thought.session]
        self.thoughts[thought.session] = thought
        while len(self.thoughts) > self.limit:
            del self.thoughts[next(iter(self.thoughts))]
        return True

    def of(self, session: str) -> Thought | None:
        """By its exact session: a thought is never shown beside another one."""
        return self.thoughts.get(session)

    def keep(self, sessions: Iterable[str]) -> None:
        """Forget the thoughts of all other sessions."""
        wanted = set(sessions)
        self.thoughts = {n: t for n, t in self.thoughts.items() if n in wanted}


def merge(row: Mapping[str, Any], thought: Thought) -> dict[str, Any]:
    """A row with what a thought adds: its line where the row has none, its figures where it has
    any, and in any case its rest, objective and commit candidate."""
    merged = dict(row)
    if not merged.get("thought"):
        merged["thought"] = thought.text
    if thought.tokens > 0 or not merged.get("context_tokens"):
        merged["context_tokens"] = thought.tokens
    if thought.context_limit > 0 or "context_limit" not in merged:
        merged["context_limit"] = thought.context_limit
    merged |= {
        "thought_at": thought.at,
        "thought_kind": thought.kind,
        "rest": thought.rest,
        "commit_candidate": thought.commit_candidate,
        "objective": thought.objective,
        "objective_changed_at": thought.objective_changed_at,
        "objective_fingerprint": thought.fingerprint,
    }
    return merged
