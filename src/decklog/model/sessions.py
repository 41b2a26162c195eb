"""Sessions, what a reader knows of one, and what is told of them."""

from __future__ import annotations

from msgspec import Struct

from decklog.model.base import Basis, Completeness, Cost, Ref, Relation, Usage


class Counts(Struct, frozen=True, kw_only=True):
    prompts: int = 0
    """Prompts a person (or a calling program) gave; injected text does not count."""
    messages: int = 0
    """Prompts and assistant texts."""
    tool_calls: int = 0
    tool_errors: int = 0
    files: int = 0
    """Distinct paths touched by tools."""
    responses: int = 0
    """Provider responses counted in this session's own usage."""
    subagents: int = 0
    compactions: int = 0
    aborts: int = 0
    limits: int = 0
    """Times the provider refused for a usage limit."""
    findings: int = 0


class Session(Struct, frozen=True, kw_only=True):
    """One run of one agent with one native id."""

    id: str
    agent: str
    native: str
    parent: str | None = None
    relation: Relation | None = None
    root: str = ""
    """The session at the top of its subagent chain; its own id where it has no such parent."""
    host: str = ""
    project: str = ""
    cwd: str = ""
    branch: str = ""
    title: str = ""
    prompt: str = ""
    """The beginning of the first prompt (at most 500 characters)."""
    model: str = ""
    agent_version: str = ""
    started_at: int | None = None
    ended_at: int | None = None
    last_at: int | None = None
    counts: Counts = Counts()
    usage: Usage = Usage()
    """Own usage, without subagents and without what a fork inherited."""
    cost: Cost = Cost()
    tree_usage: Usage = Usage()
    """Own usage and that of all subagents below."""
    tree_cost: Cost = Cost()
    completeness: Completeness = "full"
    sources: tuple[str, ...] = ()
    gone: bool = False
    """True when no source of it is on disk any more."""


class Facts(Struct, kw_only=True):
    """What one reader has learnt of one session so far. Mutable; part of the reader's state.

    The store keeps one row of it for each (source, session) and merges the rows of a session.
    """

    native: str = ""
    parent: str = ""
    """Native id of the parent session of the same agent, when the transcript states it."""
    relation: Relation | None = None
    copies: Relation = "fork"
    """What it means when this session holds copies of another's responses without saying so."""
    cwd: str = ""
    project: str = ""
    """Identity of the repository when the transcript states it (a remote URL)."""
    branch: str = ""
    title: str = ""
    title_rank: int = 0
    """Higher wins: 1 a summary, 2 the agent's own title, 3 the user's."""
    prompt: str = ""
    model: str = ""
    agent_version: str = ""
    opened_at: int | None = None
    """Time of the first record that carries one, copied or not."""
    started_at: int | None = None
    ended_at: int | None = None
    last_at: int | None = None
    first_uid: str = ""
    """uid of the first message: equal in twins of one transcript."""
    prompts: int = 0
    messages: int = 0
    compactions: int = 0
    aborts: int = 0
    limits: int = 0
    completeness: Completeness = "full"


class Finding(Struct, frozen=True, kw_only=True):
    """Something that was not read as it stood: where, how much, and why.

    Reasons: ``damaged`` (bytes that are no record), ``unknown`` (a record type that is not
    known), ``bad_field``, ``misfiled``, ``too_long``, ``too_big``, ``too_deep``,
    ``unrecognized`` (a file in an agent's store that no rule claims), ``unreadable``, ``bomb``.
    """

    agent: str
    source: str
    offset: int = 0
    length: int = 0
    line: int = 0
    reason: str = "unknown"
    detail: str = ""
    sha256: str = ""
    count: int = 1


class UsageRow(Struct, frozen=True, kw_only=True):
    """One row of a usage report; ``date`` is a day, ISO week, month, or empty."""

    date: str = ""
    agent: str = ""
    provider: str = ""
    model: str = ""
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_micro_usd: int | None = None
    reported_micro_usd: int | None = None
    basis: Basis = "unknown"
    unpriced_responses: int = 0
    responses: int = 0
    sessions: int = 0


class LedgerEntry(Struct, frozen=True, kw_only=True):
    """One recorded usage fact and whether it counted."""

    session: str
    key: str
    at: int | None = None
    date: str = ""
    agent: str = ""
    provider: str = ""
    model: str = ""
    usage: Usage = Usage()
    cost: Cost = Cost()
    counted: bool = True
    reason: str = ""
    """Why it counted, or why it did not."""
    counted_in: str | None = None
    """The session that the same response counted in, when not in this one."""
    records: int = 1
    """Records of this response in the source; the last one stands."""
    ref: Ref = Ref()


class Filter(Struct, frozen=True, kw_only=True):
    """One question type for every face. Times are milliseconds, UTC; ``until`` is exclusive."""

    agents: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    limit: int | None = None
    offset: int = 0
    subagents: bool = True
