"""Events to rows: what one read of one source adds to a store. Pure, and written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec.structs import astuple

from decklog.agents._shared import clean, is_noise
from decklog.model import (
    Event,
    Facts,
    ParseWarning,
    Ref,
    ToolCalled,
    ToolReturned,
    UsageReported,
    UserMessage,
)
from decklog.store.events import COLUMNS, KINDS, NOWHEN, pack

EACH_ITS_PLACE = frozenset({"damaged", "too_long", "too_big", "too_deep", "misfiled"})
"""Findings that are listed one by one; others are counted by what they say."""


class Batch(NamedTuple):
    """Rows of one source, and the cursor they lead to. Plain values: it crosses processes."""

    source: int
    stat: tuple[int, int, int, int]
    """size, mtime_ns, device, inode"""
    offset: int
    line: int
    check: bytes
    state: bytes
    version: str
    parts: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]
    usage: list[tuple[Any, ...]]
    calls: list[list[Any]]
    results: list[tuple[Any, ...]]
    touched: list[list[Any]]
    prompts: list[tuple[Any, ...]]
    findings: list[tuple[Any, ...]]
    prints: bytes | None = None
    """Of a document: the fingerprints of its events."""


class Rows:
    """Collects the rows of one source between two commits."""

    def __init__(
        self,
        source: int,
        agent: str,
        price: Callable[..., int | None],
        day: Callable[[int], str],
        facts: dict[str, Facts],
    ) -> None:
        self.source, self.agent = source, agent
        self.price, self.day = price, day
        self.facts = facts
        self.ordinals: dict[str, int] = {}
        self.clear()

    def _part(self, session: str) -> int:
        """Ordinal of a session within the source: its place among the reader's facts.

        A warning given before any session is met goes to the first.
        """
        for native in self.facts:
            self.ordinals.setdefault(f"{self.agent}:{native}", len(self.ordinals))
        return self.ordinals.get(session, 0)

    def clear(self) -> None:
        self.values: list[int] = []
        """Those of `decklog.store.events.COLUMNS`, one event after the other."""
        self.last = 0
        """Sequence number of the last event."""
        self.usage: dict[str, list[Any]] = {}
        """Of each response the record that stands, its part, and how many there are."""
        self.calls: dict[str, list[Any]] = {}
        self.results: list[tuple[Any, ...]] = []
        self.touched: dict[tuple[int, str], list[Any]] = {}
        self.prompts: list[tuple[Any, ...]] = []
        self.findings: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self.values) // len(COLUMNS)

    def add(self, events: Sequence[Any]) -> None:
        """Take the rows of some events (any of `decklog.model.Event`)."""
        source, ordinals, push = self.source, self.ordinals, self.values.extend
        for e in events:
            session, ref = e.session, e.ref
            part = ordinals.get(session)
            if part is None:
                part = self._part(session)
            kind = type(e)
            at = e.at
            push((NOWHEN if at is None else at, ref.offset, ref.length, part, _CODES[kind]))
            if kind is UsageReported:
                known = self.usage.get(e.key)
                if known is None:
                    self.usage[e.key] = [e, part, 1]
                else:
                    known[2] += 1
                    if _stands(e, known[0]):
                        known[:2] = e, part
            elif kind is ToolCalled:
                self._call(e, part)
            elif kind is ToolReturned:
                self._result(e, part)
            elif kind is UserMessage:
                if not e.injected:
                    text = clean(e.content)
                    row = (source, e.seq, part, e.uid, e.at, text, ref.offset, ref.length)
                    self.prompts.append(row)
            elif kind is ParseWarning:
                self.finding(e.reason, e.message, ref)
        if events:
            self.last = events[-1].seq

    def _packed(self) -> list[tuple[Any, ...]]:
        n = len(self)
        return [(self.source, self.last - n + 1, n, pack(self.values))] if n else []

    def _usage(self, e: UsageReported, part: int, records: int) -> tuple[Any, ...]:
        u, at, ref = e.usage, e.at, e.ref
        return (
            self.source, e.key, part, at, "" if at is None else self.day(at), e.provider, e.model,
            u.input, u.cache_read, u.cache_write, u.cache_write_1h, u.output, u.reasoning,
            self.price(e.provider, e.model, u, at), e.reported_micro_usd, e.rank, e.inherits,
            ref.offset, ref.length, ref.line, records,
        )  # fmt: skip

    def _call(self, e: ToolCalled, part: int) -> None:
        key = e.tool_id or f"#{e.seq}"
        if key not in self.calls:
            self.calls[key] = [
                self.source, key, part, e.seq, e.tool_name, e.tool_kind or "other", e.at, e.child,
                e.ref.offset, e.ref.length, None, None, None, None, None,
            ]  # fmt: skip
        if e.paths:
            wrote = e.tool_kind in ("file_write", "file_edit", "notebook")
            self._touch(e.paths, part, e.at, wrote)

    def _result(self, e: ToolReturned, part: int) -> None:
        ok = None if e.success is None else int(e.success)
        call = self.calls.get(e.tool_id or "")
        if call is not None:
            if e.child:
                call[7] = e.child
            if e.at is not None:
                call[11] = e.at
            if e.duration_ms is not None:
                call[12] = e.duration_ms
            call[10], call[13], call[14] = ok, e.ref.offset, e.ref.length
        else:  # its call came in an earlier batch
            row = (ok, e.at, e.duration_ms, e.child or None, e.ref.offset, e.ref.length)
            self.results.append((*row, self.source, e.tool_id))
        if e.paths:
            self._touch(e.paths, part, e.at, True)

    def _touch(self, paths: tuple[str, ...], part: int, at: int | None, wrote: bool) -> None:
        for path in paths:
            path = path[:4096]
            row = self.touched.get((part, path))
            if row is None:
                if is_noise(path):
                    continue
                row = self.touched[part, path] = [self.source, part, path, 0, 0, at, at]
            row[4 if wrote else 3] += 1
            if at is not None:
                row[5] = at if row[5] is None or at < row[5] else row[5]
                row[6] = at if row[6] is None or at > row[6] else row[6]

    def finding(self, reason: str, detail: str, ref: Ref) -> None:
        slot = ref.offset if reason in EACH_ITS_PLACE else 0
        row = (self.source, reason, detail[:500], slot, ref.offset, ref.length, ref.line)
        self.findings.append(row)

    def batch(
        self,
        stat: tuple[int, int, int, int],
        offset: int,
        line: int,
        check: bytes,
        state: bytes,
        version: str = "",
    ) -> Batch:
        """The rows so far as a batch; the collection starts anew."""
        prefix = f"{self.agent}:"
        parts = []
        for part, (native, f) in enumerate(self.facts.items()):
            parts.append((self.source, part, prefix + native, *astuple(f)))
        made = Batch(
            self.source, stat, offset, line, check, state, version, parts, self._packed(),
            [self._usage(*u) for u in self.usage.values()], list(self.calls.values()), self.results,
            list(self.touched.values()), self.prompts, self.findings,
        )  # fmt: skip
        self.clear()
        return made


def _stands(e: UsageReported, before: UsageReported) -> bool:
    """True when a record of a response takes the place of an earlier one: the same rule as the
    store's, for records of two batches (see its upsert)."""
    return (
        e.rank > before.rank
        or e.rank == 0
        or (e.rank == before.rank and e.usage.output >= before.usage.output)
    )


_CODES: dict[type, int] = {}
for _kind in Event.__args__:
    _CODES[_kind] = KINDS[_kind.__struct_config__.tag]


def code_of(event: Event) -> int:
    """Number of an event's kind."""
    return _CODES[type(event)]
