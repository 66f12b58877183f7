"""Reading a copy for its scrub: some rows at a time, each against what was kept of it when it was written."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection

from peerd.core import chain, digest
from peerd.core.batch import Name
from peerd.core.chain import Run
from peerd.core.clocks import Dot
from peerd.core.record_form import bucket_of, decode_record, digest_of
from peerd.core.repair.scrub import BrokenRun, Counted, RowsChecked, RunsChecked, SharesRead, Suspect, is_sound
from peerd.core.writes import PARKED, flags_of
from peerd.errors import StoreClosed
from peerd.store import log
from peerd.store.records import unsigned
from peerd.store.refs import Refs

Verify = Callable[[bytes, bytes, bytes], bool]

_COUNTED_AT_ONCE = 250  # in less than a millisecond


def rows(connection: sqlite3.Connection, refs: Refs, after: int, max_rows: int, max_bytes: int) -> RowsChecked:
    """Records in the order of their ids, behind the id `after`: at least one if there is any."""
    names = dict(connection.execute("SELECT number, name FROM collection"))
    suspects: list[Suspect] = []
    last, count, size_bytes = after, 0, 0
    end = connection.execute("SELECT max(id) FROM record").fetchone()[0] or 0
    query = "SELECT id, collection, key, flags, share, stamps, body FROM record WHERE id > ? ORDER BY id"
    for row_id, number, key, flags, share, stamps, body in connection.execute(query, (after,)):
        if count == max_rows or (count and size_bytes + len(body) > max_bytes):
            return RowsChecked(last, end, count, suspects, more=True)
        last, count = row_id, count + 1
        size_bytes += len(body)
        found = _suspect(refs, names[number], key, flags, unsigned(share), stamps, body)
        if found is not None:
            suspects.append(found)
    return RowsChecked(last, end, count, suspects, more=False)


def _suspect(
    refs: Refs, collection: str, key: str, flags: int, share: int, stamps: bytes, body: bytes
) -> Suspect | None:
    try:
        decoded = refs.decode_stamps(stamps)
        if digest_of(collection, key, decoded, body)[1] == share and not flags:
            return None  # nearly all of them
        record = decode_record(decoded, body)
        if is_sound(record):
            is_written = digest_of(collection, key, decoded, body)[1] == share and flags_of(record) == flags
            return None if is_written else Suspect((collection, key), share, readable=True)
    except (ValueError, LookupError, TypeError):
        pass
    return Suspect((collection, key), share, readable=False)


def runs(connection: sqlite3.Connection, space: bytes, after: int, max_bytes: int, verify: Verify) -> RunsChecked:
    """Runs of the log behind the position `after`: at least one if there is any. `verify(device, signature, data)`."""
    broken: list[BrokenRun] = []
    last, count, size_bytes = after, 0, 0
    (end,) = connection.execute("SELECT position FROM space").fetchone()
    query = (
        "SELECT run.position, run.first, run.last, run.size_bytes, run.head, run.signature, run.entries, origin.id,"
        " origin.device, before.head, origin.horizon FROM run JOIN origin ON origin.ref = run.origin"
        " LEFT JOIN run AS before ON before.origin = run.origin AND before.last = run.first - 1"
        " WHERE run.position > ? ORDER BY run.position"
    )
    for row in connection.execute(query, (after,)):
        position, first, run_last, run_bytes, head, signature, entries, origin, device, head_before, horizon = row
        if count and size_bytes + run_bytes > max_bytes:
            return RunsChecked(last, end, count, broken, more=True)
        last, count = position, count + 1
        size_bytes += run_bytes
        previous = chain.first_hash(space, device, origin) if first == 1 else head_before
        if run_last <= horizon:
            continue  # told to nobody, and the run before it may be gone
        signed = verify(device, signature, chain.signed_bytes(space, origin, run_last, head))
        if not signed or not _follows(previous, first, run_last, entries, head):
            broken.append(BrokenRun(origin, first, run_last))
    return RunsChecked(last, end, count, broken, more=False)


def run_at(connection: sqlite3.Connection, ref: int, first: int) -> tuple[int, int, bytes, bytes, bytes] | None:
    """Position, last, head, signature and entries of the run that begins there."""
    row = connection.execute(
        "SELECT position, first, last, head, signature, entries FROM run WHERE origin = ? AND last >= ?"
        " ORDER BY last LIMIT 1",
        (ref, first),
    ).fetchone()
    return None if row is None or row[1] != first else (row[0], *row[2:])


def head_before(connection: sqlite3.Connection, space: bytes, ref: int, first: int) -> bytes | None:
    """The hash from which the run that begins there goes on, if it is known."""
    if first == 1:
        origin, device = connection.execute("SELECT id, device FROM origin WHERE ref = ?", (ref,)).fetchone()
        return chain.first_hash(space, device, origin)
    row = connection.execute("SELECT head FROM run WHERE origin = ? AND last = ?", (ref, first - 1)).fetchone()
    return None if row is None else bytes(row[0])


def seeds(connection: sqlite3.Connection, refs: Refs) -> dict[Dot, bytes]:
    """The hash at the end of each run whose predecessor is not in the log."""
    query = (
        "SELECT run.origin, run.last, run.head FROM run LEFT JOIN run AS before"
        " ON before.origin = run.origin AND before.last = run.first - 1 WHERE run.first > 1 AND before.origin IS NULL"
    )
    return {Dot(refs.origin_of[ref], last): head for ref, last, head in connection.execute(query)}


def _follows(previous: bytes | None, first: int, last: int, data: bytes, head: bytes) -> bool:
    """Does the hash at the end of a run follow from the one before, as far as that is known?"""
    try:
        run = Run(b"", first, log.decode_entries(data), b"")
    except ValueError:
        return False
    return run.last == last and (previous is None or chain.hash_after(previous, run.entries) == head)


def shares(
    connection: sqlite3.Connection,
    buckets: Collection[int],
    after: Name | None,
    up_to: Name | None,
    max_shares: int,
    max_rows: int,
) -> SharesRead:
    """Records of some buckets, behind `after`, in the order of their names (by UTF-8 bytes) and up to `up_to`: at most
    so many of them, and of those that have to be looked at.
    """
    found: list[tuple[str, str, int]] = []
    looked = 0
    last: Name | None = after
    last_collection, last_key = after or ("", "")
    names = connection.execute(
        "SELECT name, number FROM collection WHERE name >= ? ORDER BY name", (last_collection,)
    ).fetchall()
    for name, number in names:
        rows = connection.execute(
            "SELECT key, share FROM record WHERE collection = ? AND key > ? ORDER BY key",
            (number, last_key if name == last_collection else ""),
        )
        for key, share in rows:
            if up_to is not None and (name, key) > up_to:
                return SharesRead(found, up_to)
            if len(found) == max_shares or looked == max_rows:
                return SharesRead(found, last)
            looked += 1
            last = name, key
            if bucket_of(name, key) in buckets:
                found.append((name, key, unsigned(share)))
    return SharesRead(found, up_to)


def count(connection: sqlite3.Connection, is_over: Callable[[], bool], pause_s: float) -> Counted:
    """Add everything up, at one moment. Now and then nothing is done for `pause_s`, so that whoever else needs Python
    gets it.

    Raises:
        StoreClosed.
    """
    (kept,) = connection.execute("SELECT digest FROM space").fetchone()
    names = dict(connection.execute("SELECT number, name FROM collection"))
    visible = {number: -counted for number, counted in connection.execute("SELECT number, visible FROM collection")}
    sums = [0] * digest.BUCKETS
    rows = connection.execute("SELECT collection, key, share, flags FROM record")
    while some := rows.fetchmany(_COUNTED_AT_ONCE):
        for number, key, share, flags in some:
            sums[bucket_of(names[number], key)] += share
            visible[number] += not flags & PARKED
        if is_over():
            raise StoreClosed("the space is being closed", code="stopping")
        if pause_s:
            time.sleep(pause_s)
    counted = digest.moved(digest.EMPTY, enumerate(sums))
    return Counted(counted, kept, {number: step for number, step in visible.items() if step})
