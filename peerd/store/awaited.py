"""Devices that were named by their id and have not come yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from peerd.core.stored import Awaited


def save(connection: sqlite3.Connection, one: Awaited) -> None:
    """Await a device, or await it otherwise than before."""
    connection.execute(
        "INSERT OR REPLACE INTO awaited (device, role, expires_ms) VALUES (?, ?, ?)",
        (one.device, one.role, one.expires_ms),
    )


def drop(connection: sqlite3.Connection, devices: Iterable[bytes]) -> None:
    connection.executemany("DELETE FROM awaited WHERE device = ?", [(device,) for device in devices])


def load(connection: sqlite3.Connection) -> tuple[Awaited, ...]:
    return tuple(
        Awaited(*row) for row in connection.execute("SELECT device, role, expires_ms FROM awaited ORDER BY device")
    )
