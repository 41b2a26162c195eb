"""Search: what people type."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decklog import hub
from decklog.errors import NotFound, UsageError
from decklog.search import grammar


@pytest.mark.spec("R106")
@settings(max_examples=400, deadline=None)
@given(st.text(max_size=40) | st.text(alphabet="ab\"-*: OR()^{}\\\0'+;,.", max_size=30))
def test_any_text_is_an_answer_or_a_usage_error(everything: hub.Decklog, text: str) -> None:
    with contextlib.suppress(UsageError):
        everything.search(text, limit=3)


@pytest.mark.spec("R106")
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ('say "hello', "character 5: this quotation mark has no other end"),
        ("a OR", "character 3: OR has nothing after it"),
        ("OR a", "character 1: OR has nothing before it"),
        ("a OR -b", "character 6: OR cannot stand before"),
        ("->", "character 1: '->' holds no letter or digit"),
        ("-gone", "only says what must not be there"),
        ("", "the query is empty"),
        ("role:nobody x", "character 1: no role 'nobody'"),
        ("x -agent:claude", "character 3: -agent: is not possible"),
        ("x since:whenever", "whenever"),
        ("x " * 70, "more than 64 words"),
        ("x" * 5_000, "5,000 characters long"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(
    everything: hub.Decklog, query: str, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        everything.search(query)


def test_an_agent_that_is_not_known_is_an_error(everything: hub.Decklog) -> None:
    with pytest.raises(NotFound, match="no agent 'nobody'"):
        everything.search("agent:nobody file")


def test_text_with_signs_is_text() -> None:
    for text in ("foo-bar", "don't", "a:b", "50%", "--no-sync", "f(x)", "C:\\x", 'say"so'):
        (group,) = grammar.parse(text).groups
        assert [(t.text, t.field, t.negative) for t in group] == [(text, "", False)]


def test_a_page_that_is_none_of_ours(everything: hub.Decklog) -> None:
    page = everything.search("the", limit=2)
    for after in ("x", "####", page.next):
        with pytest.raises(UsageError, match="no page begins there"):
            everything.search("the", after=after, best=True)


def test_a_place_that_is_not_there(everything: hub.Decklog) -> None:
    (hit,) = everything.search("the", limit=1).hits
    with pytest.raises(NotFound):
        everything.around(hit.session, 9_999_999)
