"""What programs tell their terminal in passing, taken out of the stream of what they write.

Two things are understood: reports of the Program Status Protocol (OSC 7501: ``state=blocked:...``)
and the marks that shells set around prompts and commands (OSC 133). All of it is untrusted: limits
come first, a report that breaks one is dropped as a whole, and of its texts (``msg``, ``title``)
only that they are allowed is looked at; they are not kept.

Pure, and with next to no imports: `decklog.relay` runs beside every agent.
"""

from __future__ import annotations

from binascii import a2b_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Report: TypeAlias = dict[str, str]
    """``state``, and where they are given ``id``, ``kind``, ``progress`` and ``app``."""
    Told: TypeAlias = tuple[str, Report]
    """``query``, ``report`` with one, ``mark`` with ``{"mark": "A"}``, or ``reset``."""

ANSWER = b"\x1b]7501;?\x1b\\"
"""What a terminal that understands reports answers to the question whether it does."""

FRAME = 4096
"""Bytes of a report, from ESC to the end of its terminator."""
KEY, APP, ID, SEGMENT, DEPTH = 16, 32, 128, 32, 8
TEXTS = {b"title": (256, 192), b"msg": (2732, 2048)}
"""Bytes of a text, encoded and decoded."""
RECORDS = 256
STRING = 1 << 20
"""Bytes of a device control string; one that goes on for longer never ended."""

STATES = ("idle", "working", "done", "blocked", "error", "clear")
KINDS = ("permission", "question", "auth")
PROGRESS = frozenset(map(str, range(101)))

_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_NAME = _LOWER + _LOWER.upper() + b"0123456789_.+-"
_VALUE = _NAME + b",/="
_BASE64 = _LOWER + _LOWER.upper() + b"0123456789+/"


class Stream:
    """What a program writes, in pieces cut anywhere.

    Only whole frames of OSC 7501 are taken out; every other byte is passed on as it came. What may
    be the beginning of a frame is held until more of it is known.
    """

    def __init__(self) -> None:
        self.held = b""
        self._string = 0
        """Bytes so far of a device control string, in which nothing is looked for."""
        self._escaped = False
        """Whether the last of them was ESC."""

    def take(self, data: bytes) -> tuple[bytes, list[Told]]:
        """What is to be passed on, and what was told."""
        if self.held:
            data = self.held + data
        passed: list[bytes] = []
        told: list[Told] = []
        begin = at = 0
        end = len(data)
        while at < end:
            if self._string:
                at = self._skip(data, at)
                continue
            at = _next(data, at)
            if at == end:
                break
            after, said = _sequence(data, at)
            if after < 0:
                end = at  # more of it has to come
                break
            if said is not None:
                told += [said] if said[0] else []
                if said[0] != "mark" and said[0] != "reset":
                    passed.append(data[begin:at])
                    begin = after
            elif data[at + 1 : at + 2] == b"P":
                self._string = 1
            at = after
        self.held = data[end:]
        return b"".join((*passed, data[begin:end])), told

    def _skip(self, data: bytes, at: int) -> int:
        """Where the string ends, or the data."""
        begin = at
        while at < len(data):
            if self._escaped:
                self._escaped = False
                if data[at] == 0x5C:
                    self._string = 0
                    return at + 1
                at += 1
            elif (at := data.find(b"\x1b", at) + 1) > 0:
                self._escaped = True
            else:
                break
        self._string += len(data) - begin
        if self._string > STRING:
            self._string, self._escaped = 0, False
        return len(data)


def _next(data: bytes, at: int) -> int:
    """Where the next sequence begins that may matter; the end of the data where none does."""
    found = [i for i in (data.find(s, at) for s in (b"\x1b]", b"\x1bP", b"\x1bc")) if i >= 0]
    if found:
        return min(found)
    return len(data) - data.endswith(b"\x1b", at)


def _sequence(data: bytes, at: int) -> tuple[int, Told | None]:
    """(where the sequence at that place ends, what it tells).

    The end is -1 where more of it has to come. A frame that tells nothing is ``("", {})``: it is
    taken out all the same.
    """
    kind = data[at + 1 : at + 2]
    if kind != b"]":
        return (at + 2 if kind else -1), (("reset", {}) if kind == b"c" else None)
    head = data[at + 2 : at + 7]
    if head.startswith(b"133;") and len(head) == 5:
        mark = head[4:].decode("latin-1")
        return at + 7, ("mark", {"mark": mark}) if mark in "ABCD" else None
    if head == b"7501;":
        return _frame(data, at)
    if b"7501;".startswith(head) or b"133;".startswith(head):
        return -1, None
    return at + 2, None


