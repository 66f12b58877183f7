"""What is remembered of a relay, and what is on its way there, are kept in one step and survive a restart."""

from __future__ import annotations

from peerd.core.stored import RelayKept
from tests.store.copies import Copy

STREAM = b"s" * 16


async def test_nothing_is_remembered_of_a_relay_that_was_never_used(copy: Copy) -> None:
    assert await copy.store.relays.load("folder") == RelayKept()


async def test_memory_and_outbox_are_replaced_together(copy: Copy) -> None:
    """What is in the outbox already stays as it is: those bytes may be on the relay. What is not named goes."""
    await copy.store.relays.save("folder", b"one", {(STREAM, 1): b"sealed", (STREAM, 2): b"more"})
    await copy.store.relays.save("folder", b"two", {(STREAM, 2): b"sealed otherwise", (STREAM, 3): b"third"})
    await copy.reopen()
    kept = await copy.store.relays.load("folder")
    assert kept == RelayKept(b"two", {(STREAM, 2): b"more", (STREAM, 3): b"third"})


async def test_relays_do_not_know_of_each_other(copy: Copy) -> None:
    await copy.store.relays.save("folder", b"one", {(STREAM, 1): b"sealed"})
    await copy.store.relays.save("cloudkit", b"two", {})
    await copy.store.relays.forget("folder")
    assert await copy.store.relays.load("folder") == RelayKept()
    assert await copy.store.relays.load("cloudkit") == RelayKept(b"two")
