"""Taking runs out of the log, some at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from typing import NamedTuple

from peerd.core.clocks import ReadClock
from peerd.core.trimming import ENDS_PER_ORIGIN, HeldBack, Plan, Trimmed, ends_too_many
from peerd.store import meta, room
from peerd.store.refs import Refs


class _Row(NamedTuple):
    position: int
    seq: int
    size_bytes: int
    age_ms: int
    hash8: bytes
    arrived_ms: int


def trim(connection: sqlite3.Connection, refs: Refs, plan: Plan, size: int) -> Trimmed:
    """Let runs go that the plan allows to: of each origin the oldest, `size` in all, where a large one counts as many
    as it takes pages. At least one goes if any may.
    """
    runs = size_bytes = position = arrived_ms = 0
    horizon: dict[bytes, int] = {}
    for ref, begins in connection.execute("SELECT ref, horizon FROM origin").fetchall():
        origin = refs.origin_of[ref]
        rows: list[_Row] = []
        for row in _oldest(connection, ref, begins, plan, plan.clock.get(origin, 0)):
            if size <= 0:
                break
            rows.append(row)
            size -= 1 + row.size_bytes // room.PAGE_BYTES
        if rows:
            _take_out(connection, ref, rows, plan.standing.get(origin, ()))
            runs += len(rows)
            size_bytes += sum(row.size_bytes for row in rows)
            position, arrived_ms = max((position, arrived_ms), (rows[-1].position, rows[-1].arrived_ms))
            horizon[origin] = rows[-1].seq
    if runs:
        connection.execute(
            "UPDATE space SET trimmed = ?, trimmed_ms = ? WHERE trimmed < ?", (position, arrived_ms, position)
        )
        meta.grow(connection, log_bytes=-size_bytes)
    return Trimmed(runs, size_bytes, horizon)


def held_back(connection: sqlite3.Connection, refs: Refs, clock: ReadClock, before_ms: int) -> HeldBack:
    """What would be old enough to go, and is lacking at `clock`. Only what is held back is looked at."""
    transactions = size_bytes = 0
    first: list[tuple[int, int]] = []  # position and when it came
    for ref, begins, last in connection.execute("SELECT ref, horizon, seq FROM origin").fetchall():
        after = max(begins, clock.get(refs.origin_of[ref], 0))
        end = _last_older(connection, ref, after, last, before_ms)
        if end == after:
            continue
        transactions += end - after
        (some,) = connection.execute(
            "SELECT sum(size_bytes) FROM run WHERE origin = ? AND last > ? AND last <= ?", (ref, after, end)
        ).fetchone()
        size_bytes += some
        first += connection.execute(
            "SELECT position, arrived_ms FROM run WHERE origin = ? AND last > ? ORDER BY last LIMIT 1", (ref, after)
        ).fetchall()
    return HeldBack(transactions, size_bytes, min(first)[1] if first else None)


def _last_older(connection: sqlite3.Connection, ref: int, after: int, last: int, before_ms: int) -> int:
    """Where the last run of an origin ends that is older than that, or `after`. Later runs are younger, so it is found
    by halves.
    """
    low, high = after, last
    while low < high:
        row = connection.execute(
            "SELECT last, age_ms FROM run WHERE origin = ? AND last > ? ORDER BY last LIMIT 1", (ref, (low + high) // 2)
        ).fetchone()
        if row is not None and row[1] < before_ms:
            low = row[0]
        else:
            high = (low + high) // 2
    row = connection.execute("SELECT max(last) FROM run WHERE origin = ? AND last <= ?", (ref, low)).fetchone()
    return max(after, row[0] or 0)


def _oldest(connection: sqlite3.Connection, ref: int, begins: int, plan: Plan, seq: int) -> Iterator[_Row]:
    """Runs of an origin up to `seq`, until one comes that has to stay."""
    if seq <= begins:
        return
    for row in connection.execute(
        "SELECT position, last, size_bytes, age_ms, substr(head, 1, 8), arrived_ms FROM run"
        " WHERE origin = ? AND last > ? AND last <= ? ORDER BY last",
        (ref, begins, seq),
    ):
        found = _Row(*row)
        if found.age_ms >= plan.before_ms or found.position > plan.up_to:
            return
        yield found


def _take_out(connection: sqlite3.Connection, ref: int, rows: list[_Row], standing: Collection[int]) -> None:
    """What is kept of them is their ends."""
    connection.executemany(
        "INSERT OR REPLACE INTO run_end (origin, seq, hash8) VALUES (?, ?, ?)",
        ((ref, row.seq, row.hash8) for row in rows),
    )
    connection.executemany("DELETE FROM run WHERE position = ?", ((row.position,) for row in rows))
    connection.execute("UPDATE origin SET horizon = ? WHERE ref = ?", (rows[-1].seq, ref))
    thin(connection, ref, standing)


def thin(connection: sqlite3.Connection, ref: int, standing: Collection[int]) -> None:
    """Keep no more ends of an origin than there may be, and those at the positions `standing`."""
    seqs = [seq for (seq,) in connection.execute("SELECT seq FROM run_end WHERE origin = ? ORDER BY seq", (ref,))]
    too_many = ends_too_many(seqs, standing, ENDS_PER_ORIGIN)
    connection.executemany("DELETE FROM run_end WHERE origin = ? AND seq = ?", ((ref, seq) for seq in too_many))
