"""Writing again what a copy that was set aside has: by hand, and random forks against the merge of both sides."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import pytest

from peerd.core.clocks import Clock, Dot, covers
from peerd.core.entry import Change, Kind
from peerd.core.intents import plan
from peerd.core.reading import Rules
from peerd.core.recopy import steps
from peerd.core.record import Record, Stamp, apply_change
from peerd.core.snapshots.merge import merge

NAME = ("notes", "one")
FORKED, OTHER, NEW = b"f" * 16, b"o" * 16, b"n" * 16


def record(births: Iterable[Dot], **fields: Mapping[Dot, bytes]) -> Record:
    made = Record()
    made.births, made.fields = set(births), {name: dict(values) for name, values in fields.items()}
    made.stamps = {dot: Stamp(dot.seq, 2) for dot in made.births.union(*made.fields.values())}
    return made


def copied(one: Record | None) -> Record:
    made = Record()
    if one is not None:
        made.births, made.stamps = set(one.births), dict(one.stamps)
        made.fields = {name: dict(values) for name, values in one.fields.items()}
    return made


def after(
    aside: Record | None, now: Record | None, shared: Clock, clock: Clock, *, origin: bytes = NEW, removes: bool = True
) -> Record:
    """`now`, with each step as a transaction of `origin`, whose author's clock is `clock`."""
    made, context = copied(now), dict(clock)
    for intent, stamp in steps(NAME, aside, now, shared, removes=removes):
        change = plan(made, intent, Rules(), dict)
        assert change is not None
        dot = Dot(origin, context.get(origin, 0) + 1)
        apply_change(made, change, dot, stamp or Stamp(1_000_000, 2), context)
        context[origin] = dot.seq
    return made


def content(one: Record | None) -> tuple[int, dict[str, Counter[tuple[Stamp, bytes]]]]:
    """A record without the names of its transactions: how many births, which values of when."""
    if one is None:
        return 0, {}
    return len(one.births), {
        name: Counter((one.stamps[dot]._replace(answers=None), value) for dot, value in siblings.items())
        for name, siblings in one.fields.items()
    }


A1, A2, A3 = Dot(FORKED, 1), Dot(FORKED, 2), Dot(FORKED, 3)
O1, O2 = Dot(OTHER, 1), Dot(OTHER, 2)
ONE = {FORKED: 1}


def test_equal_names_behind_the_fork_are_two_transactions() -> None:
    """Both sides wrote the field under one name: both values stand, with the times at which they were written."""
    ours = record({A1}, x={A2: b"\x01"})
    theirs = record({A1}, x={A2: b"\x02"})
    made = after(ours, theirs, ONE, {FORKED: 2})
    assert made.fields == {"x": {A2: b"\x02", Dot(NEW, 1): b"\x01"}}
    assert (made.births, made.stamps[Dot(NEW, 1)]) == ({A1}, Stamp(2, 2))


def test_what_either_side_removed_stays_removed() -> None:
    """And what both removed is not there again."""
    old = record({A1}, x={A1: b"\x01"})
    assert after(None, old, ONE, {FORKED: 2}).empty, "the copy set aside had deleted it"
    assert after(old, None, ONE, {FORKED: 2}).empty, "the other side had"
    assert steps(NAME, None, None, ONE) == []


def test_an_edit_on_one_side_survives_a_delete_on_the_other() -> None:
    """It stands parked, and the restore that follows gives it its birth back."""
    old = record({A1}, x={A1: b"\x01"}, y={A1: b"\x01"})
    edited = record({A1}, x={A2: b"\x02"}, y={A1: b"\x01"})
    there = after(None, edited, ONE, {FORKED: 2})
    assert (there.parked, there.fields) == (True, {"x": {A2: b"\x02"}})
    here = after(edited, None, ONE, {FORKED: 2})
    assert (here.parked, here.fields) == (True, {"x": {Dot(NEW, 1): b"\x02"}})
    assert steps(NAME, edited, old, ONE) != []


def test_a_dot_may_be_gone_from_one_field_and_stand_in_another() -> None:
    """The copy set aside overwrote x of O1 and y of O2; the rest of both stays."""
    here = record({A1}, x={O1: b"\x01", O2: b"\x02"}, y={O1: b"\x01", O2: b"\x02"})
    was = record({A1}, x={O2: b"\x02"}, y={O1: b"\x01"})
    made = after(was, here, {FORKED: 1, OTHER: 2}, {FORKED: 1, OTHER: 2})
    assert made.fields == {"x": {O2: b"\x02"}, "y": {O1: b"\x01"}}


def test_a_restore_is_written_again_as_one() -> None:
    """So that it ranks below what was written, and the edit that met a delete is listed."""
    restored = record({A2}, x={A2: b"\x01"})
    restored.stamps[A2] = Stamp(2, 2, restored=True, answers=O1)
    made = after(restored, record({A3}, x={A3: b"\x03"}), ONE, {FORKED: 3})
    assert made.stamps[Dot(NEW, 1)] == Stamp(2, 2, restored=True)
    assert made.winner("x") == b"\x03"


def test_a_copy_that_may_have_lost_records_removes_none() -> None:
    """What it lacks is no delete; what it has and the other lacks is taken in."""
    here = record({A1}, x={A1: b"\x01"})
    was = record((), x={A2: b"\x02"})
    assert after(None, here, ONE, {FORKED: 1}, removes=False).births == {A1}
    assert after(was, here, ONE, {FORKED: 1}, removes=False).fields["x"] == {A1: b"\x01", Dot(NEW, 1): b"\x02"}


# ---- random forks


class Copy(NamedTuple):
    """One copy of a space with one record."""

    record: Record
    clock: Clock


