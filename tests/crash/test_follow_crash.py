"""A follower that is killed at any moment: who goes on from the last number it kept is told every
event once, and the store is that of one undisturbed sync."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from decklog import testing
from decklog.agents import get
from decklog.live import following, watching
from decklog.model import Happened, Lagged
from forked import killed
from homes import Synced
from test_crash import Home, die_after

LONG = bool(os.environ.get("DECKLOG_LONG") or os.environ.get("DECKLOG_FULL_SIZE"))
KILLS = 300 if LONG else 100
"""`just crash-long` for the larger number."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SETTLE_AFTER", 0.01)
    monkeypatch.setattr(watching, "TICK", 0.02)


class Follower:
    """Follows a HOME that grows, and keeps what it was told, a line for each change."""

    def __init__(self, made: Home) -> None:
        self.made = made
        self.kept = made.own.parent / "told"

    def lines(self) -> list[tuple[int, str, int, int]]:
        """(number, source, offset, number within the source), whole lines only."""
        if not self.kept.exists():
            return []
        whole = self.kept.read_bytes().split(b"\n")[:-1]
        rows = [x.decode().split("\t") for x in whole]
        return [(int(a), b, int(c), int(d)) for a, b, c, d in rows]

    def work(self, statements: int = 0) -> Callable[[], None]:
        """Follow until nothing comes for a second; die when the thread that reads and writes has
        executed so many statements (0: it does not)."""
        since = max((x[0] for x in self.lines()), default=0)

        def follow() -> None:
            kept = os.open(self.kept, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with Synced(self.made.home, self.made.own, jobs=1) as deck:
                open_store = deck.deck._open_store

                def traced() -> Any:
                    store = open_store()
                    die_after(store.db, statements)
                    return store

                deck.deck._open_store = traced  # type: ignore[method-assign]
                changes = deck.deck.changes(since)
                while (change := changes.poll(1.0)) is not None:
                    assert not isinstance(change, Lagged)
                    if isinstance(change, Happened):
                        e = change.event
                        row = f"{change.seq}\t{e.ref.source}\t{e.ref.offset}\t{e.seq}\n"
                        os.write(kept, row.encode())

        return follow


@pytest.mark.spec("R41", "R31", "R66", "R48")
@pytest.mark.timeout(6_000 if LONG else 280)
def test_killed_while_following(tmp_path: Path) -> None:
    made = Home(tmp_path, seed=5)
    made.step = -(-made.step * 150 // KILLS)
    follower = Follower(made)
    random = Random(5)
    kills = 0
    while kills < KILLS:
        made.grow()
        if random.random() < 0.5:
            dead = killed(follower.work(), random.uniform(0, 0.25))
        else:
            dead = killed(follower.work(int(10 ** random.uniform(0, 2.8))), 30)
        kills += dead
        made.assert_lock_is_free()
        if dead and kills % 30 == 15:
            made.assert_as_clean(f"clean{kills}")
    while made.left:
        made.grow()
    assert not killed(follower.work(), 60)
    made.assert_as_clean("clean")
    lines = follower.lines()
    assert [x[0] for x in lines] == sorted({x[0] for x in lines}), "told out of order, or twice"
    told: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for _, source, offset, number in lines:
        told[source][offset, number] += 1
    alone = _sources_of_their_own(made)
    assert alone
    for agent, uri in alone:
        events, _ = testing.read(get(agent), uri, "jsonl", None)
        assert told[uri] == Counter((e.ref.offset, e.seq) for e in events), uri


def _sources_of_their_own(made: Home) -> list[tuple[str, str]]:
    """Transcripts of sessions that stand nowhere else: elsewhere each event is told in one of
    them."""
    with Synced(made.home, made.own) as deck:
        rows = deck.store.db.execute(
            """select s.agent, s.uri from source s where s.kind = 'jsonl' and s.uri not like '%.zst'
            and not exists(select 1 from part p join part q on q.session = p.session
                where p.source = s.id and q.source <> s.id)"""
        ).fetchall()
    return [(str(agent), str(uri)) for agent, uri in rows if "#" not in str(uri)]
