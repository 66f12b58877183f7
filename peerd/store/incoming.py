"""A snapshot that is being taken in: what is kept of it beside the copy, from the first part to its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from peerd.core.batch import Doubt, Fork, Name, Stored
from peerd.core.chain import first_hash
from peerd.core.copy import OriginState
from peerd.core.origin import Announcement
from peerd.core.restore import Image
from peerd.core.snapshots.intake import Progress, SideOrigin, SideWrites, Standing
from peerd.core.snapshots.stored import Incoming, Phase
from peerd.core.writes import PARKED
from peerd.store import log, meta, peers, records, side, trimming
from peerd.store.failures import damaged
from peerd.store.refs import Refs, stamps_encoder
from peerd.store.transaction import give_numbers, give_refs

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Progress).decode


class SideReader:
    """What a batch reads of the rows beside."""

    def __init__(self, connection: sqlite3.Connection, refs: Refs, path: Path) -> None:
        self.known: dict[Name, tuple[int, int]] = {}  # id and flags
        self._connection = connection
        self._refs = refs
        self._path = path

    def records(self, names: Iterable[Name]) -> dict[Name, Stored]:
        """Raises StoreDamaged."""
        found: dict[Name, Stored] = {}
        per_collection: dict[str, list[str]] = {}
        for collection, key in names:
            per_collection.setdefault(collection, []).append(key)
        for collection, keys in per_collection.items():
            number = self._refs.number_of.get(collection)
            if number is None:
                continue
            rows = records.rows_of(self._connection, number, sorted(keys), side.SIDE)
            for row_id, key, flags, share, stamps, body in rows:
                record = records.decode(self._refs, self._path, stamps, body)
                found[collection, key] = Stored(record, records.unsigned(share), not flags & PARKED)
                self.known[collection, key] = row_id, flags
        return found

    def images(self, _names: Iterable[Name]) -> Mapping[Name, Image]:
        return {}

    def hash8(self, origin: bytes, seq: int) -> bytes | None:
        ref = self._refs.ref_of.get(origin)
        return None if ref is None else end(self._connection, ref, seq)

    def passes(self, _origin: bytes, _seq: int) -> bool:
        return False  # there is no log beside


def load(connection: sqlite3.Connection, refs: Refs, path: Path) -> Incoming | None:
    """What there is of a snapshot. Raises StoreDamaged."""
    row = connection.execute("SELECT id, phase, parts, age_ms, progress, device FROM incoming").fetchone()
    if row is None:
        return None
    snapshot, phase, parts, age_ms, progress, maker = row
    origins: dict[bytes, SideOrigin] = {}
    try:
        for number, origin, device, admission, nonce, seq, head, signature, context in connection.execute(
            "SELECT i.number, o.id, o.device, o.admission, o.nonce, i.seq, i.head, i.signature, i.context"
            " FROM incoming_origin i JOIN origin o ON o.ref = i.origin"
        ):
            clock = refs.decode_clock(context)
            announcement = Announcement(device, admission, nonce)
            origins[origin] = SideOrigin(number, origin, announcement, seq, head, signature, clock)
        standing = Standing(_decode(progress), origins)
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"what came of a snapshot cannot be read ({problem})") from problem
    (now_ms,) = connection.execute("SELECT age_ms FROM space").fetchone()
    return Incoming(snapshot, Phase(phase), parts, standing, age_ms, now_ms, maker)


def begin(connection: sqlite3.Connection, snapshot: bytes, maker: bytes, age_ms: int) -> None:
    """There must be none."""
    side.make(connection)
    connection.execute(
        "INSERT INTO incoming (one, id, phase, age_ms, progress, device) VALUES (1, ?, ?, ?, ?, ?)",
        (snapshot, Phase.FILLING, age_ms, _encode(Progress()), maker),
    )


def write(
    connection: sqlite3.Connection, refs: Refs, space: bytes, writes: SideWrites, reader: SideReader
) -> tuple[dict[bytes, int], dict[str, int]]:
    """Write what a part brings; gives the refs and collection numbers that become known with it."""
    states = {
        at.origin: OriginState(at.announcement, 0, first_hash(space, at.announcement.device, at.origin), {})
        for at in writes.origins
    }
    new_refs = give_refs(states, refs)
    meta.add_origins(connection, states, new_refs, refs)
    ref_of = refs.ref_of | new_refs if new_refs else refs.ref_of
    collections = {row.name[0] for row in writes.rows}.union(some.collection for some in writes.plain)
    new_numbers = give_numbers(connection, collections, refs)
    number_of = refs.number_of | new_numbers if new_numbers else refs.number_of
    connection.executemany(
        "INSERT OR REPLACE INTO incoming_origin (origin, number, seq, head, signature, context)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            (ref_of[at.origin], at.number, at.seq, at.head, at.signature, refs.encode_clock(at.context, ref_of))
            for at in writes.origins
        ),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO incoming_end (origin, seq, hash8) VALUES (?, ?, ?)",
        ((ref_of[origin], seq, hash8) for origin, seq, hash8 in writes.ends),
    )
    records.write(connection, writes.rows, writes.gone, reader.known, stamps_encoder(ref_of), number_of, side.SIDE)
    for some in writes.plain:
        records.append(connection, number_of[some.collection], some, ref_of, side.SIDE)
    save_progress(connection, writes.progress)
    return new_refs, new_numbers


def save_progress(connection: sqlite3.Connection, progress: Progress) -> None:
    connection.execute("UPDATE incoming SET progress = ?", (_encode(progress),))


def end(connection: sqlite3.Connection, ref: int, seq: int) -> bytes | None:
    """8 bytes of the hash that the snapshot has at the end of a run, if it says."""
    row = connection.execute("SELECT head FROM incoming_origin WHERE origin = ? AND seq = ?", (ref, seq)).fetchone()
    if row is None:
        row = connection.execute("SELECT hash8 FROM incoming_end WHERE origin = ? AND seq = ?", (ref, seq)).fetchone()
    return None if row is None else bytes(row[0][:8])


# ---- clearing away


def clear_some(connection: sqlite3.Connection, age_ms: int, size: int) -> bool:
    """Clear away about `size` rows of what is not needed any more; False if nothing is left.

    Of a snapshot that is in place: our former rows, and the runs of the log below the horizon. What the merging took
    out of our rows becomes history.
    """
    row = connection.execute("SELECT phase FROM incoming").fetchone()
    if row is None or row[0] not in {Phase.CLEARING, Phase.GIVEN_UP}:
        return False
    in_place = row[0] == Phase.CLEARING
    if in_place and (_move_history(connection, age_ms, size) or _drop_runs(connection, size)):
        return True
    if side.clear_some(connection, side.FORMER if in_place else side.SIDE, size):
        return True
    if any(_delete_some(connection, table, key, size) for table, key in _TABLES):
        return True
    connection.execute("DELETE FROM incoming")
    return False


_TABLES = (
    ("incoming_doubtful", "collection, key"),
    ("incoming_history", "id"),
    ("incoming_image", "id"),
    ("incoming_end", "origin, seq"),
    ("incoming_origin", "origin"),
)


def _delete_some(connection: sqlite3.Connection, table: str, key: str, size: int) -> bool:
    text = f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} LIMIT ?)"  # noqa: S608 - from the list above
    return bool(connection.execute(text, (size,)).rowcount)


def _move_history(connection: sqlite3.Connection, age_ms: int, size: int) -> bool:
    moved = connection.execute(
        "INSERT INTO history (collection, key, by_origin, by_seq, arrived_ms, age_ms, stamps, body)"
        " SELECT collection, key, 0, 0, (SELECT coalesce(max(arrived_ms), 0) FROM leap), ?, stamps, body"
        " FROM incoming_history ORDER BY id LIMIT ?",
        (age_ms, size),
    ).rowcount
    (body_bytes,) = connection.execute(
        "SELECT coalesce(sum(length(body)), 0) FROM (SELECT body FROM incoming_history ORDER BY id LIMIT ?)",
        (size,),
    ).fetchone()
    meta.grow(connection, history_bytes=body_bytes)
    connection.execute(
        "DELETE FROM incoming_history WHERE id IN (SELECT id FROM incoming_history ORDER BY id LIMIT ?)",
        (size,),
    )
    return bool(moved)


def _drop_runs(connection: sqlite3.Connection, size: int) -> bool:
    """Runs below the horizon: their ends are kept, for comparison, as many as there may be."""
    for ref, origin, horizon in connection.execute("SELECT ref, id, horizon FROM origin WHERE horizon > 0").fetchall():
        positions = connection.execute(
            "SELECT position, size_bytes, origin, last, substr(head, 1, 8) FROM run"
            " WHERE origin = ? AND last <= ? ORDER BY last LIMIT ?",
            (ref, horizon, size),
        ).fetchall()
        if positions:
            connection.executemany(
                "INSERT OR IGNORE INTO run_end (origin, seq, hash8) VALUES (?, ?, ?)",
                (row[2:] for row in positions),
            )
            connection.executemany("DELETE FROM run WHERE position = ?", (row[:1] for row in positions))
            meta.grow(connection, log_bytes=-sum(row[1] for row in positions))
            trimming.thin(connection, ref, peers.standing_at(connection, origin))
            return True
    return False


def ends_of_fork(connection: sqlite3.Connection, refs: Refs) -> Fork | None:
    """Where the snapshot has another history of an origin than we, if it has; a Doubt where it may have: the ends that
    it tells, and those that we keep, do not say what both have at the place up to which they go. Of several doubts that
    of the smallest origin: whose snapshot it is finds the same in ours, and of the two only one may go over.
    """
    doubts: list[Doubt] = []
    for ref, theirs, our_seq, our_head in connection.execute(
        "SELECT i.origin, i.seq, o.seq, o.head FROM incoming_origin i JOIN origin o ON o.ref = i.origin"
        " WHERE i.seq > 0 AND o.seq > 0"
    ).fetchall():
        at = min(theirs, our_seq)
        ours8 = our_head[:8] if our_seq == at else log.hash8(connection, ref, at)
        theirs8 = end(connection, ref, at)
        is_inside = ours8 is None and log.passes(connection, ref, at)  # runs travel whole
        if theirs8 is not None and (is_inside or (ours8 is not None and ours8 != theirs8)):
            return Fork(refs.origin_of[ref], at)
        if theirs8 is None or ours8 is None:
            doubts.append(Doubt(refs.origin_of[ref], at))
    return min(doubts, key=lambda doubt: doubt.origin, default=None)
