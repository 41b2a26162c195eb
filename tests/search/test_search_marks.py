"""What of a text counts as a word of its own."""

from __future__ import annotations

import re

import pytest

from decklog.store.text import marks


def test_the_leading_bytes_are_those_of_all_characters_that_are_set_apart() -> None:
    apart = re.compile(f"[{marks._UNSPACED}{marks.MARKS}{marks._GLUE}]")
    every = (chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    leading = {c.encode()[0] for c in every if apart.match(c)}
    assert leading <= set(marks._LEADING)
    assert set(marks._LEADING) - leading <= {*range(0xF1, 0xF5)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("caffè – “naïve” → ✓", "caffè – “naïve” → ✓"),
        ("a登录b", "a 登  录 b"),
        ("สวัสดี", " ส  ว  ั  ส  ด  ี "),
        ("한\ue000x🙂", " 한  x🙂"),
        ("half \ud800", "half \ud800"),
    ],
)
def test_characters_that_stand_alone(text: str, expected: str) -> None:
    assert marks.spaced(text) == expected
