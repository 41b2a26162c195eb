"""Make `src/decklog/prices.json` from the data of the `genai-prices` package.

    python -m venv /tmp/prices && /tmp/prices/bin/pip install -U genai-prices msgspec
    PYTHONPATH=src /tmp/prices/bin/python tools/make_prices.py

`genai-prices` (MIT, https://github.com/pydantic/genai-prices) lists what providers publish. Taken
over are figures only, of text models that coding agents can use: of makers all their models, of
hosts what they sell at another price than the maker. `CORRECTIONS` says what is known better.

The file has one model a line, sorted, so that a new version reads well as a diff. A string in the
place of prices is another name of a model. USD per million tokens, like the published pages.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import TieredPrices, TimeOfDateConstraint

from decklog.pricing import key, spelling, spellings

Row = dict[str, Any]
Models = dict[str, list[Row] | str]

TARGET = Path(__file__).parents[1] / "src/decklog/prices.json"
SOURCE = "genai-prices {} (MIT, https://github.com/pydantic/genai-prices)"

MAKERS = {
    "anthropic": r"claude",
    "cursor": r"composer",
    "deepseek": r"deepseek",
    "google": r"gemini",
    "meta": r"muse",
    "minimax": r"minimax",
    "mistral": r"\w*tral\b",
    "moonshotai": r"kimi|moonshot",
    "openai": r"gpt-(?!oss)|chatgpt|codex|o\d",
    "x-ai": r"grok",
    "zai": r"glm",
}
"""Maker -> how the names of its own models begin. Open weights that it does not sell itself
(gpt-oss, gemma) have no maker's price: everyone who hosts them makes their own."""

HOSTS = ("aws", "baseten", "cerebras", "fireworks", "groq", "together", "zhipuai")
"""Hosts that run models at prices of their own."""

GATEWAYS = ("github-copilot", "openrouter")
"""Hosts that pass on what makers sell. Listed is only what no maker lists."""

OTHER = re.compile(
    r"audio|realtime|image|tts\b|transcri|whisper|embed|moderation|live|voice|search-(api|preview)"
    r"|deep-research|computer-use|rerank|guard|ocr|sonic|sonar|omni|nano-banana|robotics|vision"
    r"|chatgpt|^ft:|\.ft-|rosalind|:batch|-vl\b|titan|voxtral|llama-?2|-v1$"
)
"""Not text, not for agents, or sold under another meter."""

SNAPSHOT = re.compile(r"-20\d{6}$|-20\d\d-\d\d-\d\d$")

SMALL = 32_000
"""A context window that no coding agent fits in."""

REGIONAL = Decimal("1.1")
"""Bedrock's regional endpoints ask a tenth more than the maker for Claude 4.5 and later, on every
rate: https://platform.claude.com/docs/en/about-claude/pricing (third-party platforms)."""

PEAK = {"hours": [["01:00", "04:00"], ["06:00", "10:00"]], "weekdays": True}


def _row(day: str | None, read: float, fresh: float, out: float, **more: Any) -> Row:
    since = {"from": day} if day else {}
    return {**since, "input": fresh, "cache_read": read, "output": out, **more}


