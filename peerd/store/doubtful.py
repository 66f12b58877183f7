"""Records that stay in a merge because the maker of the snapshot may have lost them (`core.snapshots.doubt`), with what
they are otherwise, until all of them are known.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path

from peerd.core.batch import Name
from peerd.core.digest import MODULUS
from peerd.core.record import Record
from peerd.core.record_form import bucket_of
from peerd.core.snapshots.merge import Doubtful
from peerd.store import records
from peerd.store.refs import Refs, stamps_encoder

_HALF = MODULUS >> 1


def save(connection: sqlite3.Connection, refs: Refs, doubtful: Mapping[Name, Doubtful | None]) -> None:
    """Whether these are, and what they are otherwise."""
    encode_stamps = stamps_encoder(refs.ref_of)
    for (collection, key), one in doubtful.items():
        number = refs.number_of.get(collection)
        if one is None:
            connection.execute("DELETE FROM incoming_doubtful WHERE collection = ? AND key = ?", (number, key))
            continue
        form = (None, None) if one.plain is None else (encode_stamps(one.plain.stamps), one.plain.body)
        difference = (one.difference + _HALF) % MODULUS - _HALF
        connection.execute(
            "INSERT OR REPLACE INTO incoming_doubtful (collection, key, bucket, difference, stamps, body)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (number, key, bucket_of(collection, key), difference, *form),
        )


def load(
    connection: sqlite3.Connection, refs: Refs, path: Path, names: Collection[Name]
) -> dict[Name, tuple[Record | None]]:
    """Of those of these that are doubtful what they are otherwise. Raises StoreDamaged."""
    found: dict[Name, tuple[Record | None]] = {}
    for collection, key in names:
        row = connection.execute(
            "SELECT stamps, body FROM incoming_doubtful WHERE collection = ? AND key = ?",
            (refs.number_of.get(collection), key),
        ).fetchone()
        if row is not None:
            found[collection, key] = (None if row[0] is None else records.decode(refs, path, *row),)
    return found


def differences(connection: sqlite3.Connection, refs: Refs, bucket: int) -> dict[Name, int]:
    """Of all of a bucket what it is by which they differ from what they are otherwise."""
    names = {number: name for name, number in refs.number_of.items()}
    rows = connection.execute(
        "SELECT collection, key, difference FROM incoming_doubtful WHERE bucket = ? ORDER BY collection, key", (bucket,)
    )
    return {(names[number], key): difference for number, key, difference in rows}
