"""Version vectors: what a copy has applied, one number per origin.

A clock is `{origin: seq}` with 16-byte origins and sequences from 1. Per origin it always names a prefix, never a set
with gaps, because transactions are applied in causal order (Goncalves et al., Concise Server-Wide Causality
Management, DAIS 2015). An origin that a clock does not name stands at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Clock: TypeAlias = dict[bytes, int]
ReadClock: TypeAlias = Mapping[bytes, int]


class Dot(NamedTuple):
    """The name of one transaction, and of everything that it wrote."""

    origin: bytes
    seq: int


def covers(clock: ReadClock, dot: tuple[bytes, int]) -> bool:
    return dot[1] <= clock.get(dot[0], 0)


def includes(larger: ReadClock, smaller: ReadClock) -> bool:
    """Has a copy at `larger` applied everything that one at `smaller` has?"""
    return all(larger.get(origin, 0) >= seq for origin, seq in smaller.items())


def join(one: ReadClock, other: ReadClock) -> Clock:
    """The smallest clock that includes both."""
    joined = dict(one)
    for origin, seq in other.items():
        if seq > joined.get(origin, 0):
            joined[origin] = seq
    return joined


def lacking(ours: ReadClock, theirs: ReadClock) -> int:
    """How many transactions `theirs` names that `ours` does not."""
    return sum(max(0, seq - ours.get(origin, 0)) for origin, seq in theirs.items())
