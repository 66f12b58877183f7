"""Reading a copy for a snapshot: some records at a time, each in a short read transaction, so that neither a writer nor
a checkpoint ever waits for it. What is read is checked against its share of the digest on the way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from peerd.core.clocks import Clock, lacking
from peerd.core.digest import BUCKETS
from peerd.core.origin import Announcement
from peerd.core.record_form import SHORT_LEAD_BYTES, lone_lead, shares_of
from peerd.core.snapshots.choice import LEAST_LOG_BYTES, Gap
from peerd.core.snapshots.parts import ENDS_PER_ORIGIN, ROW_BYTES, EndsOf, Group, OriginEnd, group_bytes, row_bytes
from peerd.core.snapshots.stored import RowCursor, SnapshotRows, SnapshotStart
from peerd.store import log
from peerd.store.failures import damaged
from peerd.store.refs import Refs

SAMPLES, SAMPLED_AT_ONCE = 32, 8
ROWS_AT_ONCE = 64
LARGE_BYTES = 64 << 10

_encode = msgspec.msgpack.Encoder().encode


def gap(connection: sqlite3.Connection, refs: Refs, clock: Mapping[bytes, int], position: int) -> Gap:
    """See the port."""
    ours: Clock = dict(connection.execute("SELECT id, seq FROM origin WHERE seq > 0"))
    transactions, lacking_ones = sum(ours.values()), lacking(clock, ours)
    log_bytes = log.bytes_after(connection, refs, position, clock)
    if log_bytes < LEAST_LOG_BYTES:
        return Gap(transactions, lacking_ones, log_bytes, 0, 0)
    records = _count(connection)
    return Gap(transactions, lacking_ones, log_bytes, records, _record_bytes(connection, records))


def _record_bytes(connection: sqlite3.Connection, records: int) -> int:
    """About what they take in a snapshot: what some of them do, from all over the table."""
    (highest,) = connection.execute("SELECT coalesce(max(id), 0) FROM record").fetchone()
    sampled = sampled_bytes = 0
    for number in range(SAMPLES):
        for key, stamps, body in connection.execute(
            "SELECT key, stamps, body FROM record WHERE id >= ? ORDER BY id LIMIT ?",
            (highest * number // SAMPLES, SAMPLED_AT_ONCE),
        ):
            sampled += 1
            sampled_bytes += row_bytes(len(key.encode()), stamps, body)
    return records * sampled_bytes // max(1, sampled)


def start(
    connection: sqlite3.Connection, refs: Refs, path: Path, standing: Mapping[bytes, Collection[int]]
) -> SnapshotStart:
    """See the port. Raises StoreDamaged."""
    copy_id, position = connection.execute("SELECT copy_id, position FROM space").fetchone()
    origins: list[OriginEnd] = []
    clock: Clock = {}
    ends: list[EndsOf] = []
    try:
        for ref, origin, device, admission, nonce, seq, head, signature, context in connection.execute(
            "SELECT ref, id, device, admission, nonce, seq, head, signature, context FROM origin ORDER BY ref"
        ).fetchall():
            announcement = Announcement(device, admission, nonce)
            origins.append(OriginEnd(ref, announcement, seq, head, signature, refs.decode_clock(context)))
            if seq:
                clock[origin] = seq
                ends.append(EndsOf(ref, _ends(connection, ref, seq, standing.get(origin, ()))))
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"the context of an origin cannot be read ({problem})") from problem
    records = _count(connection)
    return SnapshotStart(copy_id, position, clock, origins, ends, records, _record_bytes(connection, records))


def rows(
    connection: sqlite3.Connection, refs: Refs, path: Path, after: RowCursor, max_bytes: int, known: int
) -> SnapshotRows:
    """Records after `after`: at least one if there is any, else up to `max_bytes`. Raises StoreDamaged."""
    copy_id, position, digest = connection.execute("SELECT copy_id, position, digest FROM space").fetchone()
    checks = _Checks(refs, path)
    groups: list[Group] = []
    count, last, room_bytes, more = 0, after, max_bytes, False
    for number, name in connection.execute(
        "SELECT number, name FROM collection WHERE number >= ? ORDER BY number", after[:1]
    ):
        behind = after[1] if number == after[0] else ""
        found, left_bytes, more = _some(connection, number, behind, room_bytes - group_bytes(name), at_least=not count)
        if found.keys:
            checks.check(name, found)
            groups.append(Group(name, list(zip(found.keys, found.stamps, found.bodies, strict=True))))
            count += len(found.keys)
            last = number, found.keys[-1]
            room_bytes = left_bytes
        if more:
            break
    origins = [
        (ref, Announcement(device, admission, nonce))
        for ref, device, admission, nonce in connection.execute(
            "SELECT ref, device, admission, nonce FROM origin WHERE ref > ? ORDER BY ref", (known,)
        )
    ]
    records = 0 if more else _count(connection)
    cursor = last if more else None
    return SnapshotRows(copy_id, groups, count, cursor, origins, position, digest, records, checks.sums)


class _Columns:
    """Records of one collection, in columns: that takes less time than rows."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.shares: list[int] = []
        self.stamps: list[bytes] = []
        self.bodies: list[bytes] = []

    def extend(
        self, keys: Iterable[str], shares: Iterable[int], stamps: Iterable[bytes], bodies: Iterable[bytes]
    ) -> None:
        self.keys.extend(keys)
        self.shares.extend(shares)
        self.stamps.extend(stamps)
        self.bodies.extend(bodies)


