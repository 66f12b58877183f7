"""Random histories of couriers on a relay. More of them: python -m tests.relay_simulation --runs 2000."""

from __future__ import annotations

import os

import pytest

from tests.relay_simulation.copies import Wrong
from tests.relay_simulation.history import run
from tests.relay_simulation.planted import PLANTED

GROUPS, RUNS = 8, 30


@pytest.mark.parametrize("group", range(GROUPS))
def test_random_histories(group: int) -> None:
    first = int(os.environ.get("PEERD_SEED", "0")) + group * RUNS
    for seed in range(first, first + RUNS):
        try:
            run(seed)
        except Exception as problem:
            problem.add_note(f"python -m tests.relay_simulation --runs 1 --seed {seed}")
            raise


# Where to begin to look: most histories never come near a mistake.
FROM_SEED = {
    "existing_counts_as_ours": 90,
    "collected_before_acknowledged": 0,
    "skipped_when_not_found": 0,
    "done_when_fetched": 10,
    "former_life_overwritten": 110,
}
LOOK_AT = 30


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_a_planted_mistake_is_noticed(name: str) -> None:
    with PLANTED[name]():
        for seed in range(FROM_SEED[name], FROM_SEED[name] + LOOK_AT):
            try:
                run(seed)
            except Wrong:
                return
    pytest.fail(f"{LOOK_AT} histories did not notice it")
