"""The row that says what this copy is, and the origins it knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from peerd.core import digest
from peerd.core.batch import AppliedRun
from peerd.core.clocks import Clock
from peerd.core.copy import CopyState, OriginState
from peerd.core.daemon_time import Age, Synced
from peerd.core.origin import Announcement
from peerd.core.snapshots.stored import Taken
from peerd.errors import StoreError
from peerd.store.failures import damaged
from peerd.store.refs import Refs


class Meta(Struct):
    """The row of `space` as this process knows it; it is moved after a commit only."""

    space: bytes
    copy_id: bytes
    name: str
    own_origin: int | None  # its ref
    token: bytes
    position: int
    age: Age
    horizon: Clock = {}  # below it our log has nothing that counts


def found(connection: sqlite3.Connection, space: bytes, name: str, random_bytes: Callable[[int], bytes]) -> None:
    """Write the row of a new, empty copy."""
    connection.execute(
        "INSERT INTO space (one, id, copy_id, name, token, digest) VALUES (1, ?, ?, ?, ?, ?)",
        (space, random_bytes(16), name, random_bytes(16), digest.EMPTY),
    )


def load(connection: sqlite3.Connection, refs: Refs, path: Path) -> tuple[Meta, CopyState]:
    """What the database says of itself.

    Raises:
        StoreDamaged: it says nothing, or nothing that makes sense.
    """
    row = connection.execute(
        "SELECT id, copy_id, name, own_origin, token, position, age_ms, synced_age_ms, synced_wall_ms, visible, digest"
        " FROM space"
    ).fetchone()
    if row is None:
        raise damaged(path, "it does not say which space it holds")
    *own, age_ms, synced_age_ms, synced_wall_ms, visible, sums = row
    own.append(Age(age_ms, None if synced_age_ms is None else Synced(synced_age_ms, synced_wall_ms)))
    origins: dict[bytes, OriginState] = {}
    try:
        for origin, device, admission, nonce, seq, head, context, horizon in connection.execute(
            "SELECT id, device, admission, nonce, seq, head, context, horizon FROM origin ORDER BY ref"
        ):
            announcement = Announcement(device, admission, nonce)
            origins[origin] = OriginState(announcement, seq, head, refs.decode_clock(context), horizon)
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"the context of an origin cannot be read ({problem})") from problem
    state = CopyState(row[0], origins, sums, visible)
    meta = Meta(*own)
    meta.horizon = state.horizon()
    return meta, state


def write_age(connection: sqlite3.Connection, age: Age) -> None:
    synced = (None, None) if age.synced is None else (age.synced.age_ms, age.synced.wall_ms)
    connection.execute("UPDATE space SET age_ms = ?, synced_age_ms = ?, synced_wall_ms = ?", (age.ms, *synced))


def taken(connection: sqlite3.Connection) -> Taken | None:
    """Whose snapshot took the place of this copy, if any."""
    device, taken_ms, agreed = connection.execute("SELECT taken_from, taken_ms, taken_agreed FROM space").fetchone()
    return None if device is None or taken_ms is None else Taken(device, taken_ms, bool(agreed))


def write_origins(
    connection: sqlite3.Connection,
    moved: Mapping[bytes, OriginState],
    new: Mapping[bytes, int],
    ref_of: Mapping[bytes, int],
    runs: Sequence[AppliedRun],
    refs: Refs,
) -> None:
    """Where the origins stand after a batch that applied `runs`. `new` are the refs that it gave.

    Raises:
        StoreError: code "store-stale", a run does not follow what is stored: the batch was decided on an older state.
    """
    add_origins(connection, moved, new, refs)
    first: dict[bytes, int] = {}
    signature: dict[bytes, bytes] = {}
    for applied in runs:
        first.setdefault(applied.run.origin, applied.run.first)
        signature[applied.run.origin] = applied.run.signature
    written = connection.executemany(
        "UPDATE origin SET seq = ?, head = ?, context = ?, signature = ? WHERE ref = ? AND seq = ?",
        [
            (moved[origin].seq, moved[origin].head, refs.encode_clock(moved[origin].context, ref_of),
             signature[origin], ref_of[origin], first[origin] - 1)
            for origin in first
        ],
    ).rowcount  # fmt: skip
    if first and written != len(first):
        raise StoreError(
            "A transaction was decided on a state that is older than what is stored; nothing was written.",
            code="store-stale",
            next_step="This is a bug of peerd: restart it, and please report it with the log.",
        )


def add_origins(
    connection: sqlite3.Connection, states: Mapping[bytes, OriginState], new: Mapping[bytes, int], refs: Refs
) -> None:
    """Give the origins of `new` their rows, at position 0."""
    connection.executemany(
        "INSERT INTO origin (ref, id, device, admission, nonce, seq, head, context) VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
        (
            (ref, origin, state.announcement.device, state.announcement.admission, state.announcement.nonce,
             state.head, refs.encode_clock({}, {}))
            for origin, ref in new.items()
            for state in (states[origin],)
        ),
    )  # fmt: skip


def write_space(
    connection: sqlite3.Connection,
    state: CopyState,
    position: int,
    own_origin: int | None,
    log_bytes: int,
    history_bytes: int,
) -> None:
    """Where the copy stands; the log and the history grew by so much."""
    connection.execute(
        "UPDATE space SET position = ?, own_origin = ?, visible = ?, digest = ?, log_bytes = log_bytes + ?,"
        " history_bytes = history_bytes + ?",
        (position, own_origin, state.visible, state.digest, log_bytes, history_bytes),
    )


def grow(connection: sqlite3.Connection, *, log_bytes: int = 0, history_bytes: int = 0) -> None:
    """The log and the history grew by so much; less than 0, if something went."""
    connection.execute(
        "UPDATE space SET log_bytes = log_bytes + ?, history_bytes = history_bytes + ?", (log_bytes, history_bytes)
    )
