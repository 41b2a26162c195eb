"""``decklog chat ...``: our own conversations."""

from __future__ import annotations

import os
import sys

from decklog.cli import deck as decks
from decklog.cli import figures, output, tables
from decklog.errors import UsageError
from decklog.hub.conversations import KEEP, THRESHOLD, Conversations, save, summarise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from decklog.conversations import Branch
    from decklog.model import Compaction, Conversation, Message
    from decklog.model.turns import AnyBlock
    from decklog.zones import Zone

SHORT = 2000
"""Characters of a text that are shown without --full."""


def _all(sample: bool) -> Conversations:
    return Conversations(decks.settings(sample))


def _open(sample: bool, text: str) -> Branch:
    chats = _all(sample)
    return chats.open(chats.find(text))


def _said(name: str, as_json: bool, **more: Any) -> int:
    """Print what a command made: its id, or with --json an object."""
    if as_json:
        output.struct_object({"id": name, **more})
    else:
        output.write(name)
    return 0


# --- looking ----------------------------------------------------------------------------------


def ls(*, sample: bool, **values: Any) -> int:
    from itertools import islice

    found = list(islice(_all(sample).outlines(), values["limit"]))
    if values["json"]:
        output.struct_array(found)
        return 0
    if not found:
        output.note("no conversations yet: decklog chat new begins one")
        return 0
    zone = _zone(sample)
    tables.show(
        ("ID", "LAST", "MESSAGES", "BRANCH", "TITLE"),
        (
            (
                o.id,
                zone.text(o.updated_at),
                figures.number(o.messages),
                o.branch or ("fork" if o.parent else ""),
                o.title or o.origin or o.cwd,
            )
            for o in found
        ),
        (2,),
        shrink=(4,),
        drop=(3,),
    )
    return 0


def _zone(sample: bool) -> Zone:
    from decklog.zones import Zone

    config = decks.settings(sample)
    return Zone(config.tz, config.env)


def show(*, sample: bool, chat: str, **values: Any) -> int:
    """Exit 1 when something of it could not be read."""
    branch = _open(sample, chat)
    if values["tail"] is not None and values["context"]:
        raise UsageError("--tail and --context do not go together", hint="one of them")
    if values["tail"] is not None:
        return _messages(sample, branch.tail(values["tail"]), values, branch.messages)
    if values["context"]:
        return _messages(sample, branch.context(), values, None)
    conversation, findings = branch.examine()
    if values["json"]:
        output.struct_object(conversation)
    else:
        lines = _story(conversation, _zone(sample), full=bool(values["full"]))
        output.page(lines, pager=not values["no_pager"])
    return _told(findings, chat)


def _messages(
    sample: bool, messages: tuple[Message, ...], values: dict[str, Any], last: int | None
) -> int:
    if values["json"]:
        output.struct_array(messages)
        return 0
    first = 1 if last is None else last - len(messages) + 1
    zone, full = _zone(sample), bool(values["full"])
    lines = (x for i, m in enumerate(messages, first) for x in _message(i, m, zone, full=full))
    output.page(lines, pager=not values["no_pager"])
    return 0


def _told(findings: list[Any], chat: str) -> int:
    if findings:
        places = figures.count(len(findings), "place")
        output.note(f"{places} not read as written; decklog chat verify {chat} tells more")
    return int(bool(findings))


def _story(c: Conversation, zone: Zone, *, full: bool) -> Iterator[str]:
    yield output.bold(output.one_line(c.title or c.id))
    facts = [("id", c.id), ("folder", c.cwd), ("made from", c.origin)]
    if c.parent:
        at = f" after message {c.forked_at}" if c.forked_at is not None else ""
        facts.append(("fork", f"of {c.parent}{at}"))
    facts += [("branch", c.branch or ""), ("created", zone.text(c.created_at))]
    facts += [("last", zone.text(c.updated_at)), ("messages", figures.number(len(c.entries)))]
    for name, text in facts:
        if text:
            yield f"  {output.dim(f'{name:<10}')} {output.one_line(text)}"
    after: dict[str | None, list[Compaction]] = {}
    for compaction in c.compactions:
        after.setdefault(compaction.parent, []).append(compaction)
    yield from _compactions(after, None)
    for i, m in enumerate(c.entries, 1):
        yield from _message(i, m, zone, full=full)
        yield from _compactions(after, m.id)


def _compactions(after: dict[str | None, list[Compaction]], entry: str | None) -> Iterator[str]:
    for c in after.get(entry, ()):
        yield ""
        kept = "" if c.kept is None else f", {c.kept} kept"
        yield output.dim(f"--- compaction {c.count}: {c.removed} messages summed up{kept}")
        yield from _lines(c.summary)
        yield from _compactions(after, c.id)


