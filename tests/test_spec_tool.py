"""tools/spec.py on a small tree of its own, and the real document as it stands."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "spec.py"))

DOCUMENT = """\
| id | behaviour | status |
|---|---|---|
| A1 | decorated | kept |
| A2 | by the module | kept |
| A3 | by a parameter of a test in a class | kept |
| A4 | proven by nobody, said with a pipe \\| inside | kept |
| AW5 | by a fixture folder | kept |
| R6 | done better | superseded: kept no more |
| X7 | not yet | later: a part to come |
| README-8 | by a fixture folder | kept |
"""

MARKED = '''\
"""Not a mark: pytest.mark.spec("Z1")."""
import pytest
from pytest import mark

raise SystemExit("never imported")

pytestmark = [mark.spec("A2"), pytest.mark.slow]


@pytest.mark.spec("A1", "R6")
def test_one() -> None: ...


class TestTwo:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.spec("A3"))])
    def test_two(self, x: int) -> None: ...
'''

Spec = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "behaviours.md").write_text(DOCUMENT)
    situation = tmp_path / "tests" / "agents" / "claude" / "plain"
    situation.mkdir(parents=True)
    (situation / "spec.txt").write_text("AW5\nREADME-8 A1\n")
    (tmp_path / "tests" / "test_marked.py").write_text(MARKED)
    return tmp_path


@pytest.fixture
def spec(tree: Path, capsys: pytest.CaptureFixture[str]) -> Spec:
    def run(*arguments: str) -> tuple[int, list[str]]:
        code = TOOL["main"](["--root", str(tree), *arguments])
        out, err = capsys.readouterr()
        return code, (out + err).splitlines()

    return run


SUMMARY = "8 behaviours: 6 kept (5 with a test), 1 superseded, 1 later"


def test_a_behaviour_without_a_test_is_listed(spec: Spec) -> None:
    assert spec() == (0, ["without a test: A4", SUMMARY])
    assert spec("--strict") == (1, ["without a test: A4", SUMMARY])


def test_nothing_is_left_to_list(spec: Spec, tree: Path) -> None:
    (tree / "tests" / "laws").mkdir()
    (tree / "tests" / "laws" / "test_more.py").write_text(
        "import pytest\npytestmark = pytest.mark.spec('A4')\n"
    )
    assert spec("--strict") == (0, [SUMMARY.replace("5 with", "6 with")])


def test_an_unknown_id_fails_and_is_placed(spec: Spec, tree: Path) -> None:
    (tree / "tests" / "agents" / "claude" / "plain" / "spec.txt").write_text("AW5 README-8 A11")
    (tree / "tests" / "test_typo.py").write_text(
        "import pytest\n\n@pytest.mark.spec('A4', 'B4')\ndef test_it() -> None: ...\n"
    )
    assert spec() == (
        1,
        [
            "unknown id A11: tests/agents/claude/plain/spec.txt",
            "unknown id B4: tests/test_typo.py:3",
            SUMMARY.replace("5 with", "6 with"),
        ],
    )


def test_a_test_of_something_that_is_to_come_is_told(spec: Spec, tree: Path) -> None:
    (tree / "tests" / "test_x.py").write_text("import pytest\npytest.mark.spec('X7')\n")
    assert spec() == (0, ["without a test: A4", "marked as later, but tested: X7", SUMMARY])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("docs/behaviours.md", DOCUMENT + "| A1 | again | kept |\n", "spec: A1 stands twice"),
        (
            "docs/behaviours.md",
            "| A1 | wrong | done |\n",
            "spec: A1 has the status 'done', not one of kept, superseded, later",
        ),
        (
            "tests/test_marked.py",
            "import pytest\nIDS = ['A1']\npytestmark = pytest.mark.spec(*IDS)\n",
            "spec: tests/test_marked.py: line 3: an id must be a plain string",
        ),
        (
            "tests/test_marked.py",
            "def\n",
            "spec: tests/test_marked.py: invalid syntax",
        ),
    ],
)
def test_what_cannot_be_understood_fails(
    spec: Spec, tree: Path, file: str, text: str, message: str
) -> None:
    (tree / file).write_text(text)
    code, lines = spec()
    assert code == 1
    assert [line[: len(message)] for line in lines] == [message]


def test_the_document_has_every_family_whole() -> None:
    known = TOOL["behaviours"]((ROOT / "docs" / "behaviours.md").read_text(encoding="utf-8"))
    whole = {"A": 73, "AW": 26, "B": 48, "BW": 17, "C": 23, "CW": 13, "D": 43, "DW": 16,
             "README-": 5, "X": 6, "Y": 6}  # fmt: skip
    assert {i for i in known if not i.startswith("R") or i.startswith("README-")} == {
        f"{family}{n}" for family, last in whole.items() for n in range(1, last + 1)
    }


def test_no_test_names_an_id_that_the_document_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert TOOL["main"]([]) == 0, capsys.readouterr().out
