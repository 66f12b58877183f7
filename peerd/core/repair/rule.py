"""The rule by which two copies of one record become one again. It drops nothing that was not removed.

Two copies that have applied the same transactions hold the same dots with the same values; where they do not, one of
them is damaged. Every other rule would read "absent but covered" as deleted, and take the good one too. So here, for
every birth and every value that one of the two holds:

    proven gone     a log that can be verified shows who removed it, or that nobody wrote it: it goes
    proven written  a log that can be verified has the entry: its value and its stamp stand
    on one side     it is copied to the other
    on both         with the same value: nothing to do. With two: the larger stays, in the order of their bytes, and
                    whoever held the other writes that again, beside it: both are shown, as a conflict

What both lack comes back if a whole log proves it. The outcome is a function of the two copies and of what is proven,
so both sides come to the same, alone; and it is no other if one of the two has come to it already.

A side that is known to be the damaged one (its own digest, as its writes had made it, says so) takes what the other
has, and does not give: `merge(..., trust=True)`. Where more copies stand with one of the two, that one's values and
stamps stand, and nothing is written again: `merge(..., stands=...)`. But number is no reason to drop anything: a
snapshot of a copy that lost something makes many that lack it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from peerd.core.clocks import Dot
from peerd.core.record import NOTHING_DROPPED, Dropped, Record, Stamp
from peerd.core.repair.evidence import BIRTH, Evidence, Slot

Side: TypeAlias = Literal["ours", "theirs"]


class Merged(NamedTuple):
    """The record as both shall have it; `again` are values of ours that have to be written again: (field, value).
    `dropped` is what of ours went, for the history, with the dot that removed it.
    """

    record: Record
    again: list[tuple[str, bytes]]
    dropped: list[tuple[Dropped, Dot]]


def merge(
    ours: Record, theirs: Record, proofs: Iterable[Evidence], *, trust: bool = False, stands: Side | None = None
) -> Merged:
    """See above. `proofs` are what our log shows, and what theirs does."""
    known = _Known(proofs)
    stands = "theirs" if trust else stands
    mine, others = dict(_slots(ours)), dict(_slots(theirs))
    candidates = {**others} if trust else {**mine, **others}
    if known.whole:
        candidates |= known.written
    result = Record()
    again: list[tuple[str, bytes]] = []
    gone: dict[Slot, Dot] = {}
    for slot in sorted(candidates, key=_order):
        field, dot = slot
        remover = known.gone_by(slot)
        if remover is not None:
            gone[slot] = remover
            continue
        result.stamps[dot] = _stamp(dot, ours, theirs, known, stands)
        if field is None:
            result.births.add(dot)
            continue
        value = _value(slot, mine, others, known, stands)
        result.fields.setdefault(field, {})[dot] = value
        if stands is None and slot not in known.written and mine.get(slot, value) != value:
            again.append((field, mine[slot]))
    return Merged(result, again, _dropped(ours, result, gone))


class _Known:
    """What several proofs say together."""

    def __init__(self, proofs: Iterable[Evidence]) -> None:
        self.written: dict[Slot, bytes] = {}
        self.stamps: dict[Dot, Stamp] = {}
        self.whole = False
        self._gone: dict[Slot, Dot] = {}
        self._seen: set[Dot] = set()
        for proof in proofs:
            self.written |= dict(_slots(proof.record))
            self.stamps |= proof.record.stamps
            self.whole |= proof.whole
            self._gone |= proof.gone
            self._seen |= proof.seen
        for slot in self._gone:  # one log may know who removed what the other only knows as written
            self.written.pop(slot, None)

    def gone_by(self, slot: Slot) -> Dot | None:
        """Who removed it; its own dot if that never wrote it. None if it stands, as far as is known."""
        if slot in self._gone:
            return self._gone[slot]
        if slot in self.written or not (self.whole or slot[1] in self._seen):
            return None
        return slot[1]


def _slots(record: Record) -> Iterable[tuple[Slot, bytes]]:
    for dot in record.births:
        yield (BIRTH, dot), b""
    for field, siblings in record.fields.items():
        for dot, value in siblings.items():
            yield (field, dot), value


def _order(slot: Slot) -> tuple[bool, str, Dot]:
    field, dot = slot
    return field is not None, field or "", dot


def _value(slot: Slot, mine: dict[Slot, bytes], others: dict[Slot, bytes], known: _Known, stands: Side | None) -> bytes:
    if slot in known.written:
        return known.written[slot]
    held = [side[slot] for side in ((mine, others) if stands == "ours" else (others, mine)) if slot in side]
    return held[0] if stands else max(held)


def _stamp(dot: Dot, ours: Record, theirs: Record, known: _Known, stands: Side | None) -> Stamp:
    if dot in known.stamps:
        return known.stamps[dot]
    held = [side.stamps[dot] for side in ((ours, theirs) if stands == "ours" else (theirs, ours)) if dot in side.stamps]
    return held[0] if stands else max(held, key=_stamp_order)


def _stamp_order(stamp: Stamp) -> tuple[int, int, bool, Dot]:
    return stamp.t_ms, stamp.tq, stamp.restored, stamp.answers or Dot(b"", 0)


def _dropped(ours: Record, result: Record, gone: dict[Slot, Dot]) -> list[tuple[Dropped, Dot]]:
    """What of ours is not in the result, each piece by the dot that removed it, or by its own."""
    pieces: dict[Dot, tuple[set[Dot], dict[str, dict[Dot, bytes]]]] = {}
    kept = dict(_slots(result))
    for slot, value in _slots(ours):
        if kept.get(slot) == value:
            continue
        field, dot = slot
        births, fields = pieces.setdefault(gone.get(slot, dot), (set(), {}))
        if field is None:
            births.add(dot)
        else:
            fields.setdefault(field, {})[dot] = value
    found = []
    for by, (births, fields) in pieces.items():
        stamps = {dot: ours.stamps[dot] for dot in births.union(*fields.values())}
        dropped = Dropped(tuple(sorted(births)), fields, stamps)
        found.append((dropped or NOTHING_DROPPED, by))
    return found
