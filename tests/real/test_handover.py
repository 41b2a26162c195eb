"""Sessions of real agents that are forked, moved to another agent, and resumed there: the model
has to be shown the right history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

TALK = {
    "turns": [
        {
            "thinking": "A command first.",
            "text": "I run it.",
            "tools": [{"tool": "shell", "command": "echo first-output"}],
        },
        {"text": "The first answer."},
        {"text": "The second answer."},
        {"text": "The third answer."},
    ]
}
AFTER = {"turns": [{"text": "Resumed as scripted."}]}
AGENTS = ("claude", "codex", "pi")


def decklog(box: Any, *words: str) -> str:
    command = [sys.executable, "-m", "decklog", *words]
    done = subprocess.run(
        command, env=box.env, cwd=box.cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def session(box: Any) -> str:
    return str(json.loads(decklog(box, "ls", "--json"))[0]["id"])


def talked(box: Any) -> str:
    """A session with two prompts, of which the first needed a tool."""
    box.run("The first question?")
    name = session(box)
    box.run("The second question?", name.partition(":")[2])
    return session(box)


def shown(box: Any) -> str:
    """What the model was shown by the last request of the main conversation."""
    i = next(
        i
        for i in reversed(range(len(box.model.answers)))
        if box.model.answers[i]["route"] == "main"
    )
    body = box.model.requests[i]
    told = {k: v for k, v in body.items() if k in ("messages", "input")}
    return json.dumps(told, ensure_ascii=False)


def in_order(text: str, *parts: str) -> None:
    at = -1
    for part in parts:
        found = text.find(part, at + 1)
        assert found > at, f"{part!r} does not come next in:\n{text}"
        at = found


@pytest.mark.parametrize("agent", AGENTS)
def test_a_fork_is_resumed_by_its_own_agent(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, TALK)
    chat = decklog(box, "chat", "import", talked(box))
    messages = json.loads(decklog(box, "chat", "show", chat, "--json"))["entries"]
    roles = [m["role"] for m in messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    fork = decklog(box, "chat", "fork", chat, "--at", "4")
    decklog(box, "chat", "append", fork, "--role", "user", "A question of the fork.")
    decklog(box, "chat", "append", fork, "--role", "assistant", "An answer of the fork.")
    made = json.loads(decklog(box, "chat", "export", fork, "--to", agent, "--install", "--json"))
    box.model.load(AFTER)
    out = box.run("And now?", made["native"])
    assert "Resumed as scripted." in out
    in_order(
        shown(box),
        "The first question?",
        "I run it.",
        "echo first-output",
        "first-output",
        "The first answer.",
        "A question of the fork.",
        "An answer of the fork.",
        "And now?",
    )
    assert "The second" not in shown(box)


@pytest.mark.parametrize(("source", "agent"), list(permutations(AGENTS, 2)))
def test_a_session_goes_on_in_another_agent(
    source: str, agent: str, sandbox: Callable[..., Any]
) -> None:
    box = sandbox(source, TALK)
    name = talked(box)
    other = sandbox(agent, AFTER)
    other.env["DECKLOG_HOME"] = box.env["DECKLOG_HOME"]
    chat = decklog(box, "chat", "import", name)
    made = json.loads(
        decklog(other, "chat", "export", chat, "--to", agent, "--cwd", str(other.cwd), "--install",
                "--json")
    )  # fmt: skip
    out = other.run("And now?", made["native"])
    assert "Resumed as scripted." in out
    in_order(
        shown(other),
        "The first question?",
        "echo first-output",
        "first-output",
        "The first answer.",
        "The second question?",
        "The second answer.",
        "And now?",
    )


@pytest.mark.parametrize("agent", AGENTS)
def test_a_compacted_conversation_is_resumed(agent: str, sandbox: Callable[..., Any]) -> None:
    box = sandbox(agent, AFTER)
    chat = decklog(box, "chat", "new")
    for i in range(1, 7):
        role = "user" if i % 2 else "assistant"
        decklog(box, "chat", "append", chat, "--role", role, f"Message number {i}.")
    decklog(box, "chat", "compact", chat, "--force", "--keep", "2", "--summary", "All of 1 to 4.")
    made = json.loads(decklog(box, "chat", "export", chat, "--to", agent, "--install", "--json"))
    assert "4 messages before the last compaction" in made["lost"][0]
    assert "Resumed as scripted." in box.run("And now?", made["native"])
    in_order(shown(box), "All of 1 to 4.", "number 5", "number 6", "And now?")
    assert "number 4" not in shown(box)


def test_the_screen_resumes_it_too(sandbox: Callable[..., Any]) -> None:
    """`decklog resume` starts the agent's own screen, in the folder of the session."""
    box = sandbox("claude", TALK)
    name = talked(box)
    box.env["PATH"] = f"{os.path.dirname(sys.executable)}:{box.env['PATH']}"
    printed = decklog(box, "resume", name, "--print")
    assert printed == f"cd {box.cwd} && claude --resume {name.partition(':')[2]}"
    box.model.load(AFTER)
    terminal = box.terminal(command=[sys.executable, "-m", "decklog", "resume", name])
    terminal.shows("The second answer.")
    terminal.say("And now?")
    terminal.shows("Resumed as scripted.")
    in_order(shown(box), "The first question?", "The second answer.", "And now?")
