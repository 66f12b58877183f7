"""The histories notice when a rule of the core is lost: every known-wrong variant fails soon."""

from __future__ import annotations

import pytest

from tests.simulation.check import run
from tests.simulation.mutations import SNAPSHOT_VARIANTS, VARIANTS

HISTORIES = 60


@pytest.mark.parametrize("name", VARIANTS)
def test_a_known_wrong_variant_is_noticed(name: str) -> None:
    """`python -m tests.simulation --self-test` counts in how many histories."""
    with VARIANTS[name]():
        for seed in range(1, HISTORIES + 1):
            try:
                run(seed)
            except Exception:  # noqa: BLE001 - whatever the variant breaks, it is noticed
                return
    pytest.fail(f"{HISTORIES} histories went well without this rule: {VARIANTS[name].__doc__ or name}")


@pytest.mark.parametrize("name", SNAPSHOT_VARIANTS)
def test_a_wrong_way_with_snapshots_is_noticed(name: str) -> None:
    with SNAPSHOT_VARIANTS[name]():
        for seed in range(1, HISTORIES + 1):
            try:
                run(seed, snapshots=True)
            except Exception:  # noqa: BLE001 - whatever the variant breaks, it is noticed
                return
    pytest.fail(f"{HISTORIES} histories went well without this rule: {SNAPSHOT_VARIANTS[name].__doc__ or name}")
