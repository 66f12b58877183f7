"""Clocks: covering, including, joining; the laws that everything else leans on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.core.clocks import Clock, Dot, covers, includes, join, lacking

ORIGINS = st.sampled_from([bytes([letter]) * 16 for letter in b"abcd"])
CLOCKS = st.dictionaries(ORIGINS, st.integers(0, 5))
DOTS = st.builds(Dot, ORIGINS, st.integers(1, 5))


def dots_of(clock: Clock) -> set[Dot]:
    return {Dot(origin, seq) for origin, last in clock.items() for seq in range(1, last + 1)}


@given(CLOCKS, DOTS)
def test_a_clock_covers_the_prefix_that_it_names(clock: Clock, dot: Dot) -> None:
    assert covers(clock, dot) == (dot in dots_of(clock))


@given(CLOCKS, CLOCKS)
def test_inclusion_is_inclusion_of_what_was_applied(one: Clock, other: Clock) -> None:
    assert includes(one, other) == (dots_of(one) >= dots_of(other))


@given(CLOCKS, CLOCKS)
def test_a_join_holds_what_either_has_and_changes_neither(one: Clock, other: Clock) -> None:
    before = dict(one), dict(other)
    assert dots_of(join(one, other)) == dots_of(one) | dots_of(other)
    assert (one, other) == before


@given(CLOCKS, CLOCKS)
def test_what_is_lacking_is_counted(one: Clock, other: Clock) -> None:
    assert lacking(one, other) == len(dots_of(other) - dots_of(one))
