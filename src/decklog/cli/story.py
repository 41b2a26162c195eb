"""A session told turn by turn, as lines of text. Nothing here asks or prints."""

from __future__ import annotations

import json

from decklog.cli import diffs, figures, output, tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from decklog.model import Cost, Event, ToolCall, Turn, Usage
    from decklog.zones import Zone

PROMPT_LINES, REMARK_LINES, REPLY_LINES, DIFF_LINES = 8, 4, 12, 16
OUTPUT_LINES = {"shell": 3}
"""Lines of a call's output that are shown, by kind; others show none when all went well."""
FAILED_LINES = 6
LINE = 400
"""Characters of one line."""
SAYING = ("command", "cmd", "pattern", "query", "url", "description", "prompt", "message", "title")
"""Arguments that say best what a call did, best first."""
FILES = ("file_read", "file_write", "file_edit", "notebook")


class Telling:
    """Tells turns: texts cut to a few lines with a mark, or whole when ``full``."""

    def __init__(self, zone: Zone, cwd: str, *, full: bool) -> None:
        self.zone, self.full = zone, full
        self.cwd = cwd.rstrip("/") + "/" if cwd else ""

    def turn(self, turn: Turn, events: list[Event]) -> Iterator[str]:
        """The turn in the order in which it happened."""
        self.calls = {c.id: c for c in turn.tool_calls}
        self.reply = turn.reply
        times = [self.zone.text(turn.at)] if turn.at is not None else []
        if turn.at is not None and turn.ended_at is not None:
            times.append(figures.span(turn.ended_at - turn.at))
        told = ", ".join([*times, turn.outcome])
        yield f"{output.bold(f'Turn {turn.index}')}  {output.dim(told)}"
        for event in events:
            tell = getattr(self, f"_{kind(event)}", None)
            if tell is not None:
                yield from tell(event)
        if turn.usage.total or turn.cost.micro_usd:
            yield output.dim(f"  {tokens(turn.usage)}; {price(turn.cost)}")

    def event(self, e: Event) -> Iterator[str]:
        """One event alone, with all its text."""
        for name in ("content", "summary", "message", "result", "output", "error"):
            text = getattr(e, name, None)
            if text and isinstance(text, str):
                yield from self._text(text, PROMPT_LINES)
                break
        given = bytes(getattr(e, "input", b"null"))
        if given != b"null":
            yield from self._text(json.dumps(json.loads(given), indent=2, ensure_ascii=False), 0)

    # -- texts -----------------------------------------------------------------------------------

    def _text(
        self, text: str, limit: int, lead: str = "  ", paint: Callable[[str], str] = output.plain
    ) -> Iterator[str]:
        lines = text.replace("\r\n", "\n").strip("\n").split("\n")
        if self.full:
            yield from (lead + paint(line) for line in lines)
            return
        for line in lines[:limit]:
            yield lead + paint(line if len(line) <= LINE else line[:LINE] + "…")
        if len(lines) > limit:
            left = figures.count(len(lines) - limit, "more line")
            yield lead + output.dim(f"… {left} (--full)")

    def _user_message(self, e: Any) -> Iterator[str]:
        if e.injected and not self.full:
            return
        if e.content:
            paint = output.dim if e.injected else output.plain
            yield from self._text(e.content, PROMPT_LINES, "> ", paint)
        if e.images:
            yield output.dim(f"> [{figures.count(e.images, 'image')}]")

    def _assistant_message(self, e: Any) -> Iterator[str]:
        if e.content.strip():
            limit = REPLY_LINES if e.content == self.reply else REMARK_LINES
            yield from self._text(e.content, limit)

    def _reasoning(self, e: Any) -> Iterator[str]:
        if self.full and e.content:
            yield from self._text(e.content, 0, "  ~ ", output.dim)

    # -- tools -----------------------------------------------------------------------------------

    def _tool_call(self, e: Any) -> Iterator[str]:
        # a call that is recorded twice is told once
        call = self.calls.pop(e.tool_id or f"#{e.seq}", None)
        if call is not None:
            yield from self._called(call)

    def _called(self, call: ToolCall) -> Iterator[str]:
        paths = [p.removeprefix(self.cwd) for p in call.paths]
        said = headline(call.kind, call.input, paths)
        first = output.one_line(tables.cut(said.partition("\n")[0], 160))
        head = f"  {output.dim(f'{call.kind:<10}')} {output.cyan(output.one_line(call.name))}"
        yield f"{head} {first}  {_verdict(call)}"
        lead = " " * 13
        if self.full and "\n" in said:
            yield from self._text(said, 0, lead)
        if call.kind not in FILES and paths:
            yield lead + output.dim(output.one_line(", ".join(paths)))
        if call.child:
            yield lead + output.dim(output.one_line(f"subagent {call.child}"))
        yield from self._changed(call, lead)
        lines = FAILED_LINES if call.ok is False else OUTPUT_LINES.get(call.kind, 0)
        if call.output and (lines or self.full):
            yield from self._text(call.output, lines, lead, output.dim)

    def _changed(self, call: ToolCall, lead: str) -> Iterator[str]:
        lines = diffs.diff(call, self.cwd)
        shown = lines if self.full else lines[:DIFF_LINES]
        for line in shown:
            yield lead + _diff_paint(line)(line if self.full else line[:LINE])
        if len(lines) > len(shown):
            left = figures.count(len(lines) - len(shown), "more line")
            yield lead + output.dim(f"… {left} (--full)")

    # -- what else happened ----------------------------------------------------------------------

    def _compacted(self, e: Any) -> Iterator[str]:
        before = f", {e.tokens_before:,} tokens before" if e.tokens_before else ""
        yield output.yellow(f"  compacted ({e.trigger or 'no trigger stated'}{before})")
        if self.full and e.summary:
            yield from self._text(e.summary, 0, "  ~ ", output.dim)

    def _usage_limit_hit(self, e: Any) -> Iterator[str]:
        until = f", until {e.reset_at}" if e.reset_at else ""
        yield output.yellow(f"  usage limit hit{f' ({e.scope})' if e.scope else ''}{until}")

    def _state_changed(self, e: Any) -> Iterator[str]:
        if e.what == "aborted":
            yield output.yellow("  interrupted")
        elif e.what == "model" and e.old:
            yield output.dim(output.one_line(f"  model: {e.old} to {e.new}"))

    def _permission(self, e: Any) -> Iterator[str]:
        if not e.granted:
            yield output.yellow(output.one_line(f"  not permitted: {e.tool_name} {e.description}"))

    def _parse_warning(self, e: Any) -> Iterator[str]:
        place = f"line {e.ref.line}" if e.ref.line else f"byte {e.ref.offset}"
        yield output.yellow(output.one_line(f"  not read as written: {e.message} ({place})"))

    def _session_ended(self, e: Any) -> Iterator[str]:
        if e.error:
            yield from self._text(e.error, REMARK_LINES, "  ", output.red)

    def _provider_status(self, e: Any) -> Iterator[str]:
        if self.full and e.message:
            yield from self._text(e.message, 0, "  ~ ", output.dim)


