"""The command line: one file for each noun or verb.

Commands are described once, as data (`decklog.cli.spec`). Warm, everyday commands are parsed by
`decklog.cli.fast` without importing click; everything that is in any way unusual (help, errors,
completion) goes through click, built from the same description.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """Run a command line; returns its exit code. Prints errors as the flags ask for."""
    from decklog.cli import fast

    try:
        call = fast.parse(argv)
        if call is not None:
            return call()
        from decklog.cli import door

        return door.main(list(argv))
    except BrokenPipeError:
        # The reader of our output has gone: say nothing more, also not at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from decklog.errors import DecklogError

        if not isinstance(error, DecklogError):
            raise
        from decklog.cli import output

        output.failure(error, as_json="--json" in argv)
        return error.exit_code
