"""The state of another copy merged into ours, record by record.

Each side is rows with a clock, and what a side lacks but its clock covers was removed there. So a dot stays

    if both have it
    if one has it and the clock of the other does not cover it

and goes if one lacks it and its clock covers it. With equal clocks that is an intersection: never a way to repair a
copy that lost something. What goes out of our rows is kept as local history and, if the record was visible, as its
image, so that an edit of ours that met a delete of theirs is restored like any other.

Bieniusa et al., arXiv 1210.3368; Goncalves et al., DottedDB, SRDS 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

from peerd.core.batch import Name, Stored
from peerd.core.clocks import Clock, Dot, ReadClock, covers
from peerd.core.copy import OriginState
from peerd.core.record import NOTHING_DROPPED, Dropped, Record
from peerd.core.record_form import digest_of, encode_body, encode_dropped, encode_stamps
from peerd.core.restore import Image
from peerd.core.writes import HistoryRow, RecordRow, flags_of

IN_A_SNAPSHOT = Dot(bytes(16), 0)  # what dropped a value, where nobody can say which transaction it was


def merge(ours: Record | None, theirs: Record | None, our_clock: ReadClock, their_clock: ReadClock) -> Record | None:
    """The record that both make together; None if nothing of it is left. What is given is not changed."""
    mine, other = ours or _NONE, theirs or _NONE
    merged = Record()
    merged.births = {dot for dot in mine.births if dot in other.births or not covers(their_clock, dot)}
    merged.births.update(dot for dot in other.births if not covers(our_clock, dot))
    for name in mine.fields.keys() | other.fields.keys():
        cells = _cells(mine.fields.get(name, {}), other.fields.get(name, {}), our_clock, their_clock)
        if cells:
            merged.fields[name] = cells
    for dot in merged.births.union(*merged.fields.values()):
        merged.stamps[dot] = mine.stamps[dot] if dot in mine.stamps else other.stamps[dot]
    return None if merged.empty else merged


def _cells(
    mine: dict[Dot, bytes], other: dict[Dot, bytes], our_clock: ReadClock, their_clock: ReadClock
) -> dict[Dot, bytes]:
    kept = {dot: value for dot, value in mine.items() if dot in other or not covers(their_clock, dot)}
    kept.update((dot, value) for dot, value in other.items() if dot not in mine and not covers(our_clock, dot))
    return kept


_NONE = Record()


def lost(ours: Record, merged: Record | None) -> Dropped:
    """What of ours is not in the merged record."""
    left = merged or _NONE
    births = tuple(dot for dot in ours.births if dot not in left.births)
    fields = {}
    for name, siblings in ours.fields.items():
        kept = left.fields.get(name, {})
        if gone := {dot: value for dot, value in siblings.items() if dot not in kept}:
            fields[name] = gone
    if not births and not fields:
        return NOTHING_DROPPED
    return Dropped(births, fields, {dot: ours.stamps[dot] for dot in set(births).union(*fields.values())})


def ahead(ours: Mapping[bytes, OriginState], theirs: Mapping[bytes, OriginState]) -> dict[bytes, OriginState]:
    """The origins of which they have applied more than we have: there our copy stands where theirs does. Our log ends
    before that and goes on behind it, so it begins there; of all other origins it still has what it had.
    """
    return {origin: at for origin, at in theirs.items() if at.seq > (ours[origin].seq if origin in ours else 0)}


def horizon_after(horizon: ReadClock, moved: Mapping[bytes, OriginState]) -> Clock:
    """The clock below which the log of the merged copy has nothing."""
    return {**horizon, **{origin: at.seq for origin, at in moved.items()}}


class Pair(NamedTuple):
    """One record on both sides."""

    name: Name
    ours: Stored | None
    theirs: Stored | None


class Merged(Struct, frozen=True):
    """What merging does to *their* rows, so that they become the new ones, and what went out of ours.

    `steps` and `visible` move the digest and the numbers of visible records that belong to their rows.
    """

    rows: list[RecordRow]
    gone: list[Name]
    history: list[HistoryRow]
    images: dict[Name, Image]
    steps: list[tuple[int, int]]
    visible: dict[str, int]
    records: int  # by how much their number changes


def merge_all(pairs: Iterable[Pair], our_clock: ReadClock, their_clock: ReadClock) -> Merged:
    done = Merged([], [], [], {}, [], {}, 0)
    records = 0
    for pair in pairs:
        records += _merge_into(done, pair, our_clock, their_clock)
    return Merged(done.rows, done.gone, done.history, done.images, done.steps, done.visible, records)


def _merge_into(done: Merged, pair: Pair, our_clock: ReadClock, their_clock: ReadClock) -> int:
    """By how much the number of records changes."""
    name, ours, theirs = pair
    if ours is not None and theirs is not None and ours.share == theirs.share:
        return 0  # the same dots with the same values
    before = theirs.record if theirs is not None else None
    merged = merge(ours.record if ours is not None else None, before, our_clock, their_clock)
    if ours is not None:
        _keep_what_goes(done, name, ours.record, merged)
    share = 0
    if merged is not None:
        order, stamps = encode_stamps(merged.stamps)
        body = encode_body(merged.births, merged.fields, order)
        _, share = digest_of(*name, stamps, body)
        if theirs is not None and theirs.share == share:
            return 0
        done.rows.append(RecordRow(name, stamps, body, share, flags_of(merged)))
    elif theirs is None:
        return 0
    else:
        done.gone.append(name)
    bucket, _ = digest_of(*name, [], b"")
    done.steps.append((bucket, share - (theirs.share if theirs is not None else 0)))
    step = int(merged is not None and merged.visible) - int(before is not None and before.visible)
    if step:
        done.visible[name[0]] = done.visible.get(name[0], 0) + step
    return int(merged is not None) - int(before is not None)


def _keep_what_goes(done: Merged, name: Name, ours: Record, merged: Record | None) -> None:
    dropped = lost(ours, merged)
    if not dropped:
        return
    stamps, body = encode_dropped(dropped)
    done.history.append(HistoryRow(name, stamps, body, IN_A_SNAPSHOT))
    if ours.births and not (merged is not None and merged.births):
        done.images[name] = Image(ours.winners(), None)
