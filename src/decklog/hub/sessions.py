"""Questions about sessions: lists, one session, its events and turns."""

from __future__ import annotations

from decklog.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from decklog.model import Event, Filter, Session, ToolCall, Turn


class Sessions:
    """Part of `decklog.hub.Decklog`."""

    store: Any

    def session_rows(self, **where: Any) -> Iterator[dict[str, Any]]:
        """Sessions, newest first, as plain rows. Keywords as the fields of `Filter`."""
        rows: Iterator[dict[str, Any]] = self.store.sessions(where)
        return rows

    def session_json(self, **where: Any) -> Iterator[str]:
        """The rows of `session_rows`, each as one JSON object."""
        objects: Iterator[str] = self.store.session_json(where)
        return objects

    def sessions(self, filter: Filter | None = None, **where: Any) -> Iterator[Session]:
        """Sessions, newest first, by a `Filter` or its fields as keywords."""
        import msgspec

        from decklog.decoding import convert
        from decklog.model import Session

        if filter is not None:
            where = {**msgspec.structs.asdict(filter), **where}
        for row in self.store.sessions(where):
            yield convert(row, Session)

    def find(self, text: str) -> str:
        """The full id of a session: an id, a native id, any unambiguous prefix, or ``latest``.

        Raises NotFound, or UsageError when the text may mean several sessions.
        """
        found: list[str] = self.store.resolve(text) or self._below(text)
        if not found:
            raise NotFound(f"no session {text!r}", hint="decklog ls lists them")
        if len(found) > 1:
            some = ", ".join(found[:8]) + (" ..." if len(found) > 8 else "")
            raise UsageError(
                f"{text!r} may mean {len(found)} sessions: {some}", hint="write more of the id"
            )
        return found[0]

    def _below(self, text: str) -> list[str]:
        """Subagents by the beginnings of both halves of their id, as lists show them."""
        top, mark, below = text.partition(".agent-")
        tops = self.store.resolve(top) if mark else ()
        rows = (r for name in tops for r in self.store.sessions({"root": name}))
        return [r["id"] for r in rows if r["id"].partition(mark)[2].startswith(below or "?")]

    def session(self, text: str) -> Session:
        """One session by id, prefix or ``latest``. Raises NotFound, UsageError."""
        name = self.find(text)
        for found in self.sessions(ids=[name]):
            return found
        raise NotFound(f"nothing happened in session {name!r}", hint="decklog ls lists sessions")

    def events(self, text: str) -> Iterator[Event]:
        """The events of a session in order, read from its sources. Raises NotFound, SourceError."""
        from decklog import transcripts

        return transcripts.events(self.store, self.find(text))

    def around(self, text: str, seq: int, count: int = 0) -> list[Event]:
        """One event of a session by its number, with so many events before and after it. Raises
        NotFound, SourceError."""
        from decklog import transcripts

        name = self.find(text)
        found = transcripts.around(self.store, name, seq, count)
        if not found:
            raise NotFound(f"no event {seq} in {name}", hint=f"decklog show {name} --events")
        return found

    def raw(self, text: str) -> Iterator[bytes]:
        """The records of a session's sources as the agent wrote them, line ends included."""
        from decklog import transcripts

        return transcripts.raw(self.store, self.find(text))

    def provenance(self, text: str) -> list[dict[str, Any]]:
        """Where a session is read from: each of its sources with ``read_from``, which is ``disk``,
        ``archive``, or ``nowhere`` when neither has it."""
        from decklog.standing import Copies, stands

        rows = []
        with Copies(self.store.folder) as copies:
            for part in self.store.parts(self.find(text)):
                if not part["superseded"]:
                    copy = copies.find(part)
                    place = "disk" if stands(part) else "archive" if copy else "nowhere"
                    rows.append({"source": part["uri"], "agent": part["agent"], "read_from": place})
        return rows

    def turns(self, text: str) -> list[Turn]:
        """The session as turns: each prompt with the tool calls, reply and usage that followed."""
        from decklog import transcripts

        return transcripts.turns(self.events(text))

    def story(self, text: str) -> Iterator[tuple[Turn, list[Event]]]:
        """The session as turns, each with its events."""
        from decklog import transcripts

        return transcripts.story(self.events(text))

    def tool_calls(self, text: str) -> list[ToolCall]:
        """Tool calls of a session, joined to their results."""
        from decklog import transcripts

        return transcripts.tool_calls(self.events(text))

    def children(self, text: str) -> list[Session]:
        """Subagents and forks of a session."""
        names: list[str] = self.store.children(self.find(text))
        return list(self.sessions(ids=names)) if names else []

    def files(self, text: str) -> list[dict[str, Any]]:
        """Paths a session's tools touched: path, reads, writes, first_at, last_at."""
        rows: list[dict[str, Any]] = self.store.touched(self.find(text))
        return rows
