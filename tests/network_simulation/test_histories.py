"""Whole devices in random histories: afterwards everything is the same everywhere, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.network_simulation import campaign
from tests.network_simulation.campaign import Tally, play
from tests.network_simulation.history import run_history
from tests.network_simulation.in_suite import check_happened, parts, play_part

HERE = Path(__file__).parents[2]
MIXES = ("general",)


@pytest.fixture(scope="module")
def tally() -> Tally:
    return Tally()


@pytest.mark.parametrize(("mix", "first"), parts(MIXES))
def test_devices_agree_in_the_end_and_nothing_is_lost(mix: str, first: int, tally: Tally) -> None:
    play_part(mix, first, tally)


def test_everything_that_may_happen_has_happened(tally: Tally) -> None:
    check_happened(MIXES, tally)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_history_is_a_function_of_its_seed(hash_seed: str) -> None:
    """Also in a process in which sets are walked in another order."""
    program = "from tests.network_simulation.history import run_history; print(sorted(run_history(11).items()))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(HERE)}
    told = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.splitlines()[-1] == str(sorted(run_history(11).items()))


def test_the_command_tells_what_happened_and_how_to_play_a_failure_again() -> None:
    command = [sys.executable, "-m", "tests.network_simulation", "--runs", "4", "--seed", "1", "--jobs", "2"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE)
    assert "4 histories, 0 failed" in told.stdout
    assert re.search(r"^   writes +\d", told.stdout, re.MULTILINE)
    with patch.object(campaign, "run_history", side_effect=AssertionError("never at rest")):
        wrong = play("months", 1)
    assert "never at rest" in wrong.wrong
    assert wrong.replay() == "python -m tests.network_simulation --mix months --seed 1 --runs 1 --trace"
