"""The state of another copy merged into ours, record by record.

Each side is rows with a clock, and what a side lacks but its clock covers was removed there. So a dot stays

    if both have it
    if one has it and the clock of the other does not cover it

and goes if one lacks it and its clock covers it. With equal clocks that is an intersection: never a way to repair a
copy that lost something, and where one of the two is known to have lost something another rule holds, of
`core.snapshots.doubt`. What goes out of our rows is kept as local history and, if the record was visible, as its image,
so that an edit of ours that met a delete of theirs is restored like any other.

Bieniusa et al., arXiv 1210.3368; Goncalves et al., DottedDB, SRDS 2017.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from peerd.core.batch import Name, Stored
from peerd.core.clocks import Clock, Dot, ReadClock, covers
from peerd.core.copy import OriginState
from peerd.core.record import NOTHING_DROPPED, Dropped, Record
from peerd.core.record_form import digest_of, encode_body, encode_dropped, encode_stamps
from peerd.core.restore import Image
from peerd.core.snapshots.doubt import Doubts, keeping
from peerd.core.writes import HistoryRow, RecordRow, flags_of

NO_DOUBTS = Doubts()
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


class Doubtful(Struct, frozen=True):
    """A record of ours that stays because theirs may have lost it; `plain` is what it is otherwise, None: nothing.
    `difference` is what that takes from the digest.
    """

    plain: RecordRow | None
    difference: int


class Pair(NamedTuple):
    """One record on both sides. `plain`: it is a doubtful one already, and this is what theirs makes of it."""

    name: Name
    ours: Stored | None
    theirs: Stored | None
    plain: tuple[Record | None] | None = None


class Merged(Struct, frozen=True):
    """What merging does to *their* rows, so that they become the new ones, and what went out of ours.

    `steps` and `visible` move the digest and the numbers of visible records that belong to their rows; `doubtful` says
    of the records in buckets that they owe something whether they are, None: not.
    """

    rows: list[RecordRow]
    gone: list[Name]
    history: list[HistoryRow]
    images: dict[Name, Image]
    steps: list[tuple[int, int]]
    visible: dict[str, int]
    records: int  # by how much their number changes
    doubtful: dict[Name, Doubtful | None] = {}


def merge_all(
    pairs: Iterable[Pair], our_clock: ReadClock, their_clock: ReadClock, doubts: Doubts = NO_DOUBTS
) -> Merged:
    """Of all these records."""
    done = Merged([], [], [], {}, [], {}, 0, {})
    records = 0
    for pair in pairs:
        if pair.ours is None or pair.theirs is None or pair.ours.share != pair.theirs.share:  # else all is the same
            records += _put(done, pair, _merged(done, pair, our_clock, their_clock, doubts))
    return replace(done, records=records)


def all_plain(pairs: Iterable[Pair]) -> Merged:
    """What was kept as doubtful becomes what theirs makes of it."""
    done = Merged([], [], [], {}, [], {}, 0, {})
    records = 0
    for pair in pairs:
        done.doubtful[pair.name] = None
        records += _put(done, pair, pair.plain[0] if pair.plain is not None else None)
    return replace(done, records=records)


def _merged(done: Merged, pair: Pair, our_clock: ReadClock, their_clock: ReadClock, doubts: Doubts) -> Record | None:
    name = pair.name
    ours = pair.ours.record if pair.ours is not None else None
    theirs = pair.theirs.record if pair.theirs is not None else None
    is_bad = pair.ours is not None and pair.ours.found is not None
    is_here = is_bad or doubts.is_here(name)
    if not is_here and not doubts.is_there(name):
        return merge(ours, theirs, our_clock, their_clock)
    if pair.plain is not None:
        (theirs,) = pair.plain
    plain = merge(theirs, ours, their_clock, {} if is_here else our_clock)  # of one dot theirs stands
    if not doubts.is_there(name):
        return plain
    is_known_bad = (is_bad or name in doubts.suspects) and theirs is not None
    kept = plain if is_known_bad else keeping(ours, theirs, plain, our_clock)
    row, share = _row(name, plain), _share(_row(name, kept))
    difference = share - _share(row)
    done.doubtful[name] = Doubtful(row, difference) if difference else None
    return kept


def _row(name: Name, record: Record | None) -> RecordRow | None:
    if record is None:
        return None
    order, stamps = encode_stamps(record.stamps)
    body = encode_body(record.births, record.fields, order)
    _, share = digest_of(*name, stamps, body)
    return RecordRow(name, stamps, body, share, flags_of(record))


def _share(row: RecordRow | None) -> int:
    return 0 if row is None else row.share


def _put(done: Merged, pair: Pair, merged: Record | None) -> int:
    """By how much the number of records changes."""
    name, ours, theirs, _ = pair
    before = theirs.record if theirs is not None else None
    if ours is not None:
        _keep_what_goes(done, name, ours.record, merged)
    row = _row(name, merged)
    share = _share(row)
    if row is not None:
        if theirs is not None and theirs.share == share:
            return 0
        done.rows.append(row)
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
