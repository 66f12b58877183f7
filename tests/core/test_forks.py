"""Two copies find out where they part, whatever lengths their runs have and however many there are."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from peerd.core.forks import RunEnd, Search, goes_over, names_what_falls, side_of
from peerd.core.roster.acceptance import ClosedFork
from peerd.core.roster.statements import Final

ORIGIN = b"o" * 16


class Chain:
    """A copy of an origin: where its runs end, with hashes that depend on all before."""

    def __init__(self, lengths: Sequence[int], label: str = "", before: Chain | None = None) -> None:
        self.runs: list[RunEnd] = list(before.runs) if before else []
        for length in lengths:
            first = self.runs[-1].last + 1 if self.runs else 1
            self.runs.append(RunEnd(first, first + length - 1, f"{label}{first}".encode().ljust(8)[:8]))
        self.trimmed = 0  # how many of the oldest runs are ends only
        self.forgotten: set[int] = set()

    def hash8(self, seq: int) -> bytes | None:
        if seq == 0:
            return b"0" * 8
        return next((run.hash8 for run in self.runs if run.last == seq and seq not in self.forgotten), None)

    def passes(self, seq: int) -> bool:
        return any(run.first <= seq < run.last for run in self.runs[self.trimmed :])

    def reaches(self, seq: int) -> bool:
        return not self.trimmed or seq >= self.runs[self.trimmed - 1].last

    def ends(self, after: int, before: int | None, most: int) -> tuple[list[RunEnd], bool]:
        found = [
            run._replace(first=0) if number < self.trimmed else run
            for number, run in enumerate(self.runs)
            if run.last > after and run.last not in self.forgotten
        ]
        if before is not None:
            upto = next((number for number, run in enumerate(found) if run.last >= before), len(found) - 1)
            found = found[: upto + 1]
        if len(found) <= most:
            return found, True
        step = -(-len(found) // most)
        return sorted({*found[::step], found[-1]}), False


def search(one: Chain, other: Chain, most: int = 1_000) -> tuple[Search, Search]:
    """Both begin at once, as both may find the fork; every message arrives."""
    sides = Search(ORIGIN, most), Search(ORIGIN, most)
    chains = one, other
    said = [(1, sides[0].tell(one)), (0, sides[1].tell(other))]
    for _ in range(100):
        if not said:
            break
        to, told = said.pop(0)
        answer = sides[to].heard(told, chains[to])
        if answer is not None:
            said.append((1 - to, answer))
    assert not said
    return sides


@pytest.mark.parametrize("most", [3, 4, 10, 1_000])
def test_both_find_the_same_place(most: int) -> None:
    for seed in range(150):
        chance = random.Random(seed)
        shared = Chain([chance.randint(1, 4) for _ in range(chance.randint(0, 60))])
        one, other = (
            Chain([chance.randint(1, 4) for _ in range(chance.randint(1, 30))], label, shared) for label in "ab"
        )
        left, right = search(one, other, most)
        at = shared.runs[-1].last if shared.runs else 0
        assert left.parting is not None, seed
        assert right.parting is not None, seed
        assert (left.parting.seq, right.parting.seq) == (at, at), seed
        assert left.parting.ours == right.parting.theirs == Final(*one.runs[len(shared.runs)][1:])
        assert left.parting.theirs == right.parting.ours == Final(*other.runs[len(shared.runs)][1:])


def test_a_log_that_does_not_reach_back_concludes_nothing() -> None:
    """And it ends."""
    shared = Chain([1] * 5)
    one, other = Chain([1] * 5, "a", shared), Chain([2] * 5, "b", shared)
    one.trimmed = 8
    one.forgotten = {5, 6}
    left, right = search(one, other)
    assert (left.parting, right.parting) == (None, None)
    assert left.is_over
    assert right.is_over


@pytest.mark.parametrize("most", [3, 4, 10])
def test_it_ends_too_where_more_is_kept_than_can_be_told_at_once_and_nothing_of_it_is_known_there(most: int) -> None:
    """Of one that was set back by more than the other's log has; and of two that keep other ends of one history."""
    shared = Chain([1] * 30)
    one, other = Chain([1] * 60, "a", shared), Chain([1] * 10, "b", shared)
    one.trimmed, one.forgotten = 90, set(range(31, 46))
    for left, right in (search(one, other, most), search(other, one, most)):
        assert (left.is_over, right.is_over, left.parting, right.parting) == (True, True, None, None)
        assert (left.low, right.low) == (30, 30)
    one, other = Chain([1] * 60, "s", shared), Chain([1] * 60, "s", shared)
    one.trimmed, one.forgotten = 90, set(range(31, 91, 2))
    other.trimmed, other.forgotten = 90, set(range(32, 91, 2)) - {84}
    left, right = search(one, other, most)
    assert left.is_over
    assert right.is_over
    assert (left.low, right.low) == (84, 84), "the only one that both have kept"