def _some(
    connection: sqlite3.Connection, number: int, after: str, room_bytes: int, *, at_least: bool
) -> tuple[_Columns, int, bool]:
    """Records of a collection behind the key `after`, as many as `room_bytes` take, one `at_least`; how much room is
    left; and whether there are more.
    """
    found = _Columns()
    reading = connection.execute(_NEXT_ROWS, (LARGE_BYTES, number, after))
    while some := reading.fetchmany(ROWS_AT_ONCE):
        keys, shares, stamps, bodies = zip(*some, strict=True)
        if None not in bodies:
            size_bytes = len("".join(keys).encode()) + sum(map(len, stamps)) + sum(map(len, bodies))
            size_bytes += ROW_BYTES * len(some)
            if size_bytes <= room_bytes:
                found.extend(keys, shares, stamps, bodies)
                room_bytes -= size_bytes
                continue
        for key, share, packed, small in some:
            body = _body(connection, number, key) if small is None else small
            room_bytes -= row_bytes(len(key.encode()), packed, body)
            if room_bytes < 0 and (found.keys or not at_least):
                return found, room_bytes, True
            found.extend((key,), (share,), (packed,), (body,))
    return found, room_bytes, False


def _body(connection: sqlite3.Connection, number: int, key: str) -> bytes:
    body: bytes
    (body,) = connection.execute("SELECT body FROM record WHERE collection = ? AND key = ?", (number, key)).fetchone()
    return body


# A large body is read by itself, so that some rows at once are never much.
_NEXT_ROWS = (
    "SELECT key, share, stamps, CASE WHEN length(body) <= ? THEN body END FROM record"
    " WHERE collection = ? AND key > ? ORDER BY key"
)


class _Checks:
    """`sums` are the sums, by bucket, over the records that are what they were when they were written."""

    def __init__(self, refs: Refs, path: Path) -> None:
        self.sums = [0] * BUCKETS
        self._path = path
        self._full = _FullStamps(refs, path)

    def check(self, collection: str, found: _Columns) -> None:
        """Raises StoreDamaged."""
        full = list(map(self._full.__getitem__, found.stamps))
        if shares_of(collection, found.keys, full, found.bodies, self.sums) != tuple(found.shares):
            raise damaged(self._path, "a record is not what was written")


class _FullStamps(dict[bytes, bytes]):
    """With the origins themselves, by the packed stamps that are stored: those of one transaction are equal."""

    def __init__(self, refs: Refs, path: Path) -> None:
        super().__init__()
        self._refs = refs
        self._path = path
        # For the packed stamps of nearly every record we need not look at more than what stands for the origin.
        short = ((lone_lead(ref), lone_lead(origin)) for ref, origin in list(refs.origin_of.items()))
        self._lead_of = {lead: full for lead, full in short if len(lead) == SHORT_LEAD_BYTES}

    def __missing__(self, stamps: bytes) -> bytes:
        """Raises StoreDamaged."""
        lead = self._lead_of.get(stamps[:SHORT_LEAD_BYTES])
        full = self[stamps] = self._decoded(stamps) if lead is None else lead + stamps[SHORT_LEAD_BYTES:]
        return full

    def _decoded(self, stamps: bytes) -> bytes:
        try:
            return _encode(self._refs.decode_stamps(stamps))
        except (ValueError, LookupError, TypeError) as problem:
            raise damaged(self._path, f"a record cannot be read ({problem})") from problem


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM record").fetchone()[0])


def _ends(connection: sqlite3.Connection, ref: int, seq: int, standing: Collection[int]) -> list[tuple[int, bytes]]:
    """Ends of runs of an origin, as many as may be told: those at the positions `standing`; of the others half are the
    newest, and the rest spread over what is left.
    """
    known = sorted(
        {last for (last,) in connection.execute("SELECT last FROM run WHERE origin = ? AND last <= ?", (ref, seq))}
        | {last for (last,) in connection.execute("SELECT seq FROM run_end WHERE origin = ? AND seq <= ?", (ref, seq))}
    )
    chosen = _thinned(known, standing)
    hashes = ((last, log.hash8(connection, ref, last)) for last in chosen)
    return [(last, hash8) for last, hash8 in hashes if hash8 is not None]


def _thinned(known: list[int], standing: Collection[int]) -> list[int]:
    if len(known) <= ENDS_PER_ORIGIN:
        return known
    named = set(known).intersection(standing)
    named.difference_update(sorted(named)[ENDS_PER_ORIGIN // 2 :])
    recent = (ENDS_PER_ORIGIN - len(named)) // 2
    spread = ENDS_PER_ORIGIN - len(named) - recent
    older = known[: len(known) - recent]
    return sorted(named.union(older[:: -(-len(older) // max(1, spread))], known[len(known) - recent :]))
