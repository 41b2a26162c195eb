"""Words, places, tokens and money."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

Origin: TypeAlias = Literal[
    "wrapper", "provider_file", "provider_log", "stdout", "stderr", "backfill"
]
Completeness: TypeAlias = Literal["full", "partial", "metadata_only"]
Relation: TypeAlias = Literal["fork", "subagent", "resume", "continuation"]
ToolKind: TypeAlias = Literal[
    "shell",
    "file_read",
    "file_write",
    "file_edit",
    "search",
    "sub_agent",
    "web",
    "notebook",
    "other",
]
SourceKind: TypeAlias = Literal["jsonl", "json", "sqlite", "dir"]
Basis: TypeAlias = Literal["computed", "reported", "unknown", "mixed"]

NULL = msgspec.Raw(b"null")
"""The raw JSON of a field that has nothing in it."""


class Source(Struct, frozen=True, kw_only=True):
    """Where bytes come from: one file, one database or one directory tree of one agent."""

    agent: str
    uri: str
    """Absolute path."""
    kind: SourceKind = "jsonl"
    size: int = 0
    mtime_ns: int = 0
    device: int = 0
    inode: int = 0
    host: str = ""


class Cursor(Struct, frozen=True, kw_only=True):
    """How far a source has been read. A reader made from it goes on as if it had read it all."""

    source: Source
    offset: int = 0
    """Bytes read: always just past a newline, never inside a record."""
    line: int = 0
    """Lines read."""
    check: bytes = b""
    """Hash of the (at most) 4 KiB before ``offset``."""
    state: bytes = b""
    """The reader's own continuation; opaque to everyone else."""


class Ref(Struct, frozen=True):
    """The place a fact was read from."""

    source: str = ""
    """Path of the source; empty when the reader was fed by hand."""
    offset: int = 0
    """Byte offset of the record (its ordinal in a document or database)."""
    length: int = 0
    line: int = 0
    """Line number, from 1; 0 where there are no lines."""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one or more provider responses, in disjoint parts.

    ``input + cache_read + cache_write`` is what went in, ``output`` is all that came out.
    Where a provider does not report cache writes they are part of ``input``.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    """The part of ``cache_write`` that was written for one hour (dearer at some providers)."""
    output: int = 0
    reasoning: int = 0
    """The part of ``output`` that was reasoning."""

    @property
    def total(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.output

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


class Cost(Struct, frozen=True, kw_only=True):
    """What usage cost. ``micro_usd`` is None where no price is known: unknown is not zero."""

    micro_usd: int | None = None
    basis: Basis = "unknown"
    reported_micro_usd: int | None = None
    """What the agent itself said it cost, kept beside the computed figure."""
    prices_date: str = ""
    """Date of the price list used (YYYY-MM-DD)."""
