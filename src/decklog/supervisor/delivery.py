"""Putting a text into a pane, and knowing what became of it.

One paste, then Enter by itself. Before: nobody else's text is in the composer, no dialog is open,
the program reads. Between: the composer holds just our text. After: somebody says that it was
taken, the transcript or the agent's own status file before the screen. What cannot be known is
called unknown and left alone; nothing is ever pasted twice, and Enter is repeated only while the
composer still holds just our text.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import struct
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from decklog import screen as screens
from decklog.errors import PaneGone, TmuxError, TmuxTimeout, UsageError
from decklog.model.fleet import Evidence, Pane
from decklog.model.panes import Delivery, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decklog.agents import Screen
    from decklog.tmux import Server

MOST = 1 << 20
"""Bytes that a text may have."""
LINE_MOST = 4095
"""Bytes of a line that a terminal in canonical mode takes; the rest would be lost silently."""
READY = 3.0
"""Seconds that an agent gets to show its composer."""
SHOWN = 5.0
"""Seconds until a pasted text has to stand in the composer; a large one gets longer."""
TAKEN = 6.0
"""Seconds until somebody has to say that the text was taken."""
AGAIN = 1.0
"""Seconds between one Enter and the next."""
ENTERS = 3
PAUSE = 0.05

_control = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Witness = Callable[[], Sequence[Evidence]]
"""What the transcript, hooks and status files say since the sending began."""


def checked(text: str) -> str:
    """The text as it may be pasted. Raises UsageError for what no terminal should be fed."""
    text = text.replace("\r\n", "\n").rstrip("\n")
    if not text.strip():
        raise UsageError("there is nothing to send")
    found = _control.search(text)
    if found:
        place = f"line {text.count(chr(10), 0, found.start()) + 1}"
        raise UsageError(
            f"the text holds a control character (U+{ord(found[0]):04X}, {place})",
            hint="newlines and tabs are the only ones that can be sent",
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError("the text holds half of a surrogate pair") from None
    if size > MOST:
        raise UsageError(f"the text has {size:,} bytes, the most is {MOST:,}", hint="use a file")
    return text


class Input(NamedTuple):
    """How the terminal of a pane takes what is typed, asked of the kernel."""

    canonical: bool = False
    """The program reads lines, or does not read yet."""
    echoes: bool = False
    pending: int = 0
    """Bytes that it has not read."""


def terminal_input(tty: str) -> Input | None:
    """None where the kernel does not say."""
    try:
        fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        local = termios.tcgetattr(fd)[3]
        (pending,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))
        return Input(bool(local & termios.ICANON), bool(local & termios.ECHO), pending)
    except (OSError, termios.error):
        return None
    finally:
        os.close(fd)


class Sending:
    """One text on its way into one pane."""

    def __init__(
        self,
        server: Server,
        pane: Pane,
        screen: Screen | None,
        witness: Witness = lambda: (),
        *,
        tty: str = "",
        clock: Callable[[], int],
        ready: float = READY,
        taken: float = TAKEN,
    ) -> None:
        self.server = server
        self.pane = pane
        self.screen = screen
        self.tty = tty or pane.tty
        """The terminal that the program reads: behind a relay it is not that of the pane."""
        self.witness = witness
        self.clock = clock
        self.ready = ready
        self.taken = taken
        self.enters = 0
        self._text = ""
        self._title = pane.title

    def send(self, text: str) -> Delivery:
        """Send it once. Never raises for what happens in the terminal."""
        self._text = text
        try:
            busy = self._prepare()
            if isinstance(busy, Delivery):
                return busy
            name = f"decklog-{secrets.token_hex(6)}"
            self.server.call(["load-buffer", "-b", name, "-"], stdin=text.encode())
        except TmuxError as error:
            return self._told("not_sent", str(error))
        try:
            # ``-r``: a newline stays one; where no paste is told a carriage return would submit
            paste = ["paste-buffer", "-p", "-r", "-d", "-b", name, "-t", self.pane.id]
            leave = [["copy-mode", "-q", "-t", self.pane.id]] if self.pane.in_mode else []
            self.server.act(self.pane, *leave, paste)
        except PaneGone:
            with suppress(TmuxError):
                self.server.call(["delete-buffer", "-b", name])
            return self._told("not_sent", "the pane is gone, or another one by now")
        except TmuxError as error:
            # a server that was stopped may still do what it was asked, when it goes on
            return self._told("unknown", f"tmux did not say whether it pasted the text: {error}")
        try:
            if self.screen is None:
                return self._plain()
            return self._composed(busy)
        except PaneGone:
            return self._after_the_end()
        except TmuxError as error:
            return self._told("unknown", str(error))

    # -- before ----------------------------------------------------------------------------------

    def _prepare(self) -> bool | Delivery:
        """Whether the agent is busy, or why nothing can be sent."""
        if self.pane.dead:
            return self._told("not_sent", "its program ended")
        if self.screen is None:
            return self._prepare_plain()
        end = time.monotonic() + self.ready
        why = "its screen shows no input box"
        while True:
            shown, evidence = self._look()
            said = {e.says for e in evidence}
            typed = screens.typed(self.screen, shown)
            told = terminal_input(self.tty)
            reads = told is None or not told.canonical
            if typed == "" and reads:
                return "busy" in said
            waits = next((e for e in evidence if e.says.startswith("waiting")), None)
            if typed is None and waits is not None:
                why = f"it waits for an answer: {waits.detail}"
                return self._told("not_sent", why, (waits,))
            if typed:
                why = f"somebody's text stands in its input box: {typed[:60]!r}"
            elif typed == "":
                why = "its program does not read yet"
            if time.monotonic() > end:
                return self._told("not_sent", why, evidence)
            time.sleep(PAUSE)

    def _prepare_plain(self) -> bool | Delivery:
        if "\n" in self._text:
            why = "nothing is known of this program: it would take each line by itself"
            return self._told("not_sent", why)
        told = terminal_input(self.tty)
        size = len(self._text.encode())
        if told is not None and told.canonical and size > LINE_MOST:
            why = f"it reads lines of at most {LINE_MOST:,} bytes, and this one has {size:,}"
            return self._told("not_sent", why)
        if told is not None and told.pending:
            return self._told("not_sent", "it has not read what was typed before")
        return False

    # -- a composer ------------------------------------------------------------------------------

    def _composed(self, busy: bool) -> Delivery:
        assert self.screen is not None
        size = len(self._text)
        end = time.monotonic() + SHOWN + size / 20_000
        while True:
            shown, _ = self._look()
            held = screens.holds(self.screen, shown, self._text)
            if held and not self._pending():
                break
            taken = self._says_taken()
            if taken:  # it ended with the paste: some programs do so
                return self._told("submitted", "the agent took it with the paste", taken)
            if time.monotonic() > end:
                typed = screens.typed(self.screen, shown)
                why = "the text did not appear in the input box"
                if typed:
                    why = f"the input box holds something else: {typed[:60]!r}"
                    return self._told("typed", why)
                return self._told("unknown", why)
            time.sleep(PAUSE)
        return self._enter(busy)

    def _enter(self, busy: bool) -> Delivery:
        assert self.screen is not None
        begun = pressed = time.monotonic()
        self._press()
        while True:
            time.sleep(PAUSE)
            taken = self._says_taken()
            if taken:
                return self._told("submitted", "the agent says so", taken)
            shown, evidence = self._look()
            held = screens.holds(self.screen, shown, self._text)
            now = time.monotonic()
            if held is False and screens.typed(self.screen, shown) == "":
                if busy and now - begun > AGAIN:
                    return self._told("queued", "the agent works, and took it for later", evidence)
                if not busy and self._is_shown(shown, evidence):
                    return self._told("submitted", "the screen shows it as said", evidence)
            if now - begun > self.taken:
                return self._last_word(held, evidence)
            if held and now - pressed > AGAIN and self.enters < ENTERS and not self._pending():
                pressed = now
                self._press()

    def _last_word(self, held: bool | None, evidence: Sequence[Evidence]) -> Delivery:
        if held:
            return self._told("typed", "Enter did not send it", evidence)
        if held is None:
            return self._told("unknown", "the input box is gone, and nothing tells why", evidence)
        return self._told("unknown", "the input box is empty, and nothing tells why", evidence)

    def _is_shown(self, shown: str, evidence: Sequence[Evidence]) -> bool:
        """Whether the screen tells that the text was taken: the agent works, or repeats it."""
        if any(e.says == "busy" for e in evidence):
            return True
        return screens.repeats(shown, self._text)

    def _press(self) -> None:
        self.enters += 1
        try:
            self.server.act(self.pane, ["send-keys", "-t", self.pane.id, "Enter"])
        except TmuxTimeout:
            self.enters = ENTERS  # it may still be pressed: once is enough
            raise

    # -- a plain program -------------------------------------------------------------------------

    def _plain(self) -> Delivery:
        """A program of which nothing is known: the kernel tells whether it read the line."""
        self._press()
        end = time.monotonic() + self.taken
        told = terminal_input(self.tty)
        while told is not None and told.pending and time.monotonic() < end:
            time.sleep(PAUSE)
            told = terminal_input(self.tty)
        if told is None:
            return self._told("unknown", "nothing is known of the program in this pane")
        if told.pending:
            return self._told("typed", "its program does not read it")
        if told.canonical:
            return self._told("submitted", "its program read the line", (self._fact("line read"),))
        return self._told("unknown", "its program read the keys; what it made of them is not known")

    # -- looking ---------------------------------------------------------------------------------

    def _look(self) -> tuple[str, tuple[Evidence, ...]]:
        assert self.screen is not None
        pane = next((p for p in self.server.panes() if p.id == self.pane.id), None)
        if pane is None or pane.pid != self.pane.pid or pane.dead:
            raise PaneGone("its program ended")
        shown = self.server.capture([pane.id]).get(pane.id)
        if shown is None:
            raise PaneGone(f"pane {pane.id} is gone")
        return shown, screens.look(self.screen, shown, pane.title, self.clock(), pane.id)

    def _pending(self) -> int:
        told = terminal_input(self.tty)
        return told.pending if told else 0

    def _says_taken(self) -> tuple[Evidence, ...]:
        return tuple(e for e in self.witness() if e.says in ("turn_started", "busy", "activity"))

    def _after_the_end(self) -> Delivery:
        taken = self._says_taken()
        if taken:
            return self._told("submitted", "the agent took it, and its program ended", taken)
        if self.enters:
            return self._told("unknown", "its program ended right after")
        return self._told("not_sent", "its program ended before Enter was pressed")

    def _fact(self, detail: str) -> Evidence:
        at = self.clock()
        return Evidence(
            kind="tmux", says="activity", at=at, id=f"tmux:{self.pane.id}:{at}", detail=detail
        )

    def _told(self, outcome: Outcome, why: str, evidence: Sequence[Evidence] = ()) -> Delivery:
        return Delivery(outcome=outcome, why=why, evidence=tuple(evidence), enters=self.enters)
