"""Whose clock is wrong? Nothing depends on it but what people are told.

Each linked device's wall clock is known as its difference from ours. Clocks that are within two minutes of each other
agree. The largest group that agrees is right, if it is larger than any other; of two that are as large, the one that
has a clock which a time service keeps. Otherwise all that can be said is that they differ.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from statistics import median

from msgspec import Struct

AGREE_MS = 120_000
KEPT = 2  # the quality of a clock that a time service keeps
_OURS = b""


class ClockReading(Struct, frozen=True):
    """`offset_ms`: their wall clock less ours. `quality`: what they say of it, 0 to 2 (`peerd.clock`)."""

    offset_ms: float
    quality: int


class Judgement(Struct, frozen=True):
    """By how many ms clocks are off, ahead if positive. `ours`: None if ours is right, or nobody knows. `theirs`: the
    wrong ones. `doubtful`: those that differ from ours, while nobody knows which is wrong.
    """

    ours: int | None = None
    theirs: Mapping[bytes, int] = {}
    doubtful: Mapping[bytes, int] = {}


def judge(readings: Mapping[bytes, ClockReading], our_quality: int) -> Judgement:
    """`readings` by device."""
    offsets = {_OURS: 0.0, **{device: one.offset_ms for device, one in readings.items()}}
    kept = {device for device, one in readings.items() if one.quality == KEPT}
    if our_quality == KEPT:
        kept.add(_OURS)
    group = _right(offsets, kept)
    if group is None:
        far = {device: round(offset) for device, offset in offsets.items() if abs(offset) > AGREE_MS}
        return Judgement(doubtful=far)
    right = median(offsets[device] for device in group)
    off = {device: round(offset - right) for device, offset in offsets.items() if abs(offset - right) > AGREE_MS}
    ours = off.pop(_OURS, None)
    return Judgement(ours, off)


def _right(offsets: Mapping[bytes, float], kept: Collection[bytes]) -> frozenset[bytes] | None:
    """The group that is right, if that can be told."""
    groups = {
        frozenset(device for device, offset in offsets.items() if abs(offset - middle) <= AGREE_MS)
        for middle in offsets.values()
    }

    def weight(group: frozenset[bytes]) -> tuple[int, bool]:
        return len(group), any(device in kept for device in group)

    best = max(groups, key=weight)
    rivals = [group for group in groups if weight(group) == weight(best) and not group & best]
    return None if rivals else best
