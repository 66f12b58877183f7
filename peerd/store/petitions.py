"""That this device asks to be let into a space: at most one petition."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from peerd.core.stored import StoredPetition
from peerd.store.failures import damaged

_decode_answers = msgspec.msgpack.Decoder(tuple[str, ...]).decode


def save(connection: sqlite3.Connection, petition: StoredPetition | None) -> None:
    """Keep this one instead of any before; None: none."""
    connection.execute("DELETE FROM petition")
    if petition is not None:
        connection.execute(
            "INSERT INTO petition (name, sealed, answers, expires_ms) VALUES (?, ?, ?, ?)",
            (petition.name, petition.sealed, msgspec.msgpack.encode(petition.answers), petition.expires_ms),
        )


def load(connection: sqlite3.Connection, path: Path) -> StoredPetition | None:
    """Raises StoreDamaged."""
    row = connection.execute("SELECT name, sealed, answers, expires_ms FROM petition").fetchone()
    if row is None:
        return None
    name, sealed, answers, expires_ms = row
    try:
        return StoredPetition(name, sealed, _decode_answers(answers), expires_ms)
    except (ValueError, TypeError) as problem:
        raise damaged(path, f"a petition cannot be read ({problem})") from problem
