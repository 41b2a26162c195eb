"""What Copilot CLI used, from three kinds of evidence of which a session may hold any mixture.

Newer versions write a record for each provider response. All versions write totals when they
shut down: since the process began, or, where they carry an accounting snapshot, since the session
began. Before the first totals, older versions tell only the output of each answer.

The rule that makes the sums right whatever is there: own records count as they are, and each run
(from a start or resume to the next) has for each model one *remainder*, which is what the best
other evidence says beyond the records. It is given out anew whenever that changes.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from decklog.model import Usage

MAIN = "main"
"""The session's own agent; subagents go by their id."""

Amounts: TypeAlias = list[int]
"""Input (all cache parts included), output (reasoning included), cache read, cache write,
reasoning, and nano-AIU, the unit Copilot charges in."""
ByModel: TypeAlias = dict[str, Amounts]
ByAgent: TypeAlias = dict[str, ByModel]

NONE = (0, 0, 0, 0, 0, 0)
HIGHEST = 2**62
"""Sums of absurd numbers stay what a store can hold."""


def plus(a: Amounts, b: Amounts) -> Amounts:
    return [min(x + y, HIGHEST) for x, y in zip(a, b, strict=True)]


def minus(a: Amounts, b: Amounts) -> Amounts:
    """The difference, nowhere below zero."""
    return [max(0, x - y) for x, y in zip(a, b, strict=True)]


def usage_of(amounts: Amounts) -> Usage:
    sent, output, cache_read, cache_write, reasoning, _ = amounts
    return Usage(
        input=max(0, sent - cache_read - cache_write),
        output=output,
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=min(reasoning, output),
    )


def reported(amounts: Amounts) -> int | None:
    """Millionths of a US dollar: an AI unit is a cent; None where none was charged."""
    return round(amounts[5] / 100_000) or None


def _add(to: ByAgent, agent: str, model: str, amounts: Amounts) -> None:
    models = to.setdefault(agent, {})
    models[model] = plus(models.get(model, list(NONE)), amounts)


def _of(sums: ByAgent, agent: str, model: str) -> Amounts:
    return sums.get(agent, {}).get(model) or list(NONE)


class Books(Struct):
    """The accounts of one session; part of the reader's state."""

    run: int = 0
    recorded: bool = False
    """This run has records of its own responses."""
    covered: ByAgent = {}
    """Sums of the records of this run."""
    spoken: ByAgent = {}
    """Output of answers since the last totals, while there are no records."""
    stated: ByAgent = {}
    """Totals of this run, as far as they were stated."""
    given: ByAgent = {}
    """Remainders of this run, as given out last."""
    before: ByAgent = {}
    """All that earlier runs used."""

    def close(self) -> None:
        """Another run begins."""
        for sums in (self.covered, self.given):
            for agent, models in sums.items():
                for model, amounts in models.items():
                    _add(self.before, agent, model, amounts)
        self.covered, self.spoken, self.stated, self.given = {}, {}, {}, {}
        self.run += 1
        self.recorded = False

    def record(self, agent: str, model: str, amounts: Amounts) -> ByAgent:
        """A response's own record. Returns the remainders that changed by it."""
        _add(self.covered, agent, model, amounts)
        self.recorded = True
        self.spoken = {}
        return self._changes()

    def cover(self, agent: str, model: str, amounts: Amounts) -> ByAgent:
        """A record of one response that says nothing about whether the others have theirs."""
        _add(self.covered, agent, model, amounts)
        return self._changes()

    def speak(self, agent: str, model: str, output: int) -> ByAgent:
        """An answer that tells only how long it is."""
        if self.recorded or output <= 0:
            return {}
        _add(self.spoken, agent, model, [0, output, 0, 0, 0, 0])
        return self._changes()

    def state(self, models: ByModel, agents: ByAgent, since_start: bool) -> ByAgent:
        """Totals: of all together, and of those agents that are listed.

        ``since_start`` tells totals of the session from totals of the run.
        """
        if not models:  # no word about what was used, so what is known stands
            return {}
        listed = {a: m for a, m in agents.items() if a != MAIN}
        totals: ByAgent = {MAIN: dict(models), **listed}
        for model in models:
            for own in listed.values():
                if model in own:
                    totals[MAIN][model] = minus(totals[MAIN][model], own[model])
        for agent, own in totals.items():
            for model, amounts in own.items():
                if since_start:
                    earlier = self._with_unlisted(self.before, agent, model, totals)
                    amounts = minus(amounts, earlier)
                known = _of(self.stated, agent, model)
                highest = [max(x, y) for x, y in zip(known, amounts, strict=True)]
                self.stated.setdefault(agent, {})[model] = highest
        # A subagent that is not told apart keeps its answers as its share of the whole.
        self.spoken = {a: m for a, m in self.spoken.items() if a not in totals}
        return self._changes()

    def _with_unlisted(self, sums: ByAgent, agent: str, model: str, listed: ByAgent) -> Amounts:
        """The sum of an agent; the main one's takes in those whose totals are not stated apart."""
        total = _of(sums, agent, model)
        if agent == MAIN:
            for other in sums:
                if other not in listed and other != MAIN:
                    total = plus(total, _of(sums, other, model))
        return total

    def _changes(self) -> ByAgent:
        changes: ByAgent = {}
        met = (self.stated, self.spoken, self.given)
        pairs = {(a, m) for sums in met for a, models in sums.items() for m in models}
        for agent, model in sorted(pairs, key=lambda p: (p[0] == MAIN, p)):  # subagents first
            rest = list(NONE)
            if model in self.stated.get(agent, {}):
                known = self._with_unlisted(self.covered, agent, model, self.stated)
                if agent == MAIN:
                    for other in self.given:
                        if other not in self.stated:
                            known = plus(known, _of(self.given, other, model))
                rest = minus(self.stated[agent][model], known)
            rest = plus(rest, _of(self.spoken, agent, model))
            if rest != _of(self.given, agent, model):
                self.given.setdefault(agent, {})[model] = rest
                changes.setdefault(agent, {})[model] = rest
        return changes
