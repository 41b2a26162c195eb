"""The named rivals, pinned: how to get them, how to call them, how to read what they say.

They are installed once into the cache folder, from npm and PyPI, as the binaries they really are:
the shims that `npx` and `pip` put in front would only add start-up time.

- ccusage: Rust binary inside its npm platform package. Keeps no state; ``--offline`` uses the
  prices it carries.
- agentsview: Go binary inside its wheel. Keeps everything in ``AGENTSVIEW_DATA_DIR``. With
  ``AGENTSVIEW_NO_DAEMON=1`` a command works by itself; ``session list`` insists on the daemon.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Row = tuple[int, int, int, int]
"""Tokens of one ``agent|day|model``: input, cache read, cache write, output."""
Rows = dict[str, Row]


class UnavailableError(Exception):
    """A rival could not be had; the text says why."""


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "decklog-bench"


@dataclass(frozen=True)
class Rival:
    name: str
    version: str
    get: Callable[[str, Path], None]
    """Installs a version into a folder."""
    binary: str
    """Glob of the executable below that folder."""
    differs: str
    """Where its rows differ from the truth, as far as we found out."""
    env: dict[str, str]
    state: str = ""
    """Environment variable that names its data folder."""

    def install(self) -> Path:
        """The executable, fetched unless the cache has it."""
        folder = cache_folder() / f"{self.name}-{self.version}"
        if not any(folder.glob(self.binary)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.get(self.version, folder)
        found = next(folder.glob(self.binary), None)
        if found is None:
            raise UnavailableError(f"{self.name} {self.version} has no binary for this platform")
        found.chmod(0o755)
        return found


def _from_npm(version: str, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _fetch([npm, "install", "--prefix", str(folder), *flags, f"ccusage@{version}"])


def _from_pypi(version: str, folder: Path) -> None:
    flags = ("--quiet", "--no-deps", "--disable-pip-version-check")
    pip = [sys.executable, "-m", "pip", "install", *flags]
    if find_spec("pip") is None:
        uv = shutil.which("uv")
        if uv is None:
            raise UnavailableError("neither pip nor uv is installed")
        pip = [uv, "pip", "install", "--quiet", "--no-deps"]
    _fetch([*pip, "--target", str(folder), f"agentsview=={version}"])


def _fetch(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        why = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UnavailableError(f"{' '.join(command[:2])}... failed: {' '.join(why[:2])}")


CCUSAGE = Rival(
    name="ccusage",
    version="20.0.24",
    get=_from_npm,
    binary="node_modules/@ccusage/ccusage-*/bin/ccusage*",
    differs=(
        "counts a response once for each streamed record when its records have no request id, "
        "and leaves Gemini's thoughts out of output."
    ),
    env={},
)
AGENTSVIEW = Rival(
    name="agentsview",
    version="0.46.1",
    get=_from_pypi,
    binary="agentsview/bin/agentsview*",
    differs=(
        "does not read subagents that lie beside their main transcript, takes Gemini's input and "
        "cached tokens for running totals, and caps Copilot's totals at two million."
    ),
    env={
        "AGENTSVIEW_NO_DAEMON": "1",
        "AGENTSVIEW_NO_BROWSER": "1",
        "AGENTSVIEW_TELEMETRY_ENABLED": "false",
        "AGENTSVIEW_DISABLE_UPDATE_CHECK": "1",
    },
    state="AGENTSVIEW_DATA_DIR",
)
RIVALS = (CCUSAGE, AGENTSVIEW)


# --- what they say, as rows -------------------------------------------------------------------

CCUSAGE_ROWS = ("daily", "--offline", "--json", "--by-agent")


def agentsview_rows_args(agent: str) -> tuple[str, ...]:
    flags = ("--all", "--offline", "--json", "--breakdown")
    return ("usage", "daily", *flags, "--agent", agent)


def ccusage_rows(document: Any) -> Rows:
    """Of ``daily --by-agent``. It writes Pi's models as ``[pi] model``."""
    return {
        f"{part['agent']}|{day['period']}|{row['modelName'].rpartition('] ')[2]}": _row(row)
        for day in document["daily"]
        for part in day["agents"]
        for row in part["modelBreakdowns"]
    }


def agentsview_rows(agent: str, document: Any) -> Iterator[tuple[str, Row]]:
    """Of ``usage daily --breakdown --agent``."""
    for day in document["daily"]:
        for row in day.get("modelBreakdowns") or ():
            yield f"{agent}|{day['date']}|{row['modelName']}", _row(row)


def _row(row: dict[str, int]) -> Row:
    return (
        row["inputTokens"],
        row["cacheReadTokens"],
        row["cacheCreationTokens"],
        row["outputTokens"],
    )
