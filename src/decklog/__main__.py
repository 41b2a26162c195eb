"""The ``decklog`` command."""

from __future__ import annotations

import gc
import sys

MANY = 50_000
"""Objects that are made before it is looked for cycles among them. Most commands end before that,
and what they made was no garbage until then."""


def main() -> int:
    """Run one command; returns the exit code."""
    from decklog.cli import run

    gc.set_threshold(MANY)
    code = run(sys.argv[1:])
    gc.freeze()  # what is left goes with the process, and need not be looked through
    return code


if __name__ == "__main__":
    sys.exit(main())