def _message(number: int, m: Message, zone: Zone, *, full: bool) -> Iterator[str]:
    yield ""
    when = "" if m.at is None else f"  {zone.text(m.at)}"
    yield output.bold(f"{number} {m.role}") + output.dim(f"{when}  {m.model}".rstrip())
    for block in m.blocks:
        text = _text(block)
        if not full and len(text) > SHORT:
            text = f"{text[:SHORT]}… ({len(text) - SHORT:,} more characters; --full)"
        yield from _lines(text)


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"  {output.plain(line)}"


def _text(block: AnyBlock) -> str:
    from decklog import model

    match block:
        case model.Text():
            return block.text
        case model.Thinking():
            return f"(thinking) {block.text}"
        case model.ToolUse():
            return f"-> {block.name} {bytes(block.input).decode('utf-8', 'replace')}"
        case model.ToolResult():
            failed = " failed" if block.ok is False else ""
            return f"<- {block.name or block.id}{failed}: {block.output}"
        case model.Image():
            return f"(image {block.media_type or block.uri})".replace(" )", ")")
    return f"(not understood) {bytes(block.raw).decode('utf-8', 'replace')}"


def diff(*, sample: bool, chat: str, other: str, **values: Any) -> int:
    """Show what two conversations share and where they part."""
    chats = _all(sample)
    left, right = (chats.open(chats.find(text)) for text in (chat, other))
    found = left.diff(right)
    if values["json"]:
        output.struct_object(found)
        return 0
    output.write(f"{figures.count(found.common, 'message')} in common")
    for sign, messages in (("-", found.only_left), ("+", found.only_right)):
        for i, m in enumerate(messages, found.common + 1):
            text = "\n".join(map(_text, m.blocks))
            if not values["full"]:
                text = tables.cut(" ".join(text.split()), (tables.columns() or 100) - 16)
            first, *rest = text.split("\n")
            output.write(f"{sign} {i} {m.role}: {first}")
            for line in rest:
                output.write(f"{sign}   {line}")
    return 0


# --- writing ----------------------------------------------------------------------------------


def new(*, sample: bool, **values: Any) -> int:
    cwd = os.path.abspath(values["cwd"] or os.getcwd())
    made = _all(sample).new(title=values["title"] or "", cwd=cwd)
    return _said(made.id, values["json"], path=made.path)


def append(*, sample: bool, chat: str, **values: Any) -> int:
    """Append a message: a text, or blocks in JSON."""
    branch = _open(sample, chat)
    message = _given(_input(values["text"], "the text"), values)
    made = branch.extend([message])[0]
    if values["json"]:
        output.struct_object(made)
    else:
        output.write(made.id)
    return 0


def _input(text: str | None, what: str) -> str:
    """A text that was given as a word, or on standard input (``-``, or when there is no word):
    there without the newline at its end, which programs put after what they print."""
    if text is not None and text != "-":
        return text
    if text is None and output.is_terminal(sys.stdin):
        raise UsageError(f"{what} is missing", hint="give it as a word, or - to read stdin")
    data = sys.stdin.buffer.read() if sys.stdin is not None else b""
    if text is None and not data:
        raise UsageError(f"{what} is missing", hint="give it as a word, or - to read stdin")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} is not UTF-8: byte {error.start} of stdin") from None


def _given(text: str, values: dict[str, Any]) -> Message:
    from decklog.model import Message, Text, ToolResult

    role = values["role"] or "user"
    tool = [name for name in ("call", "tool", "failed") if values[name]]
    if tool and role != "tool":
        raise UsageError(f"--{tool[0]} goes with --role tool")
    if values["blocks"]:
        return _message_of(text, role if values["role"] else "", values["model"] or "")
    blocks: tuple[AnyBlock, ...] = (Text(text=text),)
    if role == "tool":
        if not values["call"]:
            raise UsageError(
                "a tool result needs the id of its call", hint="--call ID, and --tool NAME"
            )
        result = ToolResult(
            id=values["call"], name=values["tool"] or "", ok=not values["failed"], output=text
        )
        blocks = (result,)
    return Message(id="", role=role, model=values["model"] or "", blocks=blocks)


def _message_of(text: str, role: str, model: str) -> Message:
    """A message from JSON: a list of blocks, or an object with ``blocks`` and what it has of
    ``role``, ``model``, ``usage`` and ``at``."""
    import msgspec

    from decklog.model import Message

    try:
        value = msgspec.json.decode(text)
        fields = {"blocks": value} if isinstance(value, list) else value
        if isinstance(fields, dict):
            fields = {"role": "user"} | fields | {"id": "", "parent": None}
            fields |= {k: v for k, v in (("role", role), ("model", model)) if v}
        return msgspec.convert(_raw(fields), Message)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"no blocks: {error}", hint="""--blocks '[{"type":"text","text":"Hello."}]'"""
        ) from None


def _raw(fields: Any) -> Any:
    """The fields with what stays JSON (inputs of tools, opaque parts) as such."""
    import msgspec

    blocks = fields.get("blocks") if isinstance(fields, dict) else None
    for block in blocks if isinstance(blocks, list) else ():
        for key in ("input", "raw") if isinstance(block, dict) else ():
            if key in block:
                block[key] = msgspec.Raw(msgspec.json.encode(block[key]))
    return fields


