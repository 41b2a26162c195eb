"""Whole sessions read back from their sources: events, turns, joined tool calls."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from decklog import agents, pricing, reading, sources
from decklog.agents import Agent
from decklog.errors import FormatError, NotFound, SourceError
from decklog.model import (
    AssistantMessage,
    Cost,
    Cursor,
    Event,
    Ref,
    Source,
    StateChanged,
    ToolCall,
    ToolCalled,
    ToolReturned,
    Turn,
    Usage,
    UsageLimitHit,
    UsageReported,
    UserMessage,
)
from decklog.store.queries import basis


def read(path: str | os.PathLike[str], agent: str | None = None) -> Iterator[Event]:
    """The events of one transcript file, whoever wrote it; nothing is stored.

    ``agent`` is needed where the path does not tell. Raises NotFound for a missing file,
    FormatError when no agent claims it, SourceError when it cannot be read.

    >>> import decklog
    >>> for event in decklog.read("rollout-2026-11-20T22-30-13-x.jsonl", agent="codex"):
    ...     print(event.seq, type(event).__name__)
    """
    uri = os.path.abspath(os.fspath(path))
    if not os.path.exists(uri):
        raise NotFound(f"no file {uri}")
    a, kind = (agents.get(agent), None) if agent else _recognise(uri)
    if kind is None:
        claim = a.claim(os.path.basename(uri))
        kind = claim if claim in ("jsonl", "json", "sqlite") else _kind_by_name(uri)
    if kind == "sqlite":
        from decklog import databases

        for document in databases.versions(uri, a):
            yield from _read(a, f"{uri}#{document}", kind)
        return
    yield from _read(a, uri, kind)


def _kind_by_name(uri: str) -> str:
    return "json" if uri.endswith(".json") else "sqlite" if uri.endswith(".db") else "jsonl"


def _recognise(uri: str) -> tuple[Agent, str]:
    """The agent whose usual folders the path looks like."""
    home = "/home/someone"
    for a in agents.every():
        for root in a.roots({"HOME": home}):
            marker = root.path.removeprefix(home).strip("/")
            _, found, relative = uri.rpartition(f"/{marker}/")
            if found:
                claim = a.claim(relative)
                if claim in ("jsonl", "json", "sqlite"):
                    return a, claim
    raise FormatError("no agent is known by this path; name one", agent="", uri=uri)


def _read(a: Agent, uri: str, kind: str, parts: Iterable[str] = ()) -> Iterator[Event]:
    source = Source(agent=a.name, uri=uri, kind=kind)  # type: ignore[arg-type]
    companions = reading.companions(a, uri.partition("#")[0])
    reader = a.reader(Cursor(source=source), companions=companions)
    try:
        if kind != "jsonl":
            data = reading.document_bytes(a, uri, kind, uri.rpartition("#")[2], parts)
            if data:
                yield from reader.feed(data, Ref(uri, 0, len(data)))
            return
        line = 0
        for chunk in sources.chunks(uri, 0):
            for offset, data in chunk.lines:
                line += 1
                if len(data) > sources.LEAN_LINE:
                    continue  # its place and numbers are in the store; its body is not shown
                yield from reader.feed(data, Ref(uri, offset, len(data), line))
            line += len(chunk.skipped)
    except OSError as error:
        raise SourceError(f"{uri}: {error.strerror}") from None


def _live_parts(store: Any, session: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [p for p in store.parts(session) if not p["superseded"]]
    readable = [p for p in parts if os.path.exists(p["uri"].partition("#")[0])]
    if not readable:
        raise SourceError(
            f"{session}: its transcript is gone from disk ({parts[0]['uri'] if parts else '?'})"
        )
    return readable


def events(store: Any, session: str) -> Iterator[Event]:
    """Events of a session from all its sources, each record once, numbered from 1."""
    seen: set[tuple[str, str]] = set()
    seq = 0
    parts = _live_parts(store, session)
    for part in parts:
        a = agents.get(part["agent"])
        for event in _read(a, part["uri"], part["kind"], _folder_parts(a, part)):
            if event.session != session:
                continue
            key = (type(event).__name__, event.uid)
            if len(parts) > 1 and event.uid:
                if key in seen:
                    continue
                seen.add(key)
            seq += 1
            yield msgspec.structs.replace(event, seq=seq)


def _folder_parts(a: Agent, part: Mapping[str, Any]) -> list[str]:
    if part["kind"] != "dir":
        return []
    root, _, document = part["uri"].rpartition("#")
    relatives = [relative for relative, _ in sources.walk(root)]
    return a.gather(relatives).get(document, [])


def raw(store: Any, session: str) -> Iterator[bytes]:
    """Records of a session's sources as they stand in the files."""
    for part in _live_parts(store, session):
        if part["kind"] == "jsonl":
            try:
                for chunk in sources.chunks(part["uri"], 0):
                    yield from (data for _, data in chunk.lines)
            except OSError as error:
                raise SourceError(f"{part['uri']}: {error.strerror}") from None
        else:
            a = agents.get(part["agent"])
            document = part["uri"].rpartition("#")[2]
            data = reading.document_bytes(
                a, part["uri"], part["kind"], document, _folder_parts(a, part)
            )
            if data:
                yield data


