"""Prices against what the makers publish, and the laws of the arithmetic."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decklog import pricing
from decklog.model import Usage
from decklog.pricing import cost, coverage, find, price, prices_date, prices_source

MTOK = 1_000_000


def ms(when: str) -> int:
    return int(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp() * 1000)


def usd(provider: str, model: str, at: str | None = None, *, above: int = -1) -> tuple[float, ...]:
    """Input, cache read, 5 minute write, 1 hour write and output, in USD per million tokens."""
    found = find(provider, model, None if at is None else ms(at))
    assert found is not None
    rates = found.rates(above + 1)
    parts = (
        *(rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h),
        rates.output,
    )
    return tuple(part / MTOK for part in parts)


# --- published prices ---------------------------------------------------------------------------

ANTHROPIC = [
    # https://platform.claude.com/docs/en/about-claude/pricing, table "Model pricing"
    ("claude-opus-4-1-20250805", (15, 1.5, 18.75, 30, 75)),
    ("claude-opus-4-20250514", (15, 1.5, 18.75, 30, 75)),
    ("claude-opus-4-5-20251101", (5, 0.5, 6.25, 10, 25)),
    ("claude-opus-4-7", (5, 0.5, 6.25, 10, 25)),
    ("claude-sonnet-4-20250514", (3, 0.3, 3.75, 6, 15)),
    ("claude-sonnet-4-5-20250929", (3, 0.3, 3.75, 6, 15)),
    ("claude-haiku-4-5-20251001", (1, 0.1, 1.25, 2, 5)),
    ("claude-3-5-haiku-20241022", (0.8, 0.08, 1, 1.6, 4)),
    ("claude-sonnet-5", (2, 0.2, 2.5, 4, 10)),
    ("claude-fable-5-1", (10, 0.25, 12.5, 20, 50)),
    ("claude-mythos-5-1", (10, 0.25, 12.5, 20, 50)),
]
OPENAI = [
    # https://developers.openai.com/api/docs/pricing, "Text tokens", standard processing. The rate
    # card of Codex (help.openai.com, 25 credits = 1 USD) says the same of the codex models.
    ("gpt-5", (1.25, 0.125, 10)),
    ("gpt-5-codex", (1.25, 0.125, 10)),
    ("gpt-5.1-codex", (1.25, 0.125, 10)),
    ("gpt-5.1-codex-max", (1.25, 0.125, 10)),
    ("gpt-5.1-codex-mini", (0.25, 0.025, 2)),
    ("gpt-5.2-codex", (1.75, 0.175, 14)),
    ("gpt-5.3-codex", (1.75, 0.175, 14)),
    ("gpt-5.4", (2.5, 0.25, 15)),
    ("gpt-5.4-mini", (0.75, 0.075, 4.5)),
    ("gpt-5-mini", (0.25, 0.025, 2)),
    ("gpt-4.1", (2, 0.5, 8)),
    ("o4-mini", (1.1, 0.275, 4.4)),
    # https://developers.openai.com/api/docs/models/codex-mini-latest
    ("codex-mini-latest", (1.5, 0.375, 6)),
]
GOOGLE = [
    # https://ai.google.dev/gemini-api/docs/pricing, paid tier, text, prompts <= 200k tokens
    ("gemini-2.5-pro", (1.25, 0.125, 10)),
    ("gemini-2.5-flash", (0.3, 0.03, 2.5)),
    ("gemini-2.5-flash-lite", (0.1, 0.01, 0.4)),
    ("gemini-3-pro-preview", (2, 0.2, 12)),
    ("gemini-3-flash-preview", (0.5, 0.05, 3)),
]
OTHERS = [
    ("xai", "grok-code-fast-1", (0.2, 0.02, 1.5)),  # https://docs.x.ai/docs/models
    ("zai", "glm-4.6", (0.6, 0.11, 2.2)),  # https://docs.z.ai/guides/overview/pricing
    # https://platform.moonshot.ai/docs/pricing/chat
    ("moonshotai", "kimi-k2-0905-preview", (0.6, 0.15, 2.5)),
]


@pytest.mark.parametrize(("model", "published"), ANTHROPIC)
def test_anthropic(model: str, published: tuple[float, ...]) -> None:
    assert usd("anthropic", model) == published


@pytest.mark.parametrize(
    ("provider", "model", "published"),
    [
        *(("openai", *row) for row in OPENAI),
        *(("gcp.gemini", *row) for row in GOOGLE),
        *OTHERS,
    ],
)
def test_makers_that_do_not_bill_cache_writes(
    provider: str, model: str, published: tuple[float, float, float]
) -> None:
    fresh, read, out = published
    assert usd(provider, model) == (fresh, read, fresh, fresh, out)


def test_openai_bills_cache_writes_where_it_says_so() -> None:
    # https://developers.openai.com/api/docs/models/gpt-5.6-sol: 1.25 times the input
    assert usd("openai", "gpt-5.6-sol", "2026-09-01") == (4, 0.4, 5, 5, 20)


# --- one response -------------------------------------------------------------------------------


def test_every_part_is_billed_at_its_own_rate() -> None:
    usage = Usage(
        input=7, cache_read=9_000, cache_write=2_500, cache_write_1h=500, output=123, reasoning=100
    )
    # 7 x 3 + 9000 x 0.30 + 2000 x 3.75 + 500 x 6 + 123 x 15 USD per million; reasoning is output
    assert price("anthropic", "claude-sonnet-4-5", usage) == 15_066


def test_halves_of_a_micro_dollar_round_to_even() -> None:
    assert [
        price("anthropic", "claude-opus-4-5", Usage(cache_read=tokens)) for tokens in (1, 3, 5)
    ] == [0, 2, 2]


def test_what_nobody_lists_is_unknown_and_what_is_free_costs_nothing() -> None:
    usage = Usage(input=1000, output=1000)
    assert price("anthropic", "<synthetic>", usage) is None
    assert price("anthropic", "", usage) is None
    assert price("openrouter", "qwen/qwen3-coder:free", usage) == 0


# --- long contexts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "at", "above", "published"),
    [
        # Anthropic, "Long context pricing" as it stood until 2026-03-13
        ("anthropic", "claude-sonnet-4-20250514", "2025-10-01", 200_000, (6, 0.6, 7.5, 12, 22.5)),
        ("anthropic", "claude-sonnet-4-5", "2025-12-01", 200_000, (6, 0.6, 7.5, 12, 22.5)),
        ("anthropic", "claude-opus-4-6", "2026-03-12", 200_000, (10, 1, 12.5, 20, 37.5)),
        # https://ai.google.dev/gemini-api/docs/pricing, prompts > 200k tokens
        ("gcp.gemini", "gemini-2.5-pro", None, 200_000, (2.5, 0.25, 2.5, 2.5, 15)),
        ("gcp.gemini", "gemini-3-pro-preview", None, 200_000, (4, 0.4, 4, 4, 18)),
        # https://developers.openai.com/api/docs/models/gpt-5.4: more than 272K input tokens
        ("openai", "gpt-5.4", None, 272_000, (5, 0.5, 5, 5, 22.5)),
    ],
)
def test_long_context_rates(
    provider: str, model: str, at: str | None, above: int, published: tuple[float, ...]
) -> None:
    assert usd(provider, model, at, above=above) == published
    assert usd(provider, model, at, above=above - 1) == usd(provider, model, at)


def test_the_whole_input_side_decides_and_all_of_the_response_is_dearer() -> None:
    def micro_usd(usage: Usage) -> int | None:
        return price("gcp.gemini", "gemini-2.5-pro", usage)

    assert micro_usd(Usage(input=1_000, cache_read=199_000, output=10)) == 1_250 + 24_875 + 100
    assert micro_usd(Usage(input=1_001, cache_read=199_000, output=10)) == 2_502 + 49_750 + 150


def test_output_does_not_make_a_context_long() -> None:
    usage = Usage(input=200_000, output=60_000)
    assert price("gcp.gemini", "gemini-2.5-pro", usage) == 250_000 + 600_000


# --- time ---------------------------------------------------------------------------------------


def test_the_price_at_the_time_of_the_response() -> None:
    long = Usage(input=300_000)
    # The long-context price of Sonnet 4.6 ended on 2026-03-13.
    assert price("anthropic", "claude-sonnet-4-6", long, ms("2026-03-12T23:59:59")) == 1_800_000
    assert price("anthropic", "claude-sonnet-4-6", long, ms("2026-03-13")) == 900_000
    assert price("anthropic", "claude-sonnet-4-6", long) == 900_000
    # https://openai.com/index/introducing-o3-and-o4-mini: o3 became 80 % cheaper on 2025-06-10.
    assert usd("openai", "o3", "2025-06-09")[0] == 10
    assert usd("openai", "o3", "2025-06-10")[0] == 2


def test_announced_prices_wait_for_their_day() -> None:
    assert usd("google", "gemini-3.8-flash", "2026-12-31")[0] == 0.75
    assert usd("google", "gemini-3.8-flash", "2027-01-01")[0] == 1.5


@pytest.mark.parametrize(
    ("at", "published"),
    [
        # https://api-docs.deepseek.com/quick_start/pricing: peak is 01-04 and 06-10 UTC on weekdays
        ("2026-08-01T02:00", 0.435),  # before there was a peak
        ("2026-09-10T00:59", 0.66),
        ("2026-09-10T01:00", 1.32),
        ("2026-09-10T03:59", 1.32),
        ("2026-09-10T04:00", 0.66),
        ("2026-09-10T09:00", 1.32),
        ("2026-09-11T09:00", 1.32),  # a Friday
        ("2026-09-12T09:00", 0.66),
        ("2026-09-13T09:00", 0.66),
        ("2026-09-14T09:00", 1.32),
    ],
)
def test_peak_hours(at: str, published: float) -> None:
    assert usd("deepseek", "deepseek-v4-pro", at)[0] == published


# --- names --------------------------------------------------------------------------------------

SONNET = find("anthropic", "claude-sonnet-4-5")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("anthropic", " Claude-Sonnet-4-5 "),
        ("anthropic", "claude-sonnet-4-5[1m]"),
        ("anthropic", "claude-sonnet-4-5-20250929[1m]"),
        ("anthropic", "claude-sonnet-4.5"),
        ("", "claude-4.5-sonnet"),
        ("google", "claude-sonnet-4-5-thinking"),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20250929"),
        ("google-vertex", "publishers/anthropic/models/claude-sonnet-4-5@default"),
        ("openrouter", "anthropic/claude-sonnet-4.5"),
        ("anthropic", "openrouter/anthropic/claude-sonnet-4-5"),
        ("amazon-bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("opencode", "claude-sonnet-4-5"),
        ("github-copilot", "claude-sonnet-4.5"),
        ("fake", "anthropic/claude-sonnet-4-5"),
    ],
)
def test_many_names_of_one_price(provider: str, model: str) -> None:
    assert find(provider, model) == SONNET


@pytest.mark.parametrize(
    ("provider", "model", "listed_by", "name"),
    [
        ("openai", "gpt-5-2025-08-07", "openai", "gpt-5"),
        ("openrouter", "openai/gpt-5", "openai", "gpt-5"),
        ("azure", "GPT-5-Codex", "openai", "gpt-5"),
        ("fake", "gpt-5.1-codex-max-xhigh", "openai", "gpt-5.1"),
        ("gemini", "models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("gemini", "gemini-2.5-pro-preview-06-05", "google", "gemini-2.5-pro"),
        ("gemini", "gemini-2.5-flash-preview-09-2025", "google", "gemini-2.5-flash"),
        ("gemini", "gemini-3-pro", "google", "gemini-3-pro-preview"),
        ("anthropic", "glm-4.7", "zai", "glm-4.7"),
        ("zhipuai", "glm-4.7", "zhipuai", "glm-4.7"),
        ("nvidia", "moonshotai/kimi-k2.6", "moonshotai", "kimi-k2.6"),
        ("groq", "openai/gpt-oss-120b", "groq", "gpt-oss-120b"),
        ("fireworks-ai", "accounts/fireworks/models/glm-5p1", "fireworks", "glm-5p1"),
        ("openrouter", "qwen/qwen3-coder-plus", "openrouter", "qwen3-coder-plus"),
    ],
)
def test_who_lists_it(provider: str, model: str, listed_by: str, name: str) -> None:
    found = find(provider, model)
    assert found is not None
    assert (found.listed_by, found.model) == (listed_by, name)


@pytest.mark.parametrize(
    "model",
    [
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ],
)
@pytest.mark.parametrize("provider", ["amazon-bedrock", "anthropic", ""])
def test_regional_endpoints_of_bedrock_ask_a_tenth_more(provider: str, model: str) -> None:
    # https://platform.claude.com/docs/en/about-claude/pricing, "Third-party platform pricing"
    assert usd(provider, model) == (3.3, 0.33, 4.125, 6.6, 16.5)
    assert usd(provider, model, above=200_000) == (6.6, 0.66, 8.25, 13.2, 24.75)


def test_models_before_claude_4_5_cost_the_same_everywhere_on_bedrock() -> None:
    assert usd("", "us.anthropic.claude-opus-4-1-20250805-v1:0") == (15, 1.5, 18.75, 30, 75)


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "haiku"),
        ("anthropic", "claude-opus-4-5-fast"),  # another price: never the one without -fast
        ("opencode", "deepseek-v4-flash-free"),
        ("openrouter", "anthropic/claude-sonnet-4.5:batch"),
        ("openai", "gpt-oss-120b"),  # open weights: its maker sells none
        ("openai", "gpt-5-codex-turbo"),
        ("ollama", "qwen3:0.6b"),
        ("ollama", "glm-5"),
        ("LM Studio", "deepseek-chat"),
        ("", "ollama/kimi-k2"),
        ("unknown", "unknown"),
        ("fake", "fake-model"),
        ("anthropic", "claude-sonnet-4-5" + 100_000 * "-00-00"),
    ],
    ids=lambda word: word[:40],
)
def test_unknown(provider: str, model: str) -> None:
    assert find(provider, model) is None


# --- laws ---------------------------------------------------------------------------------------

MODELS = st.sampled_from(
    [
        ("anthropic", "claude-haiku-4-5"),
        ("anthropic", "claude-opus-4-6"),
        ("anthropic", "claude-sonnet-4-5"),
        ("deepseek", "deepseek-v4-flash"),
        ("gcp.gemini", "gemini-2.5-pro"),
        ("openai", "gpt-5-codex"),
        ("openai", "gpt-5.6-luna"),
        ("bedrock", "us.anthropic.claude-haiku-5-5-v1:0"),
    ]
)
TIMES = st.none() | st.integers(-(2**62), 2**62) | st.integers(ms("2025-01-01"), ms("2027-12-31"))


@st.composite
def usages(draw: st.DrawFn, most: int = 400_000) -> Usage:
    count = st.integers(0, most)
    write = draw(count)
    return Usage(
        input=draw(count),
        cache_read=draw(count),
        cache_write=write,
        cache_write_1h=draw(st.integers(0, write)),
        output=draw(count),
    )


@given(MODELS, usages(15_000), usages(15_000), TIMES)
def test_within_a_tier_costs_add_up(
    model: tuple[str, str], one: Usage, two: Usage, at: int | None
) -> None:
    found = find(*model, at)
    assert found is not None
    # Each cost is rounded to the nearest micro dollar, so two of them differ by at most one.
    assert abs(cost(found, one) + cost(found, two) - cost(found, one + two)) <= 1


@given(MODELS, usages(), usages(), TIMES)
def test_more_tokens_never_cost_less(
    model: tuple[str, str], one: Usage, more: Usage, at: int | None
) -> None:
    found = find(*model, at)
    assert found is not None
    assert 0 <= cost(found, one) <= cost(found, one + more)


@given(
    st.text() | st.sampled_from(["bedrock", "ollama", "openrouter"]),
    st.text() | st.from_regex(r"(us\.)?(anthropic\.)?(claude|gpt)[-/.:@\[\]\w]*"),
    usages(),
    TIMES,
)
def test_any_words_and_times_are_fine(
    provider: str, model: str, usage: Usage, at: int | None
) -> None:
    assert (price(provider, model, usage, at) or 0) >= 0


@given(MODELS, st.builds(Usage, **{part: st.integers() for part in Usage.__struct_fields__}))
def test_damaged_usage_is_never_negative(model: tuple[str, str], usage: Usage) -> None:
    micro_usd = price(*model, usage)
    assert micro_usd is not None
    assert micro_usd >= 0


# --- the list -----------------------------------------------------------------------------------

FILE = Path(pricing.__file__).with_name("prices.json")
BOOK = msgspec.json.decode(FILE.read_bytes())
LISTS = {name: models for kind in ("makers", "hosts") for name, models in BOOK[kind].items()}
PRICED = {
    (name, model): rows
    for name, models in LISTS.items()
    for model, rows in models.items()
    if not isinstance(rows, str)
}


def test_the_list_says_where_it_is_from() -> None:
    assert prices_source().startswith("genai-prices ")
    assert datetime.fromisoformat(prices_date()) > datetime(2026, 11, 1)
    assert sum(coverage().values()) == len(PRICED)
    assert next(iter(coverage())) == "anthropic"
    assert FILE.stat().st_size < 300_000


def test_other_names_lead_to_a_price() -> None:
    for models in LISTS.values():
        assert list(models) == sorted(models)
        targets = [rows for rows in models.values() if isinstance(rows, str)]
        assert all(isinstance(models[name], list) for name in targets)


def test_no_two_makers_list_one_name() -> None:
    names = [pricing.key(name) for models in BOOK["makers"].values() for name in models]
    assert len(names) == len(set(names))


def test_every_listed_model_is_found_in_its_list() -> None:
    for listed_by, model in PRICED:
        found = find(listed_by, model)
        assert found is not None
        assert (found.listed_by, found.model) == (listed_by, model)


def test_the_oldest_price_comes_first_and_is_open() -> None:
    for rows in PRICED.values():
        assert not {"from", "hours"} & rows[0].keys()
        days = [row["from"] for row in rows if "from" in row]
        assert days == sorted(days)


def test_dearer_is_what_should_be_dearer() -> None:
    """What makes cost grow with tokens: long contexts and long-lived caches are never cheaper."""
    for listed_by, model in PRICED:
        for found in pricing._history(listed_by, model):
            above = [tier.above for tier in found.tiers]
            assert above == sorted(above)
            for low, high in itertools.pairwise([found, *found.tiers]):
                assert low.input <= high.input
                assert low.cache_read <= high.cache_read
                assert low.cache_write <= high.cache_write
                assert low.output <= high.output
            for rates in (found, *found.tiers):
                assert rates.cache_write <= rates.cache_write_1h
                assert 0 <= rates.cache_read <= rates.input


def test_a_model_is_looked_up_once() -> None:
    for memory in (pricing._history, pricing._indexes, pricing._book):
        memory.cache_clear()
    for tokens in range(1000):
        price("anthropic", "claude-opus-4-5-20251101", Usage(input=tokens), ms("2026-01-01"))
    assert pricing._history.cache_info().misses == 1
    assert pricing._indexes.cache_info().misses == 1
    assert pricing._book.cache_info().misses == 1
