"""Reading a copy for a snapshot: some records at a time, each in a short read transaction, so that neither a writer nor
a checkpoint ever waits for it. What is read is checked against its share of the digest on the way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from peerd.core.clocks import Clock, lacking
from peerd.core.origin import Announcement
from peerd.core.record_form import digest_of
from peerd.core.snapshot import ENDS_PER_ORIGIN, EndsOf, OriginEnd, row_bytes
from peerd.core.snapshot_choice import LEAST_LOG_BYTES, Gap
from peerd.core.snapshot_stored import RowCursor, SnapshotRows, SnapshotStart
from peerd.store import log
from peerd.store.failures import damaged
from peerd.store.records import unsigned
from peerd.store.refs import Refs

SAMPLES, SAMPLED_AT_ONCE = 32, 8


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


def start(connection: sqlite3.Connection, refs: Refs, path: Path) -> SnapshotStart:
    """Raises StoreDamaged."""
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
                ends.append(EndsOf(ref, _ends(connection, ref, seq)))
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"the context of an origin cannot be read ({problem})") from problem
    records = _count(connection)
    return SnapshotStart(copy_id, position, clock, origins, ends, records, _record_bytes(connection, records))


def rows(
    connection: sqlite3.Connection, refs: Refs, path: Path, after: RowCursor, max_bytes: int, known: int
) -> SnapshotRows:
    """Records after `after`: at least one if there is any, else up to `max_bytes`. Raises StoreDamaged."""
    names = dict(connection.execute("SELECT number, name FROM collection"))
    found: list[tuple[int, str, tuple[str, bytes, bytes]]] = []
    steps: list[tuple[int, int]] = []
    size_bytes = 0
    cursor: RowCursor | None = None
    last = after
    copy_id, position, digest = connection.execute("SELECT copy_id, position, digest FROM space").fetchone()
    for number, key, share, stamps, body in connection.execute(
        "SELECT collection, key, share, stamps, body FROM record WHERE (collection, key) > (?, ?)"
        " ORDER BY collection, key",
        after,
    ):
        taken_bytes = row_bytes(4 * len(key), stamps, body)
        if found and size_bytes + taken_bytes > max_bytes:
            cursor = last
            break
        size_bytes += taken_bytes
        steps.append(_checked(refs, path, names[number], key, unsigned(share), stamps, body))
        found.append((taken_bytes, names[number], (key, stamps, body)))
        last = (number, key)
    origins = [
        (ref, Announcement(device, admission, nonce))
        for ref, device, admission, nonce in connection.execute(
            "SELECT ref, device, admission, nonce FROM origin WHERE ref > ? ORDER BY ref", (known,)
        )
    ]
    records = 0 if cursor is not None else _count(connection)
    return SnapshotRows(copy_id, found, cursor, origins, position, digest, records, steps)


def _checked(
    refs: Refs, path: Path, collection: str, key: str, share: int, stamps: bytes, body: bytes
) -> tuple[int, int]:
    """Bucket and share of a record that is what it was when it was written. Raises StoreDamaged."""
    try:
        counted = digest_of(collection, key, refs.decode_stamps(stamps), body)
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"a record cannot be read ({problem})") from problem
    if counted[1] != share:
        raise damaged(path, "a record is not what was written")
    return counted


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM record").fetchone()[0])


def _ends(connection: sqlite3.Connection, ref: int, seq: int) -> list[tuple[int, bytes]]:
    """Ends of runs of an origin: of as many as may be told, half are the newest and the rest spread over the others."""
    known = sorted(
        {last for (last,) in connection.execute("SELECT last FROM run WHERE origin = ? AND last <= ?", (ref, seq))}
        | {last for (last,) in connection.execute("SELECT seq FROM run_end WHERE origin = ? AND seq <= ?", (ref, seq))}
    )
    chosen = _thinned(known)
    hashes = ((last, log.hash8(connection, ref, last)) for last in chosen)
    return [(last, hash8) for last, hash8 in hashes if hash8 is not None]


def _thinned(known: list[int]) -> list[int]:
    if len(known) <= ENDS_PER_ORIGIN:
        return known
    recent = ENDS_PER_ORIGIN // 2
    older = known[:-recent]
    step = -(-len(older) // (ENDS_PER_ORIGIN - recent))
    return older[::step] + known[-recent:]
