"""What usage costs at list prices, from a bundled, dated price list.

Prices are per response: ask with the usage of *one* provider response and its time. Then the
long-context tier (decided by all that went in, cached or not) and the price in force at that
moment are right; a sum of responses cannot be priced after the fact.

    price("anthropic", "claude-sonnet-4-5", usage, at_ms)     micro USD, None where unknown
    find("anthropic", "claude-sonnet-4-5", at_ms)             the `Price` behind it
    prices_date()                                             day of the list

Who sold the tokens decides first: a host with a list of its own (Bedrock's regional endpoints,
OpenRouter's open models ...). Failing that the maker of the model decides, because a model name
names its maker: a gateway or an unknown provider is valued at the maker's list price. A model
that nobody lists stays unknown, and unknown is never zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache

import msgspec
from msgspec import Struct

from decklog.model import Usage

_MTOK = 1_000_000
_MINUTE_MS = 60_000
_LONGEST = 300
"""Characters; anything longer is no model name (a Bedrock ARN has some 130)."""


class Rates(Struct, frozen=True, kw_only=True):
    """Micro USD per million tokens. Reasoning is part of output."""

    input: int
    cache_read: int
    cache_write: int
    """For five minutes, or for as long as the provider keeps it."""
    cache_write_1h: int
    output: int


class Tier(Rates, frozen=True, kw_only=True):
    """The rates of a response whose whole input side is more than ``above`` tokens."""

    above: int


class Price(Rates, frozen=True, kw_only=True):
    """The price of one model during one span of time, as one list states it."""

    listed_by: str
    """The maker (``anthropic``) or host (``aws``) whose list it is from."""
    model: str
    """The name it is listed under."""
    since: int | None = None
    """Start of the span (ms, UTC); None where the list knows no earlier price."""
    hours: tuple[tuple[int, int], ...] = ()
    """Minutes of the UTC day it holds in (peak prices); empty for the whole day."""
    weekdays: bool = False
    """True where ``hours`` hold from Monday to Friday only."""
    tiers: tuple[Tier, ...] = ()
    """Long-context rates, by rising threshold; each one replaces all rates of the response."""

    def rates(self, context: int) -> Rates:
        """The rates of a response with ``context`` tokens on its input side."""
        found: Rates = self
        for tier in self.tiers:
            if context > tier.above:
                found = tier
        return found

    def holds(self, at_ms: int) -> bool:
        if self.since is not None and at_ms < self.since:
            return False
        if not self.hours:
            return True
        day, minute = divmod(at_ms // _MINUTE_MS, 1440)
        if self.weekdays and (day + 3) % 7 > 4:  # day 0 of the epoch was a Thursday
            return False
        return any(start <= minute < end for start, end in self.hours)


def price(provider: str, model: str, usage: Usage, at_ms: int | None = None) -> int | None:
    """Cost of one response in micro USD; None when no price of the model is known.

    Without ``at_ms`` the price in force on the day of the list is taken.
    """
    found = find(provider, model, at_ms)
    return None if found is None else cost(found, usage)


def cost(price: Price, usage: Usage) -> int:
    """Cost of one response at a price, in micro USD.

    Rounded half to even: halves are frequent (cache writes at 1.25 times a whole price), and
    thousands of responses are added up.
    """
    write = usage.cache_write
    long = min(usage.cache_write_1h, write)
    rates = price.rates(usage.input + usage.cache_read + write) if price.tiers else price
    total = (
        usage.input * rates.input
        + usage.cache_read * rates.cache_read
        + (write - long) * rates.cache_write
        + long * rates.cache_write_1h
        + usage.output * rates.output
    )
    micro, rest = divmod(max(0, total), _MTOK)
    return micro + (2 * rest > _MTOK - (micro & 1))


def find(provider: str, model: str, at_ms: int | None = None) -> Price | None:
    """The price of a model at a provider at a time (default: the day of the list)."""
    history = _history(provider, model)
    if len(history) == 1:
        return history[0]
    at = _as_of() if at_ms is None else at_ms
    for row in reversed(history):
        if row.holds(at):
            return row
    return None


def prices_date() -> str:
    """Day the bundled list was taken (YYYY-MM-DD)."""
    return _book().date


def prices_source() -> str:
    """Where the bundled list comes from, for people: name and version."""
    return _book().source


def coverage() -> dict[str, int]:
    """How many models each list prices, makers first."""
    book = _book()
    return {
        name: sum(not isinstance(rows, str) for rows in models.values())
        for lists in (book.makers, book.hosts)
        for name, models in lists.items()
    }


# --- names -------------------------------------------------------------------------------------

_HOSTS = {
    "amazon": "aws",
    "amazon-bedrock": "aws",
    "aws-bedrock": "aws",
    "bedrock": "aws",
    "bigmodel": "zhipuai",
    "copilot": "github-copilot",
    "fireworks-ai": "fireworks",
    "together-ai": "together",
    "togetherai": "together",
    "zhipu": "zhipuai",
    "zhipuai-coding-plan": "zhipuai",
}
"""Other words for the hosts that have a list of their own."""

_LOCAL = {
    *("docker", "llama-cpp", "llamacpp", "lm-studio", "lmstudio", "local"),
    *("localhost", "mlx", "ollama", "sglang", "vllm"),
}
"""Providers on the user's own machine: no list says what their tokens cost."""

