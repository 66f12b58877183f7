"""What changes dropped, and what deleted records looked like: local, never sent, forgotten with age."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.past import Removal
from peerd.core.record import Record
from peerd.core.record_form import decode_record
from peerd.core.restore import Image
from peerd.core.snapshots.merge import IN_A_SNAPSHOT
from peerd.core.writes import PARKED, HistoryRow
from peerd.store import meta, room
from peerd.store.failures import damaged
from peerd.store.refs import Refs

_encode_fields = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def append(
    connection: sqlite3.Connection,
    rows: Iterable[HistoryRow],
    encode_stamps: Callable[[list[list[Any]]], bytes],
    ref_of: Mapping[bytes, int],
    number_of: Mapping[str, int],
    arrived_ms: int,
    age_ms: int,
) -> None:
    connection.executemany(
        "INSERT INTO history (collection, key, by_origin, by_seq, arrived_ms, age_ms, stamps, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (number_of[row.name[0]], row.name[1], ref_of[row.by.origin], row.by.seq, arrived_ms, age_ms,
             encode_stamps(row.stamps), row.body)
            for row in rows
        ),
    )  # fmt: skip


def past(connection: sqlite3.Connection, refs: Refs, path: Path, number: int, key: str) -> dict[str, dict[Dot, bytes]]:
    """The values of a record that were dropped here and are not forgotten yet. Raises StoreDamaged."""
    values: dict[str, dict[Dot, bytes]] = {}
    for stamps, body in connection.execute(
        "SELECT stamps, body FROM history WHERE collection = ? AND key = ? ORDER BY id", (number, key)
    ):
        for field, siblings in _dropped(refs, path, stamps, body).fields.items():
            values.setdefault(field, {}).update(siblings)
    return values


def removals(
    connection: sqlite3.Connection, refs: Refs, path: Path, number: int, key: str, below: int
) -> Iterator[Removal]:
    """What was dropped of a record, the last first, from the row `below` on; read as far as the caller goes. Raises
    StoreDamaged.
    """
    for row_id, by_origin, by_seq, arrived_ms, stamps, body in connection.execute(
        "SELECT id, by_origin, by_seq, arrived_ms, stamps, body FROM history"
        " WHERE collection = ? AND key = ? AND id < ? ORDER BY id DESC",
        (number, key, below),
    ):
        by = Dot(refs.origin_of[by_origin], by_seq) if by_origin else IN_A_SNAPSHOT
        yield Removal(by, arrived_ms, _dropped(refs, path, stamps, body), row_id)


def _dropped(refs: Refs, path: Path, stamps: bytes, body: bytes) -> Record:
    try:
        return decode_record(refs.decode_stamps(stamps), body)
    except (ValueError, LookupError, TypeError) as problem:
        raise damaged(path, f"the history cannot be read ({problem})") from problem


def keep_images(
    connection: sqlite3.Connection,
    images: Mapping[Name, Image],
    ref_of: Mapping[bytes, int],
    number_of: Mapping[str, int],
    age_ms: int,
) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO image (collection, key, by_origin, by_seq, age_ms, fields) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (number_of[name[0]], name[1], ref_of[by.origin] if by else None, by.seq if by else None, age_ms,
             _encode_fields(image.values))
            for name, image in images.items()
            for by in (image.removed_by,)
        ),
    )  # fmt: skip


def image(connection: sqlite3.Connection, refs: Refs, path: Path, number: int, key: str) -> Image | None:
    """What a record looked like when a delete last took it. Raises StoreDamaged."""
    row = connection.execute(
        "SELECT by_origin, by_seq, fields FROM image WHERE collection = ? AND key = ?", (number, key)
    ).fetchone()
    if row is None:
        return None
    by_origin, by_seq, fields = row
    try:
        return Image(_decode_fields(fields), None if by_origin is None else Dot(refs.origin_of[by_origin], by_seq))
    except (ValueError, LookupError) as problem:
        raise damaged(path, f"the image of a deleted record cannot be read ({problem})") from problem


def forget(connection: sqlite3.Connection, before_age_ms: int, size: int) -> int:
    """Forget what is older, the oldest first and about `size` rows at most, where a large one counts as many as it
    takes pages; gives how many went. Rows stand in the order of their age, so that the first one too young ends the
    search.
    """
    old = [(row[0], row[2]) for row in _oldest(connection, "history", "body", before_age_ms, size)]
    count = len(old)
    if old:
        connection.execute(
            "UPDATE space SET forgotten_ms = coalesce("
            "(SELECT nullif(arrived_ms, 0) FROM history WHERE id = ?), forgotten_ms)",
            (old[-1][0],),
        )
        connection.execute("DELETE FROM history WHERE id <= ?", (old[-1][0],))
        meta.grow(connection, history_bytes=-sum(body_bytes for _, body_bytes in old))
    connection.execute("DELETE FROM leap WHERE age_ms < ?", (before_age_ms,))
    return count + _forget_images(connection, before_age_ms, max(1, size - count))


def _forget_images(connection: sqlite3.Connection, before_age_ms: int, size: int) -> int:
    """Gives how many went or became young again: those of records that stand parked. Whoever has such an image restores
    the record in the end, and its author counts as present for longer than most settings say.
    """
    old: list[tuple[int, int]] = [
        connection.execute(
            "SELECT id, EXISTS (SELECT 1 FROM record WHERE collection = one.collection AND key = one.key AND flags & ?)"
            " FROM image one WHERE id = ?",
            (PARKED, row[0]),
        ).fetchone()
        for row in _oldest(connection, "image", "fields", before_age_ms, size)
    ]
    connection.executemany(
        "INSERT OR REPLACE INTO image (collection, key, by_origin, by_seq, age_ms, fields)"
        " SELECT collection, key, by_origin, by_seq, (SELECT age_ms FROM space), fields FROM image WHERE id = ?",
        ((number,) for number, parked in old if parked),
    )
    connection.executemany("DELETE FROM image WHERE id = ?", ((number,) for number, parked in old if not parked))
    return len(old)


def _oldest(
    connection: sqlite3.Connection, table: str, content: str, before_age_ms: int, size: int
) -> Iterator[tuple[int, int, int]]:
    """Id, age and bytes of the oldest rows, as far as they are older than that and `size` allows for."""
    rows = connection.execute(f"SELECT id, age_ms, length({content}) FROM {table} ORDER BY id LIMIT ?", (size,))  # noqa: S608 - names from above
    for row in rows.fetchall():
        if size <= 0 or row[1] >= before_age_ms:
            return
        size -= 1 + row[2] // room.PAGE_BYTES
        yield row
