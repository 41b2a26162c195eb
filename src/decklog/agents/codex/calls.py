"""Tool calls and what became of them."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from decklog.agents._shared import tool_kind
from decklog.agents.codex import records, tools
from decklog.agents.codex.core import KEPT, Call, Core
from decklog.agents.codex.tools import Note
from decklog.model import NULL, Event, Ref, ToolCalled, ToolKind, ToolReturned

NOTED = ("CommandExecution", "FileChange", "McpToolCall", "DynamicToolCall", "ImageView")
"""Finished turn items that tell how a call went."""


class Calls(Core):
    def _function(
        self, p: records.FunctionCall | records.CustomCall, r: Any, ref: Ref, out: list[Event]
    ) -> None:
        name = p.name or "?"
        if p.namespace:
            name = _full_name(name, p.namespace)
        self._called(name, p.call_id, p.arguments, ref, out)

    def _tool_search(self, p: records.ToolSearch, r: Any, ref: Ref, out: list[Event]) -> None:
        self._called("tool_search", p.call_id, p.arguments, ref, out)

    def _local_shell(self, p: records.LocalShell, r: Any, ref: Ref, out: list[Event]) -> None:
        self._called("local_shell", p.call_id or p.id, p.arguments, ref, out)

    def _web_search(self, p: records.WebSearch, r: Any, ref: Ref, out: list[Event]) -> None:
        self._served("web_search", p.id, p.arguments, p.status, ref, out)

    def _image_made(self, p: records.ImageMade, r: Any, ref: Ref, out: list[Event]) -> None:
        self._served("image_generation", p.id, NULL, p.status, ref, out)

    def _served(
        self, name: str, id: str | None, given: Raw, status: str | None, ref: Ref, out: list[Event]
    ) -> None:
        """A tool that the provider ran: one record has the call and how it ended."""
        call = id or f"{self.s.native}:{self.s.seq}"
        self._called(name, call, given, ref, out)
        self._returned(call, (status in ("completed", None), None, None), NULL, ref, out)

    def _called(self, name: str, id: str | None, given: Raw, ref: Ref, out: list[Event]) -> None:
        s = self.s
        s.seq += 1
        paths, patched = tools.touched(given)
        kind = "file_edit" if patched else tool_kind(name)
        if id:
            if len(s.calls) >= KEPT:
                del s.calls[next(iter(s.calls))]
            s.calls[id] = Call(name, kind, paths)
        out.append(
            ToolCalled(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=f"{self.family}:{id or s.seq}",
                tool_name=name,
                tool_kind=kind,
                tool_id=id,
                input=tools.input_of(given) if self.text else NULL,
                paths=paths,
            )
        )

    def _output(
        self, p: records.FunctionOutput | records.CustomOutput, r: Any, ref: Ref, out: list[Event]
    ) -> None:
        self._returned(p.call_id, tools.outcome(p.output), p.output, ref, out)

    def _tools_found(self, p: records.ToolsFound, r: Any, ref: Ref, out: list[Event]) -> None:
        self._returned(p.call_id, (p.status == "completed", None, None), NULL, ref, out)

    def _returned(
        self, id: str | None, outcome: tools.Outcome, given: Raw, ref: Ref, out: list[Event]
    ) -> None:
        s = self.s
        s.seq += 1
        ok, code, ms = outcome
        name: str | None = None
        kind: ToolKind | None = None
        child, text, data = "", None, NULL
        paths: tuple[str, ...] = ()
        call = s.calls.pop(id, None) if id else None
        if id and call is not None:
            name, kind = call.name, call.kind
            if ok is None:
                if len(s.running) >= KEPT:
                    del s.running[next(iter(s.running))]
                s.running[id] = name
            if s.notes and (note := s.notes.pop(id, None)) is not None:
                ok = ok if note.ok is None else note.ok
                ms = ms if note.ms is None else note.ms
                child, paths = note.child, tools.beyond(note.paths, call.paths)
            if name == "spawn_agent":
                child = child or tools.agent_id(given)
        if self.text and given is not NULL:
            text = tools.output_of(given)
            if code is not None:
                data = Raw(b'{"exit_code":%d}' % code)
        out.append(
            ToolReturned(
                seq=s.seq,
                at=self.at,
                at_text=self.at_text,
                session=self.session,
                agent="codex",
                ref=ref,
                uid=f"{self.family}:{id or s.seq}:out",
                tool_name=name,
                tool_kind=kind,
                tool_id=id,
                success=ok,
                output=text,
                error=text if ok is False else None,
                data=data,
                paths=paths,
                duration_ms=ms,
                child=f"codex:{child}" if child else None,
            )
        )

    # -- what other records say of a call ----------------------------------------------------------

    def _noted(self, id: str | None, note: Note) -> None:
        """Keep what is said of a call until its output comes.

        Of what a script called (code mode) only the files matter: they are the script's.
        """
        s = self.s
        if id not in s.calls:
            if not note.paths or not s.calls:
                return
            id, note = next(reversed(s.calls)), Note(paths=note.paths)
        if id in s.notes:
            s.notes[id].add(note)
            return
        if len(s.notes) >= KEPT:
            del s.notes[next(iter(s.notes))]
        s.notes[id] = note

    def _patch_end(self, p: records.PatchEnd, r: Any, ref: Ref, out: list[Event]) -> None:
        self._noted(p.call_id, Note(ok=p.success, paths=tools.changed(p.changes)))

    def _mcp_end(self, p: records.McpEnd, r: Any, ref: Ref, out: list[Event]) -> None:
        ok, result = None, p.result
        if result is not None:
            failed = result.Ok is not None and result.Ok.isError
            ok = result.Err is None and not failed
        self._noted(p.call_id, Note(ok=ok, ms=tools.elapsed(p.duration)))

    def _exec_end(self, p: records.ExecEnd, r: Any, ref: Ref, out: list[Event]) -> None:
        ok = None if p.exit_code is None else p.exit_code == 0
        self._noted(p.call_id, Note(ok=ok, ms=tools.elapsed(p.duration)))

    def _subagent(self, p: records.SubagentActivity, r: Any, ref: Ref, out: list[Event]) -> None:
        if p.kind == "started":
            self._noted(p.event_id, Note(child=p.agent_thread_id or ""))

    def _call_finished(self, item: records.Item, ref: Ref, out: list[Event]) -> None:
        if item.type == "CollabAgentToolCall":
            if item.tool in ("spawn_agent", "spawnAgent") and item.receiver_thread_ids:
                self._noted(item.id, Note(child=item.receiver_thread_ids[0]))
        elif item.type == "SubAgentActivity":
            if item.kind == "started":
                self._noted(item.id, Note(child=item.agent_thread_id or ""))
        elif item.id in self.s.running:
            self._ended(item, ref, out)
        else:
            paths = tools.changed(item.changes)
            if item.path:
                paths.append(item.path.removeprefix("file://"))
            self._noted(item.id, Note(tools.went_well(item), tools.elapsed(item.duration), paths))

    def _ended(self, item: records.Item, ref: Ref, out: list[Event]) -> None:
        """A command that went on in the background has ended, after its call returned."""
        id = item.id or ""
        ok, text = tools.went_well(item), item.aggregated_output if self.text else None
        name = self.s.running.pop(id)
        self._put(
            out, ToolReturned, ref, f"{self.family}:{id}:end", tool_name=name,
            tool_kind=tool_kind(name), tool_id=id, success=ok, output=text,
            error=text if ok is False else None, duration_ms=tools.elapsed(item.duration),
        )  # fmt: skip


def _full_name(name: str, namespace: str) -> str:
    """Tools of servers and of the provider are only told apart by their namespace."""
    if namespace.startswith("mcp__"):
        return f"{namespace}__{name}"
    return f"web.{name}" if namespace == "web" else name
