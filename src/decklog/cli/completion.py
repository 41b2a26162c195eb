"""``decklog completion``"""

from __future__ import annotations

from decklog.cli import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def completion(*, sample: bool, shell: str, **values: Any) -> int:
    """Print the script that teaches a shell to complete our words; the shell then asks us."""
    from decklog.cli import door

    output.emit(door.completion_script(shell))
    return 0
