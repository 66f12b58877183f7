"""What is remembered of other devices."""

from __future__ import annotations

import sqlite3

import pytest

from peerd.core.stored import StoredPeer
from peerd.errors import StoreDamaged
from tests.store.copies import Copy


async def test_a_peer_is_kept_with_addresses_and_acknowledgements(copy: Copy) -> None:
    """The last word on a device replaces the one before; others stay."""
    kitchen = StoredPeer(b"K" * 32, "kitchen", (("fe80::1%eth0", 7337), ("nas.lan", 1)), 5, {b"o" * 16: 9})
    await copy.store.save_peer(kitchen)
    await copy.store.save_peer(StoredPeer(b"A" * 32))
    assert (await copy.reopen()).peers == (StoredPeer(b"A" * 32), kitchen)
    renamed = StoredPeer(b"K" * 32, "cellar", (), 6, {})
    await copy.store.save_peer(renamed)
    assert (await copy.reopen()).peers == (StoredPeer(b"A" * 32), renamed)


async def test_a_damaged_peer_is_named_at_the_opening(copy: Copy) -> None:
    """An error of the store, with the file."""
    await copy.store.save_peer(StoredPeer(b"A" * 32))
    await copy.store.close()
    with sqlite3.connect(copy.path) as connection:
        connection.execute("UPDATE peer SET acks = x'c1'")
    connection.close()
    with pytest.raises(StoreDamaged, match="of a device"):
        await copy.open()
    with sqlite3.connect(copy.path) as connection:
        connection.execute("DELETE FROM peer")
    connection.close()
    await copy.open()