_DEEPSEEK_V3 = [
    # Two announcements of the maker that the source has not taken in:
    # https://api-docs.deepseek.com/news/news250821 (one price for both from 2025-09-05, no more
    # off-peak discount) and https://api-docs.deepseek.com/news/news250929 (V3.2-Exp).
    _row("2025-09-05", 0.07, 0.56, 1.68),
    _row("2025-09-29", 0.028, 0.28, 0.42),
]
CORRECTIONS: dict[tuple[str, str], list[Row]] = {
    ("deepseek", "deepseek-chat"): [_row(None, 0.07, 0.27, 1.1), *_DEEPSEEK_V3],
    ("deepseek", "deepseek-reasoner"): [_row(None, 0.14, 0.55, 2.19), *_DEEPSEEK_V3],
    ("deepseek", "deepseek-v3.1"): [_row(None, 0.07, 0.56, 1.68)],
    ("deepseek", "deepseek-v3.1-terminus"): [_row(None, 0.07, 0.56, 1.68)],
    ("deepseek", "deepseek-v3.2"): [_row(None, 0.028, 0.28, 0.42)],
    ("deepseek", "deepseek-v3.2-exp"): [_row(None, 0.028, 0.28, 0.42)],
    # The source cannot say "from this day on, at these hours, on weekdays"; the maker does:
    # https://api-docs.deepseek.com/quick_start/pricing
    ("deepseek", "deepseek-flash"): [
        _row(None, 0.003, 0.15, 0.6),
        _row(None, 0.006, 0.3, 1.2, **PEAK),
    ],
    ("deepseek", "deepseek-v4-flash"): [
        _row(None, 0.0028, 0.14, 0.28),
        _row("2026-08-17", 0.007, 0.22, 0.66),
        _row("2026-08-17", 0.014, 0.44, 1.32, **PEAK),
        _row("2026-09-10", 0.003, 0.15, 0.6),
        _row("2026-09-10", 0.006, 0.3, 1.2, **PEAK),
    ],
    ("deepseek", "deepseek-v4-pro"): [
        _row(None, 0.003625, 0.435, 0.87),
        _row("2026-08-17", 0.022, 0.66, 1.98),
        _row("2026-08-17", 0.044, 1.32, 3.96, **PEAK),
    ],
}
ALSO = {
    # Names that agents write and the source matches by a pattern or not at all.
    "anthropic": {
        "claude-4-5-sonnet": "claude-sonnet-4-5",
        "claude-4-6-sonnet": "claude-sonnet-4-6",
        "claude-mythos-5": "claude-fable-5",
        "claude-mythos-5-1": "claude-fable-5-1",
    },
    "google": {
        "gemini-2.5-pro-preview": "gemini-2.5-pro",
        "gemini-3-flash": "gemini-3-flash-preview",
        "gemini-3-pro": "gemini-3-pro-preview",
        "gemini-3.1-pro": "gemini-3.1-pro-preview",
        "gemini-3.1-pro-preview-customtools": "gemini-3.1-pro-preview",
    },
    "moonshotai": {
        "kimi-k2": "kimi-k2-0905-preview",
        "kimi-k2-0711": "kimi-k2-0711-preview",
        "kimi-k2-0905": "kimi-k2-0905-preview",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the bundled price list.")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}", help="day of the list")
    args = parser.parse_args()
    source = {provider.id: provider for provider in providers}
    makers = {name: maker_models(source[name], begins) for name, begins in MAKERS.items()}
    hosts = {name: host_models(source[name], makers) for name in HOSTS + GATEWAYS}
    text = render(SOURCE.format(version("genai-prices")), args.date, makers, hosts)
    TARGET.write_text(text, encoding="utf-8")
    for name, listed in (*makers.items(), *hosts.items()):
        priced = sum(isinstance(rows, list) for rows in listed.values())
        print(f"{name}: {priced} models, {len(listed) - priced} other names")
    print(f"{TARGET}: {len(text):,} bytes")


def maker_models(provider: Any, begins: str) -> Models:
    found = models(provider, lambda name: re.match(begins, name) is not None)
    for (maker, model), rows in CORRECTIONS.items():
        if maker == provider.id:
            found[model] = [tidy(row) for row in rows]
    if provider.id == "anthropic":
        # The long-context price of Sonnet 4.5 was that of Sonnet 4 before it:
        # https://www.anthropic.com/news/1m-context
        found["claude-sonnet-4-0"] = found["claude-sonnet-4-5"]
    return slim({**found, **ALSO.get(provider.id, {})})


def host_models(provider: Any, makers: dict[str, Models]) -> Models:
    """What a host sells that no maker lists, or (not a gateway) at a price of its own."""
    listed = {key(name): prices(name, models) for models in makers.values() for name in models}
    found = models(provider, lambda name: provider.id != "openrouter" or "/" in name)
    kept: Models = {}
    for name, rows in found.items():
        own = prices(name, found)
        maker = next((listed[key(s)] for s in spellings(name) if key(s) in listed), None)
        if maker is not None and provider.id == "aws" and name.startswith("claude"):
            if own[-1]["input"] == maker[-1]["input"]:
                continue
            # The maker knows when the price changed, and of long contexts.
            kept[name] = [dearer(row) for row in maker] if isinstance(rows, list) else rows
        elif maker is None or (own != maker and provider.id not in GATEWAYS):
            kept[name] = rows
    return slim(kept)


def dearer(row: Row) -> Row:
    more = {
        part: float(REGIONAL * Decimal(str(rate))) for part, rate in row.items() if part in PARTS
    }
    tiers = {"tiers": [dearer(tier) for tier in row["tiers"]]} if "tiers" in row else {}
    return tidy({**row, **more, **tiers})


def models(provider: Any, wanted: Callable[[str], bool]) -> Models:
    """Names and prices of the models of one provider that agents can use."""
    listed = [
        (named(model), literals(model.match), rows)
        for model in provider.models
        if wanted(model.id.lower())
        and not OTHER.search(model.id.lower())
        and not model.id.startswith("global.")
        and (model.context_window or SMALL) >= SMALL
        and (rows := history(model, provider.id)) is not None
    ]
    taken = Counter(
        bare
        for name, others, _ in listed
        for bare in {SNAPSHOT.sub("", other) for other in (name, *others)}
    )
    found: Models = {}
    aliases: Models = {}
    for name, others, rows in listed:
        bare = SNAPSHOT.sub("", name)
        name = bare if taken[bare] == 1 else name
        if found.setdefault(name, rows) != rows:
            print(f"{provider.id}: another price for {name} left out")
        family = re.split(r"[-\d]", name)[0]
        aliases |= {o: name for o in others if o.startswith(family) and not OTHER.search(o)}
    return aliases | found


def named(model: Any) -> str:
    """The bare name of a model, without "-latest" where that is one of its other names."""
    name = spelling(model.id.replace("regional.", ""))
    short = name.removesuffix("-latest")
    return short if short in literals(model.match) else name


def literals(clause: Any) -> list[str]:
    """The whole names that a clause matches (the start of one counts, a pattern does not)."""
    nested = getattr(clause, "or_", None) or getattr(clause, "and_", None) or []
    start = getattr(clause, "starts_with", "")
    text = getattr(clause, "equals", "") or re.sub(r".*(-|-20\d\d)$", "", start)
    return [name for part in nested for name in literals(part)] + [spelling(text)] * bool(text)


def history(model: Any, provider: str) -> list[Row] | None:
    """The prices of a model, oldest first; None where it is not priced by the token."""
    rows: list[Row] = []
    listed = model.prices if isinstance(model.prices, list) else [model.prices]
    for entry in listed:
        constraint = getattr(entry, "constraint", None)
        if isinstance(constraint, TimeOfDateConstraint):
            continue  # by the hour: see CORRECTIONS
        values = getattr(entry, "prices", entry).__dict__
        if not values and provider == "openrouter" and model.id.endswith(":free"):
            values = {"input_mtok": 0, "output_mtok": 0}
        if values.get("input_mtok") is None or values.get("output_mtok") is None:
            return None
        row = tidy(row_of(values, claude="claude" in model.id))
        if row.get("cache_read", 0) > row["input"]:
            print(f"{provider}: {model.id}: cached input dearer than input, left out")
            return None
        if rows and {**rows[-1], "from": ""} == {**row, "from": ""}:
            continue  # only the price of something else changed (web searches)
        rows.append({"from": f"{constraint.start_date}", **row} if constraint and rows else row)
    return rows


PARTS = {
    "input": "input_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
}


def row_of(values: dict[str, Any], claude: bool) -> Row:
    found = {part: values[unit] for part, unit in PARTS.items() if values.get(unit) is not None}
    tiered = [rate for rate in found.values() if isinstance(rate, TieredPrices)]
    starts = sorted({tier.start for rate in tiered for tier in rate.tiers})

    def rates(context: int) -> Row:
        row = {part: rate_at(rate, context) for part, rate in found.items()}
        if claude and "cache_write" in row:
            # Twice the input everywhere: https://platform.claude.com/docs/en/about-claude/pricing
            row.setdefault("cache_write_1h", 2 * row["input"])
        return row

    row = rates(0)
    if starts:
        row["tiers"] = [{"above": start, **rates(start + 1)} for start in starts]
    return row


def rate_at(rate: Any, context: int) -> float:
    if isinstance(rate, TieredPrices):
        rate = next((t.price for t in reversed(rate.tiers) if context > t.start), rate.base)
    return round(float(rate), 6)


ORDER = ("from", "above", *PARTS, "hours", "weekdays", "tiers")


def tidy(row: Row) -> Row:
    """In one order and without what the reader of the file takes for granted; 3.0 is written 3."""
    short = {part: row[part] for part in ORDER if part in row}
    if short.get("cache_write_1h") == short.get("cache_write", short["input"]):
        short.pop("cache_write_1h", None)
    for part in ("cache_read", "cache_write"):
        if short.get(part) == short["input"]:
            del short[part]
    if "tiers" in short:
        short["tiers"] = [tidy(tier) for tier in short["tiers"]]
    return {
        part: int(value) if isinstance(value, float) and value.is_integer() else value
        for part, value in short.items()
    }


def prices(name: str, models: Models) -> list[Row]:
    rows = models[name]
    return rows if isinstance(rows, list) else prices(rows, models)


def slim(models: Models) -> Models:
    """Without the other names that are found without being listed."""
    listed = dict(models)
    others = [name for name, rows in models.items() if isinstance(rows, str)]
    for name in sorted(others, key=lambda name: (name.count("."), name)):
        if models[name] not in models:
            del listed[name]
            continue
        without = {key(other): other for other in listed if other != name}
        hit = next((without[key(s)] for s in spellings(name) if key(s) in without), None)
        if hit is not None and prices(hit, listed) == prices(name, models):
            del listed[name]
    return listed


def render(source: str, date: str, makers: dict[str, Models], hosts: dict[str, Models]) -> str:
    """One model a line."""

    def lists(of: dict[str, Models]) -> str:
        return ",\n".join(
            f'  "{name}": {{\n'
            + ",\n".join(
                f"   {json.dumps(model)}: {json.dumps(rows)}"
                for model, rows in sorted(models.items())
            )
            + "\n  }"
            for name, models in sorted(of.items())
        )

    return (
        f'{{\n "source": {json.dumps(source)},\n "date": "{date}",\n'
        f' "unit": "USD per million tokens",\n'
        f' "makers": {{\n{lists(makers)}\n }},\n "hosts": {{\n{lists(hosts)}\n }}\n}}\n'
    )


if __name__ == "__main__":
    main()
