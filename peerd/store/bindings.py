"""The bindings of this device, and the note of the last transaction that each of them caused. See the port
`BindingStore`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from peerd.core.clocks import Dot
from peerd.core.stored import Note, StoredBinding
from peerd.core.tables.plans import BindingPlan
from peerd.store.database import Database
from peerd.store.failures import damaged

if TYPE_CHECKING:
    from peerd.store.binding_copy import BindingCopy

_encode = msgspec.msgpack.Encoder().encode
_decode_plan = msgspec.msgpack.Decoder(BindingPlan).decode


class Bindings:
    """`copy` follows what is kept."""

    def __init__(self, database: Database, copy: BindingCopy) -> None:
        self._database = database
        self._copy = copy

    async def load(self) -> list[StoredBinding]:
        return await self._database.read(lambda connection: load(connection, self._database.path))

    async def save(self, binding: StoredBinding) -> None:
        await self._database.write(self._copy.after(lambda connection: save(connection, binding)))

    async def forget(self, binding: bytes) -> None:
        await self._database.write(self._copy.after(lambda connection: forget(connection, binding)))


def save(connection: sqlite3.Connection, binding: StoredBinding) -> None:
    """Keep what a binding is; its note stays."""
    connection.execute(
        "INSERT INTO binding (id, name, database, plan, settings) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
        " SET name = excluded.name, database = excluded.database, plan = excluded.plan, settings = excluded.settings",
        (binding.id, binding.name, binding.database, _encode(binding.plan), binding.settings),
    )


def put_back(connection: sqlite3.Connection, binding: StoredBinding) -> None:
    """Keep one of an earlier copy, with its note."""
    save(connection, binding)
    if binding.note is not None and binding.dot is not None:
        keep_notes(connection, [(Note(binding.id, binding.note), binding.dot)])


def forget(connection: sqlite3.Connection, binding: bytes) -> None:
    connection.execute("DELETE FROM binding WHERE id = ?", (binding,))


def keep_notes(connection: sqlite3.Connection, notes: Iterable[tuple[Note, Dot]]) -> None:
    """Instead of the notes before: those were settled before these could be made."""
    for note, dot in notes:
        connection.execute(
            "UPDATE binding SET note = ?, note_origin = ?, note_seq = ? WHERE id = ?",
            (note.data, dot.origin, dot.seq, note.binding),
        )


def load(connection: sqlite3.Connection, path: Path) -> list[StoredBinding]:
    """All of them, by name. Raises StoreDamaged."""
    rows = connection.execute(
        "SELECT id, name, database, plan, settings, note, note_origin, note_seq FROM binding ORDER BY name"
    )
    try:
        return [
            StoredBinding(
                binding,
                name,
                database,
                _decode_plan(plan),
                settings,
                note,
                None if origin is None else Dot(origin, seq),
            )
            for binding, name, database, plan, settings, note, origin, seq in rows
        ]
    except (ValueError, TypeError) as problem:
        raise damaged(path, f"a binding cannot be read ({problem})") from problem
