"""Fixtures for search."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from decklog import hub, transcripts
from decklog.store.text.documents import Documents
from homes import Synced

HERE = Path(__file__).parent.parent / "agents"


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hub.Decklog]:
    """A deck over the transcripts of all situations of all agents in one HOME."""
    folder = tmp_path_factory.mktemp("everything")
    home = folder / "home"
    for situation in sorted(HERE.glob("*/*/input")):
        shutil.copytree(situation, home, dirs_exist_ok=True)
    with Synced(home, folder / "own") as made:
        made.sync()
        yield made.deck


@pytest.fixture(scope="session")
def texts(everything: hub.Decklog) -> dict[tuple[str, int], str]:
    """Every text there is, by session and number of the event: read without the index."""
    found: dict[tuple[str, int], str] = {}
    store = everything.store
    for uri, agent, kind, source in store.db.execute(
        "select uri, agent, kind, id from source where kind not in ('other', 'companion')"
    ).fetchall():
        parts = dict(
            store.db.execute(
                "select session, part from part where source = ? and not superseded", (source,)
            )
        )
        if not parts:
            continue
        for event in transcripts.of_source({"agent": agent, "uri": uri, "kind": kind}):
            if event.session in parts:
                one = Documents()
                one.add([event])
                for d in one.taken():
                    number = d.seq + store.shift(event.session, source)
                    found[event.session, number] = f"{d.text}\n\n{d.paths}"
    return found
