"""What changes dropped, and what deleted records looked like: local, never sent, forgotten with age."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from peerd.core.batch import Name
from peerd.core.clocks import Dot
from peerd.core.record_form import decode_record
from peerd.core.restore import Image
from peerd.core.writes import HistoryRow
from peerd.store.failures import damaged
from peerd.store.refs import Refs

FORGOTTEN_AT_ONCE = 4_000

_encode_fields = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def append(
    connection: sqlite3.Connection,
    rows: Iterable[HistoryRow],
    encode_stamps: Callable[[list[list[Any]]], bytes],
    ref_of: Mapping[bytes, int],
    number_of: Mapping[str, int],
    age_ms: int,
) -> None:
    connection.executemany(
        "INSERT INTO history (collection, key, by_origin, by_seq, age_ms, stamps, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (number_of[row.name[0]], row.name[1], ref_of[row.by.origin], row.by.seq, age_ms,
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
        try:
            dropped = decode_record(refs.decode_stamps(stamps), body)
        except (ValueError, LookupError, TypeError) as problem:
            raise damaged(path, f"the history cannot be read ({problem})") from problem
        for field, siblings in dropped.fields.items():
            values.setdefault(field, {}).update(siblings)
    return values


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


def forget(connection: sqlite3.Connection, before_age_ms: int) -> int:
    """Forget what is older, the oldest first and at most `FORGOTTEN_AT_ONCE` rows of each kind; gives how many went.
    Rows stand in the order of their age, so that the first one too young ends the search.
    """
    return sum(
        connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?) AND age_ms < ?",  # noqa: S608 - one of the two names below
            (FORGOTTEN_AT_ONCE, before_age_ms),
        ).rowcount
        for table in ("history", "image")
    )
