"""What the store has to write for a batch, in its stored forms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from peerd.core import digest
from peerd.core.batch import AppliedRun, Batch, Name
from peerd.core.clocks import Dot
from peerd.core.copy import CopyState, OriginState
from peerd.core.record import Record
from peerd.core.record_form import digest_of, encode_body, encode_dropped, encode_stamps
from peerd.core.restore import Image

PARKED = 1
SIBLINGS = 2  # a field has several values: perhaps a conflict, the reading rules decide
RESTORED = 4  # a birth of a restore is uncovered

_NOT_STORED = (0, False)


class RecordRow(Struct, frozen=True, gc=False):
    """A record that exists after the batch. `flags` is 0 for nearly all."""

    name: Name
    stamps: list[list[Any]]
    body: bytes
    share: int
    flags: int


class HistoryRow(Struct, frozen=True, gc=False):
    name: Name
    stamps: list[list[Any]]
    body: bytes
    by: Dot


class Writes(Struct, frozen=True):
    """One durable transaction. `state` becomes true when it is committed."""

    state: CopyState
    runs: list[AppliedRun]
    rows: list[RecordRow]
    gone: list[Name]
    history: list[HistoryRow]
    images: dict[Name, Image]
    origins: dict[bytes, OriginState]


def flags_of(record: Record) -> int:
    if not record.births:
        return PARKED
    stamps = record.stamps
    if len(stamps) == 1:
        (stamp,) = stamps.values()
        return RESTORED if stamp.restored else 0
    flags = SIBLINGS if any(len(siblings) > 1 for siblings in record.fields.values()) else 0
    return flags | RESTORED if any(stamps[dot].restored for dot in record.births) else flags


def finish(batch: Batch) -> Writes:
    """Close the batch's run and give everything that it changed."""
    batch.close_run()
    rows: list[RecordRow] = []
    gone: list[Name] = []
    steps: list[tuple[int, int]] = []
    visible = batch.state.visible
    for name in batch.touched:
        record = batch.records[name]
        share_before, was_visible = batch.stored.get(name, _NOT_STORED)
        visible -= was_visible
        if record is not None and (lone := record.lone) is not None:  # nearly all of them
            stamps = [[*lone.dot, lone.stamp.t_ms, lone.stamp.tq]]
            body, flags = lone.body, 0
            visible += 1
        elif record is not None and not record.empty:
            order, stamps = encode_stamps(record.stamps)
            body, flags = encode_body(record.births, record.fields, order), flags_of(record)
            visible += record.visible
        else:
            if name in batch.stored:
                gone.append(name)
                bucket, _ = digest_of(*name, [], b"")
                steps.append((bucket, -share_before))
            continue
        bucket, share = digest_of(*name, stamps, body)
        steps.append((bucket, share - share_before))
        rows.append(RecordRow(name, stamps, body, share, flags))
    state = replace(batch.state, digest=digest.moved(batch.state.digest, steps), visible=visible)
    return Writes(state, batch.runs, rows, gone, list(_history(batch)), batch.images, _moved_origins(batch))


def _history(batch: Batch) -> Iterable[HistoryRow]:
    for row in batch.history:
        stamps, body = encode_dropped(row.dropped)
        yield HistoryRow(row.name, stamps, body, row.by)


def _moved_origins(batch: Batch) -> dict[bytes, OriginState]:
    before = batch.before.origins
    return {origin: state for origin, state in batch.state.origins.items() if before.get(origin) is not state}
