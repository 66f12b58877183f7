"""What is kept of a copy's scrub, in the tables `scrub` and `finding`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from peerd.core import digest
from peerd.core.copy import CopyState
from peerd.core.record_form import bucket_of
from peerd.core.repair.scrub import FROM_SNAPSHOT, NO_RECORDS, Finding, ScrubState

Owing: TypeAlias = Callable[[CopyState], ScrubState | None]

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ScrubState).decode


def load(connection: sqlite3.Connection) -> tuple[ScrubState, list[Finding]]:
    """How far it is, and what it found, the oldest first."""
    findings = [
        Finding(*columns)
        for columns in connection.execute(
            "SELECT id, at_ms, found, collection, key, device, done FROM finding ORDER BY id"
        )
    ]
    return _state(connection), findings


def _state(connection: sqlite3.Connection) -> ScrubState:
    row = connection.execute("SELECT state FROM scrub").fetchone()
    try:
        return ScrubState() if row is None else _decode(row[0])
    except ValueError:
        return ScrubState()  # nothing depends on it but how far the scrub is, and what is owed is found again


def save(connection: sqlite3.Connection, state: bytes) -> None:
    """`state` is encoded."""
    connection.execute("INSERT OR REPLACE INTO scrub (one, state) VALUES (1, ?)", (state,))


def keep(connection: sqlite3.Connection, owing: Owing | None, copy: CopyState) -> None:
    """What `owing`, if it is given, makes of the copy as a transaction leaves it, if that is anything."""
    if owing is not None and (state := owing(copy)) is not None:
        save(connection, encode(state))


def replaced(connection: sqlite3.Connection, copy_id: bytes, owed: bytes) -> ScrubState:
    """A snapshot took the place of the copy: it is called `copy_id` now, and owes so much. Whatever was found in
    records is put right by that, but for those in parts of it that owe something.
    """
    state = _state(connection)
    state.begin(copy_id)
    state.owed, state.asked, state.anew = owed, [], owed != digest.EMPTY
    save(connection, encode(state))
    rows = connection.execute("SELECT id, found, collection, key FROM finding WHERE done = ''").fetchall()
    done = [
        (FROM_SNAPSHOT, number)
        for number, found, collection, key in rows
        if found not in NO_RECORDS and not digest.at(owed, bucket_of(collection, key))
    ]
    connection.executemany("UPDATE finding SET done = ? WHERE id = ?", done)
    return state
