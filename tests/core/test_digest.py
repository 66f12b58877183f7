"""The digest of a space: sums that move with each record, whatever the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerd.core.digest import BUCKETS, EMPTY, differing, moved, summary

SHARES = st.tuples(st.integers(0, BUCKETS - 1), st.integers(0, 2**64 - 1))


@given(st.lists(SHARES))
def test_the_order_of_steps_means_nothing(shares: list[tuple[int, int]]) -> None:
    assert moved(EMPTY, shares) == moved(EMPTY, list(reversed(shares)))
    assert moved(moved(EMPTY, shares[:3]), shares[3:]) == moved(EMPTY, shares)


@given(st.lists(SHARES, min_size=1))
def test_a_share_that_goes_leaves_nothing(shares: list[tuple[int, int]]) -> None:
    bucket, share = shares[0]
    assert moved(moved(EMPTY, shares), [(bucket, -share)]) == moved(EMPTY, shares[1:])


def test_sums_wrap_at_64_bits() -> None:
    assert moved(EMPTY, [(7, 2**64 - 1), (7, 1)]) == EMPTY


@given(st.lists(SHARES), st.lists(SHARES))
def test_summaries_are_equal_where_all_buckets_are(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    ours, theirs = moved(EMPTY, one), moved(EMPTY, other)
    assert (summary(ours) == summary(theirs)) == (ours == theirs)
    assert bool(differing(ours, theirs)) == (ours != theirs)


def test_the_buckets_that_differ_are_named() -> None:
    assert differing(moved(EMPTY, [(3, 1), (200, 5)]), moved(EMPTY, [(3, 1), (255, 5)])) == [200, 255]
    assert len(summary(EMPTY)) == 16
