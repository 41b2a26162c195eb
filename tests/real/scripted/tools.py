"""An abstract tool call of a scenario, as the tool that the agent offers in its request."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

NAMES = {
    "shell": ("Bash", "exec_command", "shell_command", "shell", "run_shell_command", "bash"),
    "write": ("Write", "write_file", "write", "create", "apply_patch"),
    "edit": ("Edit", "replace", "edit", "str_replace", "apply_patch"),
    "read": ("Read", "read_file", "read", "view"),
    "task": ("Agent", "Task", "task", "agent", "invoke_agent", "spawn_agent"),
    "plan": ("TodoWrite", "update_plan", "todo_write", "todowrite", "write_todos", "TaskCreate"),
    "ask": ("AskUserQuestion", "ask_user", "question", "request_user_input"),
}
SHELL_INSTEAD = {
    "read": "cat {path}",
    "write": "printf scripted > {path}",
    "edit": "sed -i s/a/a/ {path}",
}
STEPS = (("First step", "completed"), ("Second step", "in_progress"))


class Tool(NamedTuple):
    """A tool that a request offers."""

    schema: dict[str, Any]
    kind: str = "function"
    namespace: str | None = None


class Call(NamedTuple):
    """A tool call that an answer makes."""

    name: str
    args: Any
    kind: str = "function"
    namespace: str | None = None


def smallest(schema: dict[str, Any], key: str = "") -> Any:
    """The smallest value that fits a JSON schema."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    kind = (kind or ("object" if "properties" in schema else "string")).lower()
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = schema.get("required") or properties
        return {k: smallest(v, k) for k, v in properties.items() if k in wanted}
    if kind == "array":
        return []
    plain = {"boolean": False, "integer": 1, "number": 1}
    return plain.get(kind, f"Scripted {key or 'value'}")


def call(tool: dict[str, Any], offered: dict[str, Tool], cwd: str) -> Call:
    """The call of `offered` that does what ``tool`` says."""
    if "name" in tool:
        known = offered.get(tool["name"], Tool({}))
        return Call(tool["name"], tool.get("args", {}), known.kind, known.namespace)
    what = tool["tool"]
    name = next((n for n in NAMES[what] if n in offered), None)
    if name is None:
        if what == "shell":
            return Call("missing_tool", {})
        command = SHELL_INSTEAD.get(what, f"echo no-{what}-tool").format(path=tool.get("path", ""))
        return call({"tool": "shell", "command": command}, offered, cwd)
    schema, kind, namespace = offered[name]
    if name == "apply_patch":
        patch = _patch(tool)
        return Call(name, patch if kind == "custom" else {"input": patch}, kind, namespace)
    properties = schema.get("properties") or {}
    pool = _pool(tool, name, cwd)
    args = {k: pool[k] for k in properties if pool.get(k) is not None}
    for key in schema.get("required") or ():
        args.setdefault(key, smallest(properties.get(key, {}), key))
    return Call(name, args | tool.get("extra", {}), kind, namespace)


def _patch(tool: dict[str, Any]) -> str:
    def lines(mark: str, text: str) -> str:
        return "".join(f"{mark}{line}\n" for line in text.splitlines())

    if tool["tool"] == "write":
        change = f"*** Add File: {tool['path']}\n{lines('+', tool['content'])}"
    else:
        old, new = lines("-", tool["old"]), lines("+", tool["new"])
        change = f"*** Update File: {tool['path']}\n@@\n{old}{new}"
    return f"*** Begin Patch\n{change}*** End Patch\n"


def _pool(tool: dict[str, Any], name: str, cwd: str) -> dict[str, Any]:
    """A value for every argument name that some agent uses."""
    path = os.path.join(cwd, tool["path"]) if "path" in tool else None
    old, new = tool.get("old"), tool.get("new")
    content, prompt, command = tool.get("content"), tool.get("prompt"), tool.get("command")
    question = tool.get("question", "Which way?")
    steps = [
        {"content": s, "status": st, "activeForm": s, "id": s, "priority": "high"}
        for s, st in STEPS
    ]
    if name == "write_todos":
        steps = [{"description": s, "status": st} for s, st in STEPS]
    options = [{"label": way, "description": f"go {way}"} for way in ("Left", "Right")]
    asked = {"question": question, "header": "Way", "id": "way", "type": "choice"}
    return {
        **dict.fromkeys(("file_path", "filePath", "path", "absolute_path"), path),
        **dict.fromkeys(("content", "file_text", "contents"), content),
        **dict.fromkeys(("old_string", "oldString", "oldText", "old_str"), old),
        **dict.fromkeys(("new_string", "newString", "newText", "new_str"), new),
        **dict.fromkeys(("prompt", "message"), prompt),
        "command": ["bash", "-lc", command] if name == "shell" else command,
        "cmd": command,
        "description": tool.get("description", "Scripted step"),
        "edits": [{"oldText": old, "newText": new}] if old is not None else None,
        "instruction": "Scripted edit",
        "subagent_type": "general" if name == "task" else "general-purpose",
        "agent_type": "general-purpose" if name == "task" else "default",
        "agent_name": "generalist",
        "task_name": "scripted_task",
        "run_in_background": tool.get("background"),
        "todos": steps,
        "subject": "First step",
        "plan": [{"step": s, "status": st} for s, st in STEPS],
        "explanation": "Scripted plan",
        "questions": [{**asked, "multiSelect": False, "options": options}],
        "question": question,
    }
