"""The Structs of the fleet survive a round trip as JSON and tell reused pids apart."""

from __future__ import annotations

import msgspec
import pytest

from decklog.model.fleet import AgentProcess, AgentState, Evidence, Match, Process, Waiting


@pytest.mark.parametrize(
    "value",
    [
        AgentProcess(
            agent="claude",
            root=Process(pid=7, start_ticks=99, boot="b", argv=("claude", "-c")),
            native="n",
        ),
        Match(agent="claude", root=Process(pid=7, start_ticks=99).identity, pids=(7, 8)),
        AgentState(
            state="waiting_approval",
            evidence=(Evidence(kind="hook", says="waiting_approval", at=5, ref="toolu_1"),),
            waiting=Waiting(says="waiting_approval", ref="toolu_1"),
        ),
    ],
)
def test_structs_survive_json(value: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_reused_pid_is_another_identity() -> None:
    old, new = Process(pid=7, start_ticks=99, boot="b"), Process(pid=7, start_ticks=100, boot="b")
    assert old.identity != new.identity
    assert old.identity == Process(pid=7, start_ticks=99, boot="b", cwd="/elsewhere").identity
