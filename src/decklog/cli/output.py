"""The one way out: everything printed passes here, so that no transcript can drive a terminal.

On a terminal every text is made `safe`; only what this module itself adds (colours, bold) are
escape sequences. In pipes and files texts stay as they are, and always are UTF-8.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO

    from decklog.errors import DecklogError

# --- what a terminal may see ------------------------------------------------------------------

_CONTROLS = (*range(0x09), *range(0x0B, 0x20), 0x7F, *range(0x80, 0xA0))
_HIDING = (
    0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2060, 0x2070),
    0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xD800, 0xE000), *range(0xE0000, 0xE0080),
)  # fmt: skip
"""Characters that reorder, hide or part what follows them, and lone surrogates."""


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else (
        f"\\U{code:08x}"
    )  # fmt: skip


_escapes: dict[int, str] = {}  # made when first needed: most texts need none
_json_escapes: dict[int, str] = {}


def safe(text: str) -> str:
    """Text for a terminal: control characters, escape sequences and characters that reorder or
    hide text become visible escapes; newline and tab stay."""
    if text.isprintable():  # no control, format or separator character but the space
        return text
    if not _escapes:
        _escapes.update((c, _escape(c)) for c in (*_CONTROLS, *_HIDING) if c != 0x09)
    return text.translate(_escapes)


def is_terminal(stream: TextIO | None = None) -> bool:
    try:
        return os.isatty((stream or sys.stdout).fileno())
    except (OSError, ValueError, AttributeError):
        return False


def plain(text: str) -> str:
    """Text as it may go to where our output goes: `safe` on a terminal, else unchanged."""
    return safe(text) if is_terminal() else text


def one_line(text: str) -> str:
    """`plain`, on one line."""
    if text.isprintable():
        return text
    return plain(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


# --- colour -----------------------------------------------------------------------------------


def colour() -> bool:
    """Whether to use colour: on a terminal, unless NO_COLOR is set."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(code: str, text: str) -> str:
    body = plain(text)
    return f"\x1b[{code}m{body}\x1b[0m" if body and colour() else body


def bold(text: str) -> str:
    return _painted("1", text)


def dim(text: str) -> str:
    return _painted("2", text)


def red(text: str) -> str:
    return _painted("31", text)


def green(text: str) -> str:
    return _painted("32", text)


def yellow(text: str) -> str:
    return _painted("33", text)


def cyan(text: str) -> str:
    return _painted("36", text)


# --- printing ---------------------------------------------------------------------------------


def prepare() -> None:
    """Make stdout UTF-8 in pipes, and unable to fail on a character anywhere."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None:
        return
    if is_terminal():
        reconfigure(errors="replace")
    else:
        reconfigure(encoding="utf-8", errors="replace")


def write(text: str) -> None:
    """Print text that may hold anything."""
    emit(plain(text))


def emit(text: str) -> None:
    """Print text whose parts were made `plain` one by one."""
    _put(text + "\n")


def clear() -> None:
    """Begin again at the top of the terminal; elsewhere an empty line parts what follows."""
    _put("\x1b[H\x1b[2J" if is_terminal() else "\n")


def emit_bytes(data: bytes) -> None:
    """Print bytes: unchanged into a pipe or file, as safe text on a terminal."""
    _put(safe(data.decode("utf-8", "replace")) if is_terminal() else data)


def _put(data: str | bytes) -> None:
    if sys.stdout is None:  # the caller closed it
        return
    try:
        if isinstance(data, bytes):
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritten(error) from None


def flush() -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritten(error) from None


def _unwritten(error: OSError) -> Exception:
    from decklog.errors import DecklogError

    discard()
    return DecklogError(f"the output could not be written: {error.strerror}")


def discard() -> None:
    """Let what is printed and still buffered go nowhere, also when the interpreter exits."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def page(lines: Iterable[str], *, pager: bool) -> None:
    """Print lines, on a terminal through the user's pager unless it is not wanted."""
    if pager and is_terminal() and is_terminal(sys.stdin):
        import click

        os.environ.setdefault("LESS", "FRX")  # short texts stay on the screen, colours work
        click.echo_via_pager((f"{line}\n" for line in lines), color=colour() or None)
        return
    for line in lines:
        emit(line)


def note(text: str) -> None:
    """A remark on stderr."""
    if text and sys.stderr is not None:
        sys.stderr.write(safe(text) + "\n")


def failure(error: DecklogError, *, as_json: bool) -> None:
    """Say what went wrong on stderr; with JSON as one object."""
    if as_json:
        import json

        body = {
            "error": type(error).__name__,
            "message": str(error),
            "hint": error.hint,
            "retryable": error.retryable,
        }
        note(json.dumps(body))
    else:
        note(f"decklog: {error}" + (f"\n  try: {error.hint}" if error.hint else ""))


# --- JSON -------------------------------------------------------------------------------------


def json_array(rows: Iterable[Any]) -> None:
    """Print one JSON array, one object a line."""
    import json

    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    _json("[" + ",\n".join([encode(r) for r in rows]) + "]")


def json_texts(objects: Iterable[str]) -> None:
    """`json_array` of objects that are JSON text already."""
    _json("[" + ",\n".join(objects) + "]")


def json_text(text: str) -> None:
    """Print what is JSON text already."""
    _json(text)


def json_object(row: Any) -> None:
    import json

    _json(json.dumps(row, ensure_ascii=False, indent=2))


def struct_array(values: Iterable[Any]) -> None:
    """`json_array` of Structs."""
    _json("[" + ",\n".join([struct_json(v) for v in values]) + "]")


def struct_json(value: Any) -> str:
    """JSON text of a Struct, or of dicts and lists of them."""
    import msgspec

    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError:  # a file name that is no Unicode
        body = msgspec.json.encode(
            _mended(msgspec.to_builtins(value, builtin_types=(msgspec.Raw,)))
        )
    return body.decode("utf-8", "replace")


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_mended(k): _mended(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mended(v) for v in value]
    return value


def struct_object(value: Any) -> None:
    """`json_object` of a Struct, or of dicts and lists of them."""
    import msgspec

    _json(msgspec.json.format(struct_json(value), indent=2))


def json_line(text: str) -> None:
    """One JSON object of a stream, on a line of its own, sent at once."""
    _json(text)
    flush()


def _json(text: str) -> None:
    """JSON has the control characters below 0x20 escaped already; on a terminal the others that
    are not `safe` are escaped too, in JSON's own way."""
    if is_terminal():
        if not _json_escapes:
            import json

            codes = (c for c in (*_CONTROLS, *_HIDING) if c >= 0x7F)
            _json_escapes.update((c, json.dumps(chr(c))[1:-1]) for c in codes)
            _json_escapes[0x7F] = "\\u007f"
        text = text.translate(_json_escapes)
    emit(text)


# --- progress ---------------------------------------------------------------------------------


def progress(label: str, unit: str = "MB") -> Callable[[int, int], None] | None:
    """A callback for (bytes, or other units, done; in all) that draws on stderr when that is a
    terminal."""
    if not is_terminal(sys.stderr):
        return None
    import time

    began = time.monotonic()
    shown = False
    scale = 1e6 if unit == "MB" else 1

    def update(done: int, total: int) -> None:
        nonlocal shown
        if done >= total:
            if shown:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            return
        if time.monotonic() - began > 0.5:
            shown = True
            sys.stderr.write(
                f"\r\x1b[K{label} {done / scale:,.0f} of {total / scale:,.0f} {unit}"
                f" ({100 * done // max(total, 1)} %)"
            )
            sys.stderr.flush()

    return update
