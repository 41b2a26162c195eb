"""decklog.supervisor.registry: nothing that was supervised is ever lost."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from decklog import checked
from decklog.errors import WriteError
from decklog.model.panes import Delivery, PaneEvent, Supervised
from decklog.supervisor import registry
from decklog.supervisor.registry import Registry


def pane(name: str, **more: object) -> Supervised:
    return Supervised(id=name, name=f"the {name}", agent="claude", **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "fleet")


@pytest.mark.spec("R82", "DW14", "D16")
def test_events_make_the_registry(folder: str) -> None:
    book = Registry(folder)
    assert (book.panes(), book.seq, book.events()) == ({}, 0, [])
    first = book.add("created", pane("a"), 10)
    book.add("created", pane("b"), 11)
    last = book.add("exited", pane("a", standing="exited", code=3), 12)
    assert first == PaneEvent(seq=1, at=10, happened="created", pane=pane("a"))
    fresh = Registry(folder)
    assert fresh.panes() == {"a": last.pane, "b": pane("b")} == book.panes()
    assert [e.seq for e in fresh.events()] == [1, 2, 3]
    assert fresh.events(after=2) == [last]


@pytest.mark.spec("D21", "R82")
def test_two_writers_see_each_other(folder: str) -> None:
    one, two = Registry(folder), Registry(folder)
    seqs = [w.add("created", pane(f"p{i}"), i).seq for i in range(20) for w in [(one, two)[i % 2]]]
    assert seqs == list(range(1, 21))
    assert one.panes() == two.panes() == {f"p{i}": pane(f"p{i}") for i in range(20)}


@pytest.mark.spec("R82")
@pytest.mark.parametrize("torn", [b"0", b"deadbeef {", b"deadbeef " + b"x" * 500, b"\xff\x00"])
def test_a_torn_tail_is_kept_beside(folder: str, torn: bytes) -> None:
    Registry(folder).add("created", pane("a"), 1)
    with open(f"{folder}/panes.log", "ab") as f:
        f.write(torn)
    book = Registry(folder)
    assert book.panes() == {"a": pane("a")}
    assert book.add("created", pane("b"), 2).seq == 2
    assert Registry(folder).panes() == {"a": pane("a"), "b": pane("b")}
    assert Path(f"{folder}/panes.log.torn-1").read_bytes() == torn


@pytest.mark.spec("R82")
def test_damage_costs_one_step_of_history(folder: str) -> None:
    book = Registry(folder)
    for i in range(6):
        book.add("created", pane(f"p{i % 3}", place=str(i)), i)
    path = Path(folder, "panes.log")
    lines = path.read_bytes().split(b"\n")
    for victim in range(6):
        broken = [*lines]
        broken[victim] = broken[victim][:40] + b"X" + broken[victim][41:]
        path.write_bytes(b"\n".join(broken))
        fresh = Registry(folder)
        found = fresh.panes()
        assert set(found) == {"p0", "p1", "p2"}
        assert fresh.damaged == 1
        assert fresh.seq == 6
        assert [found[f"p{i}"].place for i in range(3)] == [
            str(i if i + 3 == victim else i + 3) for i in range(3)
        ]


@pytest.mark.spec("R82")
def test_a_full_disk_changes_nothing(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Registry(folder)
    book.add("created", pane("a"), 1)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        real(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WriteError):
        book.add("created", pane("b"), 2)
    monkeypatch.undo()
    assert book.panes() == Registry(folder).panes() == {"a": pane("a")}
    assert book.add("created", pane("b"), 2).seq == 2


@pytest.mark.spec("R82", "R86")
def test_a_large_file_is_carried_over(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LARGE", 4000)
    one, two = Registry(folder), Registry(folder)
    told = Delivery(outcome="queued", key="once")
    one.add("sent", pane("p1"), 0, delivery=told)
    for i in range(60):
        (one, two)[i % 2].add("moved", pane(f"p{i % 7}", place=str(i)), i)
    fresh = Registry(folder)
    assert fresh.panes() == one.panes() == two.panes()
    assert {p.id: p.place for p in fresh.panes().values()} == {
        f"p{i % 7}": str(i) for i in range(53, 60)
    }
    assert fresh.seq == 61
    assert fresh.sent("once") == one.sent("once") == told
    assert Path(folder, "panes.log").stat().st_size < 8000
    seqs = [e.seq for e in fresh.events(after=40)]
    assert seqs == list(range(seqs[0], 62))
    assert len(list(Path(folder).glob("panes.log.0*"))) <= checked.OLD


def test_unknown_fields_of_a_newer_version_are_no_damage(folder: str) -> None:
    book = Registry(folder)
    event = msgspec.to_builtins(book.add("created", pane("a"), 1))
    event["seq"], event["more"] = 2, {"new": True}
    data = msgspec.json.encode(event)
    with open(f"{folder}/panes.log", "ab") as f:
        f.write(checked.line(data))
    assert Registry(folder).seq == 2
    assert book.damaged == 0
