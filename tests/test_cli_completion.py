"""Shell completion, by the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shell import CHILD, DECKLOG, FORK, MAIN, decklog, environment, furnish

ASKED = [
    ("decklog s", {"search", "status", "show", "sync", "store"}),
    ("decklog usage m", {"monthly", "models"}),
    ("decklog usage b", {"blocks"}),
    ("decklog show aaaa0001", {MAIN, f"{MAIN}.agent-{CHILD}"}),
    ("decklog why aaaa0002", {FORK}),
    ("decklog ls --agent cl", {"claude"}),
    ("decklog store d", {"dump"}),
    ("decklog completion z", {"zsh"}),
    ("decklog show --e", {"--events"}),
    ("decklog show zzz", set()),
]


@pytest.fixture
def shell_env(home: Path, env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has our `decklog`, with everything read."""
    furnish(home)
    assert decklog(env, "sync").code == 0
    command = tmp_path / "bin" / "decklog"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {" ".join(DECKLOG)} "$@"\n')
    command.chmod(0o755)
    return environment({**env, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"})


BASH = """
eval "$(decklog completion bash)"
COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_decklog_completion decklog
printf '%%s\\n' "${COMPREPLY[@]}"
"""
FISH = """
decklog completion fish | source
complete -C '%s'
"""


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", BASH), ("fish", FISH)], ids=["bash", "fish"]
)
def test_a_shell_completes(shell_env: dict[str, str], shell: str, script: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    for typed, expected in ASKED:
        done = subprocess.run(
            [shell, "-c", script % typed],
            env=shell_env,
            capture_output=True,
            timeout=30,
            check=False,
        )
        # fish puts a description behind a tab
        offered = {line.partition("\t")[0] for line in done.stdout.decode().split("\n")}
        assert (offered - {""}, done.stderr) == (expected, b""), typed


def test_zsh_is_answered(shell_env: dict[str, str]) -> None:
    script = decklog(shell_env, "completion", "zsh").text
    assert script.startswith("#compdef decklog\n")
    for typed, expected in ASKED:
        asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        ran = decklog({**shell_env, **asked, "_DECKLOG_COMPLETE": "zsh_complete"})
        assert set(ran.text.split("\n")[1::3]) - {""} == expected


def test_newest_sessions_come_first(shell_env: dict[str, str]) -> None:
    asked = {"COMP_WORDS": "decklog show ", "COMP_CWORD": "2", "_DECKLOG_COMPLETE": "bash_complete"}
    ran = decklog({**shell_env, **asked})
    assert ran.text == f"plain,{FORK}\nplain,{MAIN}\n"


def test_trouble_is_silent(shell_env: dict[str, str], tmp_path: Path) -> None:
    for name in ("decklog.db", "decklog.db-wal"):
        (tmp_path / "own" / name).write_bytes(b"no database" * 1000)
    asked = {"COMP_WORDS": "decklog show ", "COMP_CWORD": "2", "_DECKLOG_COMPLETE": "bash_complete"}
    ran = decklog({**shell_env, **asked})
    assert (ran.text.strip(), ran.err) == ("", "")


def test_an_unknown_shell_is_an_error(env: dict[str, str]) -> None:
    ran = decklog(env, "completion", "tcsh")
    assert ran.code == 2
    assert "tcsh" in ran.err
