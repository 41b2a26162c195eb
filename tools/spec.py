"""Which promised behaviours no test proves: docs/behaviours.md against the marks in tests/.

    python tools/spec.py [--strict] [--root FOLDER]

A test names what it proves with ``@pytest.mark.spec("A40", "AW1")``, a module with ``pytestmark``,
a fixture folder ``tests/agents/<agent>/<situation>/`` with a file ``spec.txt`` of ids. Tests are
parsed and never imported. Exit code 1: a test names an id that the document does not have, or,
with ``--strict``, an id that is kept has no test.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = "docs/behaviours.md"
STATUSES = ("kept", "superseded", "later")

_row = re.compile(r"^\| *(?P<id>[A-Z][\w-]*\d) *\|.*\| *(?P<status>[^|]*?) *\|$")


def behaviours(document: str) -> dict[str, str]:
    """Each id of the document's tables and its status, in the order of the document.

    Raises ValueError for an id that stands twice, or a status that is none.
    """
    found: dict[str, str] = {}
    for line in document.splitlines():
        row = _row.match(line)
        if row is None:
            continue
        name, status = row["id"], row["status"].partition(":")[0]
        if name in found:
            raise ValueError(f"{name} stands twice")
        if status not in STATUSES:
            raise ValueError(f"{name} has the status {status!r}, not one of {', '.join(STATUSES)}")
        found[name] = status
    return found


def marked(source: str) -> Iterator[tuple[str, int]]:
    """Ids in every ``mark.spec(...)`` of a Python source, with their lines.

    Raises ValueError for a mark whose ids are not written out: they could not be found here.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    attr="spec", value=ast.Attribute(attr="mark") | ast.Name(id="mark")
                )
            ):
                for argument in node.args:
                    if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                        raise ValueError(f"line {argument.lineno}: an id must be a plain string")
                    yield argument.value, argument.lineno


def proofs(root: Path) -> dict[str, list[str]]:
    """Every id that tests name, with the places that name it.

    Raises ValueError for a test file that cannot be understood.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((root / "tests").rglob("*.py")):
        place = path.relative_to(root).as_posix()
        try:
            for name, line in marked(path.read_text(encoding="utf-8")):
                found[name].append(f"{place}:{line}")
        except (ValueError, SyntaxError) as error:
            raise ValueError(f"{place}: {error}") from error
    for path in sorted((root / "tests" / "agents").glob("*/*/spec.txt")):
        for name in path.read_text(encoding="utf-8").split():
            found[name].append(path.relative_to(root).as_posix())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="list promised behaviours that no test proves")
    parser.add_argument("--strict", action="store_true", help="fail when one has no test")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder with docs/ and tests/")
    options = parser.parse_args(arguments)
    try:
        known = behaviours((options.root / DOCUMENT).read_text(encoding="utf-8"))
        proven = proofs(options.root)
    except (ValueError, OSError) as error:
        print(f"spec: {error}", file=sys.stderr)
        return 1

    missing = [name for name, status in known.items() if status == "kept" and name not in proven]
    unknown = sorted(proven.keys() - known.keys())
    early = [name for name, status in known.items() if status == "later" and name in proven]
    if missing:
        print("without a test:", *missing)
    if early:
        print("marked as later, but tested:", *early)
    for name in unknown:
        print(f"unknown id {name}:", *proven[name])
    count = Counter(known.values())
    print(
        f"{len(known)} behaviours: {count['kept']} kept ({count['kept'] - len(missing)} with a"
        f" test), {count['superseded']} superseded, {count['later']} later"
    )
    return 1 if unknown or (options.strict and missing) else 0


if __name__ == "__main__":
    sys.exit(main())