def kind(event: Event) -> str:
    """Wire name of an event's kind."""
    return str(type(event).__struct_config__.tag)


def headline(kind: str, raw: Any, paths: list[str]) -> str:
    """What a call did, in as few words as its arguments allow."""
    if kind in FILES and paths:
        return ", ".join(paths)
    try:
        given = json.loads(bytes(raw))
    except (ValueError, RecursionError):
        return ""
    if isinstance(given, str):
        return given.strip()
    if not isinstance(given, dict):
        return ""
    for name in SAYING:
        value = given.get(name)
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            value = " ".join(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return json.dumps(given, ensure_ascii=False) if given else ""


def _verdict(call: ToolCall) -> str:
    took = output.dim(f" {figures.span(call.duration_ms)}") if call.duration_ms is not None else ""
    if call.ok is None:
        return output.yellow("no result" if call.output is None else "unknown") + took
    return (output.green("ok") if call.ok else output.red("failed")) + took


def _diff_paint(line: str) -> Callable[[str], str]:
    if line.startswith(("--- ", "+++ ")):
        return output.bold
    paints = {"+": output.green, "-": output.red, "@": output.cyan}
    return paints.get(line[:1], output.plain)


def tokens(usage: Usage) -> str:
    """Tokens in words; parts that are zero are left out."""
    parts = [
        (usage.input, "input"),
        (usage.cache_read, "cache read"),
        (usage.cache_write, "cache write"),
        (usage.output, "output"),
    ]
    text = ", ".join(f"{name} {n:,}" for n, name in parts if n) or "no tokens"
    return text + (f" (reasoning {usage.reasoning:,})" if usage.reasoning else "")


def price(cost: Cost) -> str:
    """Money in words, with how it came about."""
    how = {"reported": " as reported", "mixed": " in part as reported or not known"}
    if cost.micro_usd is None:
        return "no price known"
    return figures.cents(cost.micro_usd) + how.get(cost.basis, "")


_SAID = ("content", "message", "error", "result", "command", "parent", "trigger", "scope", "reason")


def summary(event: Any, zone: Zone) -> str:
    """An event on one line: number, time, kind, and what it says."""
    time = ""
    if event.at is not None:
        y, m, d, hour, minute, second = zone.parts(event.at)
        time = f"{y:04d}-{m:02d}-{d:02d} {hour:02d}:{minute:02d}:{second:02d}"
    name = kind(event)
    if name == "tool_call":
        said = f"{event.tool_name} {headline(event.tool_kind or '', event.input, event.paths)}"
    elif name == "tool_result":
        verdict = {True: "ok", False: "failed", None: "unknown"}[event.success]
        said = f"{event.tool_name or ''} {verdict} {event.output or event.error or ''}".lstrip()
    elif name == "usage":
        said = f"{event.model} {tokens(event.usage)}"
    elif name == "state_changed":
        said = f"{event.what} {event.new or ''}"
    else:
        said = next((str(v) for n in _SAID if (v := getattr(event, n, None))), "")
    return output.one_line(f"{event.seq:>5}  {time:<19}  {name:<17}  {said}".rstrip())