def fork(*, sample: bool, chat: str, **values: Any) -> int:
    chats = _all(sample)
    made = chats.fork(chats.find(chat), values["at"], values["branch"])
    return _said(made.id, values["json"], path=made.path, messages=made.messages)


def rewind(*, sample: bool, chat: str, to: str | None, **values: Any) -> int:
    """Go back; says how many messages are no longer part of the branch."""
    branch = _open(sample, chat)
    if (to is None) == (values["at"] is None):
        raise UsageError("to which message?", hint=f"decklog chat rewind {chat} N")
    if to is not None and not to.isdecimal():
        raise UsageError(f"no number of a message: {to!r}", hint="messages count from 1")
    before = branch.messages
    branch.rewind(int(to) if to is not None else values["at"])
    gone = before - branch.messages
    if not values["json"]:
        output.note(f"{figures.count(gone, 'message')} left behind; nothing is deleted")
    return _said(branch.id, values["json"], messages=branch.messages, left_behind=gone)


def compact(*, sample: bool, chat: str, **values: Any) -> int:
    """Compact; says when it is not worth while."""
    branch = _open(sample, chat)
    keep = KEEP if values["keep"] is None else values["keep"]
    threshold = THRESHOLD if values["threshold"] is None else values["threshold"]
    given = values["summary"]
    text = _input(given, "the summary") if given is not None else ""
    made = branch.compact(
        (lambda messages, before: text) if given is not None else summarise,
        keep=keep,
        threshold=0 if values["force"] else threshold,
    )
    if values["json"]:
        output.struct_object({"id": branch.id, "compaction": made})
    elif made is None:
        output.note(
            f"nothing to compact: {keep} messages are kept, and it takes {threshold:,} estimated"
            " tokens (--force, --keep, --threshold)"
        )
    else:
        output.write(made.id)
        kept = figures.count(made.kept or 0, "message")
        output.note(f"{figures.count(made.removed, 'message')} summed up, {kept} kept")
    return 0


# --- to and from others ---------------------------------------------------------------------------


def export(*, sample: bool, chat: str, **values: Any) -> int:
    """Print, or write, a conversation in an agent's own format."""
    chats = _all(sample)
    name = chats.find(chat)
    to = values["to"]
    if to is None:
        raise UsageError("for whom?", hint="--to claude, codex, pi or jsonl")
    if values["output"] and values["install"]:
        raise UsageError("--output and --install do not go together", hint="one of them")
    if to == "jsonl":
        if values["install"]:
            raise UsageError("--install goes with --to AGENT", hint="-o FILE")
        data = chats.plain(name, context=bool(values["context"]))
        return _written(data, "", (), values, {})
    made = chats.transcript(name, to, cwd=values["cwd"] or "")
    argv = chats.resuming(made)
    more = {"agent": made.agent, "native": made.native, "resume": argv}
    path = chats.install(made) if values["install"] else ""
    return _written(made.data, path, made.lost, values, more)


def _written(
    data: bytes, path: str, lost: Iterable[str], values: dict[str, Any], more: dict[str, Any]
) -> int:
    if values["output"]:
        path = os.path.abspath(values["output"])
        save(path, data)
    if values["json"]:
        if not path:
            raise UsageError("--json goes with --output or --install", hint="-o FILE")
        output.struct_object({"path": path, **more, "lost": list(lost)})
        return 0
    if path:
        output.write(path)
    else:
        output.emit_bytes(data)
    for what in lost:
        output.note(f"not carried over: {what}")
    if values["install"] and more.get("resume"):
        import shlex

        output.note(f"resume it with: {shlex.join(more['resume'])}")
    return 0


def bring(*, sample: bool, what: str, **values: Any) -> int:
    """Import a file or a session. Exit 1 when a part of the file could not be read."""
    made = _all(sample).bring(what, values["agent"])
    if not values["json"]:
        for text in made.lost:
            output.note(f"not carried over: {text}")
    for f in made.findings:
        output.note(f"{f.source}:{f.line}: {f.detail}")
    _said(made.id, values["json"], lost=list(made.lost), findings=made.findings)
    return int(bool(made.findings))


def verify(*, sample: bool, chats: Iterable[str], **values: Any) -> int:
    """Read conversations whole. Exit 1 when something is damaged or missing."""
    known = _all(sample)
    names = [known.find(text) for text in chats] or known.ids()
    found = [(name, known.open(name).examine()[1]) for name in names]
    if values["json"]:
        output.struct_array([{"id": name, "findings": findings} for name, findings in found])
    else:
        for _, findings in found:
            for f in findings:
                where = f"{f.source}:{f.line}" if f.line else f.source
                output.write(f"{where}: {f.reason}: {f.detail}")
        damaged = sum(1 for _, findings in found if findings)
        told = f"{damaged} with findings" if damaged else "all whole"
        output.note(f"{figures.count(len(names), 'conversation')} read, {told}")
    return int(any(findings for _, findings in found))
