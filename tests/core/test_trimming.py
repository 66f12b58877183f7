"""Who holds the log back, and which ends of runs outlive their runs."""

from __future__ import annotations

import pytest

from peerd.core.trimming import ACTIVE_MS, ends_too_many, held_by_all, is_active, standing_at

A, B = b"A" * 16, b"B" * 16


def test_somebody_counts_for_sixty_days() -> None:
    assert is_active(ACTIVE_MS + 6, 7)
    assert not is_active(ACTIVE_MS + 7, 7)


def test_the_one_that_has_least_decides_for_each_origin() -> None:
    ours = {A: 10, B: 5}
    assert held_by_all(ours, []) == ours  # alone
    assert held_by_all(ours, [{A: 4, B: 9}, {A: 7, B: 3}]) == {A: 4, B: 3}
    assert held_by_all(ours, [{A: 4}]) == {A: 4}
    assert held_by_all(ours, [{A: 4, B: 9}, {}]) == {}


def test_where_members_stand() -> None:
    assert standing_at([{A: 1, B: 2}, {A: 1}, {A: 3}]) == {A: {1, 3}, B: {2}}


@pytest.mark.parametrize("count", [0, 7, 8, 9, 100, 1_000])
def test_there_is_a_largest_number_of_ends(count: int) -> None:
    """What goes is of the older half; where somebody stands is kept."""
    seqs, standing = list(range(1, count + 1)), {1, 2, 50}
    left = [seq for seq in seqs if seq not in set(ends_too_many(seqs, standing, limit=8))]
    assert standing.intersection(seqs) <= set(left)
    assert len(left) <= 8 + len(standing)
    assert left[-4:] == seqs[-4:]


def test_a_few_ends_are_left_alone() -> None:
    assert ends_too_many([1, 2, 3], (), limit=3) == []


def test_more_standing_than_the_limit_all_stay() -> None:
    assert ends_too_many([1, 2, 3, 4], {1, 2, 3}, limit=0) == []
