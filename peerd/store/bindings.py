"""The bindings of this device, and the note of the last transaction that each of them caused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from peerd.core.clocks import Dot
from peerd.core.stored import Note, StoredBinding
from peerd.core.tables.plans import BindingPlan
from peerd.store.failures import damaged

_encode = msgspec.msgpack.Encoder().encode
_decode_plan = msgspec.msgpack.Decoder(BindingPlan).decode


def save(connection: sqlite3.Connection, binding: StoredBinding) -> StoredBinding:
    """Keep what a binding is; the note stays. Gives it with its number."""
    plan = _encode(binding.plan)
    if binding.number:
        connection.execute(
            "UPDATE binding SET name = ?, database = ?, plan = ?, settings = ? WHERE number = ?",
            (binding.name, binding.database, plan, binding.settings, binding.number),
        )
        return binding
    number = connection.execute(
        "INSERT INTO binding (name, database, plan, settings) VALUES (?, ?, ?, ?)",
        (binding.name, binding.database, plan, binding.settings),
    ).lastrowid
    return replace(binding, number=number)


def forget(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("DELETE FROM binding WHERE number = ?", (number,))


def keep_notes(connection: sqlite3.Connection, notes: Iterable[tuple[Note, Dot]]) -> None:
    """Instead of the notes before: those were settled before these could be made."""
    for note, dot in notes:
        connection.execute(
            "UPDATE binding SET note = ?, note_origin = ?, note_seq = ? WHERE number = ?",
            (note.data, dot.origin, dot.seq, note.binding),
        )


def load(connection: sqlite3.Connection, path: Path) -> list[StoredBinding]:
    """All of them, by name. Raises StoreDamaged."""
    rows = connection.execute(
        "SELECT name, database, plan, settings, number, note, note_origin, note_seq FROM binding ORDER BY name"
    )
    try:
        return [
            StoredBinding(
                name, database, _decode_plan(plan), settings, number, note, None if origin is None else Dot(origin, seq)
            )
            for name, database, plan, settings, number, note, origin, seq in rows
        ]
    except (ValueError, TypeError) as problem:
        raise damaged(path, f"a binding cannot be read ({problem})") from problem
