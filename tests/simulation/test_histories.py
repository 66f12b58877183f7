"""The pure core in random histories: what stands on every device is what causality demands, and the same everywhere."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from peerd.core.clocks import Dot
from peerd.core.entry import Kind
from tests.simulation.check import run
from tests.simulation.device import Wrong
from tests.simulation.oracle import Event, Meant, expected_records

FIXED = 500
FRESH = 1_500
PART = 100
FIRST_FRESH = random.SystemRandom().randrange(1 << 40)


def run_part(first: int, *, snapshots: bool = False) -> Counter[str]:
    totals: Counter[str] = Counter()
    for seed in range(first, first + PART):
        try:
            totals += run(seed, snapshots=snapshots)
        except Exception as problem:
            raise AssertionError(
                f"the history of seed {seed} broke a rule; repeat it with "
                f"python -m tests.simulation --runs 1 --seed {seed}{' --snapshots' if snapshots else ''}"
            ) from problem
    return totals


@pytest.mark.parametrize("first", range(1, FIXED + 1, PART))
def test_the_core_does_what_causality_demands(first: int) -> None:
    """The same seeds in every run of the tests."""
    totals = run_part(first)
    for happened in (
        "conflicts",
        "restores",
        "met_a_delete",
        "stale",
        "put back",
        "removed",
        "lost",
        "waiting",
        "crashes",
    ):
        assert totals[happened], f"no history had any of: {happened}"


@pytest.mark.parametrize("part", range(FRESH // PART))
def test_the_core_does_what_causality_demands_in_fresh_histories(part: int) -> None:
    """Other seeds each time; a failure names the seed."""
    run_part(FIRST_FRESH + part * PART)


@pytest.mark.parametrize("first", range(1, FIXED + 1, PART))
def test_snapshots_change_nothing_of_what_causality_demands(first: int) -> None:
    """Made while their senders write, merged into copies that have written meanwhile; and logs begin at a horizon."""
    totals = run_part(first, snapshots=True)
    assert totals["snapshots"]
    assert totals["met_a_delete"]


@pytest.mark.parametrize("part", range(FRESH // PART // 3))
def test_snapshots_change_nothing_in_fresh_histories(part: int) -> None:
    run_part(FIRST_FRESH + part * PART, snapshots=True)


def test_a_history_is_a_function_of_its_seed() -> None:
    assert run(7) == run(7)
    assert run(7, snapshots=True) == run(7, snapshots=True)


def test_the_oracle_knows_what_stands() -> None:
    """By hand: a put, a patch and a delete that saw only the put, and a restore."""
    name = ("notes", "one")
    dots = [Dot(bytes([number]) * 16, 1) for number in range(4)]
    story = [
        Event(1, dots[0], b"", 10, 2, (Meant(Kind.PUT, name, {"a": b"\x01", "b": b"\x02"}, (), 0),)),
        Event(2, dots[1], b"", 11, 2, (Meant(Kind.PATCH, name, {"a": b"\x03"}, (), 1 << 1),)),
        Event(3, dots[2], b"", 12, 2, (Meant(Kind.DELETE, name, {}, (), 1 << 1),)),
    ]
    assert expected_records(story[:1])[name].winners() == {"a": b"\x01", "b": b"\x02"}
    assert expected_records(story[:2])[name].fields == {"a": {dots[1]: b"\x03"}, "b": {dots[0]: b"\x02"}}
    assert not expected_records([story[0], story[2]])
    parked = expected_records(story)[name]
    assert (parked.births, parked.fields) == ({}, {"a": {dots[1]: b"\x03"}})
    restored = Event(4, dots[3], b"", 13, 2, (Meant(Kind.RESTORE, name, {"b": b"\x02"}, (), 0, dots[2]),))
    again = expected_records([*story, restored])[name]
    assert again.births == {dots[3]: (True, dots[2])}
    assert again.winners() == {"a": b"\x03", "b": b"\x02"}


def test_a_wrong_end_is_noticed() -> None:
    """The checks can fail: a device whose row was swapped for another one is found out."""
    from tests.simulation.check import check_device  # noqa: PLC0415 - used here alone
    from tests.simulation.world import new_world, settle, take_step  # noqa: PLC0415 - the same

    world = new_world(1)
    for step in range(60):
        take_step(world, step)
    settle(world)
    device = next(device for device in world.members() if device.disk.rows)
    name, row = next(iter(device.disk.rows.items()))
    device.disk.rows[name] = (*row[:2], row[2] + 1, row[3] ^ 8)
    with pytest.raises(Wrong):
        check_device(device, world.truth.events)
