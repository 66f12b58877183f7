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
from peerd.core.batch import Name
from peerd.core.clocks import Clock, covers
from peerd.core.record_form import SHORT_LEAD_BYTES, lone_lead
from peerd.core.snapshots.doubt import Doubts, making_up
from peerd.core.snapshots.intake import Standing
from peerd.core.snapshots.merge import NO_DOUBTS, Merged, Pair, ahead, all_plain, merge_all
from peerd.core.snapshots.stored import Phase, RowCursor, Switched
from peerd.store import doubtful, incoming, log, meta, records, scrub_rows, side
from peerd.store.incoming import SideReader
from peerd.store.meta import Meta
from peerd.store.refs import Refs, stamps_encoder
from peerd.store.row_shares import stored
from peerd.store.transaction import OpenTransaction

ROWS_AT_ONCE = 1_000
IDS_AT_ONCE = 10_000  # of which nearly all are passed over
RUNS_AT_ONCE = 200
TOUCHED_BYTES = 1 << 20  # of entries that are looked through at once

_BEHIND_ALL: RowCursor = (1 << 62, "")
_encode_fields = msgspec.msgpack.Encoder().encode


class Touched(Struct, frozen=True):
    """Records that transactions after a position name, and the position up to which this holds."""

    names: Collection[Name]
    position: int


class Site:
    """Both sides of a merge, inside one transaction."""

    def __init__(
        self, connection: sqlite3.Connection, refs: Refs, path: Path, standing: Standing, doubts: Doubts = NO_DOUBTS
    ) -> None:
        self.connection = connection
        self.refs = refs
        self.path = path
        self.standing = standing
        self.doubts = doubts
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
    """Merge the records of ours that follow `cursor`, some thousand, with what they have of them; the cursor after
    them, None at the end. What is the same on both sides stays in the database.
    """
    bound: RowCursor | None = site.connection.execute(
        "SELECT collection, key FROM record WHERE (collection, key) > (?, ?) ORDER BY collection, key LIMIT 1 OFFSET ?",
        (*cursor, ROWS_AT_ONCE - 1),
    ).fetchone()
    query = (
        "SELECT o.collection, o.key, o.flags, o.share, o.stamps, o.body, t.id, t.flags, t.share, t.stamps, t.body"  # noqa: S608 - a known name
        f" FROM record o LEFT JOIN {side.SIDE} t ON t.collection = o.collection AND t.key = o.key"
        " WHERE (o.collection, o.key) > (?, ?) AND (o.collection, o.key) <= (?, ?) AND t.share IS NOT o.share"
        " ORDER BY o.collection, o.key"
    )
    names = {number: name for name, number in site.refs.number_of.items()}
    pairs: list[Pair] = []
    known: dict[Name, tuple[int, int]] = {}
    for number, key, *ours, row_id, flags, share, stamps, body in site.connection.execute(
        query, (*cursor, *(bound or _BEHIND_ALL))
    ):
        name = names[number], key
        theirs = None if row_id is None else stored(site.refs, site.path, name, flags, share, stamps, body)
        pairs.append(Pair(name, stored(site.refs, site.path, name, *ours), theirs))
        if row_id is not None:
            known[name] = row_id, flags
    return _keep(site, _merge_all(site, pairs), known), bound


def merge_removed(site: Site, after: int) -> tuple[Standing, int | None]:
    """Merge the records that they alone have, as far as we removed something of them: those of some thousand rows
    behind the id `after`. The id to go on with, None at the end.

    A newcomer has nothing of millions of rows. SQLite looks at them by what the stamps begin with, which is the origin.
    """
    connection, refs = site.connection, site.refs
    (highest,) = connection.execute(f"SELECT coalesce(max(id), 0) FROM {side.SIDE}").fetchone()  # noqa: S608 - a known name
    if not site.our_clock or after >= highest:
        return site.standing, None
    unknown = [lone_lead(ref) for ref, origin in refs.origin_of.items() if origin not in site.our_clock]
    leads = [lead for lead in unknown if len(lead) == SHORT_LEAD_BYTES]
    names = {number: name for name, number in refs.number_of.items()}
    removed = [
        (names[number], key)
        for number, key, stamps in connection.execute(
            f"SELECT t.collection, t.key, t.stamps FROM {side.SIDE} t WHERE t.id > ? AND t.id <= ?"  # noqa: S608 - a known name and question marks
            f" AND substr(t.stamps, 1, {SHORT_LEAD_BYTES}) NOT IN ({', '.join('?' * len(leads))})"
            " AND NOT EXISTS (SELECT 1 FROM record o WHERE o.collection = t.collection AND o.key = t.key)",
            (after, after + IDS_AT_ONCE, *leads),
        )
        if any(covers(site.our_clock, (stamp[0], stamp[1])) for stamp in refs.decode_stamps(stamps))
    ]
    for at in range(0, len(removed), ROWS_AT_ONCE):
        reader = SideReader(connection, refs, site.path)
        theirs = reader.records(removed[at : at + ROWS_AT_ONCE])
        pairs = [Pair(name, None, stored) for name, stored in theirs.items()]
        site.standing = _keep(site, _merge_all(site, pairs), reader.known)
    return site.standing, after + IDS_AT_ONCE


