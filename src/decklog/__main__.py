"""The ``decklog`` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one command; returns the exit code."""
    from decklog.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
