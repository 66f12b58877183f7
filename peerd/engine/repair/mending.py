"""Putting rows right that are not what the transactions of the log made them.

Nothing is written to the log by it, so nothing travels: what was damaged here was never damaged elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from peerd.core import digest
from peerd.core.batch import Batch, HistoryRow, Name, Stored
from peerd.core.clocks import Dot, ReadClock
from peerd.core.copy import CopyState
from peerd.core.record import Dropped, Record
from peerd.core.record_form import digest_of, encode_body, encode_stamps
from peerd.core.repair.evidence import Gathering
from peerd.core.repair.scrub import ScrubState
from peerd.core.writes import Writes, finish
from peerd.engine.commits import Commits
from peerd.engine.store_ports import SpaceStore, Transaction
from peerd.errors import StoreDamaged

PIECE_BYTES = 64 << 10  # of the log, looked at in one go
SHARES_AT_ONCE = 1_000
ROWS_AT_ONCE = 10_000


class Mend(NamedTuple):
    """What a record is to become: `record`, or, with None, what it is, with a share that says so. Only while its share
    is `share` (0: it is not there). `dropped` goes into the history.
    """

    record: Record | None
    share: int
    dropped: Collection[tuple[Dropped, Dot]] = ()


async def replace(
    commits: Commits,
    store: SpaceStore,
    mends: Mapping[Name, Mend],
    owing: Callable[[bytes], ScrubState],
    at: ReadClock | None = None,
) -> tuple[set[Name], ScrubState | None]:
    """Durably. Gives the records that were still as they were thought to be, and what is kept of the scrub with that:
    what `owing` makes of what it takes from the digest, bucket by bucket. Nothing is done unless our clock is still
    `at`, if that is given: a record that is missing here may have been deleted since, and nothing here shows it.
    """
    done: set[Name] = set()
    kept: list[ScrubState] = []

    async def work(copy: CopyState) -> CopyState:
        if at is not None and copy.clock() != at:
            return copy

        def inside(transaction: Transaction) -> tuple[Writes, CopyState]:
            done.clear()
            batch = Batch(copy, transaction, commits.limit_of, commits.verify)
            batch.load(mends)
            for name, mend in mends.items():
                if batch.stored.get(name, (0, False))[0] == mend.share:
                    _put(batch, name, mend)
                    done.add(name)
            writes = finish(batch)
            return writes, writes.state

        def scrub(after: CopyState) -> ScrubState:
            kept[:] = [owing(digest.difference(copy.digest, after.digest))]
            return kept[0]

        return await store.transact(inside, own_origin=lambda: commits.own_origin, scrub=scrub)

    await commits.put_right(work)
    return done, kept[0] if kept else None


def _put(batch: Batch, name: Name, mend: Mend) -> None:
    if mend.record is not None:
        batch.records[name] = mend.record
    elif (record := batch.records[name]) is not None:
        record.stamps  # noqa: B018 - it is taken apart, and so written in the form that it should have
    batch.touched[name] = None
    batch.history += [HistoryRow(name, dropped, by) for dropped, by in mend.dropped if by.origin in batch.state.origins]


async def stored(store: SpaceStore, names: Collection[Name]) -> Mapping[Name, Stored]:
    """The records of these names that there are."""
    return await store.read(lambda transaction: transaction.records(names))


async def gather(
    commits: Commits,
    store: SpaceStore,
    *,
    names: Collection[Name] = (),
    buckets: Collection[int] = (),
    dots: Collection[Dot] = (),
) -> Gathering:
    """What our log, as it stands, proves of these records. It is read piece by piece, and others have their turn."""
    copy, last = commits.state, commits.last_position
    seeds = await store.scrubs.seeds()
    gathering = Gathering(copy, commits.verify, names=names, buckets=buckets, dots=dots, seeds=seeds)
    position = 0
    while position < last:
        try:
            piece = await store.runs_after(position, PIECE_BYTES)
        except StoreDamaged:
            break  # what follows is not known to hang together
        for row in piece.rows:
            if row.position <= last:
                gathering.take(row.run)
        if piece.read_up_to <= position:
            break
        position = piece.read_up_to
        await asyncio.sleep(0)
    return gathering


async def names_in(store: SpaceStore, buckets: Collection[int]) -> list[Name]:
    """The records that there are in some buckets of the digest."""
    found: list[Name] = []
    after: Name | None = None
    while True:
        page = await store.scrubs.shares(buckets, after, None, SHARES_AT_ONCE, ROWS_AT_ONCE)
        found += [(collection, key) for collection, key, _ in page.shares]
        if page.up_to is None:
            return found
        after = page.up_to


async def as_replayed(store: SpaceStore, names: Collection[Name], gathering: Gathering) -> dict[Name, Mend]:
    """What those of these records become that are not what the log alone makes of them."""
    here = await stored(store, names)
    mends: dict[Name, Mend] = {}
    for name in names:
        record, share = gathering.replayed(name), here[name].share if name in here else 0
        if share_of(name, record) != share:
            mends[name] = Mend(record, share)
    return mends


def share_of(name: Name, record: Record) -> int:
    """What a record adds to the digest; 0 if it is empty."""
    if record.empty:
        return 0
    if (lone := record.lone) is not None:
        return digest_of(*name, [[*lone.dot, lone.stamp.t_ms, lone.stamp.tq]], lone.body)[1]
    order, rows = encode_stamps(record.stamps)
    return digest_of(*name, rows, encode_body(record.births, record.fields, order))[1]
