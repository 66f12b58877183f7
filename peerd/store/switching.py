"""Merging our rows into those of a snapshot, some at a time, and putting the result in their place in one transaction.

While the rows are merged, the copy goes on reading and writing its own. Whatever a transaction touches meanwhile is
merged again, by the same rule: merging the same state twice changes nothing, and a state with what it was made of
gives itself. So only what was touched since the last look is left for the transaction that exchanges the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from peerd.core import digest, entry
from peerd.core.batch import Fork, Name, Stored
from peerd.core.clocks import Clock, covers
from peerd.core.snapshot_intake import Standing
from peerd.core.snapshot_merge import Merged, Pair, ahead, merge_all
from peerd.core.snapshot_stored import Phase, RowCursor, Switched
from peerd.core.writes import PARKED
from peerd.store import incoming, log, meta, records, side
from peerd.store.incoming import SideReader
from peerd.store.meta import Meta
from peerd.store.refs import Refs, stamps_encoder
from peerd.store.transaction import OpenTransaction

ROWS_AT_ONCE = 1_000
RUNS_AT_ONCE = 200
TOUCHED_BYTES = 1 << 20  # of entries that are looked through at once

_encode_fields = msgspec.msgpack.Encoder().encode
_Row = tuple[int, int, str, int, int, bytes, bytes]  # id, collection, key, flags, share, stamps, body


class Touched(Struct, frozen=True):
    """Records that transactions after a position name, and the position up to which this holds."""

    names: Collection[Name]
    position: int


class Site:
    """Both sides of a merge, inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, refs: Refs, path: Path, standing: Standing) -> None:
        self.connection = connection
        self.refs = refs
        self.path = path
        self.standing = standing
        self.our_clock: Clock = dict(connection.execute("SELECT id, seq FROM origin WHERE seq > 0"))


def begin(connection: sqlite3.Connection) -> int:
    """What an earlier attempt kept as lost is worked out again. Gives the position from which on to look for what is
    touched meanwhile.
    """
    connection.execute("DELETE FROM incoming_history")
    connection.execute("DELETE FROM incoming_image")
    connection.execute("UPDATE incoming SET phase = ?", (Phase.MERGING,))
    return log.last_position(connection)


def merge_after(site: Site, cursor: RowCursor) -> tuple[Standing, RowCursor | None]:
    """Merge the records of both sides that follow `cursor`, some thousand; the cursor after them, None at the end."""
    if not site.our_clock:
        return site.standing, None
    ours, theirs = _following(site, "record", cursor), _following(site, side.SIDE, cursor)
    full = [(rows[-1][1], rows[-1][2]) for rows in (ours, theirs) if len(rows) == ROWS_AT_ONCE]
    bound = min(full) if full else None
    mine = {row[1:3]: row for row in ours if bound is None or row[1:3] <= bound}
    others = {row[1:3]: row for row in theirs if bound is None or row[1:3] <= bound}
    differing = [at for at in sorted(mine.keys() | others.keys()) if _differs(site, mine.get(at), others.get(at))]
    names = {number: name for name, number in site.refs.number_of.items()}
    pairs = [
        Pair((names[at[0]], at[1]), _stored(site, mine.get(at)), _stored(site, others.get(at))) for at in differing
    ]
    known = {(names[at[0]], at[1]): (row[0], row[3]) for at, row in others.items()}
    return _keep(site, merge_all(pairs, site.our_clock, site.standing.clock), known), bound


def _following(site: Site, table: records.Table, cursor: RowCursor) -> Sequence[_Row]:
    rows: Sequence[_Row] = site.connection.execute(
        f"SELECT id, collection, key, flags, share, stamps, body FROM {table}"  # noqa: S608 - one of two names
        " WHERE (collection, key) > (?, ?) ORDER BY collection, key LIMIT ?",
        (*cursor, ROWS_AT_ONCE),
    ).fetchall()
    return rows


def _differs(site: Site, ours: _Row | None, theirs: _Row | None) -> bool:
    """Is there anything to merge? Rows of theirs alone, which a newcomer has millions of, are looked at only as far as
    we may have removed something of them.
    """
    if ours is not None:
        return theirs is None or ours[4] != theirs[4]
    if theirs is None:
        return False
    return any(covers(site.our_clock, (stamp[0], stamp[1])) for stamp in site.refs.decode_stamps(theirs[5]))


def _stored(site: Site, row: _Row | None) -> Stored | None:
    if row is None:
        return None
    return Stored(records.decode(site.refs, site.path, row[5], row[6]), records.unsigned(row[4]), not row[3] & PARKED)


def merge_named(site: Site, names: Collection[Name]) -> Standing:
    """Merge these records once more."""
    ours = OpenTransaction(site.connection, site.refs, site.path).records(names)
    reader = SideReader(site.connection, site.refs, site.path)
    theirs = reader.records(names)
    pairs = [Pair(name, ours.get(name), theirs.get(name)) for name in names]
    at = [(site.refs.number_of[name[0]], name[1]) for name in names if name[0] in site.refs.number_of]
    for table in ("incoming_history", "incoming_image"):
        site.connection.executemany(f"DELETE FROM {table} WHERE collection = ? AND key = ?", at)  # noqa: S608 - two names
    return _keep(site, merge_all(pairs, site.our_clock, site.standing.clock), reader.known)


