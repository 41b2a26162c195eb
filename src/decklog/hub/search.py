"""Questions about texts: where a word, a phrase, a path was."""

from __future__ import annotations

from decklog.errors import NotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from decklog.config import Config
    from decklog.model import Page
    from decklog.search.answering import Remembered
    from decklog.zones import Zone

    Answer = TypeVar("Answer")

MOST = 1_000
"""Hits on one page."""


class Search:
    """Part of `decklog.hub.Decklog`."""

    config: Config
    zone: Zone
    store: Any
    known_agents: Callable[[], list[str]]
    refresh: Callable[..., str]
    _mending: Callable[..., Any]
    _pages: Remembered | None = None

    def search(
        self,
        query: str,
        *,
        limit: int = 20,
        best: bool = False,
        after: str | None = None,
        now: int | None = None,
        **where: Any,
    ) -> Page:
        """The places that answer a query (see `decklog.search.grammar`), newest or best first.

        Keywords: agents, projects, models, roles, tools, files (lists of words), since and until
        (milliseconds, UTC). ``after`` is the ``next`` of a page before. Answers from what is
        indexed: `sync` first; ``Page.covered`` tells how far the index is. Raises UsageError for
        a query that cannot be meant, with the place in it.

        >>> import decklog
        >>> with decklog.open() as deck:
        ...     deck.sync()
        ...     for hit in deck.search('"connection refused" role:tool', limit=5).hits:
        ...         print(hit.id, hit.snippet)
        """
        from decklog.decoding import convert
        from decklog.model import Page

        rows = self.search_rows(query, limit=limit, best=best, after=after, now=now, **where)
        return convert(rows, Page)

    def search_rows(
        self,
        query: str,
        *,
        limit: int = 20,
        best: bool = False,
        after: str | None = None,
        now: int | None = None,
        **where: Any,
    ) -> dict[str, Any]:
        """`search` as plain rows."""
        from decklog.search import answering

        if not 1 <= limit <= MOST:
            raise UsageError(f"no page of {limit} hits", hint=f"1 to {MOST:,}")
        given = repr(where)
        asked, where = self._asked(query, where, now)
        key = (query, given, repr(where), limit, best, after)
        pages = self._pages = self._pages or answering.Remembered()

        def answer() -> dict[str, Any]:
            search = answering.Search(self.store, asked, where)
            found = pages.page(self.store, key, lambda: search.page(limit, best=best, after=after))
            return {
                "hits": [{**hit} for hit in found.hits],
                "next": found.next_page,
                "covered": answering.covered(self.store),
            }

        return self._answered(answer)

    def _answered(self, ask: Callable[[], Answer]) -> Answer:
        """An answer from the text index; from one that was made anew where it is damaged."""

        def again() -> Answer:
            self.refresh(complete=True)
            return ask()

        answer: Answer = self._mending(ask, again)
        return answer

    def hit_json(self, hit: dict[str, Any]) -> str:
        """A hit of `search_rows` as one JSON object."""
        from decklog.search import answering

        return answering.hit_json(self.store.db, hit)

    def scan_rows(self, pattern: str, *, limit: int = 20, **where: Any) -> dict[str, Any]:
        """The newest places at which a regular expression matches, as plain rows: `search` over
        the bytes of the sources themselves, without the index.

        Keywords: agents, projects, models, since, until. Forms that may take for ever are refused:
        a repeat within a repeat, a reference back, a look ahead or behind. A record on which the
        pattern takes over 0.1 s is given up on and counted in ``slow``; after 100 of them the
        search ends with what it has, and ``ended`` is true.
        """
        from decklog.search import answering, scanning

        scan = scanning.Scan(self.store, pattern, {k: v for k, v in where.items() if v})
        return {
            "hits": scan.hits(limit, answering.SNIPPET), "next": None,
            "slow": scan.slow, "ended": scan.slow >= scanning.MAX_SLOW,
        }  # fmt: skip

    def search_count(self, query: str, *, now: int | None = None, **where: Any) -> int:
        """How many places answer a query; arguments as for `search`."""
        from decklog.search import answering

        asked, where = self._asked(query, where, now)
        return self._answered(lambda: answering.Search(self.store, asked, where).count())

    def covered(self) -> dict[str, Any]:
        """How far the text index is, with the fields of `decklog.model.Covered`."""
        from decklog.search import answering

        return self._answered(lambda: answering.covered(self.store))

    def _asked(
        self, text: str, where: dict[str, Any], now: int | None
    ) -> tuple[Any, dict[str, Any]]:
        """The query taken apart, with what the keywords add to it; and the filter."""
        from decklog.search import grammar

        query = grammar.parse(text)
        filters = {
            k: where.pop(k)
            for k in ("agents", "projects", "models", "since", "until")
            if where.get(k)
        }
        for field in grammar.INDEXED:
            grammar.add(query, field, where.pop(f"{field}s", ()))
        if unknown := [k for k, v in where.items() if v]:
            raise UsageError(f"no filter {unknown[0]!r}")
        for name, value in query.filters.items():
            if name in grammar.TIMES:
                filters[name] = self._moment(value, now)
            else:
                filters[name] = [*filters.get(name, ()), *value]
        for name in filters.get("agents", ()):
            known = self.known_agents()
            if name not in known:
                raise NotFound(f"no agent {name!r}", hint=f"known agents: {', '.join(known)}")
        return query, filters

    def _moment(self, text: str, now: int | None) -> int:
        from decklog import zones

        if now is None:
            import time

            now = time.time_ns() // 1_000_000
        return zones.moment(text, now, self.zone)