def merge_named(site: Site, names: Collection[Name]) -> Standing:
    """Merge these records once more."""
    pairs, known = _again(site, names)
    return _keep(site, _merge_all(site, pairs), known)


def _again(site: Site, names: Collection[Name]) -> tuple[list[Pair], dict[Name, tuple[int, int]]]:
    """Both sides of these; what was kept of them as lost is forgotten."""
    ours = OpenTransaction(site.connection, site.refs, site.path).records(names)
    reader = SideReader(site.connection, site.refs, site.path)
    theirs = reader.records(names)
    at = [(site.refs.number_of[name[0]], name[1]) for name in names if name[0] in site.refs.number_of]
    for table in ("incoming_history", "incoming_image"):
        site.connection.executemany(f"DELETE FROM {table} WHERE collection = ? AND key = ?", at)  # noqa: S608 - two names
    return [Pair(name, ours.get(name), theirs.get(name)) for name in names], reader.known


def _merge_all(site: Site, pairs: Sequence[Pair]) -> Merged:
    names = [pair.name for pair in pairs if site.doubts.is_there(pair.name)]
    plain = doubtful.load(site.connection, site.refs, site.path, names)
    known = [pair._replace(plain=plain.get(pair.name)) for pair in pairs] if plain else pairs
    return merge_all(known, site.our_clock, site.standing.clock, site.doubts)


def settle_doubtful(site: Site) -> bytes:
    """Of what is kept because the other copy may have lost it, what that owes shows what it lost; the rest goes. Gives
    what the merged copy owes.
    """
    left = site.doubts.there
    for bucket in site.doubts.buckets_there:
        found = doubtful.differences(site.connection, site.refs, bucket)
        owed = digest.at(left, bucket)
        lost = making_up(found, owed)
        left = digest.moved(left, [(bucket, -sum(found.values()) if lost is None else -owed)])
        if lost is not None:
            _make_plain(site, [name for name in found if name not in lost])
    return left


def _make_plain(site: Site, names: Sequence[Name]) -> None:
    for at in range(0, len(names), ROWS_AT_ONCE):
        some = names[at : at + ROWS_AT_ONCE]
        plain = doubtful.load(site.connection, site.refs, site.path, some)
        pairs, known = _again(site, some)
        site.standing = _keep(site, all_plain(pair._replace(plain=plain[pair.name]) for pair in pairs), known)


def _keep(site: Site, merged: Merged, known: dict[Name, tuple[int, int]]) -> Standing:
    """Write what a merge does to their rows; what stands then."""
    refs, connection, progress = site.refs, site.connection, site.standing.progress
    doubtful.save(connection, refs, merged.doubtful)
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
        Fork: the snapshot tells another history of an origin, or a Doubt: perhaps it does.
    """
    fork = incoming.ends_of_fork(site.connection, site.refs)
    if fork is not None:
        raise fork
    while (found := touched(site.connection, position)).position > position:
        site.standing = merge_named(site, found.names)
        position = found.position
    owed = settle_doubtful(site)
    side.exchange(site.connection)
    ended = _move_origins(site, standing, arrived_ms)
    own_origin = None if ended else standing.own_origin
    write_space(site, own_origin, copy_id, arrived_ms)
    _, state = meta.load(site.connection, site.refs, site.path)
    scrub = scrub_rows.replaced(site.connection, copy_id, owed)
    return Switched(copy_id, state, ended, scrub, meta.taken(site.connection))


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
