"""Merging a snapshot where one of the two copies is known to be damaged.

Damage is known by buckets of the digest: `owed` is by how much a bucket differs from what the writes had made of it
(`core.repair.scrub`). What a copy lacks in such a bucket, though its clock covers it, may have been removed, or lost on
its disk. So there

    plain    is what the record becomes if the other copy is right: the rule of `core.snapshots.merge`
    keeping  is what it becomes if that lost something: nothing of ours is dropped that nothing newer stands for

Where the two differ the record is a *doubtful* one. What was lost makes up for exactly what the bucket is owed, so of
the doubtful records of a bucket those are kept whose differences are together what is owed, and the others become
plain: what was removed stays removed. If none make it up, all are kept, and the merged copy goes on owing what is left.

What our own copy lacks in a bucket that it owes something is no reason to drop anything of theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

from msgspec import Struct

from peerd.core import digest
from peerd.core.batch import Name
from peerd.core.clocks import ReadClock, covers
from peerd.core.record import Record
from peerd.core.record_form import bucket_of

THREE_OF = 300  # doubtful records of a bucket, of which any three are tried
ALL_OF = 14  # of which any number is tried


class Doubts(Struct, frozen=True):
    """`here` and `there`: what our copy owes, and what theirs does, by bucket. `suspects` are records of ours that are
    known not to be what was written.
    """

    here: bytes = digest.EMPTY
    there: bytes = digest.EMPTY
    suspects: frozenset[Name] = frozenset()

    @property
    def buckets_there(self) -> list[int]:
        return digest.differing(self.there, digest.EMPTY)

    def is_here(self, name: Name) -> bool:
        return self.here != digest.EMPTY and digest.at(self.here, bucket_of(*name)) != 0

    def is_there(self, name: Name) -> bool:
        return self.there != digest.EMPTY and digest.at(self.there, bucket_of(*name)) != 0


def keeping(ours: Record | None, theirs: Record | None, plain: Record | None, our_clock: ReadClock) -> Record | None:
    """The record if nothing of ours may go for being absent there. `plain` is what it is otherwise; none of them is
    changed. A value gives way to one of the same field that is news to us, a birth and all that came with it to one
    that somebody wrote anew.
    """
    if ours is None:
        return plain
    births = theirs.births if theirs is not None else set()
    newer = [dot for dot in births if not covers(our_clock, dot)]
    if theirs is not None and any(not theirs.stamps[dot].restored for dot in newer):
        return plain
    kept = _copied(plain)
    stamps = {**kept.stamps, **ours.stamps}
    if not newer:
        kept.births |= ours.births
    for field, siblings in ours.fields.items():
        others = theirs.fields.get(field, {}) if theirs is not None else {}
        is_newer = any(not covers(our_clock, dot) for dot in others)
        here = kept.fields.get(field, {})
        here |= {dot: value for dot, value in siblings.items() if dot in here or not is_newer}
        if here:
            kept.fields[field] = here
    kept.stamps = {dot: stamps[dot] for dot in kept.births.union(*kept.fields.values())}
    return None if kept.empty else kept


def _copied(record: Record | None) -> Record:
    copy = Record()
    if record is not None:
        copy.births = set(record.births)
        copy.fields = {field: dict(siblings) for field, siblings in record.fields.items()}
        copy.stamps = dict(record.stamps)
    return copy


def making_up(differences: Mapping[Name, int], owed: int) -> Collection[Name] | None:
    """Those that are together exactly `owed`; None if no few of them are, nor all. A sum of 64 bits that fits by chance
    is as good as impossible.
    """
    names = list(differences)
    values = [differences[name] % digest.MODULUS for name in names]
    if sum(values) % digest.MODULUS == owed:
        return names
    at_once = (*range(4), *range(4, len(names))) if len(names) <= ALL_OF else range(4 if len(names) <= THREE_OF else 3)
    for count in at_once:
        if (found := _some(values, owed, count)) is not None:
            return [names[index] for index in found]
    return None


def _some(values: Sequence[int], owed: int, count: int) -> tuple[int, ...] | None:
    """The indexes of `count` of them that are `owed` together. The last one follows from the others."""
    if not count:
        return () if not owed else None
    index_of = {value: index for index, value in enumerate(values)}
    for first in combinations(range(len(values)), count - 1):
        last = index_of.get((owed - sum(values[index] for index in first)) % digest.MODULUS)
        if last is not None and last not in first:
            return (*first, last)
    return None
