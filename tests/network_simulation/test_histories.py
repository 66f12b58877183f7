"""Whole devices in random histories: afterwards everything is the same everywhere, and nothing acknowledged is lost."""

from __future__ import annotations

import io
import random
from collections import Counter

import pytest

from peerd import logs
from tests.network_simulation.history import FORKS, run_history

FIXED = 100
FRESH = 60
PART = 20
ROTTEN = 80_003
FORKED = 90_011
FIRST_FRESH = random.SystemRandom().randrange(1 << 40)


def run_part(first: int) -> Counter[str]:
    logs.configure("error", "json", stream=io.StringIO(), strict=True)  # a line per link would be most of the work
    totals: Counter[str] = Counter()
    for seed in range(first, first + PART):
        try:
            totals += run_history(seed)
        except Exception as problem:
            raise AssertionError(
                f"the history of seed {seed} broke a rule; repeat it with "
                f"python -m tests.network_simulation --runs 1 --trace --seed {seed}"
            ) from problem
    return totals


@pytest.fixture(scope="module")
def happened() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize("first", range(1, FIXED + 1, PART))
def test_devices_agree_in_the_end_and_nothing_is_lost(first: int, happened: Counter[str]) -> None:
    """The same seeds in every run of the tests."""
    happened.update(run_part(first))


@pytest.mark.parametrize("part", range(FRESH // PART))
def test_devices_agree_in_the_end_and_nothing_is_lost_in_fresh_histories(part: int, happened: Counter[str]) -> None:
    """Other seeds each time; a failure names the seed."""
    happened.update(run_part(FIRST_FRESH + part * PART))


def test_everything_that_may_happen_has_happened(happened: Counter[str]) -> None:
    """Histories without crashes, cuts or conflicts would prove little."""
    for event in (
        "bulks", "cancelled writers", "conflicts settled", "crashes", "full disks", "joins", "large", "links cut",
        "partitions", "put back", "removals", "stops", "refused: disk-full", "refused: precondition-failed",
        "apart", "with relays", "relay weather", "throttled", "relays lost", "relays set back", "objects spoilt",
        "days passed", "trims", "snapshots taken", "joins again", "mutual removals", "records rotten",
    ):  # fmt: skip
        assert happened[event], f"no history had any of: {event}"


def test_records_that_rot_are_put_right() -> None:
    """From the log or from another member; the same seeds in every run."""
    logs.configure("critical", "json", stream=io.StringIO(), strict=True)
    happened: Counter[str] = Counter()
    for seed in range(ROTTEN, ROTTEN + PART):
        happened += run_history(seed, ways="links", more={"rot": 10.0})
    assert happened["records rotten"]


def test_forks_heal_and_nothing_of_either_history_is_lost() -> None:
    """Machines are set back, their marks with them, and write before they meet the others; always the same seeds."""
    logs.configure("critical", "json", stream=io.StringIO(), strict=True)
    happened: Counter[str] = Counter()
    for seed in range(FORKED, FORKED + PART):
        happened += run_history(seed, ways="links", more=FORKS)
    for event in ("set back", "forked runs", "of a history that fell", "crashes", "trims", "snapshots taken"):
        assert happened[event], f"no history had any of: {event}"


def test_a_history_is_a_function_of_its_seed() -> None:
    assert run_history(11) == run_history(11)
