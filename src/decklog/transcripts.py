"""Whole sessions read back from their sources: events, turns, joined tool calls."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from decklog import agents, databases, pricing, reading, sources
from decklog.agents import Agent
from decklog.errors import FormatError, NotFound, SourceError
from decklog.model import (
    AssistantMessage,
    Cost,
    Cursor,
    Event,
    ParseWarning,
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
from decklog.standing import Copies, stands
from decklog.store import REWRITTEN
from decklog.store.cost import basis
from decklog.store.queries import SHIFT
from decklog.unpacking import Bomb

if TYPE_CHECKING:
    from decklog.archive import CopyReader


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


def _read(
    a: Agent, uri: str, kind: str, parts: Iterable[str] = (), copy: CopyReader | None = None
) -> Iterator[Event]:
    uri = uri.partition(REWRITTEN)[0]
    source = Source(agent=a.name, uri=uri, kind=kind)  # type: ignore[arg-type]
    with troubles(uri):
        companions = reading.companions(a, uri.partition("#")[0])
        reader = a.reader(Cursor(source=source), companions=companions)
        if kind != "jsonl":
            data = _document(a, uri, kind, parts, copy)
            if data:
                yield from reader.feed(data, Ref(uri, 0, len(data)))
            return
        line = 0
        session = ""
        for chunk in sources.chunks(uri, 0, copy=copy):
            for offset, data in chunk.lines:
                line += 1
                ref = Ref(uri, offset, len(data), line)
                if len(data) > sources.LEAN_LINE:  # its place and numbers are in the store
                    yield too_long(a, session, ref)
                    continue
                for event in reader.feed(data, ref):
                    session = event.session
                    yield event
            if chunk.skipped:
                line += 1
                yield too_long(a, session, Ref(uri, chunk.start, chunk.skipped, line))


def too_long(a: Agent, session: str, ref: Ref) -> Event:
    """What stands for a record that is too long to be shown."""
    return ParseWarning(
        session=session,
        agent=a.name,
        ref=ref,
        uid=f"too_long:{ref.offset}",
        message=f"a record of {ref.length} bytes is not shown",
        reason="too_long",
    )


@contextmanager
def troubles(uri: str) -> Iterator[None]:
    """Whatever keeps a source from being read, as SourceError."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{uri}: {error.strerror}") from None
    except (Bomb, databases.Unreadable, databases.UnknownSchema) as error:
        raise SourceError(str(error)) from None


def _document(
    a: Agent, uri: str, kind: str, parts: Iterable[str], copy: CopyReader | None
) -> bytes | None:
    if copy is not None:
        return b"".join(copy.everything())
    return reading.document_bytes(a, uri, kind, uri.rpartition("#")[2], parts)


def _live_parts(store: Any, session: str) -> list[dict[str, Any]]:
    """Sources that a session is read from, each with its archived ``copy`` where it is not on
    disk."""
    parts: list[dict[str, Any]] = [p for p in store.parts(session) if not p["superseded"]]
    with Copies(store.folder) as copies:
        for part in parts:
            part["copy"] = copies.find(part)
    readable = [p for p in parts if p["copy"] is not None or stands(p)]
    if not readable:
        raise SourceError(
            f"{session}: its transcript is gone from disk "
            f"({parts[0]['uri'] if parts else '?'}), and not in the archive"
        )
    return readable


def events(store: Any, session: str) -> Iterator[Event]:
    """Events of a session from all its sources, each record once. They are numbered as in their
    source, so that a number stays what it is; those of a further source begin `SHIFT` higher."""
    seen: set[tuple[str, str]] = set()
    parts = _live_parts(store, session)
    for part in parts:
        shift = store.shift(session, part["id"])
        for event in of_source(part):
            if event.session != session:
                continue
            key = (type(event).__name__, event.uid)
            if len(parts) > 1 and event.uid:
                if key in seen:
                    continue
                seen.add(key)
            yield msgspec.structs.replace(event, seq=event.seq + shift)


def around(store: Any, session: str, seq: int, count: int) -> list[Event]:
    """The event with a number, and so many before and after it; nothing when there is none."""
    before: deque[Event] = deque(maxlen=count + 1)
    found: list[Event] = []
    left = 0
    for event in _holding(store, session, seq):
        if found:
            found.append(event)
        else:
            before.append(event)
            if event.seq == seq:
                found = list(before)
                left = len(found) + count
        if found and len(found) == left:
            break
    return found


