"""Process numbers that come round: nothing of the old process sticks to the new one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECYCLES = 10_000 if os.environ.get("DECKLOG_FULL_SIZE") else 150


@pytest.mark.spec("A63", "A65", "R75", "R83")
@pytest.mark.timeout(900)
def test_a_number_used_again_is_neither_matched_nor_signalled(tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is missing")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    flags = ["--pid", "--fork", "--mount-proc", "--kill-child", *user]
    script = str(Path(__file__).with_name("recycling.py"))
    done = subprocess.run(
        ["unshare", *flags, sys.executable, script, str(RECYCLES), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "ns_last_pid" in done.stderr:
        pytest.skip(f"no namespaces of our own here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "same identity": 0, "bound": 0, "signalled": 0, "not bound before": 0,
    }  # fmt: skip
