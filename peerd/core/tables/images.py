"""From a record to what a table shows of it."""

from __future__ import annotations

from peerd.core.clocks import Dot
from peerd.core.reading import Rules, shown
from peerd.core.record import Record
from peerd.core.tables.changes import Rank, RowImage


def image_of(collection: str, key: str, record: Record | None, rules: Rules) -> RowImage:
    """What a record shows. One that is absent or parked in the space shows nothing, and its row goes."""
    if record is None or not record.visible:
        return RowImage(collection, key, None)
    return RowImage(collection, key, shown(record, rules), record.dots(), rank_of(record))


def rank_of(record: Record) -> Rank:
    """Its place among rows that want the same value: the oldest birth is first. The record must be visible."""
    births = [record.lone.dot] if record.lone is not None else record.births
    return min(_rank(record, dot) for dot in births)


def _rank(record: Record, dot: Dot) -> Rank:
    stamp = record.lone.stamp if record.lone is not None else record.stamps[dot]
    return stamp.t_ms, dot.origin, dot.seq
