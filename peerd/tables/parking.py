"""The list of parked records that the file itself keeps."""

from __future__ import annotations

from collections.abc import Collection

import apsw
from msgspec import msgpack

from peerd.core.tables.changes import Parked
from peerd.core.tables.plans import BindingPlan
from peerd.tables.progress import Progress, Ref
from peerd.tables.shadow import PARKED

_encode = msgpack.Encoder().encode


def keep_parked(
    connection: apsw.Connection, plan: BindingPlan, progress: Progress, gone: Collection[Ref]
) -> tuple[Parked, ...]:
    """Bring the list up to what a projection found; `gone` are records that are no more. Only what differs is
    written. Returns what is parked and was not before.
    """
    collections = {one.table: one.collection for one in plan.tables}
    columns = "c, r, code, reason, b"
    known = {(row[0], row[1]): tuple(row[2:]) for row in connection.execute(f"SELECT {columns} FROM {PARKED}")}
    new = []
    for ref in sorted({*progress.placed, *gone} - progress.parked.keys()):
        place = (collections[ref.table], ref.record)
        if place in known:
            connection.execute(f"DELETE FROM {PARKED} WHERE c = ? AND r = ?", place)
    for ref, verdict in sorted(progress.parked.items()):
        place = (collections[ref.table], ref.record)
        row = (verdict.code, verdict.reason, _encode(verdict.rank))
        if known.get(place) != row:
            connection.execute(f"REPLACE INTO {PARKED}({columns}) VALUES(?, ?, ?, ?, ?)", (*place, *row))
        if place not in known:
            new.append(Parked(*place, verdict.code, verdict.reason))
    return tuple(new)


def parked_records(connection: apsw.Connection) -> set[tuple[str, str]]:
    """Collection and key of all that the file cannot show at the moment."""
    return {(str(row[0]), str(row[1])) for row in connection.execute(f"SELECT c, r FROM {PARKED}")}


def parked(connection: apsw.Connection) -> tuple[Parked, ...]:
    """All that the file cannot show at the moment."""
    return tuple(
        Parked(*map(str, row)) for row in connection.execute(f"SELECT c, r, code, reason FROM {PARKED} ORDER BY c, r")
    )
