"""OpenCode: a SQLite database, before 1.2 a tree of JSON files. Facts: docs/formats/opencode.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from decklog.agents import Agent, Claim, Invocation, Queries, Reader, Root, Sign
from decklog.agents.opencode.terminal import LAUNCH, SCREEN
from decklog.model import Cursor

QUIET_STORAGE = (
    *("project", "session_diff", "session_share", "todo", "permission", "migration"),
    *("plugin", "directory-agents", "directory-readme", "rules-injector"),
)
"""What else OpenCode (first line) and its plugins keep below ``storage``: no messages."""
CHANNELS = ("", "-", "-beta", "-dev", "-local", "-next")
"""Builds that are no release keep a database of their own: ``opencode-<channel>.db``."""
DATABASE: dict[str, Claim] = {".db": "sqlite", "-wal": "companion", "-shm": "ignore"}


class OpenCode(Agent):
    name = "opencode"
    title = "OpenCode"
    variables = ("OPENCODE_DATA_DIR", "OPENCODE_DB", "XDG_DATA_HOME")
    screen = SCREEN
    launch = LAUNCH
    clean_up = "deletes nothing by itself; deleting a session deletes its rows and its subagents'"
    questions = ("question",)

    def roots(self, env: Mapping[str, str]) -> tuple[Root, ...]:
        home = f"{env.get('XDG_DATA_HOME') or env['HOME'] + '/.local/share'}/opencode"
        folders = [f.rstrip("/") for f in (env.get("OPENCODE_DATA_DIR", ""), home) if f]
        names = {f: [f"opencode{c}.db" for c in CHANNELS] for f in folders}
        given = env.get("OPENCODE_DB", "")
        if given and given != ":memory:":
            path = given if given.startswith("/") else f"{home}/{given}"
            folder, _, name = path.rpartition("/")
            names[folder] = [*dict.fromkeys((name, *names.get(folder, ())))]
        roots = []
        for folder, found in names.items():
            files = [name + end for name in found for end in ("", "-wal", "-shm")]
            tree = ("storage",) if folder in folders else ()
            roots.append(Root(folder, only=(*tree, *files)))
        return tuple(roots)

    def claim(self, relative: str) -> Claim | None:
        top, _, below = relative.partition("/")
        if top == "storage":
            kind, _, rest = below.partition("/")
            if kind in QUIET_STORAGE or "/.oc-" in relative:  # .oc-*.tmp: a file being written
                return "ignore"
            in_tree = kind in ("session", "message", "part") and rest.count("/") == 1
            return "dir" if in_tree and rest.endswith(".json") else None
        name = relative.rpartition("/")[2]
        if name.startswith("ses_") and name.endswith(".json"):  # opencode export
            return "json"
        return next((claim for end, claim in DATABASE.items() if name.endswith(end)), None)

    def queries(self, tables: Mapping[str, frozenset[str]]) -> Queries | None:
        from decklog.agents.opencode import database

        return database.queries(tables)

    def gather(self, relatives: Iterable[str]) -> dict[str, list[str]]:
        from decklog.agents.opencode import tree

        return tree.gather(relatives)

    def assemble(self, document: str, files: Mapping[str, bytes]) -> bytes:
        from decklog.agents.opencode import tree

        return tree.assemble(document, files)

    def reader(
        self,
        cursor: Cursor | None = None,
        *,
        text: bool = True,
        companions: Mapping[str, bytes] | None = None,
    ) -> Reader:
        from decklog.agents.opencode.reader import OpenCodeReader

        return OpenCodeReader(cursor, text=text, companions=companions)

    def process(self, argv: Sequence[str], exe: str) -> Invocation | None:
        from decklog.agents.opencode import live

        return live.process(argv, exe)

    def signs(self, line: bytes) -> tuple[Sign, ...]:
        from decklog.agents.opencode import live

        return live.signs(line)


AGENT = OpenCode()
