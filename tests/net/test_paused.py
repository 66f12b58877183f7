"""A device whose user has paused its links says so to its members, and is no stranger to them."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.identity import Identity
from peerd.net.dialer import Dialer, DialFailed
from peerd.net.link import SYNC
from peerd.net.refusal import Refusal, read_refusal, refuse


def test_a_pause_arrives_as_what_it_is() -> None:
    assert read_refusal(refuse(Refusal("paused", "Not now."))) == Refusal("paused", "Not now.")


async def test_who_dials_a_paused_device_is_told_what_ends_it(station: Any, friend: Identity) -> None:
    """The code, a sentence without an address in it, and the command, on that device."""
    station.listener._authorise = lambda *_: Refusal("paused", "this device takes no links at the moment")
    with pytest.raises(DialFailed) as failed:
        await Dialer(friend).dial(station.address, SYNC, station.identity.device)
    assert (failed.value.code, failed.value.theirs) == ("paused", station.identity.device)
    assert str(failed.value) == "that device has paused its links"
    assert "peerctl resume" in failed.value.next_step
