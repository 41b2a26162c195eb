"""A scripted model server on loopback: what the real agent programs talk to in `just real`.

It speaks Anthropic Messages, OpenAI Responses, OpenAI Chat Completions and Google Gemini, streamed
or not, and answers from a scenario:

    {"turns": [TURN, ...],                   answers to the main conversation, in order
     "routes": [{"name", "match": {...}, "turns": [TURN, ...]}],     tried first, in order
     "compact": TURN, "side": TURN}          answers to compaction and to side requests (titles)

``match`` holds regular expressions for ``user`` (the last text of the user), ``first_user``,
``system``, ``model``.

    TURN: {"thinking": str, "text": str,
           "tools": [{"tool": "shell|write|edit|read|task|plan|ask", ...} or {"name", "args"}],
           "usage": {"input", "cache_read", "cache_write", "output", "reasoning"},
           "delay": seconds before the answer,
           "gate": the stream is held after its first text piece until `Server.open`,
           "headers": {...},
           "error": {"status", "type", "message", "body", "headers", "times"} or {"drop": true}}

``usage`` is normalised: input without what is cached, output with reasoning. `Server.answers` keeps
what each request was told: the ground truth for numbers.
"""

from .server import Server

__all__ = ["Server"]