def test_of_two_that_cannot_tell_exactly_one_goes_over() -> None:
    """Whoever is less far; of two that are equally far the hash decides. Who holds what stands by a close does not, but
    where both do, it may be that they part once more behind that.
    """
    ends = [(seq, bytes([byte]) * 8) for seq in (0, 3, 5) for byte in (1, 2)]
    for one, other in itertools.product(ends, ends):
        for stands, stand in itertools.product((True, False), (True, False)):
            here = goes_over(one, other, we_stand=stands, they_stand=stand)
            there = goes_over(other, one, we_stand=stand, they_stand=stands)
            if one == other:
                assert (here, there) == (None, None)
            elif stands != stand:
                assert (here, there) == (stand, stands)
            else:
                assert {here, there} == {True, False}
                assert not (one[0] > other[0] and here)


def test_one_that_is_not_a_fork_concludes_nothing() -> None:
    shared = Chain([1] * 5)
    left, right = search(shared, Chain([1], "a", shared))
    assert (left.parting, right.parting) == (None, None)


def test_which_side_a_copy_has() -> None:
    shared = Chain([1] * 5)
    one, other = Chain([1] * 5, "a", shared), Chain([2] * 5, "b", shared)
    fork = ClosedFork(ORIGIN, 5, shared.runs[-1].hash8, Final(*one.runs[5][1:]), (Final(*other.runs[5][1:]),))
    assert side_of(fork, 5, shared) == (False, False, False)
    assert side_of(fork, 10, one) == (True, False, False)
    assert side_of(fork, 15, other) == (False, True, False)
    other.forgotten = {7}
    other.trimmed = len(other.runs)
    assert side_of(fork, 15, other) == (False, False, True)


def test_a_third_variant_falls_though_no_close_names_it() -> None:
    """Whoever has what stands has its first run whole, and ends a run where that one ends."""
    shared = Chain([1] * 5)
    one, other = Chain([2] * 5, "a", shared), Chain([2] * 5, "b", shared)
    fork = ClosedFork(ORIGIN, 5, shared.runs[-1].hash8, Final(*one.runs[5][1:]), (Final(*other.runs[5][1:]),))
    for lengths in ([1], [2], [4], [1, 2]):
        third = Chain(lengths, "c", shared)
        assert side_of(fork, 5 + sum(lengths), third) == (False, True, False)


def test_who_parted_before_is_on_neither_side() -> None:
    """Of a device that was set back twice, the second time further."""
    shared = Chain([1] * 3)
    longer = Chain([1, 1], "s", shared)
    one, other = Chain([1], "a", longer), Chain([1], "b", longer)
    fork = ClosedFork(ORIGIN, 5, longer.runs[-1].hash8, Final(*one.runs[5][1:]), (Final(*other.runs[5][1:]),))
    third = Chain([1] * 4, "c", shared)
    assert side_of(fork, 7, third) == (False, False, False)
    passing = Chain([4], "c", shared)
    assert side_of(fork, 7, passing) == (False, False, False)


def test_what_was_told_of_a_copy_that_holds_what_falls() -> None:
    stands, falls = Final(7, b"a" * 8), Final(9, b"b" * 8)
    fork = ClosedFork(ORIGIN, 5, b"5" * 8, stands, (falls,))
    assert names_what_falls(fork, falls)
    assert names_what_falls(fork, Final(6, b"c" * 8)), "a third, that ends before"
    assert names_what_falls(fork, Final(7, b"c" * 8))
    assert not names_what_falls(fork, stands)
    assert not names_what_falls(fork, Final(5, b"5" * 8))
    assert not names_what_falls(fork, Final(11, b"d" * 8))
