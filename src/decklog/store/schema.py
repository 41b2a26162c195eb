"""Tables of the embedded store.

Rows read from a source are keyed by (source, ...), so that a source can be dropped or read again
on its own; ``part`` numbers the sessions within a source. ``session`` and ``daily`` are derived
from them by `decklog.store.link`.
"""

VERSION = 4
"""2 added the journal, 3 compresses the bodies of events, 4 notes new names of copies."""

RENAMED = "create table renamed(copy integer primary key, uri not null);"
"""What the archive has yet to call some of its copies: the store is told first, and notes in the
same transaction what is left to do, so that the next sync makes up for one killed between."""

TOKENS = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
MONEY = ("cost", "reported", "priced", "stated", "unpriced")
"""Micro-dollars in all and as the agents reported them; then how many responses had a computed
price, only a reported one, and none."""

SCHEMA = f"""
{RENAMED}
create table meta(key text primary key, value text) without rowid;

create table source(
    id integer primary key, agent text not null, uri not null unique, kind text not null,
    size integer not null default -1, mtime_ns integer not null default 0,
    device integer not null default 0, inode integer not null default 0,
    offset integer not null default 0, line integer not null default 0,
    chk blob not null default x'', state blob not null default x'',
    version text not null default '', gone integer not null default 0,
    told integer not null default 0);

create table part(
    source integer not null, part integer not null, session text not null,
    native text, parent text, relation text, copies text, cwd text, project text, branch text,
    title text, title_rank integer, prompt text, model text, agent_version text,
    opened_at integer, started_at integer, ended_at integer, last_at integer, first_uid text,
    prompts integer, messages integer, compactions integer, aborts integer, limits integer,
    completeness text, superseded integer not null default 0,
    primary key(source, part)) without rowid;
create index part_session on part(session);
create index part_parent on part(parent) where parent <> '';

create table event(
    source integer not null, first integer not null, events integer not null, body blob not null,
    primary key(source, first)) without rowid;

create table usage(
    source integer not null, key text not null, part integer not null, at integer,
    day text not null, provider text not null, model text not null,
    input integer not null, cache_read integer not null, cache_write integer not null,
    cache_write_1h integer not null, output integer not null, reasoning integer not null,
    cost integer, reported integer, rank integer not null, inherits text not null,
    offset integer not null, length integer not null, line integer not null,
    records integer not null default 1, verdict integer not null default 0, counted_in text,
    primary key(source, key)) without rowid;

create table tool(
    source integer not null, id text not null, part integer not null, seq integer not null,
    name text not null, kind text not null, at integer, child text,
    offset integer not null, length integer not null,
    ok integer, ended_at integer, duration_ms integer, result_offset integer,
    result_length integer, inherited integer not null default 0,
    primary key(source, id)) without rowid;

create table touched(
    source integer not null, part integer not null, path text not null,
    reads integer not null, writes integer not null, first_at integer, last_at integer,
    primary key(source, part, path)) without rowid;

create table prompt(
    source integer not null, seq integer not null, part integer not null, uid text not null,
    at integer, text text not null, offset integer not null, length integer not null,
    inherited integer not null default 0,
    primary key(source, seq)) without rowid;

create table finding(
    source integer not null, reason text not null, detail text not null, slot integer not null,
    offset integer not null, length integer not null, line integer not null,
    count integer not null default 1,
    primary key(source, reason, detail, slot)) without rowid;

create table session(
    name text primary key, agent text not null, native text not null,
    parent text, relation text, root text not null, project text, cwd text, branch text,
    title text, prompt text, model text, agent_version text,
    started_at integer, ended_at integer, last_at integer,
    prompts integer, messages integer, tool_calls integer, tool_errors integer, files integer,
    responses integer, subagents integer, compactions integer, aborts integer, limits integer,
    findings integer,
    input integer, cache_read integer, cache_write integer, cache_write_1h integer,
    output integer, reasoning integer, cost integer, reported integer, priced integer,
    stated integer, unpriced integer,
    tree_input integer, tree_cache_read integer, tree_cache_write integer,
    tree_cache_write_1h integer, tree_output integer, tree_reasoning integer,
    tree_cost integer, tree_reported integer, tree_priced integer, tree_stated integer,
    tree_unpriced integer,
    completeness text, gone integer, listed integer) without rowid;
create index session_last on session(last_at);
create index session_root on session(root);
create index session_parent on session(parent);

create table daily(
    session text not null, day text not null, provider text not null, model text not null,
    input integer not null, cache_read integer not null, cache_write integer not null,
    cache_write_1h integer not null, output integer not null, reasoning integer not null,
    cost integer, reported integer, priced integer not null, stated integer not null,
    unpriced integer not null, responses integer not null,
    primary key(session, day, provider, model)) without rowid;

create table dirty(session text primary key) without rowid;
"""

LATE_INDEXES = """
create index if not exists usage_key on usage(key);
create index if not exists prompt_uid on prompt(uid);
"""
"""Needed by linking only; a first sync builds them once, after all rows are in."""
