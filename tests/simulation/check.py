"""What must be true of a history, at its end and in between."""

from __future__ import annotations

from collections import Counter

from peerd.core import digest, reading, writes
from peerd.core.batch import Name
from peerd.core.reading import DEFAULT_RULES
from tests.simulation.device import Device, Wrong
from tests.simulation.oracle import Event, Expected, differences, expected_records
from tests.simulation.world import World, new_world, settle, take_step

STEPS = 110


def run(seed: int, steps: int = STEPS, size: int | None = None) -> Counter[str]:
    """One history, checked.

    Raises:
        Wrong, Fork, Forged, ...: it broke a rule.
    """
    world = new_world(seed, size)
    for step in range(1, steps + 1):
        take_step(world, step)
        if world.chance.random() < 0.03:
            check_device(world.chance.choice(world.devices), world.truth.events)
    settle(world)
    return check_end(world)


def check_device(device: Device, events: list[Event]) -> dict[Name, Expected]:
    """One copy stands exactly where causality puts what it has applied."""
    applied = [event for event in events if device.applied >> event.number & 1]
    expected = expected_records(applied)
    check_clock(device, applied)
    if device.disk.rows.keys() != expected.keys():
        raise Wrong(f"{device} holds {sorted(device.disk.rows)} instead of {sorted(expected)}")
    for name, record in expected.items():
        actual = device.disk.record(name)
        if actual is None:
            raise Wrong(f"{device} has lost {name}")
        if found := differences(actual, record):
            raise Wrong(f"{device}, {name}: {'; '.join(found)}")
        check_shown(device, name, record)
    if device.disk.recomputed_digest() != device.disk.state.digest:
        raise Wrong(f"the digest that {device} keeps is not the digest of its rows")
    if device.disk.state.visible != sum(bool(record.births) for record in expected.values()):
        raise Wrong(f"{device} counts {device.disk.state.visible} records")
    return expected


def check_clock(device: Device, applied: list[Event]) -> None:
    """The clock names what was applied: per origin a prefix, without gaps."""
    per_origin: dict[bytes, set[int]] = {}
    for event in applied:
        seqs = per_origin.setdefault(event.dot.origin, set())
        if event.dot.seq in seqs:
            raise Wrong(f"{device} applied two transactions as {event.dot}")
        seqs.add(event.dot.seq)
    clock = device.disk.state.clock()
    if {origin: set(range(1, seq + 1)) for origin, seq in clock.items()} != per_origin:
        raise Wrong(f"the clock of {device} is not what it has applied")


def check_shown(device: Device, name: Name, expected: Expected) -> None:
    """Winners, conflicts and flags follow from the record alone."""
    record = device.disk.record(name)
    assert record is not None
    if reading.shown(record, DEFAULT_RULES) != expected.winners():
        raise Wrong(f"{device} shows {name} wrongly")
    listed = {conflict.field: conflict for conflict in reading.conflicts(record, DEFAULT_RULES)}
    fields = expected.conflicting() if expected.births else set()
    if listed.keys() - {reading.DELETED} != fields:
        raise Wrong(f"{device} lists conflicts of {name} on {sorted(listed)} instead of {sorted(fields)}")
    met = listed.get(reading.DELETED)
    if set(met.dots if met else ()) != expected.met_a_delete():
        raise Wrong(f"{device} does not list what met a delete in {name}")
    for field in fields:
        cells = record.fields[field]
        if cells[listed[field].dots[0]] != expected.winners()[field]:
            raise Wrong(f"{device} lists another value first in {name}.{field}")
    flags = device.disk.rows[name][3]
    several = any(len(cells) > 1 for cells in expected.fields.values())
    if not expected.births:
        right = writes.PARKED
    else:
        right = several * writes.SIBLINGS | bool(expected.met_a_delete()) * writes.RESTORED
    if flags != right:
        raise Wrong(f"{device} flags {name} with {flags} instead of {right}")


def check_end(world: World) -> Counter[str]:
    """All members are equal, and nothing that could be shown is parked."""
    members = world.members()
    first = members[0]
    for device in members:
        if device.disk.state.clock() != first.disk.state.clock():
            raise Wrong(f"{device} and {first} end at different clocks")
        if device.staged:
            raise Wrong(f"{device} still waits for something")
    records = check_device(first, world.truth.events)
    for device in members:
        check_device(device, world.truth.events)
        if device.disk.state.digest != first.disk.state.digest:
            raise Wrong(f"{device} and {first} end with different digests")
        for name, row in device.disk.rows.items():
            if row[3] & writes.PARKED and device.holds_image(name):
                raise Wrong(f"{name} is parked although {device} can restore it")
    if len({digest.summary(device.disk.state.digest) for device in members}) != 1:
        raise Wrong("digest summaries differ")
    check_conflict_ids(members)
    return world.counts + Counter(
        transactions=len(world.truth.events),
        survived=first.applied.bit_count(),
        records=len(records),
        conflicts=sum(len(record.conflicting()) for record in records.values()),
        restores=sum(device.restores for device in world.devices),
        met_a_delete=sum(bool(record.met_a_delete()) for record in records.values()),
        parked=sum(not record.births for record in records.values()),
        removed=len(world.gone),
    )


def check_conflict_ids(members: list[Device]) -> None:
    lists = []
    for device in members:
        found = {}
        for name in device.disk.rows:
            record = device.disk.record(name)
            assert record is not None
            for conflict in reading.conflicts(record, DEFAULT_RULES):
                found[reading.conflict_id(*name, conflict.field)] = conflict
        lists.append(found)
    if any(found != lists[0] for found in lists):
        raise Wrong("the lists of conflicts differ")