def _holding(store: Any, session: str, seq: int) -> Iterator[Event]:
    """The events of a session among which a number is: also of what was read of a file before it
    was rewritten, which is no part of the session as it stands."""
    order = store.numbering(session)
    source = order[seq // SHIFT] if seq // SHIFT < len(order) else None
    old = next((p for p in store.parts(session) if p["id"] == source and p["superseded"]), None)
    if old is None:
        yield from events(store, session)
        return
    with Copies(store.folder) as copies:
        old["copy"] = copies.find(old)
    for event in of_source(old):
        if event.session == session:
            yield msgspec.structs.replace(event, seq=event.seq + seq // SHIFT * SHIFT)


def of_source(part: Mapping[str, Any]) -> Iterator[Event]:
    """All events of one source (agent, uri, kind), whosever they are. Raises SourceError."""
    a = agents.get(part["agent"])
    return _read(a, part["uri"], part["kind"], _folder_parts(a, part), part.get("copy"))


def of_record(part: Mapping[str, Any], record: bytes | None, offset: int) -> list[Event]:
    """Events of one record of a source (agent, uri), as if it stood alone. Raises SourceError when
    there is none."""
    uri = part["uri"].partition(REWRITTEN)[0]
    if record is None:
        raise SourceError(f"{uri}: no record at byte {offset} any more")
    a = agents.get(part["agent"])
    reader = a.reader(Cursor(source=Source(agent=a.name, uri=uri)))
    return reader.feed(record, Ref(uri, offset, len(record)))


def _folder_parts(a: Agent, part: Mapping[str, Any]) -> list[str]:
    if part["kind"] != "dir" or part.get("copy") is not None:
        return []
    root, _, document = part["uri"].rpartition("#")
    relatives = [r for r, _ in sources.walk(root) if a.claim(r) == "dir"]
    return a.gather(relatives).get(document, [])


def raw(store: Any, session: str) -> Iterator[bytes]:
    """Records of a session's sources as they stand in the files, each with its line end."""
    for part in _live_parts(store, session):
        uri, copy = part["uri"].partition(REWRITTEN)[0], part["copy"]
        with troubles(uri):
            if part["kind"] == "jsonl":
                for chunk in sources.chunks(uri, 0, copy=copy):
                    for offset, data in chunk.lines:
                        yield data if offset + len(data) == chunk.end else data + b"\n"
                continue
            a = agents.get(part["agent"])
            parts = _folder_parts(a, part)
            document = _document(a, uri, part["kind"], parts, copy)
            if document:
                yield document if part["kind"] == "json" else document + b"\n"


def tool_calls(stream: Iterable[Event]) -> list[ToolCall]:
    """Calls joined to their results, in the order they were made."""
    found = [e for e in stream if isinstance(e, (ToolCalled, ToolReturned))]
    results = {e.tool_id: e for e in found if isinstance(e, ToolReturned) and e.tool_id}
    return _joined(found, results)


def _joined(stream: Iterable[Event], results: Mapping[str, ToolReturned]) -> list[ToolCall]:
    calls: dict[str, ToolCalled] = {}
    for e in stream:
        if isinstance(e, ToolCalled):
            calls.setdefault(e.tool_id or f"#{e.seq}", e)
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
    """Prompts, each with all that follows until the next; see `story`."""
    return [turn for turn, _ in story(stream)]


def story(stream: Iterable[Event]) -> Iterator[tuple[Turn, list[Event]]]:
    """Prompts, each with all that follows until the next, and the events behind it.

    What comes before the first prompt is a turn without one, if anything was done there. A tool
    call has its result, also when that came after the next prompt. Usage counts each response
    once, the record of it that stands; what a fork inherited is included, as it is part of what
    was said.
    """
    groups: list[list[Event]] = [[]]
    results: dict[str, ToolReturned] = {}
    facts: dict[str, UsageReported] = {}
    for e in stream:
        if isinstance(e, UserMessage) and not e.injected:
            groups.append([])
        elif isinstance(e, ToolReturned) and e.tool_id:
            results[e.tool_id] = e
        elif isinstance(e, UsageReported) and _stands(e, facts.get(e.key)):
            facts[e.key] = e
        groups[-1].append(e)
    index = 1
    for i, group in enumerate(groups):
        if not group:
            continue
        turn = _turn(index, group, results, facts)
        if i or turn.tool_calls or turn.reply or turn.usage.total:
            index += 1
            yield turn, group


def _stands(new: UsageReported, old: UsageReported | None) -> bool:
    """The last record of a response stands, unless it says less than one before it."""
    if old is None or new.rank != old.rank:
        return old is None or new.rank > old.rank
    return new.rank == 0 or new.usage.output >= old.usage.output


def _turn(
    index: int,
    stream: list[Event],
    results: Mapping[str, ToolReturned],
    facts: Mapping[str, UsageReported],
) -> Turn:
    first = stream[0]
    prompt = first.content if isinstance(first, UserMessage) and not first.injected else ""
    reply = ""
    outcome = "open"
    counted: list[UsageReported] = []
    for e in stream:
        if isinstance(e, UsageReported):
            if facts[e.key] is e:
                counted.append(e)
        elif isinstance(e, AssistantMessage):
            reply, outcome = e.content or reply, "done"
        elif isinstance(e, UsageLimitHit):
            outcome = "limited"
        elif isinstance(e, StateChanged) and e.what == "aborted":
            outcome = "aborted"
        elif isinstance(e, ToolCalled):
            outcome = "open"
    times = [e.at for e in stream if e.at is not None]
    calls = tuple(_joined(stream, results))
    usage, cost = Usage(), None
    priced = stated = unpriced = 0
    for fact in counted:
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
