"""The command line: one file for each noun or verb.

Commands are described once, as data (`decklog.cli.spec`). Warm, everyday commands are parsed by
`decklog.cli.fast` without importing click; everything that is in any way unusual (help, errors,
completion) goes through click, built from the same description (`decklog.cli.door`). All that is
printed passes `decklog.cli.output`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMPLETE = "_DECKLOG_COMPLETE"
"""Set by the shell's completion function when it asks what may follow."""


def run(argv: Sequence[str]) -> int:
    """Run a command line; returns its exit code. Prints errors as the flags ask for."""
    from decklog.cli import output

    output.prepare()
    try:
        code = _call(argv)
        output.flush()
    except BrokenPipeError:  # the reader of our output has gone
        output.discard()
        return 0
    except KeyboardInterrupt:
        if output.is_terminal(sys.stderr):
            output.note(" ")  # leave the line that the progress stands on
        output.discard()
        return 130
    except Exception as error:
        from decklog.errors import DecklogError

        if COMPLETE in os.environ:
            return 1  # a key press in the shell is no place for messages
        if not isinstance(error, DecklogError):
            raise
        output.failure(error, as_json="--json" in argv)
        return error.exit_code
    return code


def _call(argv: Sequence[str]) -> int:
    from decklog.cli import fast

    if "--sample" in argv[1:]:  # it is an option of the whole, wherever it was typed
        argv = ["--sample", *(word for word in argv if word != "--sample")]
    call = None if COMPLETE in os.environ else fast.parse(argv)
    if call is not None:
        return call()
    from decklog.cli import door

    return door.main(list(argv))
