"""Intervals and the relay's clock."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from peerd.protocol.relay.coverage import Coverage, adds_to, claim, extended, holds, merged, tops, union

A, B = b"a" * 16, b"b" * 16
spans = st.lists(st.tuples(st.integers(-2, 30), st.integers(-2, 30)), max_size=12)


def numbers(some: list[tuple[int, int]]) -> set[int]:
    return {n for first, last in some if first >= 1 for n in range(first, last + 1)}


@given(spans)
def test_merging_keeps_the_numbers_and_leaves_no_two_spans_that_touch(some: list[tuple[int, int]]) -> None:
    result = merged(some)
    assert numbers(result) == numbers(some)
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(result))


@given(st.lists(spans, max_size=4), st.integers(0, 20))
def test_the_clock_goes_on_as_far_as_there_is_no_gap(coverages: list[list[tuple[int, int]]], base: int) -> None:
    together = union([{A: some} for some in coverages])
    there = set().union(*(numbers(some) for some in coverages)) | set(range(1, base + 1))
    reached = extended({A: base} if base else {}, together).get(A, 0)
    assert set(range(1, reached + 1)) <= there
    assert reached + 1 not in there


def test_spans_are_held_whole_or_not_at_all() -> None:
    coverage: Coverage = {A: [(1, 4), (8, 9)]}
    assert holds(coverage, A, 2, 4)
    assert not holds(coverage, A, 4, 8)
    assert not holds(coverage, B, 1, 1)
    assert tops(coverage) == {A: 9}


def test_something_new_is_something_above_the_clock() -> None:
    assert adds_to({A: [(1, 4)]}, {A: 3})
    assert not adds_to({A: [(1, 4)]}, {A: 4})
    assert not adds_to({}, {})


def test_a_claim_leaves_out_the_highest_spans_first() -> None:
    coverage: Coverage = {A: [(3 * n + 1, 3 * n + 2) for n in range(20)], B: [(1, 1)]}
    assert claim(coverage, 8, 100) == {A: coverage[A][:8], B: [(1, 1)]}
    assert claim(coverage, 8, 3) == {A: coverage[A][:3]}
