"""``decklog chat ...``"""

from __future__ import annotations

from decklog.cli.spec import JSON, LIMIT, Argument, Command, Option

ID = Argument("chat", required=True, metavar="ID")
AT = Option("at", "after this message, counted from 1 (the last, when not given)", int)
CWD = Option("cwd", "folder that the conversation is about")

COMMANDS = (
    Command(
        "ls",
        "chat:ls",
        "List conversations, the last used first.",
        (LIMIT, JSON),
        group="chat",
    ),
    Command(
        "show",
        "chat:show",
        "Show a conversation; --json prints it whole.",
        (
            Option("tail", "only the last so many messages", int),
            Option("context", "what a model is shown: after a compaction its summary", bool),
            Option("full", "whole texts instead of beginnings", bool),
            Option("no-pager", "print straight away", bool),
            JSON,
        ),
        arguments=(ID,),
        group="chat",
    ),
    Command(
        "new",
        "chat:new",
        "Begin a conversation; prints its id.",
        (Option("title", "what it is about"), CWD, JSON),
        group="chat",
    ),
    Command(
        "append",
        "chat:append",
        "Say something in a conversation; prints the message's id.",
        (
            Option(
                "role",
                "who says it (the default: user)",
                choices=("user", "assistant", "system", "tool"),
            ),
            Option("model", "model that said it"),
            Option("blocks", "the text is JSON: a list of blocks, or a message", bool),
            Option("call", "with --role tool: id of the tool call that this is the result of"),
            Option("tool", "with --role tool: name of the tool"),
            Option("failed", "with --role tool: the call failed", bool),
            JSON,
        ),
        arguments=(ID, Argument("text", metavar="TEXT|-")),
        group="chat",
    ),
    Command(
        "fork",
        "chat:fork",
        "Go on in a conversation of its own; prints its id.",
        (AT, Option("branch", "name of the branch"), JSON),
        arguments=(ID,),
        group="chat",
    ),
    Command(
        "rewind",
        "chat:rewind",
        "Go back to a message: what is said next follows it.",
        (Option("at", "number of the message to go back to; 0 is the beginning", int), JSON),
        arguments=(ID, Argument("to", metavar="N")),
        group="chat",
    ),
    Command(
        "diff",
        "chat:diff",
        "What two conversations share, and where they part.",
        (Option("full", "whole texts instead of beginnings", bool), JSON),
        arguments=(ID, Argument("other", required=True, metavar="OTHER")),
        group="chat",
    ),
    Command(
        "compact",
        "chat:compact",
        "Put a summary in place of all but the last messages.",
        (
            Option("keep", "messages at the end that stay as they are (the default: 4)", int),
            Option("threshold", "not below so many estimated tokens (the default: 10000)", int),
            Option("force", "however short it is", bool),
            Option("summary", "the summary, instead of one made by rules (-: from stdin)"),
            JSON,
        ),
        arguments=(ID,),
        group="chat",
    ),
    Command(
        "export",
        "chat:export",
        "Print a conversation as an agent would have written it.",
        (
            Option("to", "claude, codex, pi, or jsonl for the plain conversation format"),
            Option("output", "write this new file", short="o"),
            Option("install", "write it where the agent looks for it, to be resumed", bool),
            Option("context", "with --to jsonl: only what a model is shown", bool),
            Option("cwd", "folder that it is to be resumed in"),
            JSON,
        ),
        arguments=(ID,),
        group="chat",
    ),
    Command(
        "import",
        "chat:bring",
        "Make a conversation of a file or a session; prints its id.",
        (Option("agent", "whose transcript the file is, where its path does not tell"), JSON),
        arguments=(Argument("what", required=True, metavar="FILE|SESSION"),),
        group="chat",
    ),
    Command(
        "verify",
        "chat:verify",
        "Read conversations whole and tell what is damaged or missing.",
        (JSON,),
        arguments=(Argument("chats", many=True, metavar="ID"),),
        group="chat",
    ),
)
