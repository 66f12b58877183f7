"""What must be true of a history, at its end and in between."""

from __future__ import annotations

import random
from collections import Counter

from peerd.core import reading, values, writes
from peerd.core.batch import Name, Verdict
from peerd.core.clocks import Dot
from peerd.core.entry import Change, Kind
from peerd.core.reading import DEFAULT_RULES
from peerd.core.record import Record
from peerd.core.record_form import decode_record, digest_of, encode_body, encode_stamps
from tests.simulation.device import Device, Work, Wrong
from tests.simulation.memory import Row
from tests.simulation.oracle import Event, Expected, Meant, differences, expected_records
from tests.simulation.snapshots import Transfers, send_at_once
from tests.simulation.world import World, last_quarrel, new_world, settle, take_step

STEPS = 100
Known = dict[int, dict[Name, Expected]]  # by the mask of what is applied
LATE = Change(Kind.PUT, "notes", "late")


def run(seed: int, steps: int = STEPS, size: int | None = None, *, snapshots: bool = False) -> Counter[str]:
    """One history, checked.

    Raises:
        Wrong, Fork, Forged, ...: it broke a rule.
    """
    world = new_world(seed, size)
    transfers = Transfers(random.Random(seed)) if snapshots else None
    for step in range(1, steps + 1):
        take_step(world, step)
        if transfers is not None:
            transfers.step(world)
        if world.chance.random() < 0.03:
            check_device(world.chance.choice(world.devices), world.truth.events)
    if world.chance.random() < 0.3:
        last_quarrel(world, steps)
    settle(world, send_at_once if snapshots else None)
    return check_end(world)


def check_device(device: Device, events: list[Event], known: Known | None = None) -> dict[Name, Expected]:
    """One copy stands exactly where causality puts what it has applied. `known`: what was worked out before."""
    applied = [event for event in events if device.applied >> event.number & 1]
    expected = known.get(device.applied) if known else None
    if expected is None:
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
    for name in list(expected)[:1]:
        check_digest_sees(name, device.disk.rows[name])
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
    for device in members[1:]:
        if device.disk.state.clock() != first.disk.state.clock():
            raise Wrong(f"{device} and {first} end at different clocks")
    if any(device.staged for device in members):
        raise Wrong("somebody still waits for something")
    records = check_device(first, world.truth.events)
    for device in members[1:]:
        check_device(device, world.truth.events, {first.applied: records})
        if device.disk.state.digest != first.disk.state.digest:
            raise Wrong(f"{device} and {first} end with different digests")
    for device in members:
        for name, row in device.disk.rows.items():
            if row[3] & writes.PARKED and device.holds_image(name):
                raise Wrong(f"{name} is parked although {device} can restore it")
    check_conflict_ids(members)
    check_removed_are_refused(world)
    return world.counts + Counter(
        transactions=len(world.truth.events),
        survived=first.applied.bit_count(),
        records=len(records),
        conflicts=sum(len(record.conflicting()) for record in records.values()),
        restores=sum(device.restores for device in world.devices),
        met_a_delete=sum(bool(record.met_a_delete()) for record in records.values()),
        parked=sum(not record.births for record in records.values()),
        removed=len(world.gone),
        lost=len(world.lost),
    )


def check_removed_are_refused(world: World) -> None:
    """What a removed device writes now goes nowhere, whoever carries it."""
    for leaving in world.devices:
        knowing = [member for member in world.members() if leaving.id in member.removed]
        if leaving.number not in world.gone or not knowing:
            continue  # or the remover was put back before it told anybody
        leaving.transact(lambda work: work.write([LATE], [Meant(Kind.PUT, LATE.record, {}, (), 0)]))
        for member in knowing:
            work = Work(member)
            work.learn_origins(at.announcement for at in leaving.disk.state.origins.values())
            for applied in leaving.disk.missing_for(member.disk.state.clock()):
                if work.take(applied.run) is Verdict.APPLIED and applied is leaving.disk.log[-1]:
                    raise Wrong(f"{member} took what {leaving} wrote after its removal")


def check_digest_sees(name: Name, row: Row) -> None:
    """A flipped value, another time and a lost birth are all seen by the digest of one record."""
    stamps, body, share, _ = row
    record = decode_record(stamps, body)
    others = [record_with(record, field, dot) for field, cells in record.fields.items() for dot in cells]
    for dot, stamp in record.stamps.items():
        other = decode_record(stamps, body)
        other.stamps[dot] = stamp._replace(t_ms=stamp.t_ms + 1)
        others.append(other)
    if record.births:
        other = decode_record(stamps, body)
        other.births.pop()
        others.append(other)
    shares = {share_of(name, other) for other in others}
    if share in shares or share_of(name, record) != share:
        raise Wrong(f"the digest of {name} overlooks something")


def record_with(record: Record, field: str, dot: Dot) -> Record:
    """The record with another value under one dot."""
    other = Record()
    other.stamps, other.births = record.stamps, record.births
    other.fields = {name: dict(cells) for name, cells in record.fields.items()}
    other.fields[field][dot] = values.pack("another value")
    return other


def share_of(name: Name, record: Record) -> int:
    order, stamps = encode_stamps(record.stamps)
    return digest_of(*name, stamps, encode_body(record.births, record.fields, order))[1]


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