_BEDROCK = re.compile(
    r"(?:(?P<region>[a-z]{2,6}|us-gov)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot|moonshotai"
    r"|nvidia|openai|qwen|writer|zai)\.(?=[a-z])"
)
_VERSION = re.compile(r"-v\d+(?::\d+)?$")
_SUFFIX = re.compile(
    r"(.+?)(?:-20\d{6}|-20\d\d-\d\d-\d\d|-\d\d-20\d\d|-\d\d-\d\d|-00\d|-latest|[-:]thinking)"
    r"|((?:claude|gemini|gpt|grok|o\d)\b.*)-(?:minimal|low|medium|high|xhigh)"
)
"""What may follow a name without changing the price: a date, thinking, an effort.

Nothing else is cut off: ``-fast``, ``:free``, ``-mini`` and the like name another price.
"""


def spelling(model: str) -> str:
    """The bare name of a model, without what routes a request to it.

    ``us.anthropic.claude-opus-4-1-20250805-v1:0`` and ``anthropic/Claude-Opus-4-1-20250805[1m]``
    are both spelt ``claude-opus-4-1-20250805``.
    """
    return _parse("", model)[1]


def spellings(name: str) -> Iterator[str]:
    """A bare name as it is, then ever shorter without the suffixes that leave the price alone."""
    yield name
    while match := _SUFFIX.fullmatch(name):
        name = match[1] or match[2]
        yield name


def key(name: str) -> str:
    """What a name is looked up by: ``claude-sonnet-4.5`` and ``claude-sonnet-4-5`` are one."""
    return name.replace(".", "-")


def _parse(provider: str, model: str) -> tuple[list[str], str]:
    """Everyone named on the way to the model, and its bare name."""
    *path, name = model.strip().lower().split("/")
    route = [_word(word) for word in (provider, *path)]
    name, _, snapshot = name.removesuffix("[1m]").partition("@")
    if match := _BEDROCK.match(name):
        # The global endpoint of Bedrock sells at the maker's price, the regional ones at their own.
        route = [] if match["region"] == "global" else ["aws"]
        name = name[match.end() :]
    if match or snapshot or name.endswith(":0"):
        name = _VERSION.sub("", name)
    return route, name


def _word(provider: str) -> str:
    word = provider.strip().lower().replace("_", "-").replace(".", "-").replace(" ", "-")
    return _HOSTS.get(word, word)


# --- the list ----------------------------------------------------------------------------------


class _Rates(Struct, frozen=True, kw_only=True):
    """USD per million tokens, as providers publish them. What is left out costs as much as input
    (a 1h cache write as much as a 5 minute one)."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None

    def micro(self) -> dict[str, int]:
        write = self.input if self.cache_write is None else self.cache_write
        usd = {
            "input": self.input,
            "cache_read": self.input if self.cache_read is None else self.cache_read,
            "cache_write": write,
            "cache_write_1h": write if self.cache_write_1h is None else self.cache_write_1h,
            "output": self.output,
        }
        return {part: round(rate * _MTOK) for part, rate in usd.items()}


class _Tier(_Rates, frozen=True, kw_only=True):
    above: int


class _Row(_Rates, frozen=True, kw_only=True):
    since: str | None = msgspec.field(name="from", default=None)
    hours: tuple[tuple[str, str], ...] = ()
    weekdays: bool = False
    tiers: tuple[_Tier, ...] = ()


_Models = dict[str, tuple[_Row, ...] | str]
"""Model -> its prices, of which the last one that holds counts; or, for another name of a model,
the name it is listed under."""


class _Book(Struct, frozen=True, kw_only=True):
    source: str
    date: str
    makers: dict[str, _Models]
    hosts: dict[str, _Models]


_Index = dict[str, tuple[str, str]]
"""Key of a name -> the list it is in, and the name it is listed under."""


@cache
def _book() -> _Book:
    """The bundled list: the one file this module reads, once, when the first price is asked."""
    with open(__file__.removesuffix("pricing.py") + "prices.json", "rb") as f:
        return msgspec.json.decode(f.read(), type=_Book)


@cache
def _indexes() -> tuple[_Index, dict[str, _Index]]:
    """Of all makers together (no two list the same name), and of each host."""
    book = _book()

    def index(lists: dict[str, _Models]) -> _Index:
        return {
            key(model): (name, rows if isinstance(rows, str) else model)
            for name, models in lists.items()
            for model, rows in models.items()
        }

    return index(book.makers), {name: index({name: of}) for name, of in book.hosts.items()}


@lru_cache(maxsize=4096)
def _history(provider: str, model: str) -> tuple[Price, ...]:
    """All prices a model has had where the provider (or the model's own path) says it was sold."""
    if len(model) > _LONGEST:
        return ()
    route, name = _parse(provider, model)
    if not _LOCAL.isdisjoint(route):
        return ()
    makers, hosts = _indexes()
    names = [key(spelt) for spelt in spellings(name)]
    for index in (*(hosts[word] for word in route if word in hosts), makers):
        for spelt in names:
            if spelt in index:
                return _prices(*index[spelt])
    return ()


def _prices(name: str, model: str) -> tuple[Price, ...]:
    book = _book()
    rows = (book.makers.get(name) or book.hosts[name])[model]
    assert not isinstance(rows, str)
    return tuple(
        Price(
            listed_by=name,
            model=model,
            since=None if row.since is None else _day_ms(row.since),
            hours=tuple((_minute(start), _minute(end)) for start, end in row.hours),
            weekdays=row.weekdays,
            tiers=tuple(Tier(above=tier.above, **tier.micro()) for tier in row.tiers),
            **row.micro(),
        )
        for row in rows
    )


@cache
def _as_of() -> int:
    return _day_ms(_book().date)


def _day_ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def _minute(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
