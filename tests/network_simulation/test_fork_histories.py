"""Machines are set back, their marks with them, and write before they meet the others."""

from __future__ import annotations

import pytest

from tests.network_simulation.campaign import Tally
from tests.network_simulation.in_suite import check_happened, parts, play_part

MIXES = ("forks",)


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


@pytest.mark.parametrize(("mix", "first"), parts(MIXES))
def test_forks_heal_and_nothing_of_either_history_is_lost(mix: str, first: int, tally: Tally) -> None:
    play_part(mix, first, tally)


def test_everything_that_may_happen_has_happened(tally: Tally) -> None:
    check_happened(MIXES, tally)
