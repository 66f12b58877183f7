"""What a record was: from what it is, and from what changes dropped of it here.

The values and births that a record has now, and those that the local history keeps, each carry the dot of the
transaction that wrote them; a row of the history says which transaction dropped it. So every version of a record that
this copy has had since its history begins can be put together again, siblings and all.

    begins     a version is there from the moment in which its dot was applied here
    ends       until the moment in which the transaction that dropped it was

Both moments are places in the order in which this copy applied transactions. Walking back, a transaction is taken off
by removing what bears its dot and adding what it dropped.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from peerd.core.clocks import Dot
from peerd.core.record import Record


class Removal(NamedTuple):
    """What one transaction dropped from a record: births and siblings, as a record of their own. `arrived_ms`: when,
    by the wall clock here; 0 if nobody knows.
    """

    by: Dot
    arrived_ms: int
    dropped: Record
    number: int = 0  # they grow in the order in which they happened here


class Place(NamedTuple):
    """Where a transaction stands in the order of this copy. Those that the log has not any more come before all others
    (position 0), in the order of the times that are known of them.
    """

    position: int
    ms: int
    seq: int


class Event(NamedTuple):
    """One transaction that touched a record. `removal` is what it dropped, if anything."""

    dot: Dot
    place: Place
    removal: Removal | None


def at(now: Record | None, removals: Iterable[Removal], begun: Callable[[Dot, int], bool], over: Over) -> Record:
    """The record as it stood at a moment. `removals` are the newest first; `begun(dot, t_ms)`: was it applied by then
    (its author wrote it at `t_ms`); `over(removal)`: had it happened by then, so that it and all before it say nothing?
    The record may be empty. Of what is read, only versions of that moment are held.
    """
    then = Record()
    if now is not None:
        add(then, now, begun)
    rewind(then, removals, begun, over)
    return then


def rewind(then: Record, removals: Iterable[Removal], begun: Callable[[Dot, int], bool], over: Over) -> bool:
    """Part of `at`, for removals that come slice by slice. True: it is done, the rest says nothing."""
    for removal in removals:
        if not over(removal):
            add(then, removal.dropped, begun)
        elif not is_anonymous(removal.by):  # those are kept some time after it happened: some behind may be younger
            return True
    return False


Over = Callable[[Removal], bool]


def is_anonymous(dot: Dot) -> bool:
    """Was it dropped inside a snapshot, by nobody knows which transaction?"""
    return dot.seq == 0


def add(then: Record, versions: Record, begun: Callable[[Dot, int], bool]) -> None:
    """Add to `then` those versions that had begun."""
    known = {dot for dot, stamp in versions.stamps.items() if begun(dot, stamp.t_ms)}
    for dot in versions.births & known:
        then.births.add(dot)
        then.stamps[dot] = versions.stamps[dot]
    for field, siblings in versions.fields.items():
        for dot, value in siblings.items():
            if dot in known:
                then.fields.setdefault(field, {})[dot] = value
                then.stamps[dot] = versions.stamps[dot]


def events(now: Record | None, removals: Iterable[Removal], place: Callable[[Dot, int], Place]) -> Iterator[Event]:
    """The transactions that touched a record, the newest first. `place(dot, ms)` gives where one stands, `ms` being
    what is known of its time otherwise. `removals` are the newest first, and read as far as the caller goes.
    """
    waiting: list[tuple[tuple[int, int, int], Dot]] = []  # a heap: dots of versions, whose events come later
    known: set[Dot] = set()

    def expect(versions: Record) -> None:
        for dot, stamp in versions.stamps.items():
            if dot not in known:
                known.add(dot)
                where = place(dot, stamp.t_ms)
                heapq.heappush(waiting, ((-where.position, -where.ms, -where.seq), dot))

    if now is not None:
        expect(now)
    for removal in removals:
        where = place(removal.by, removal.arrived_ms)
        bound = (-where.position, -where.ms, -where.seq)
        while waiting and waiting[0][0] <= bound:
            negated, dot = heapq.heappop(waiting)
            if dot != removal.by:
                yield Event(dot, Place(-negated[0], -negated[1], -negated[2]), None)
        known.add(removal.by)
        yield Event(removal.by, where, removal)
        expect(removal.dropped)
    while waiting:
        negated, dot = heapq.heappop(waiting)
        yield Event(dot, Place(-negated[0], -negated[1], -negated[2]), None)


def before(record: Record, event: Event) -> Record:
    """The record as it stood before an event that made it what it is."""
    earlier = Record()
    earlier.births = {dot for dot in record.births if dot != event.dot}
    for field, siblings in record.fields.items():
        if left := {dot: value for dot, value in siblings.items() if dot != event.dot}:
            earlier.fields[field] = left
    earlier.stamps = dict(record.stamps)
    if event.removal is not None:
        dropped = event.removal.dropped
        earlier.births |= dropped.births
        for field, siblings in dropped.fields.items():
            earlier.fields[field] = {**earlier.fields.get(field, {}), **siblings}
        earlier.stamps |= dropped.stamps
    standing = earlier.births.union(*earlier.fields.values())
    earlier.stamps = {dot: stamp for dot, stamp in earlier.stamps.items() if dot in standing}
    return earlier