def tool_calls(stream: Iterable[Event]) -> list[ToolCall]:
    """Calls joined to their results, in the order they were made."""
    calls: dict[str, ToolCalled] = {}
    results: dict[str, ToolReturned] = {}
    for e in stream:
        if isinstance(e, ToolCalled):
            calls.setdefault(e.tool_id or f"#{e.seq}", e)
        elif isinstance(e, ToolReturned) and e.tool_id:
            results[e.tool_id] = e
    return [_join(key, call, results.get(key)) for key, call in calls.items()]


def _join(key: str, call: ToolCalled, result: ToolReturned | None) -> ToolCall:
    if result is None:
        return ToolCall(
            id=key, session=call.session, name=call.tool_name, kind=call.tool_kind or "other",
            input=call.input, paths=call.paths, at=call.at, child=call.child,
        )  # fmt: skip
    duration = result.duration_ms
    if duration is None and call.at is not None and result.at is not None:
        duration = max(0, result.at - call.at)
    return ToolCall(
        id=key, session=call.session, name=call.tool_name, kind=call.tool_kind or "other",
        input=call.input, paths=tuple(dict.fromkeys((*call.paths, *result.paths))), at=call.at,
        duration_ms=duration, ok=result.success, output=result.error or result.output,
        data=result.data, child=result.child or call.child,
    )  # fmt: skip


def turns(stream: Iterable[Event]) -> list[Turn]:
    """Prompts, each with all that follows until the next.

    What comes before the first prompt is a turn without one. Usage counts each response once,
    its last record; what a fork inherited is included, as it is part of what was said.
    """
    made: list[Turn] = []
    held: list[Event] = []
    for e in stream:
        if isinstance(e, UserMessage) and not e.injected:
            if held:
                made.append(_turn(len(made) + 1, held))
            held = []
        held.append(e)
    if held:
        made.append(_turn(len(made) + 1, held))
    if made and not made[0].prompt and not made[0].tool_calls and not made[0].reply:
        made = [msgspec.structs.replace(t, index=t.index - 1) for t in made[1:]]
    return made


def _turn(index: int, stream: list[Event]) -> Turn:
    first = stream[0]
    prompt = first.content if isinstance(first, UserMessage) and not first.injected else ""
    facts: dict[str, UsageReported] = {}
    reply = ""
    outcome = "open"
    for e in stream:
        if isinstance(e, UsageReported):
            facts[e.key] = e
        elif isinstance(e, AssistantMessage):
            reply, outcome = e.content or reply, "done"
        elif isinstance(e, UsageLimitHit):
            outcome = "limited"
        elif isinstance(e, StateChanged) and e.what == "aborted":
            outcome = "aborted"
        elif isinstance(e, ToolCalled):
            outcome = "open"
    times = [e.at for e in stream if e.at is not None]
    calls = tuple(tool_calls(stream))
    usage, cost = Usage(), None
    priced = stated = unpriced = 0
    for fact in facts.values():
        usage += fact.usage
        own = pricing.price(fact.provider, fact.model, fact.usage, fact.at)
        priced += own is not None
        if own is None:
            own = fact.reported_micro_usd
            stated += own is not None
            unpriced += own is None
        if own is not None:
            cost = (cost or 0) + own
    return Turn(
        session=first.session,
        index=index,
        prompt=prompt,
        at=first.at if first.at is not None else min(times, default=None),
        ended_at=max(times, default=None),
        reply=reply,
        tool_calls=calls,
        usage=usage,
        cost=Cost(
            micro_usd=cost,
            basis=basis(priced, stated, unpriced),  # type: ignore[arg-type]
            prices_date=pricing.prices_date(),
        ),
        paths=tuple(dict.fromkeys(p for c in calls for p in c.paths)),
        outcome=outcome,  # type: ignore[arg-type]
    )
