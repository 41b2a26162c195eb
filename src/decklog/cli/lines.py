"""Events as lines of text, as they come."""

from __future__ import annotations

from decklog.cli import figures, output, tables
from decklog.cli.deck import short
from decklog.cli.story import headline, kind, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from decklog.zones import Zone

_SAYING = ("message", "content", "result", "parent")
TEXT_LINES, OUTPUT_LINES, LINE = 12, 4, 400


class Lines:
    """Tells events one by one: a time, whose it is where that is not clear, and what it says."""

    def __init__(self, zone: Zone, *, full: bool = False, named: bool = False) -> None:
        self.zone, self.full, self.named = zone, full, named

    def of(self, event: Any) -> Iterator[str]:
        """The lines of one event or change; none for what has nothing to say."""
        name = kind(event)
        tell: Callable[[Any], Iterator[str]] = getattr(self, f"_{name}", None) or self._other
        lead = self._lead(event)
        for line in tell(event):
            yield f"{lead}{line}"
            lead = " " * self._width(lead)

    def _lead(self, event: Any) -> str:
        at = getattr(event, "at", None)
        time = " " * 8
        if at is not None:
            *_, hour, minute, second = self.zone.parts(at)
            time = f"{hour:02d}:{minute:02d}:{second:02d}"
        who = ""
        session: str = getattr(event, "session", None) or ""
        if self.named and session:
            agent = session.partition(":")[0]
            who = f"  {output.one_line(f'{agent} {short(session)}'):<28}"
        return f"{output.dim(time)}{output.dim(who) if who else ''}  "

    def _width(self, lead: str) -> int:
        return 10 + (30 if self.named and len(lead.strip()) > 10 else 0)

    def _text(
        self, text: str, limit: int, mark: str = "", paint: Callable[[str], str] = output.plain
    ) -> Iterator[str]:
        lines = text.replace("\r\n", "\n").strip("\n").split("\n")
        for line in lines if self.full else lines[:limit]:
            yield mark + paint(line if self.full or len(line) <= LINE else line[:LINE] + "…")
        if not self.full and len(lines) > limit:
            yield mark + output.dim(f"… {figures.count(len(lines) - limit, 'more line')} (--full)")

    def _user_message(self, e: Any) -> Iterator[str]:
        if e.content and (self.full or not e.injected):
            yield from self._text(
                e.content, TEXT_LINES, "> ", output.dim if e.injected else output.bold
            )
        if e.images:
            yield output.dim(f"> [{figures.count(e.images, 'image')}]")

    def _assistant_message(self, e: Any) -> Iterator[str]:
        if e.content.strip():
            yield from self._text(e.content, TEXT_LINES)

    def _reasoning(self, e: Any) -> Iterator[str]:
        if e.content:
            yield from self._text(e.content, TEXT_LINES, "~ ", output.dim)

    def _tool_call(self, e: Any) -> Iterator[str]:
        said = headline(e.tool_kind or "", e.input, list(e.paths)).partition("\n")[0]
        said = output.one_line(tables.cut(said, 200))
        yield f"{output.cyan(output.one_line(e.tool_name))} {said}"

    def _tool_result(self, e: Any) -> Iterator[str]:
        verdict = {True: output.green("ok"), False: output.red("failed")}.get(e.success)
        took = f" {figures.span(e.duration_ms)}" if e.duration_ms is not None else ""
        yield f"  {verdict or output.yellow('done')}{output.dim(took)}"
        text = e.error or e.output or ""
        if text and (self.full or e.success is False):
            yield from self._text(text, OUTPUT_LINES, "  ", output.dim)

    def _usage(self, e: Any) -> Iterator[str]:
        if e.usage.total:
            yield output.dim(output.one_line(f"{e.model}: {tokens(e.usage)}"))

    def _usage_limit_hit(self, e: Any) -> Iterator[str]:
        until = f", until {e.reset_at}" if e.reset_at else ""
        scope = f" ({e.scope})" if e.scope else ""
        yield output.yellow(output.one_line(f"usage limit hit{scope}{until}"))

    def _state_changed(self, e: Any) -> Iterator[str]:
        said = "interrupted" if e.what == "aborted" else f"{e.what}: {e.new or ''}"
        yield output.yellow(output.one_line(tables.cut(said, 200)))

    def _compacted(self, e: Any) -> Iterator[str]:
        yield output.yellow(output.one_line(f"compacted {e.trigger}".rstrip()))

    def _session_started(self, e: Any) -> Iterator[str]:
        how = "resumed" if e.resumed else "started"
        yield output.dim(output.one_line(f"session {how} {e.model or ''} {e.cwd or ''}".rstrip()))

    def _session_ended(self, e: Any) -> Iterator[str]:
        if e.error:
            yield output.red("session ended")
            yield from self._text(e.error, OUTPUT_LINES, "  ", output.red)
        else:
            yield output.dim("session ended")

    def _permission(self, e: Any) -> Iterator[str]:
        said = "permitted" if e.granted else "not permitted"
        yield output.yellow(output.one_line(f"{said}: {e.tool_name} {e.description}"))

    def _parse_warning(self, e: Any) -> Iterator[str]:
        place = f"line {e.ref.line}" if e.ref.line else f"byte {e.ref.offset}"
        yield output.yellow(output.one_line(f"not read as written: {e.message} ({place})"))

    def _lagged(self, e: Any) -> Iterator[str]:
        many = "some" if e.missed is None else f"{e.missed:,}"
        yield output.yellow(f"{many} events can not be told any more")

    def _provider_status(self, e: Any) -> Iterator[str]:
        if e.message:
            yield from self._text(e.message, 1, "", output.dim)

    def _other(self, e: Any) -> Iterator[str]:
        said = next(
            (
                str(v)
                for n in ("message", "content", "result", "parent")
                if (v := getattr(e, n, ""))
            ),
            "",
        )
        yield output.dim(output.one_line(tables.cut(f"{kind(e)} {said}".rstrip(), 200)))
