"""Words that go on where a caller stopped."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.engine.cursors import from_word, to_word
from peerd.errors import UserError


@given(st.text(), st.integers(0, 1 << 40))
def test_a_word_comes_back_as_what_it_was(text: str, number: int) -> None:
    word = to_word((text, number))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", word)
    assert from_word(word, tuple[str, int]) == (text, number)


@pytest.mark.parametrize("word", ["", "!!!", "é", "_w", "a", to_word("x") + "=", to_word("x") + "!", to_word(7)])
def test_any_other_word_is_refused(word: str) -> None:
    with pytest.raises(UserError, match="this token is none of ours") as refused:
        from_word(word, str, "token")
    assert (refused.value.code, refused.value.status) == ("bad-cursor", 400)


def test_a_word_that_would_take_all_our_memory_is_refused() -> None:
    """Nested as deeply as its length allows."""
    with pytest.raises(UserError):
        from_word(to_word(0)[:0] + "kZGR" * 100_000, list)
