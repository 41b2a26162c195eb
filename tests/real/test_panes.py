"""Panes with the real programs in them: started, talked to, watched, ended, restored by decklog."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from sandbox import until

import decklog
from decklog import processes
from decklog.hub.panes import Panes, Request, Row
from decklog.model.fleet import Identity

SLOW = "I think about it, slowly, in several pieces, and then I say what I found."
WITHIN = 2.0
"""Seconds in which a state has to be told after it is there."""
ESCALATED = {"sandbox_permissions": "require_escalated", "justification": "Scripted: may I?"}
LIMIT = {
    "error": {
        "status": 429,
        "times": 50,
        "message": "This request would exceed your account's rate limit.",
        "body": {
            "type": "error",
            "error": {
                "type": "usage_limit_reached",
                "message": "The usage limit has been reached",
                "plan_type": "plus",
                "resets_in_seconds": 3600,
            },
        },
    }
}


def script(agent: str) -> dict[str, Any]:
    shell: dict[str, Any] = {"tool": "shell", "command": "touch made && sleep 2"}
    if agent == "codex":
        shell["extra"] = ESCALATED
    return {
        "turns": [
            {"text": SLOW, "gate": "g1"},
            {"text": "I need a command.", "tools": [shell]},
            {"text": "The command is finished."},
            {"text": SLOW, "gate": "g2"},
            LIMIT,
        ]
    }


class Watched:
    def __init__(self, box: Any, agent: str) -> None:
        self.deck = decklog.open(env=box.env)
        self.panes: Panes = self.deck.panes
        self.agent = agent
        self.one, _ = self.panes.create(Request(agent, name="it", cwd=str(box.cwd)))

    def tell(self) -> Row:
        self.deck.refresh()
        (row,) = (r for r in self.panes.rows() if r.id == self.one.id)
        return row

    def shows(self, words: str, ref: str = "it") -> None:
        """Its screen comes to show these words."""
        try:
            until(lambda: words in self.panes.show(ref).screen, "")
        except TimeoutError:
            screen = self.panes.show(ref).screen
            raise AssertionError(f"{self.agent} never showed {words!r}:\n{screen}") from None

    def is_(self, *states: str, within: float = WITHIN) -> Row:
        """It is told to be so within that time."""
        begun = time.monotonic()
        seen = []
        while time.monotonic() - begun < within + 0.5:
            row = self.tell()
            seen.append(row.state)
            if row.state in states:
                took = time.monotonic() - begun
                print(f"{self.agent}: {row.state} told after {took:.2f} s")
                assert took <= within, (states, took)
                return row
            time.sleep(0.05)
        screen = self.panes.show("it").screen
        raise AssertionError(f"{self.agent}: {states} expected, told {seen}\n{screen}")


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_every_state_is_told(agent: str, sandbox: Callable[..., Any]) -> None:
    options = {"subscriber": False} if agent == "claude" else {}
    box = sandbox(agent, script(agent), approvals=True, **options)
    watched = Watched(box, agent)
    panes = watched.panes
    told = panes.send("it", "Think about it.", ready=30)
    assert told.outcome == "submitted", told
    box.model.reached("g1")
    session = watched.is_("busy").occupant
    assert session is not None
    bound = session.session
    assert bound.startswith(f"{agent}:")
    box.model.open("g1")
    watched.shows("what I found")
    assert watched.is_("idle").occupant.session == bound  # type: ignore[union-attr]
    told = panes.send("it", "Run the command.")
    assert told.outcome == "submitted", told
    words = r"Do you want to proceed" if agent == "claude" else "Would you like to run"
    watched.shows(words)
    row = watched.is_("waiting_approval")
    assert row.occupant is not None
    assert row.occupant.session == bound
    refused = panes.send("it", "Not now.", ready=0.3)
    assert (refused.outcome, refused.enters) == ("not_sent", 0)
    assert row.pane is not None
    server = panes.server(row.pane.socket)
    server.act(row.pane, ["send-keys", "-t", row.pane.id, "Enter"])  # a person says yes
    until((box.cwd / "made").exists, "the command never ran")
    watched.is_("busy")
    watched.shows("command is finished")
    watched.is_("idle")
    told = panes.send("it", "Think again.")
    assert told.outcome == "submitted", told
    box.model.reached("g2")
    watched.is_("busy")
    panes.interrupt("it")
    watched.shows("nterrupted")
    watched.is_("idle")
    box.model.open("g2")
    told = panes.send("it", "Hit the limit.")
    assert told.outcome in ("submitted", "queued"), told
    until(lambda: _limited(panes.show("it").screen), "no limit was shown")
    watched.is_("limited")
    ended = panes.end("it", grace=5)
    assert ended.gone, ended
    (row,) = (r for r in panes.rows(everything=True) if r.id == watched.one.id)
    assert row.supervised is not None
    assert (row.supervised.standing, row.supervised.session) == ("killed", bound)
    prompts = [a["user"] for a in box.model.answers if a["route"] == "main"]
    for text in ("Think about it.", "Run the command.", "Think again.", "Hit the limit."):
        given = {p for p in prompts if text in p}
        assert len(given) <= 1 or agent == "codex"


def test_a_subscriber_at_the_limit(sandbox: Callable[..., Any]) -> None:
    """Claude Code asks its subscribers what to do then."""
    claim = "anthropic-ratelimit-unified"
    headers = {
        f"{claim}-status": "rejected",
        f"{claim}-reset": str(int(time.time()) + 3600),
        f"{claim}-representative-claim": "five_hour",
        f"{claim}-5h-status": "rejected",
        f"{claim}-5h-reset": str(int(time.time()) + 3600),
        f"{claim}-overage-status": "rejected",
    }
    limit = {"error": {"status": 429, "message": "Scripted.", "headers": headers, "times": 50}}
    box = sandbox("claude", {"turns": [{"text": "Hello."}, limit]}, subscriber=True)
    watched = Watched(box, "claude")
    assert watched.panes.send("it", "Say hello.", ready=30).outcome == "submitted"
    watched.shows("Hello.")
    bound = watched.is_("idle").occupant
    watched.panes.send("it", "Hit the limit.")
    watched.shows("hit your")
    row = watched.is_("limited")
    assert row.occupant is not None
    assert bound is not None
    assert row.occupant.session == bound.session


def _limited(screen: str) -> bool:
    return "hit your" in screen or "429" in screen


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_exited(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, {"turns": [{"text": "Hello."}]})
    watched = Watched(box, agent)
    assert watched.panes.send("it", "Say hello.", ready=30).outcome == "submitted"
    watched.shows("Hello.")
    watched.panes.send("it", "/exit" if agent == "claude" else "/quit")
    until(lambda: watched.panes.find("it").pane.dead, "it never ended")  # type: ignore[union-attr]
    row = watched.is_("exited")
    assert row.supervised is not None
    assert row.supervised.code in (0, None)  # now and then tmux never learns it


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "opencode", "pi", "copilot"])
def test_texts_arrive_as_they_are(agent: str, sandbox: Callable[..., Any]) -> None:
    """One line, several lines, many: each once, byte for byte, as one prompt."""
    texts = [
        "-l one 'quoted' $HOME `x`",
        'two\nlines; "and" ünï 日本',
        "\n".join(f"line {i} of a text that is folded" for i in range(40)),
    ]
    box = sandbox(agent, {"turns": [{"text": f"Answer {i}."} for i in range(len(texts) + 1)]})
    watched = Watched(box, agent)
    panes = watched.panes
    told = panes.send("it", texts[0], ready=20)
    if told.outcome == "not_sent":  # a question about the folder: a person says yes
        row = panes.find("it")
        assert row.pane is not None
        panes.server(row.pane.socket).act(row.pane, ["send-keys", "-t", row.pane.id, "Enter"])
        time.sleep(2)
        told = panes.send("it", texts[0], ready=20)
    outcomes = [told.outcome]
    for number, text in enumerate(texts[1:]):
        watched.shows(f"Answer {number}.")
        time.sleep(0.5)
        told = panes.send("it", text, ready=10)
        outcomes.append(told.outcome)
    assert set(outcomes) <= {"submitted", "queued"}, (outcomes, told)
    watched.shows(f"Answer {len(texts) - 1}.")
    prompts = [a["user"] for a in box.model.answers if a["route"] == "main"]
    assert len(prompts) == len(texts), prompts
    for text, prompt in zip(texts, prompts, strict=True):
        assert text in prompt, (text, prompt)


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_a_lost_fleet_is_restored(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, {"turns": [{"text": "The word is kelp."}, {"text": "It goes on."}]})
    watched = Watched(box, agent)
    panes = watched.panes
    assert panes.send("it", "Remember the word kelp.", ready=30).outcome == "submitted"
    watched.shows("kelp.")
    time.sleep(2)  # what it has not written yet it could not go on with
    before = watched.tell().supervised
    assert before is not None
    os.kill(before.server_pid, signal.SIGKILL)
    who = Identity(before.boot, before.pid, before.start_ticks)
    until(lambda: not processes.alive(who), "it outlived its terminal")
    time.sleep(2)  # what it writes at its end is in the way of the next one
    assert [r.supervised.standing for r in panes.rows() if r.supervised] == ["lost"]
    (plan,) = panes.restore()
    assert plan.restored is not None, plan
    new = plan.restored.id
    told = panes.send(new, "And now?", ready=30)
    assert told.outcome == "submitted", f"{told} {plan.argv}\n{panes.show(new).screen.split()}"
    watched.shows("It goes on.", new)
    row = panes.find(new)
    assert row.occupant is not None
    assert row.occupant.session == before.session
