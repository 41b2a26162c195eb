"""What kind of tool a name means."""

from __future__ import annotations

import pytest

from decklog.agents._shared import tool_kind


@pytest.mark.spec("B3")
def test_usual_names() -> None:
    names = {
        "shell": ["Bash", "run_shell", "exec"],
        "file_read": ["read_file", "view", "cat"],
        "file_write": ["write_file"],
        "file_edit": ["apply_patch", "edit_line"],
        "search": ["search_code", "find"],
        "sub_agent": ["sub_agent"],
        "web": ["web_fetch"],
        "notebook": ["notebook_edit"],
        "other": ["custom_mcp"],
    }
    assert {kind: [n for n in every if tool_kind(n) == kind] for kind, every in names.items()} == (
        names
    )


@pytest.mark.spec("BW11")
def test_names_that_hold_others() -> None:
    assert {n: tool_kind(n) for n in ("exec_command", "WebSearch", "Task", "spread", "thread",
                                      "credit", "TodoWrite")} == {
        "exec_command": "shell", "WebSearch": "web", "Task": "sub_agent", "spread": "other",
        "thread": "other", "credit": "other", "TodoWrite": "other",
    }  # fmt: skip