def _keep(site: Site, merged: Merged, known: dict[Name, tuple[int, int]]) -> Standing:
    """Write what a merge does to their rows; what stands then."""
    refs, connection, progress = site.refs, site.connection, site.standing.progress
    encode_stamps = stamps_encoder(refs.ref_of)
    if merged.rows or merged.gone:
        records.write(connection, merged.rows, merged.gone, known, encode_stamps, refs.number_of, side.SIDE)
        visible = {
            name: progress.visible.get(name, 0) + merged.visible.get(name, 0)
            for name in progress.visible.keys() | merged.visible.keys()
        }
        progress = replace(
            progress,
            digest=digest.moved(progress.digest, merged.steps),
            visible=visible,
            records=progress.records + merged.records,
        )
        incoming.save_progress(connection, progress)
    connection.executemany(
        "INSERT INTO incoming_history (collection, key, stamps, body) VALUES (?, ?, ?, ?)",
        ((refs.number_of[row.name[0]], row.name[1], encode_stamps(row.stamps), row.body) for row in merged.history),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO incoming_image (collection, key, fields) VALUES (?, ?, ?)",
        ((refs.number_of[name[0]], name[1], _encode_fields(image.values)) for name, image in merged.images.items()),
    )
    return replace(site.standing, progress=progress)


def touched(connection: sqlite3.Connection, position: int) -> Touched:
    """By some runs after `position`."""
    names: dict[Name, None] = {}
    size_bytes = 0
    rows: Iterable[tuple[int, bytes]] = connection.execute(
        "SELECT position, entries FROM run WHERE position > ? ORDER BY position LIMIT ?", (position, RUNS_AT_ONCE)
    )
    for at, entries in rows:
        for data in log.decode_entries(entries):
            names.update((change.record, None) for change in entry.changes_of(data))
        position = at
        size_bytes += len(entries)
        if size_bytes > TOUCHED_BYTES:
            break
    return Touched(list(names), position)


def switch(site: Site, standing: Meta, position: int, copy_id: bytes, arrived_ms: int) -> Switched:
    """The rest of the merging, and then the merged rows are the copy's, taken over at `arrived_ms` by the wall clock.

    Raises:
        Fork: the snapshot tells another history of an origin.
    """
    fork = incoming.ends_of_fork(site.connection, site.refs)
    if fork is not None:
        raise Fork(*fork)
    while (found := touched(site.connection, position)).position > position:
        site.standing = merge_named(site, found.names)
        position = found.position
    side.exchange(site.connection)
    ended = _move_origins(site, standing, arrived_ms)
    own_origin = None if ended else standing.own_origin
    write_space(site, own_origin, copy_id, arrived_ms)
    _, state = meta.load(site.connection, site.refs, site.path)
    return Switched(copy_id, state, ended, meta.taken(site.connection))


def _move_origins(site: Site, standing: Meta, arrived_ms: int) -> bool:
    """Origins stand where the further side has them; the ends that both know stay. Does our own origin end, because
    the snapshot knows more of it?
    """
    connection, refs = site.connection, site.refs
    _, before = meta.load(connection, refs, site.path)
    moved = ahead(before.origins, {origin: at.state() for origin, at in site.standing.origins.items()})
    keep_ends: list[tuple[Any, ...]] = []
    for origin, at in moved.items():
        ref = refs.ref_of[origin]
        was = before.origins[origin]
        keep_ends += [(ref, one.seq, one.head[:8]) for one in (was, at) if one.seq]
        connection.execute(
            "INSERT OR REPLACE INTO leap (origin, first, last, arrived_ms, age_ms) VALUES (?, ?, ?, ?, ?)",
            (ref, was.seq + 1, at.seq, arrived_ms, standing.age.ms),
        )
        connection.execute(
            "UPDATE origin SET seq = ?, head = ?, context = ?, signature = ?, horizon = ? WHERE ref = ?",
            (at.seq, at.head, refs.encode_clock(at.context, refs.ref_of), site.standing.origins[origin].signature,
             at.seq, ref),
        )  # fmt: skip
    connection.executemany("INSERT OR IGNORE INTO run_end (origin, seq, hash8) VALUES (?, ?, ?)", keep_ends)
    connection.execute("INSERT OR IGNORE INTO run_end (origin, seq, hash8) SELECT origin, seq, hash8 FROM incoming_end")
    return standing.own_origin is not None and refs.origin_of[standing.own_origin] in moved


def write_space(site: Site, own_origin: int | None, copy_id: bytes, now_ms: int) -> None:
    """What the row of the space and the collections say when the rows beside have become the copy's."""
    connection, progress = site.connection, site.standing.progress
    connection.execute("UPDATE collection SET visible = 0")
    connection.executemany(
        "UPDATE collection SET visible = ? WHERE name = ?", ((count, name) for name, count in progress.visible.items())
    )
    connection.execute(
        "UPDATE space SET copy_id = ?, digest = ?, visible = ?, own_origin = ?, taken_agreed = 0, taken_ms = ?,"
        " taken_from = (SELECT device FROM incoming)",
        (copy_id, progress.digest, sum(progress.visible.values()), own_origin, now_ms),
    )
    connection.execute(
        "INSERT OR REPLACE INTO image (collection, key, by_origin, by_seq, age_ms, fields)"
        " SELECT collection, key, NULL, NULL, (SELECT age_ms FROM space), fields FROM incoming_image ORDER BY id"
    )
    connection.execute("UPDATE incoming SET phase = ?", (Phase.CLEARING,))