def _frame(data: bytes, at: int) -> tuple[int, Told | None]:
    begin = at + 7
    stops = [data.find(s, begin, at + FRAME) for s in (b"\x07", b"\x1b", b"\x18", b"\x1a")]
    stop = min((i for i in stops if i >= 0), default=-1)
    if stop < 0:
        return (-1, None) if len(data) < at + FRAME else (begin, None)
    if data[stop] == 0x1B:
        following = data[stop + 1 : stop + 2]
        if not following and stop + 2 <= at + FRAME:
            return -1, None
        if following != b"\\" or stop + 2 > at + FRAME:
            return stop, None  # given up by another sequence
        return stop + 2, told_by(data[begin:stop])
    if data[stop] != 0x07:
        return stop + 1, None  # cancelled
    return stop + 1, told_by(data[begin:stop])


def told_by(body: bytes) -> Told:
    """What the text of a frame says; ``("", {})`` where it says nothing that is allowed."""
    if body == b"?":
        return "query", {}
    report = parse(body)
    return ("report", report) if report else ("", {})


def parse(body: bytes) -> Report | None:
    """A report from its text. None where it breaks a limit or states no state.

    Pairs that are none, or hold what may not stand there, are passed over; of several with one key
    the last counts, but each has to keep the limits.
    """
    pairs: dict[str, str] = {}
    for pair in body.split(b":"):
        key, equals, value = pair.partition(b"=")
        if equals and len(key) > KEY:
            return None
        if not equals or not key or key.strip(_LOWER) or value.strip(_VALUE):
            continue
        if key in TEXTS and not _is_text(value, *TEXTS[key]):
            return None
        if (key == b"app" and len(value) > APP) or (key == b"id" and _too_deep(value)):
            return None
        pairs[key.decode()] = value.decode()
    state, progress = pairs.get("state", ""), pairs.get("progress", "")
    if state not in STATES or ("id" in pairs and not _is_path(pairs["id"])):
        return None
    report = {"state": state}
    if "id" in pairs:
        report["id"] = pairs["id"]
    if state == "blocked" and pairs.get("kind") in KINDS:
        report["kind"] = pairs["kind"]
    if state in ("working", "blocked") and progress in PROGRESS:
        report["progress"] = progress
    if pairs.get("app") and not pairs["app"].encode().strip(_NAME):
        report["app"] = pairs["app"]
    return report


def _is_text(value: bytes, encoded: int, decoded: int) -> bool:
    bare = value.rstrip(b"=")
    padding = len(value) - len(bare)
    if len(value) > encoded or bare.strip(_BASE64) or len(bare) % 4 == 1:
        return False
    if padding and (len(value) % 4 or padding > 2):
        return False
    try:
        text = a2b_base64(bare + b"=" * (-len(bare) % 4)).decode()
    except ValueError:
        return False
    control = any(c < " " or "\x7f" <= c <= "\x9f" for c in text)
    return len(text.encode()) <= decoded and not control


def _too_deep(value: bytes) -> bool:
    segments = value.split(b"/")
    return len(value) > ID or len(segments) > DEPTH or any(len(s) > SEGMENT for s in segments)


def _is_path(text: str) -> bool:
    return all(s and not s.encode().strip(_NAME) for s in text.split("/"))


class Records:
    """What the programs of one terminal state: a record for each id; the root has none."""

    def __init__(self) -> None:
        self._records: dict[str, Report] = {}
        """By id, that which was renewed last at the end."""
        self._rounds = 0
        """How often work went on below the root, after there was none."""
        self._below = False

    def apply(self, report: Report) -> None:
        """Each report replaces its record; ``clear`` drops one and all below it."""
        name = report.get("id", "")
        if report["state"] == "clear":
            self._keep(lambda i, r: bool(name) and i != name and not i.startswith(f"{name}/"))
            return
        self._records.pop(name, None)
        self._records[name] = report
        if len(self._records) > RECORDS:
            del self._records[next(iter(self._records))]
        self._count()

    def prompt(self) -> None:
        """A shell asks for the next command: nothing works or waits any more."""
        self._keep(lambda i, r: r["state"] not in ("working", "blocked"))

    def reset(self) -> None:
        self._keep(lambda i, r: False)

    def _keep(self, wanted: Callable[[str, Report], bool]) -> None:
        self._records = {i: r for i, r in self._records.items() if wanted(i, r)}
        self._count()

    def _count(self) -> None:
        before, self._below = (
            self._below,
            any(i and r["state"] == "working" for i, r in self._records.items()),
        )
        self._rounds += self._below > before

    def status(self) -> Report:
        """What follows for the whole: who is blocked comes first, then the root, then the last.

        ``below`` numbers the work that goes on below the root, ``below_over`` what was the last.
        """
        records = self._records
        blocked = [r for r in records.values() if r["state"] == "blocked"]
        root = records.get("") or next(reversed(records.values()), None)
        if root is None:
            return {}
        found = blocked[-1] if blocked and root not in blocked else root
        status: Report = {k: v for k, v in found.items() if k in ("state", "kind")}
        if self._rounds:
            status["below" if self._below else "below_over"] = str(self._rounds)
        return status
