"""What is remembered of other devices."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

import msgspec

from peerd.core.stored import StoredPeer
from peerd.store.failures import damaged

_encode = msgspec.msgpack.Encoder().encode
_decode_addresses = msgspec.msgpack.Decoder(tuple[tuple[str, int], ...]).decode
_decode_acks = msgspec.msgpack.Decoder(dict[bytes, int]).decode


def save(connection: sqlite3.Connection, peer: StoredPeer) -> None:
    """Keep what is known of a device now, instead of what was known before."""
    connection.execute(
        "INSERT OR REPLACE INTO peer (device, name, addresses, seen_ms, acks, heard_age_ms) VALUES (?, ?, ?, ?, ?, ?)",
        (peer.device, peer.name, _encode(peer.addresses), peer.seen_ms, _encode(peer.acks), peer.heard_ms),
    )


def standing_at(connection: sqlite3.Connection, origin: bytes) -> set[int]:
    """How much of an origin devices are known to have, each."""
    found: set[int] = set()
    for (acks,) in connection.execute("SELECT acks FROM peer"):
        with suppress(ValueError):  # who opens the database next says that it is damaged
            found.add(_decode_acks(acks).get(origin, 0))
    return found


def load(connection: sqlite3.Connection, path: Path) -> tuple[StoredPeer, ...]:
    """Raises StoreDamaged."""
    rows = connection.execute("SELECT device, name, addresses, seen_ms, acks, heard_age_ms FROM peer ORDER BY device")
    try:
        return tuple(
            StoredPeer(device, name, _decode_addresses(addresses), seen_ms, _decode_acks(acks), heard_ms)
            for device, name, addresses, seen_ms, acks, heard_ms in rows
        )
    except ValueError as problem:
        raise damaged(path, f"what it knows of a device cannot be read ({problem})") from problem
