"""Our own conversations, and the way to and from the sessions of agents."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from decklog import conversations, durable
from decklog.conversations import bridge, compaction, loading, writing
from decklog.conversations.compaction import KEEP, THRESHOLD, summarise
from decklog.conversations.records import Meta
from decklog.errors import DecklogError, FormatError, NotFound, SourceError, UsageError, WriteError
from decklog.model import Conversation, Finding, Fork, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decklog.config import Config
    from decklog.hub import Decklog
    from decklog.model import Event, Session
    from decklog.model.turns import AnyBlock

__all__ = ["KEEP", "THRESHOLD", "Conversations", "Imported", "Resumption", "save", "summarise"]

FOLDER = "conversations"
LOOKED_AT = 1 << 20
"""Bytes that are looked at to tell whose transcript a file is."""
LARGEST = 1 << 30
"""Bytes of a file that is still imported."""


class Imported(NamedTuple):
    id: str
    lost: tuple[str, ...]
    """What the conversation has not that was imported from, one plain sentence each."""
    findings: list[Finding]
    """What was not read as it stood."""


class Resumption(NamedTuple):
    """How to go on with a session."""

    argv: tuple[str, ...]
    cwd: str
    written: str
    """The transcript that was made for it; empty where there was no need."""
    lost: tuple[str, ...]


class Conversations(conversations.Conversations):
    """The conversations that decklog keeps, as ``deck.conversations``.

    >>> import decklog
    >>> with decklog.open() as deck:
    ...     chat = deck.conversations.new(title="A parser")
    ...     chat.append("user", "Write a parser.")
    """

    def __init__(self, config: Config, deck: Decklog | None = None) -> None:
        super().__init__(os.path.join(config.data_dir, FOLDER))
        self.config = config
        self._deck = deck

    # -- bringing in ---------------------------------------------------------------------------

    def bring(self, what: str, agent: str | None = None) -> Imported:
        """Import a file (a conversation in either form, or an agent's transcript) or a session, by
        its id. Raises NotFound, FormatError, SourceError.

        ``agent`` says whose transcript it is, where its path does not.
        """
        if os.path.exists(what) and not os.path.isdir(what):
            return self._bring_file(what, agent)
        try:
            return self.bring_session(what)
        except NotFound:
            raise NotFound(
                f"neither a file nor a session: {what!r}", hint=_rotated(what) or "decklog ls"
            ) from None

    def _bring_file(self, path: str, agent: str | None) -> Imported:
        data = b"" if agent else _whole(path)
        if agent or not loading.is_conversation(data):
            return self._keep(*self._from_transcript(path, agent))
        found, findings = loading.load(data, path)
        now = self.now()
        created = found.created_at or now
        found = replace(found, created_at=created, updated_at=found.updated_at or created)
        kept = self.add(replace(found, origin=found.origin or f"file:{os.path.basename(path)}"))
        return Imported(kept.id, (), findings)

    def bring_session(self, text: str) -> Imported:
        """Import a session of an agent. Raises NotFound, UsageError, SourceError."""
        return self._keep(*self.of_session(text))

    def of_session(self, text: str) -> tuple[Conversation, tuple[str, ...]]:
        """A session as a conversation, which is not kept, and what it is without."""
        session = self._opened().session(text)
        return self._converted(self._told(session), session)

    def _told(self, session: Session, below: tuple[str, ...] = ()) -> list[Event]:
        """The events of a session, after those of the one it was forked from where it only refers
        to these, as Codex does it, instead of holding copies."""
        deck = self._opened()
        own = list(deck.events(session.id))
        if session.relation != "fork" or not session.parent or session.id in below:
            return own
        try:
            parent = self._told(deck.session(session.parent), (*below, session.id))
        except DecklogError:
            return own
        if _opening(own) == _opening(parent):
            return own
        began = session.started_at or 0
        return [*(e for e in parent if e.at is not None and e.at <= began), *own]

    def _from_transcript(
        self, path: str, agent: str | None
    ) -> tuple[Conversation, tuple[str, ...]]:
        from decklog import transcripts

        try:
            events = list(transcripts.read(path, agent))
        except FormatError as error:
            whose = _whose(path) if agent is None else ""
            if not whose:
                error.hint = error.hint or "--agent NAME says whose transcript it is"
                raise
            events = list(transcripts.read(path, whose))
        names = list(dict.fromkeys(e.session for e in events))
        if not names:
            raise FormatError("nothing was said in it", agent=agent or "", uri=path)
        mains = [n for n in names if ".agent-" not in n]
        if len(mains) > 1:
            raise UsageError(
                f"{path} holds {len(mains)} sessions: {', '.join(mains[:5])}",
                hint="decklog chat import SESSION",
            )
        main = (mains or names)[0]
        return self._converted([e for e in events if e.session == main], None)

    def _converted(
        self, events: Iterable[Event], session: Session | None
    ) -> tuple[Conversation, tuple[str, ...]]:
        from decklog.model import SessionStarted

        found = list(events)
        now = self.now()
        said = bridge.Said(found, lambda at: durable.new_id(now if at is None else at), _parts)
        times = [m.at for m in said.messages if m.at is not None]
        started = next((e for e in found if isinstance(e, SessionStarted)), None)
        conversation = Conversation(
            id="",
            created_at=min(times, default=now),
            updated_at=max(times, default=now),
            title=session.title if session else "",
            cwd=(session.cwd if session else "") or (started.cwd if started else "") or "",
            origin=session.id if session else found[0].session if found else "",
            entries=tuple(said.messages),
            compactions=tuple(said.compactions),
        )
        return conversation, said.lost

    def _keep(self, conversation: Conversation, lost: tuple[str, ...]) -> Imported:
        return Imported(self.add(conversation).id, lost, [])

    def _opened(self) -> Decklog:
        if self._deck is None:
            from decklog.hub import Decklog

            self._deck = Decklog(self.config)
            self._deck.refresh()
        return self._deck

    # -- handing on ----------------------------------------------------------------------------

    def plain(self, name: str, *, context: bool = False) -> bytes:
        """A conversation in the oldest form of the format, whole in one file; with ``context`` only
        what a model is shown."""
        c = self.open(name).read()
        fork = Fork(parent=c.parent, branch=c.branch) if c.parent else None
        meta = Meta(id=c.id, created_at=c.created_at, updated_at=c.updated_at, fork=fork)
        messages = compaction.context(c) if context else c.entries
        last = c.compactions[-1] if c.compactions else None
        return writing.plain_lines(meta, last, list(messages))

    def transcript(self, name: str, agent: str, *, cwd: str = "") -> Transcript:
        """A conversation as an agent would have written it, to be resumed there.

        What the model is shown goes into it: after a compaction that is the summary and what came
        later. Raises NotFound, UsageError where the agent cannot be written for.
        """
        return self.transcribe(self.open(name).read(), agent, cwd=cwd)

    def transcribe(self, conversation: Conversation, agent: str, *, cwd: str = "") -> Transcript:
        """`transcript` of a conversation that is not kept here."""
        from decklog import agents

        shown = replace(
            conversation,
            entries=compaction.context(conversation),
            cwd=os.path.abspath(cwd) if cwd else conversation.cwd,
        )
        now = self.now()
        made = agents.get(agent).transcript(shown, durable.new_id(now), now)
        if made is None:
            able = ", ".join(a.name for a in agents.every() if _writes(a))
            raise UsageError(f"{agent} cannot be written for", hint=f"one of: {able}")
        hidden = len(conversation.entries) - len(shown.entries) + 1
        if conversation.compactions and hidden > 1:
            note = f"{hidden:,} messages before the last compaction: its summary stands for them"
            made = replace(made, lost=(note, *made.lost))
        return made

    def resuming(self, transcript: Transcript) -> tuple[str, ...]:
        """The command that goes on with an installed transcript."""
        return _command(transcript.agent, transcript.native)

    def install(self, transcript: Transcript) -> str:
        """Put a transcript where its agent looks for it; gives the path.

        Nothing that is there is ever written over. Raises WriteError, Denied.
        """
        from decklog import agents

        root = agents.get(transcript.agent).roots(self.config.env)[0].path
        path = os.path.join(root, transcript.path)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            raise durable.failed(path, error) from None
        save(path, transcript.data)
        return path

    def resume(self, text: str, into: str = "") -> Resumption:
        """How to go on with a session (or a conversation) in its own agent, or in another.

        For another agent a transcript is made in that agent's folder first. Raises NotFound,
        UsageError.
        """

        lost: tuple[str, ...] = ()
        try:
            session = self._opened().session(text)
        except NotFound as error:
            try:
                conversation = self.open(self.find(text)).read()
            except DecklogError:
                raise error from None
            if not into:
                raise UsageError(
                    f"{text!r} is a conversation: no agent has it", hint="--in AGENT"
                ) from None
        else:
            if not into or into == session.agent:
                return _resumption(session.agent, session.native, session.cwd)
            _command(into, session.native)  # of no use where it cannot be resumed
            conversation, lost = self._converted(self._told(session), session)
        made = self.transcribe(conversation, into)
        written = self.install(made)
        there = _resumption(into, made.native, conversation.cwd)
        return there._replace(written=written, lost=(*lost, *made.lost))


def _resumption(agent: str, native: str, cwd: str) -> Resumption:
    return Resumption(_command(agent, native), cwd, "", ())


def _command(agent: str, native: str) -> tuple[str, ...]:
    from decklog import agents

    launch = agents.get(agent).launch
    argv = launch.resuming(native) if launch else ()
    if not argv:
        able = ", ".join(a.name for a in agents.every() if a.launch and a.launch.resume)
        raise UsageError(f"how {agent} resumes a session is not known", hint=f"one of: {able}")
    return argv


def _writes(agent: object) -> bool:
    from decklog.agents import Agent

    return type(agent).__dict__.get("transcript", Agent.transcript) is not Agent.transcript


def save(path: str, data: bytes) -> None:
    """Write a new file, whole. Raises WriteError where there is one already."""
    if not durable.create(os.path.abspath(path), data):
        raise WriteError(f"{path} is there already", hint="name another file")


def _parts(event: Event) -> tuple[AnyBlock, ...]:
    """What an event does not carry of its record: looked up where the record stands."""
    from decklog import agents

    ref = event.ref
    if not ref.line or not ref.source.endswith(".jsonl") or ref.length > LARGEST:
        return ()  # a document, a database, or packed: its records are not at their offsets
    try:
        with open(ref.source, "rb") as file:
            file.seek(ref.offset)
            return agents.get(event.agent).parts(file.read(ref.length))
    except OSError:
        return ()


def _opening(events: list[Event]) -> str | None:
    """The first prompt."""
    from decklog.model import UserMessage

    prompts = (e.content for e in events if isinstance(e, UserMessage) and not e.injected)
    return next(prompts, None)


def _whose(path: str) -> str:
    """The one agent whose reader finds something said in the first lines of a file, and nothing
    that it does not know; empty for none, or several."""
    from decklog import agents
    from decklog.model import AssistantMessage, ParseWarning, Ref, UserMessage

    try:
        with open(path, "rb") as file:
            lines = file.read(LOOKED_AT).split(b"\n")[:-1]
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    found = []
    for agent in agents.every():
        reader = agent.reader()
        events = [e for i, x in enumerate(lines, 1) if x for e in reader.feed(x, Ref(line=i))]
        said = any(isinstance(e, (UserMessage, AssistantMessage)) for e in events)
        if said and not any(isinstance(e, ParseWarning) for e in events):
            found.append(agent.name)
    return found[0] if len(found) == 1 else ""


def _whole(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise SourceError(f"{path} has more than {LARGEST:,} bytes")
    return data


def _rotated(path: str) -> str:
    """Where the file is missing, but one that its program rotated away is there: that one."""
    folder, name = os.path.split(os.path.abspath(path))
    stem = name.removesuffix(".jsonl").removesuffix(".json")
    try:
        found = sorted(f for f in os.listdir(folder) if f.startswith(f"{stem}.rot-"))
    except OSError:
        return ""
    return f"decklog chat import {os.path.join(folder, found[-1])}" if found else ""
