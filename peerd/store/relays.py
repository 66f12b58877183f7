"""What is remembered of relays, and the sealed segments that are on their way to them. See the port `CourierStore`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from peerd.core.stored import RelayKept, SegmentId
from peerd.store.database import Database, Outcome


class Relays:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, relay: str) -> RelayKept:
        return await self._database.read(lambda connection: load(connection, relay))

    async def save(self, relay: str, memory: bytes, outbox: Mapping[SegmentId, bytes]) -> None:
        def work(connection: sqlite3.Connection) -> Outcome[None]:
            save(connection, relay, memory, outbox)
            return Outcome(None)

        await self._database.write(work)

    async def forget(self, relay: str) -> None:
        def work(connection: sqlite3.Connection) -> Outcome[None]:
            forget(connection, relay)
            return Outcome(None)

        await self._database.write(work)


def save(connection: sqlite3.Connection, relay: str, memory: bytes, outbox: Mapping[SegmentId, bytes]) -> None:
    """Keep the memory and, instead of what was in the outbox, these segments."""
    connection.execute("INSERT OR REPLACE INTO relay (name, memory) VALUES (?, ?)", (relay, memory))
    kept = {(stream, number) for stream, number in _segments(connection, relay)}
    connection.executemany(
        "DELETE FROM relay_outbox WHERE relay = ? AND stream = ? AND number = ?",
        [(relay, *one) for one in kept - outbox.keys()],
    )
    connection.executemany(
        "INSERT INTO relay_outbox (relay, stream, number, sealed) VALUES (?, ?, ?, ?)",
        [(relay, *one, sealed) for one, sealed in outbox.items() if one not in kept],
    )


def load(connection: sqlite3.Connection, relay: str) -> RelayKept:
    row = connection.execute("SELECT memory FROM relay WHERE name = ?", (relay,)).fetchone()
    outbox = connection.execute("SELECT stream, number, sealed FROM relay_outbox WHERE relay = ?", (relay,))
    return RelayKept(row[0] if row else None, {(stream, number): sealed for stream, number, sealed in outbox})


def forget(connection: sqlite3.Connection, relay: str) -> None:
    connection.execute("DELETE FROM relay WHERE name = ?", (relay,))
    connection.execute("DELETE FROM relay_outbox WHERE relay = ?", (relay,))


def _segments(connection: sqlite3.Connection, relay: str) -> list[SegmentId]:
    return connection.execute("SELECT stream, number FROM relay_outbox WHERE relay = ?", (relay,)).fetchall()
