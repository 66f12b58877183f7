"""That a device asks to be let in survives a restart, and ends when it is answered."""

from __future__ import annotations

from peerd.core.stored import StoredPetition
from tests.store.copies import Copy

ONE = StoredPetition("aa" * 32, b"sealed", ("bb" * 32, "cc" * 32), 5)


async def test_the_last_petition_is_kept_until_it_is_answered(copy: Copy) -> None:
    assert (await copy.reopen()).petition is None
    await copy.store.save_petition(StoredPetition("dd" * 32, b"earlier", (), 1))
    await copy.store.save_petition(ONE)
    assert (await copy.reopen()).petition == ONE
    await copy.store.save_petition(None)
    assert (await copy.reopen()).petition is None
