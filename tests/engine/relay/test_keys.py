"""Which keys count on a relay."""

from __future__ import annotations

import pytest

from peerd.core.roster import epochs
from peerd.engine.relay.keys import NoKey, SpaceKeys
from tests.engine.conftest import Device


async def test_names_live_as_long_as_the_space_and_sealing_changes(two: tuple[Device, Device]) -> None:
    """After a removal the names are the same, what is sealed is sealed under the new secret, and both open."""
    desk, laptop = two
    keys = SpaceKeys(desk.space, desk.spaces)
    names, sealing = keys.names(), keys.sealing()
    assert keys.opening() == [sealing]
    await desk.spaces.remove(desk.space, laptop.id)
    assert keys.names() == names
    assert keys.sealing() != sealing
    assert keys.opening() == [keys.sealing(), sealing]


async def test_nothing_is_sealed_while_somebody_knows_the_secret_who_is_out(two: tuple[Device, Device]) -> None:
    """Here the removal is known and the new secret is not."""
    desk, laptop = two
    third = SpaceKeys(laptop.space, laptop.spaces)
    await desk.spaces.remove(desk.space, laptop.id)
    removal = [one for one in desk.space.roster.statements if one not in laptop.space.roster.statements][:1]
    await laptop.space.learn(removal)
    with pytest.raises(NoKey) as refused:
        third.sealing()
    assert refused.value.code == "relay-no-key"
    assert third.names()


async def test_a_device_that_was_given_no_secret_is_told(
    two: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    monkeypatch.setattr(desk.spaces, "secrets", lambda _space: {})
    keys = SpaceKeys(desk.space, desk.spaces)
    with pytest.raises(NoKey, match="first secret"):
        keys.names()
    assert keys.opening() == []
    assert epochs.first(laptop.space.roster) is not None
