"""Examples in the documentation run; every command is documented."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import decklog
from decklog.cli.spec import every

ROOT = Path(__file__).parent.parent
SAMPLE = Path(decklog.__file__).parent / "sample" / "home"
PAGES = ("docs/library.md", "docs/conversations.md")
BLOCKS = [
    b for p in PAGES for b in re.findall(r"```python\n(.*?)```", (ROOT / p).read_text(), re.S)
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_library_examples_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(SAMPLE))
    monkeypatch.setenv("DECKLOG_HOME", str(tmp_path / "own"))
    with decklog.open() as deck:
        deck.sync()
    transcript = next(p for p in SAMPLE.rglob("*.jsonl") if "/.claude/" in str(p))
    shutil.copy(transcript, tmp_path / "session.jsonl")
    monkeypatch.chdir(tmp_path)
    exec(compile("import decklog\n" + block, "library.md", "exec"), {})
    assert capsys.readouterr().out


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    missing = [c.name for c in every() if f"{c.group} {c.name}".strip() not in text]
    assert not missing


def test_public_names_are_importable_and_sorted() -> None:
    assert sorted(decklog.__all__) == decklog.__all__
    for name in decklog.__all__:
        assert getattr(decklog, name) is not None
