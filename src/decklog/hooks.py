"""Hooks of the agents: a note in our spool whenever an agent says that something happened.

Installed only when asked for. The entries are merged into the agent's own settings, whose bytes
are kept: removing puts back exactly what was there, unless the file was changed meanwhile; then
only our own entries are taken out. What an agent runs is one small script of ours. It appends one
record and always succeeds; what the agent expects to read is printed also when decklog has gone.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from decklog import agents, durable
from decklog.agents import Agent
from decklog.errors import DecklogError, UsageError

SCRIPT = r"""#!/bin/sh
# decklog: notes that a hook of an agent fired. usage: hook AGENT EVENT PID
# Appends one record to the spool beside it, prints nothing, always succeeds.
umask 077
agent=$1 event=$2 pid=$3
case "$agent$event$pid" in '' | *[!A-Za-z0-9_-]*) exit 0 ;; esac
folder=${0%/*}/spool
[ -d "$folder" ] || exit 0
data=$({ head -c 2400 | base64 | tr -d '\n'; cat > /dev/null; } 2> /dev/null)
at=$(date +%s%3N 2> /dev/null)
case $at in '' | *[!0-9]*) at=$(date +%s)000 ;; esac
generation=$DECKLOG_GENERATION
case $generation in *[!A-Za-z0-9._:-]*) generation= ;; esac
[ ${#generation} -le 128 ] || generation=
start=0
if { read -r line < "/proc/$pid/stat"; } 2> /dev/null; then
    line=${line##*) }
    set -- $line
    start=${20:-0}
fi
{
    printf '{"at":%s,"agent":"%s","event":"%s","pid":%s,"start":%s,"generation":"%s",%s"}\n' \
        "$at" "$agent" "$event" "${pid:-0}" "$start" "$generation" "\"data\":\"$data" \
        >> "$folder/$agent.jsonl"
} 2> /dev/null
exit 0
"""
"""What agents run. The record has at most 4 KiB, so that it is one write."""

MARK = "decklog-hook"
"""Name of the script, by which our entries are known again."""
TIMEOUT_S = 5


class Installed(NamedTuple):
    """What was done to the settings of one agent, or what is there."""

    agent: str
    path: str
    """The settings file."""
    installed: bool
    changed: bool = False
    exact: bool = True
    """After removing: whether the file is what it was before, byte for byte."""
    note: str = ""


class Hooks:
    """The hooks of one HOME: their settings, and the spool in decklog's own folder."""

    def __init__(self, folder: str, env: Mapping[str, str]) -> None:
        self.folder = f"{folder}/hooks"
        self.env = env

    @property
    def script(self) -> str:
        return f"{self.folder}/{MARK}"

    # -- settings --------------------------------------------------------------------------------

    def install(self, agent: Agent) -> Installed:
        """Merge our entries into the agent's settings. Doing it again changes nothing.

        Raises UsageError for an agent without hooks or settings that are no plain JSON,
        WriteError where they cannot be written.
        """
        path = self._file(agent)
        durable.private_folder(self.folder)
        durable.private_folder(f"{self.folder}/spool")
        self._write_script()
        before = _read(path)
        settings = _parsed(path, before)
        wanted = _merged(settings, self._entries(agent))
        note = agent.hook_note
        if wanted == settings:
            return Installed(agent.name, path, True, note=note)
        after = _text(wanted, before)
        if _without_ours(json.loads(after)) != _without_ours(settings):
            raise DecklogError(f"{path}: could not be changed without changing what is in it")
        kept = self._kept(agent)
        if kept is None or kept["after"] != _digest(before or b""):
            original = None if before is None else base64.b64encode(before).decode()
        else:
            original = kept["before"]
        self._keep(agent, path, original, after)
        if before is None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        durable.replace(path, after)
        return Installed(agent.name, path, True, changed=True, note=note)

    def remove(self, agent: Agent) -> Installed:
        """Take our entries out of the agent's settings."""
        path = self._file(agent)
        now = _read(path)
        kept = self._kept(agent)
        if kept is not None and now is not None and kept["after"] == _digest(now):
            if kept["before"] is None:
                os.unlink(path)
            else:
                durable.replace(path, base64.b64decode(kept["before"]))
            self._unkeep(agent)
            return Installed(agent.name, path, False, changed=True)
        settings = _parsed(path, now)
        left = _without_ours(settings)
        if not _counted(settings):
            self._unkeep(agent)
            return Installed(agent.name, path, False)
        durable.replace(path, _text(left, now))
        self._unkeep(agent)
        note = "the file was changed after the hooks went in: only they were taken out"
        return Installed(agent.name, path, False, changed=True, exact=False, note=note)

    def status(self, agent: Agent) -> Installed:
        """Whether the hooks are in the agent's settings, all of them and for this decklog."""
        path = self._file(agent)
        settings = _parsed(path, _read(path))
        there = _merged(settings, self._entries(agent)) == settings
        some = _counted(settings) > 0
        works = os.access(self.script, os.X_OK)
        note = ""
        if there and not works:
            note = f"{self.script} is missing: install again"
        elif some and not there:
            note = "other hooks of decklog are there: install again"
        return Installed(agent.name, path, there and works, note=note)

    def _file(self, agent: Agent) -> str:
        path = agent.hook_file(self.env) if agent.hooks() else ""
        if not path:
            others = ", ".join(a.name for a in agents.every() if a.hooks())
            raise UsageError(
                f"{agent.title} has no hooks that decklog knows",
                hint=f"agents with hooks: {others}",
            )
        return os.path.realpath(path)

    def _entries(self, agent: Agent) -> dict[str, dict[str, Any]]:
        script = "'" + self.script.replace("'", "'\\''") + "'"
        answer = f"echo '{agent.hook_reply}'" if agent.hook_reply else "true"
        found = {}
        for hook in agent.hooks():
            run = f'{script} {agent.name} {hook.event} "$PPID"'
            command = f"if [ -x {script} ]; then {run} 2>/dev/null; fi; {answer}"
            group: dict[str, Any] = {"matcher": hook.matcher} if hook.matcher else {}
            timeout = TIMEOUT_S * agent.hook_time_unit
            group["hooks"] = [{"type": "command", "command": command, "timeout": timeout}]
            found[hook.event] = group
        return found

    def _write_script(self) -> None:
        data = SCRIPT.encode()
        if _read(self.script) != data:
            durable.replace(self.script, data)
        os.chmod(self.script, 0o700)

    # What was there before, so that removing can put it back.

    def _kept(self, agent: Agent) -> dict[str, Any] | None:
        data = _read(f"{self.folder}/{durable.safe_id(agent.name)}.json")
        try:
            found = json.loads(data or b"null")
        except ValueError:
            return None
        return found if isinstance(found, dict) and {"before", "after"} <= found.keys() else None

    def _keep(self, agent: Agent, path: str, before: str | None, after: bytes) -> None:
        record = {"path": path, "before": before, "after": _digest(after)}
        durable.replace(
            f"{self.folder}/{durable.safe_id(agent.name)}.json", json.dumps(record).encode()
        )

    def _unkeep(self, agent: Agent) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{self.folder}/{durable.safe_id(agent.name)}.json")


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise durable.failed(path, error) from None


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _parsed(path: str, data: bytes | None) -> dict[str, Any]:
    if data is None or not data.strip():
        return {}
    hint = "mend it first, or add the hooks by hand"
    try:
        found = json.loads(data, object_pairs_hook=_once)
    except ValueError as error:
        raise UsageError(f"{path} is no plain JSON: {error}", hint=hint) from None
    groups = found.get("hooks", {}) if isinstance(found, dict) else None
    if not isinstance(groups, dict) or not all(isinstance(g, list) for g in groups.values()):
        raise UsageError(f"{path}: its hooks are not of the form that is known", hint=hint)
    return dict(found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _is_ours(entry: Any) -> bool:
    return isinstance(entry, dict) and f"/{MARK}'" in str(entry.get("command", ""))


def _without_ours(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without our entries, and without what holds no hook then."""
    if "hooks" not in settings:
        return settings
    kept: dict[str, list[Any]] = {}
    for event, groups in settings["hooks"].items():
        left = []
        for group in groups:
            entries = group.get("hooks") if isinstance(group, dict) else None
            if not isinstance(entries, list) or not any(map(_is_ours, entries)):
                left.append(group)
            elif others := [e for e in entries if not _is_ours(e)]:
                left.append({**group, "hooks": others})
        if left:
            kept[event] = left
    if kept:
        return {**settings, "hooks": kept}
    return {k: v for k, v in settings.items() if k != "hooks"}


def _merged(settings: dict[str, Any], entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    clean = _without_ours(settings)
    hooks = {event: list(groups) for event, groups in clean.get("hooks", {}).items()}
    for event, group in entries.items():
        hooks.setdefault(event, []).append(group)
    merged = {**clean, "hooks": hooks}
    there = settings.get("hooks", {})
    same = all(group in there.get(event, []) for event, group in entries.items())
    return settings if same and _counted(settings) == len(entries) else merged


def _counted(settings: dict[str, Any]) -> int:
    """How many entries of ours there are."""
    return sum(
        _is_ours(e)
        for groups in settings.get("hooks", {}).values()
        for group in groups
        if isinstance(group, dict)
        for e in group.get("hooks") or ()
    )


_indented = re.compile(rb"\{\s*\n([ \t]+)\"")


def _text(settings: dict[str, Any], before: bytes | None) -> bytes:
    """JSON as it was written before, as far as that can be told."""
    found = _indented.search(before or b"")
    indent: str | int = found[1].decode() if found else 2
    ends = before is None or not before.strip() or before.endswith(b"\n")
    return (json.dumps(settings, indent=indent, ensure_ascii=False) + "\n" * ends).encode()