class Writer:
    """Writes what comes to its mind, and what it is told; each copy under origins of its own."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.written = 0

    def write(self, copy: Copy, origin: bytes) -> tuple[Change, Dot, Stamp, Clock]:
        chance, context = self.chance, dict(copy.clock)
        dot = Dot(origin, context.get(origin, 0) + 1)
        kind = chance.choice([Kind.PUT, Kind.PATCH, Kind.PATCH, Kind.PATCH, Kind.DELETE, Kind.RESTORE])
        fields = chance.sample("xyz", chance.randint(0 if kind is Kind.PUT else 1, 3))
        cut = chance.randint(0, len(fields))
        self.written += 1
        values = (
            {} if kind is Kind.DELETE else {name: msgspec.Raw(msgspec.msgpack.encode(self.written)) for name in fields}
        )
        drop: tuple[str, ...] = ()
        if kind is Kind.PATCH:
            drop = tuple(fields[:cut])
            values = {name: values[name] for name in fields[cut:]}
        dots = sorted(copy.record.dots())
        keep = tuple(chance.sample(dots, chance.randint(0, len(dots)))) if chance.random() < 0.2 else ()
        change = Change(kind, *NAME, values, drop, keep if kind is not Kind.RESTORE else ())
        return change, dot, Stamp(1000 * chance.randint(1, 9) + self.written, 2), context

    def apply(self, copy: Copy, said: tuple[Change, Dot, Stamp, Clock]) -> None:
        change, dot, stamp, context = said
        apply_change(copy.record, change, dot, stamp, context)
        copy.clock[dot.origin] = dot.seq


class Fork:
    """A history that both share, then two sides that go on under one origin, each with friends of its own."""

    def __init__(self, seed: int) -> None:
        self.writer = Writer(random.Random(seed))
        start = Copy(Record(), {})
        for _ in range(self.writer.chance.randint(0, 5)):
            self.writer.apply(start, self.writer.write(start, self.writer.chance.choice([FORKED, OTHER])))
        self.sides = [Copy(copied(start.record), dict(start.clock)) for _ in range(2)]
        for side, friend in zip(self.sides, (b"1" * 16, b"2" * 16), strict=True):
            for _ in range(self.writer.chance.randint(0, 6)):
                self.writer.apply(side, self.writer.write(side, self.writer.chance.choice([FORKED, friend])))
        self.shared = dict(start.clock)


def relabelled(side: Copy, shared: Clock, label: bytes) -> tuple[Record, Clock]:
    """The side with names of its own for what it alone knows: what a fork never has."""

    def own(dot: Dot) -> Dot:
        return dot if covers(shared, dot) else Dot(label + dot.origin[1:], dot.seq)

    made = Record()
    made.births = {own(dot) for dot in side.record.births}
    made.fields = {name: {own(dot): value for dot, value in dots.items()} for name, dots in side.record.fields.items()}
    made.stamps = {own(dot): stamp for dot, stamp in side.record.stamps.items()}
    beyond = {label + origin[1:]: seq for origin, seq in side.clock.items() if seq > shared.get(origin, 0)}
    return made, {**shared, **beyond}


@pytest.mark.parametrize("block", range(8))
def test_a_recopy_is_the_merge_of_both_sides(block: int) -> None:
    """As if what each side alone knows had had names of its own."""
    for seed in range(block * 500, (block + 1) * 500):
        fork = Fork(seed)
        (ours, our_clock), (theirs, their_clock) = (
            relabelled(side, fork.shared, label) for side, label in zip(fork.sides, (b"O", b"T"), strict=True)
        )
        expected = merge(ours, theirs, our_clock, their_clock)
        aside, other = fork.sides
        made = after(aside.record, other.record, fork.shared, other.clock)
        assert content(made) == content(expected), f"seed {seed}"
        assert steps(NAME, aside.record, made, fork.shared) == [], f"done twice, seed {seed}"


@pytest.mark.parametrize("block", range(4))
def test_no_value_that_one_side_wrote_last_is_lost(block: int) -> None:
    """Not by way of the oracle: what stands on a side and was written after the fork stands afterwards."""
    for seed in range(10_000 + block * 500, 10_000 + (block + 1) * 500):
        fork = Fork(seed)
        aside, other = fork.sides
        made = after(aside.record, other.record, fork.shared, other.clock)
        for side in fork.sides:
            for name, siblings in side.record.fields.items():
                fresh = {value for dot, value in siblings.items() if not covers(fork.shared, dot)}
                assert fresh <= set(made.fields.get(name, {}).values()), f"seed {seed}"
        known = {value for side in fork.sides for dots in side.record.fields.values() for value in dots.values()}
        shown = {value for dots in made.fields.values() for value in dots.values()}
        assert shown <= known, f"resurrected, seed {seed}"


def test_of_two_holders_of_one_side_the_second_finds_it_done() -> None:
    """And if neither knows of the other, the values of both are the same, so nothing is in conflict."""
    for seed in range(20_000, 21_000):
        fork = Fork(seed)
        aside, other = fork.sides
        made = []
        for origin in (NEW, b"m" * 16):
            one = after(aside.record, other.record, fork.shared, other.clock, origin=origin)
            clock = dict(other.clock) | {origin: len(steps(NAME, aside.record, other.record, fork.shared))}
            made.append(Copy(one, clock))
        assert steps(NAME, aside.record, made[0].record, fork.shared) == [], f"seed {seed}"
        both = merge(made[0].record, made[1].record, made[0].clock, made[1].clock)
        again = merge(made[1].record, made[0].record, made[1].clock, made[0].clock)
        assert content(both) == content(again)
        values = {name: set(dots.values()) for name, dots in made[0].record.fields.items()}
        assert {name: set(dots.values()) for name, dots in (both.fields if both else {}).items()} == values, seed
