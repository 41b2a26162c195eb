"""Made-up text that costs an index about what real text costs.

Three pools (prose, code, logs) are written once from a Zipf-like vocabulary; texts are cut from
them at random places and salted with identifiers that occur nowhere else, because the long tail
of unique words is what makes real transcripts expensive to index.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import accumulate
from random import Random
from typing import Literal

Kind = Literal["prose", "code", "logs"]

RARE = "quillbramble"
"""A word that no pool contains; planted in very few texts."""
PHRASE = "the ferry was late again"
"""A phrase of everyday words; planted in some texts."""

_COMMON = """
the of to and a in is it you that for on with as this be are we not or if can will have from
an at by when then which should test file function error return value class import call run
add fix change check update remove result output input default config server client request
response message session token user project module version build branch commit query table
row key object array async await string number list type name line code data true false null
path directory expected actual failed passed warning cache buffer parse format write read
open close start stop before after because still already only also instead without between
"""
_SYLLABLES = (
    "b br c ch cl d dr f fl g gr h j k l m n p pl qu r s sh st t tr v w z",
    "a ai an ar e ea el en er i in ing ion is o on or ou u um un us y",
)
_ONSETS, _RIMES = (part.split() for part in _SYLLABLES)
_ACCENTED = ("Größe", "naïve", "café", "世界", "приёмка", "→", "✓", "—")
_SALT_EVERY = 1500  # characters


def _word(rng: Random) -> str:
    return "".join(rng.choice(_ONSETS) + rng.choice(_RIMES) for _ in range(rng.randint(2, 4)))


def _distinct(make: Iterator[str], count: int, seen: dict[str, None]) -> list[str]:
    while len(seen) < count:
        seen[next(make)] = None
    return list(seen)


class Texts:
    """The pools. Making them takes a second or two; every worker makes the same ones."""

    def __init__(self) -> None:
        rng = Random("pools")
        self.words = _distinct(iter(lambda: _word(rng), ""), 24_000, dict.fromkeys(_COMMON.split()))
        self.names = _distinct(iter(lambda: self._name(rng), ""), 80_000, {})
        self._word_weights = list(accumulate(1 / (i + 3) for i in range(len(self.words))))
        self._name_weights = list(accumulate((i + 25) ** -0.85 for i in range(len(self.names))))
        self.pools: dict[Kind, str] = {
            "prose": " ".join(self._sentences(rng, 80_000)),
            "code": "\n".join(self._statements(rng, 150_000)),
            "logs": "\n".join(self._log_lines(rng, 90_000)),
        }
        self._noise = base64.b64encode(rng.randbytes(3_000_000)).decode()

    def cut(self, rng: Random, kind: Kind, size: int) -> str:
        """About ``size`` characters of a kind, salted with unique identifiers."""
        pool = self.pools[kind]
        size = min(size, len(pool) - 1)
        start = rng.randrange(len(pool) - size)
        end = start + size
        if size < _SALT_EVERY // 4:
            return pool[start:end]
        parts = []
        for at in range(start, end, _SALT_EVERY):
            parts.append(pool[at : min(at + _SALT_EVERY, end)])
            parts.append(f" {rng.choice(self.names)}_{rng.getrandbits(48):x} ")
        return "".join(parts)

    def line(self, rng: Random, size: int) -> str:
        """One line of prose."""
        return self.cut(rng, "prose", size).replace("\n", " ").strip()

    def noise(self, rng: Random, size: int) -> str:
        """Base64, as in images and encrypted reasoning."""
        start = rng.randrange(len(self._noise) - size)
        return self._noise[start : start + size]

    def _name(self, rng: Random) -> str:
        parts = [self.words[min(int(rng.paretovariate(0.6)), len(self.words) - 1)]]
        parts += rng.choices(self.words, k=rng.randint(1, 2))
        if rng.random() < 0.5:
            return "_".join(parts)
        return parts[0] + "".join(p.capitalize() for p in parts[1:])

    def _some_words(self, rng: Random, count: int) -> list[str]:
        return rng.choices(self.words, cum_weights=self._word_weights, k=count)

    def _some_names(self, rng: Random, count: int) -> list[str]:
        return rng.choices(self.names, cum_weights=self._name_weights, k=count)

    def _sentences(self, rng: Random, count: int) -> Iterator[str]:
        for _ in range(count):
            words = self._some_words(rng, rng.randint(4, 20))
            words[0] = words[0].capitalize()
            if rng.random() < 0.3:
                words.append(f"`{rng.choice(self.names)}`")
            if rng.random() < 0.06:
                words.append(rng.choice(_ACCENTED))
            yield " ".join(words) + rng.choice((".", ".", ".\n", "?", ":\n-", ".\n\n"))

    def _statements(self, rng: Random, count: int) -> Iterator[str]:
        for _ in range(count):
            name, other = self._some_names(rng, 2)
            a, b, c = self._some_words(rng, 3)
            yield "    " * rng.choice((0, 1, 1, 2, 2, 3)) + rng.choice(
                (
                    f"def {name}(self, {a}: int, {b}: str | None = None) -> {c}:",
                    f"{name} = {other}({a}, {b}={c})",
                    f"if {name}.{a} is not None and {b} < {rng.randint(2, 999)}:",
                    f"return {name}[{a}].{b}",
                    f"# {a} {b} {c} {other}",
                    f"from {a}.{b} import {name}, {other}",
                    f'raise ValueError(f"{a} {b}: {{{name}!r}}")',
                )
            )

    def _log_lines(self, rng: Random, count: int) -> Iterator[str]:
        for _ in range(count):
            name, other = self._some_names(rng, 2)
            a, b, c = self._some_words(rng, 3)
            n = rng.randint(1, 9999)
            yield rng.choice(
                (
                    f"src/{a}/{b}/{name}.py:{n}:    {other} = {c}",
                    f"2026-03-{n % 28 + 1:02} 10:{n % 60:02} INFO {name}: {a} {b} {c} ({n} ms)",
                    f"tests/test_{a}.py::test_{name} PASSED [{n % 100:3}%]",
                    f"-rw-r--r-- 1 dev dev {n * 37:>8} Mar {n % 28 + 1:>2} 10:12 {name}.ts",
                    f"  at {name} ({a}/{b}/{other}.js:{n}:{n % 80})",
                )
            )
