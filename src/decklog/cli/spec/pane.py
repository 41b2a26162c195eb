"""``decklog pane ...``"""

from __future__ import annotations

from decklog.cli.spec import JSON, Argument, Command, Option

PANE = Argument("pane", required=True)
FORCE = Option("force", "open its session although it is open elsewhere", bool)

COMMANDS = (
    Command(
        "ls",
        "pane:ls",
        "Panes with agents in them, and those that were lost.",
        (
            Option("all", "panes without an agent too, and those that ended", bool, short="a"),
            Option("watch", "stay, and show every change", bool, short="w"),
            JSON,
        ),
        group="pane",
    ),
    Command(
        "new",
        "pane:new",
        "Start an agent in a pane of its own; words after -- are its arguments.",
        (
            Option("name", "what to call it (default: the name of the folder)"),
            Option("cwd", "folder to work in (default: this one)"),
            Option("session", "go on with this session"),
            Option("relay", "hear what it tells its terminal (or: relay = true)", bool),
            FORCE,
            JSON,
        ),
        arguments=(Argument("agent", required=True), Argument("prompt")),
        rest=True,
        group="pane",
    ),
    Command(
        "adopt",
        "pane:adopt",
        "Supervise a pane that is there already, on any tmux server.",
        (Option("name", "what to call it"), JSON),
        arguments=(PANE,),
        group="pane",
    ),
    Command(
        "send",
        "pane:send",
        "Send a text to an agent (without TEXT: what comes in on standard input).",
        (Option("key", "name this sending: done twice with one key, it happens once"), JSON),
        arguments=(PANE, Argument("text")),
        group="pane",
    ),
    Command(
        "show",
        "pane:show",
        "One pane: its agent, session, state with evidence, and screen.",
        (JSON,),
        arguments=(PANE,),
        group="pane",
    ),
    Command(
        "attach",
        "pane:attach",
        "Look at a pane in this terminal.",
        arguments=(PANE,),
        group="pane",
    ),
    Command(
        "interrupt",
        "pane:interrupt",
        "Stop the turn of an agent.",
        (JSON,),
        arguments=(PANE,),
        group="pane",
    ),
    Command(
        "kill",
        "pane:kill",
        "End agents and their panes: asked first, then made to.",
        (
            Option("grace", "seconds to end by itself (default 5)", int),
            Option("release", "only supervise it no longer; the agent goes on", bool),
            JSON,
        ),
        arguments=(Argument("panes", required=True, many=True, metavar="PANE"),),
        group="pane",
    ),
    Command(
        "reap",
        "pane:reap",
        "Close the panes of ours whose program ended.",
        (JSON,),
        group="pane",
    ),
    Command(
        "restore",
        "pane:restore",
        "Start lost panes again, each in its own conversation.",
        (Option("dry-run", "only tell what would be done", bool, short="n"), FORCE, JSON),
        arguments=(Argument("panes", many=True, metavar="PANE"),),
        group="pane",
    ),
    Command(
        "events",
        "pane:events",
        "What happened to supervised panes, oldest first, one JSON object a line.",
        (Option("after", "only what came after this sequence number", int), JSON),
        group="pane",
    ),
)
