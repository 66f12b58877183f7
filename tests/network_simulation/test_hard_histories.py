"""Whole devices that have nothing but relays, rot, crash, are away for months, go back in time, or come and go more
than others.
"""

from __future__ import annotations

import pytest

from tests.network_simulation.campaign import Tally
from tests.network_simulation.in_suite import check_happened, parts, play_part

MIXES = ("relays", "rot", "months", "returns", "crashes", "members")


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


@pytest.mark.parametrize(("mix", "first"), parts(MIXES))
def test_devices_agree_in_the_end_and_nothing_is_lost(mix: str, first: int, tally: Tally) -> None:
    play_part(mix, first, tally)


def test_everything_that_may_happen_has_happened(tally: Tally) -> None:
    check_happened(MIXES, tally)
