"""Families of made-up sessions: forks of forks, resumes, subagents, twins, both sides going on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from zlib import crc32

from homes import Claude, Codex, Line, Tokens, Transcript, truth


def family(random: Random, name: str) -> list[Transcript]:
    """Up to five transcripts that have to do with each other."""
    kind = random.choice(["claude", "codex", "legacy"])
    members: list[Transcript] = []
    for i in range(random.randint(1, 5)):
        alone = not members or random.random() < 0.15
        if kind == "claude":
            made = _claude(random, f"{name}{i}", None if alone else random.choice(members))
        else:
            native = f"019b7000-0000-7000-8000-00000{name:0>3}{i:04}"
            parent = None if alone else random.choice(members)
            if kind == "legacy" and isinstance(parent, Codex) and parent.parent:
                # Without any ids a fork of a fork cannot be told from its grandparent as long as
                # its parent is missing.
                parent = members[0]
            made = _codex(random, native, parent, turns=kind == "codex")
        # Codex has no ids of responses: a twin that went on by itself could not be told apart.
        twin = any(made.name == m.name for m in members) and isinstance(made, Codex)
        for _ in range(0 if twin else random.randint(0, 4)):
            _go_on(random, made)
        grown = [m for m in members if not m.packed and not getattr(m, "archived", False)]
        if grown and random.random() < 0.3:
            other = random.choice(grown)
            other.now = max(other.now, made.now)
            _go_on(random, other)
        members = [m for m in [*members, made] if m.lines]
    return list({m.path: m for m in members}.values())


def used(members: Iterable[Transcript], written: Mapping[str, int]) -> Tokens | None:
    """What the sessions used by all records that stand in so many written bytes of each file.

    None while a compressed file is not whole: what can be unpacked of it is another matter.
    """
    read: list[Line] = []
    for m in members:
        size = written.get(m.path, 0)
        if m.packed and 0 < size < len(m.data):
            return None
        if m.packed and size:
            read += m.lines
            continue
        end = 0
        for x in () if m.packed else m.lines:
            end += len(x.data)
            if end - 1 <= size:  # a whole record is read before its newline comes
                read.append(x)
    return truth(read)


def _claude(random: Random, name: str, other: Transcript | None) -> Transcript:
    version = random.choice(["2.1.50", "1.0.3"])
    if not isinstance(other, Claude):
        return Claude(name, version=version)
    lines = random.choice([None, random.randint(1, len(other.lines))])
    after = random.choice([0, 60_000])
    match random.randrange(5):
        case 0:
            return Claude(other.name, other.now, agent=f"x{name}")
        case 1:
            return other.twin(lines, folder="-home-me-other")
        case 2:  # resumed in a file of its own, the copies under the name they had
            return Claude(name, other.now, lines=other.lines[:lines], version=version)
        case _:
            return other.fork(name, lines, queue=random.random() < 0.5, after=after)


def _codex(random: Random, name: str, other: Transcript | None, *, turns: bool) -> Transcript:
    if not isinstance(other, Codex):
        made = Codex(name, turns=turns)
        if turns:
            made.prompt("hello")
        return made
    lines = random.choice([None, random.randint(1, len(other.lines))])
    match random.randrange(5):
        case 0:
            return other.twin(lines, archived=True)
        case 1:
            return other.twin(lines, packed=True)
        case _:
            return other.fork(name, lines, after=random.choice([0, 60_000]))


def _go_on(random: Random, made: Transcript) -> None:
    if random.random() < 0.4:
        made.prompt(random.choice(["hello", "do it"]))
        return
    mark = crc32(f"{made.path} {len(made.lines)}".encode())
    tokens: Tokens = (_few(random), _few(random), _few(random), _few(random))
    if isinstance(made, Claude):
        tool = random.choice(["", "Edit"])
        made.answer(f"{mark:x}", tokens, records=random.randint(1, 3), tool=tool)
    elif isinstance(made, Codex):
        # Where responses have no ids, their running totals stand for them: no two alike here.
        made.answer(f"{mark:x}", (mark % 99_991 + 1, *tokens[1:]), repeat=random.random() < 0.3)


def _few(random: Random) -> int:
    return random.choice([0, 1, random.randint(2, 50)])
