"""Whose clock is off, among the devices that are linked; asked for again, and at once when ours jumps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from peerd.engine.links import clocks
from peerd.engine.links.clocks import in_words

if TYPE_CHECKING:
    from peerd.protocol.control.reports import PeerStatus
    from tests.engine.conftest import Device, Hands, MakeDevice, Until, Wire

YEAR_S = 31_556_952


def peer(device: Device, other: Device) -> PeerStatus:
    return next(one for one in device.statuses.peers.of(device.space) if one.name == other.name)


@pytest.fixture
async def three(desk: Device, make: MakeDevice, wire: Wire, clock: Hands, until: Until) -> list[Device]:
    """The last one's clock is four years ahead."""
    other = type(clock)()
    other.pass_s(4 * YEAR_S)
    devices = [desk, make("laptop"), make("tablet", clock=other)]
    await desk.admit(*devices[1:])
    for number, one in enumerate(devices):
        for another in devices[number + 1 :]:
            wire.connect(one, another)
    await until(lambda: all(len(one.switchboard.links) == 2 for one in devices))
    await until(lambda: all(peer(desk, one).state == "in sync" for one in devices[1:]))
    return devices


async def test_the_odd_one_is_named_by_all(three: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    desk, laptop, tablet = three
    for device in (desk, laptop):
        assert peer(device, tablet).reason == "its clock is 4.0 years ahead"
        assert peer(device, tablet).clock_off_ms == 4 * YEAR_S * 1000
        assert (await device.statuses.status()).device.state == "running"
    assert peer(desk, laptop).reason == peer(tablet, desk).reason == ""
    own = (await tablet.statuses.status()).device
    assert (own.state, own.reason) == ("degraded", "this device's clock is 4.0 years ahead of the others'")
    assert own.clock_off_ms == 4 * YEAR_S * 1000
    assert "timedatectl" in own.next_step
    assert (await tablet.statuses.spaces.view(tablet.space)).state == "in sync"
    found = tablet.statuses.clocks.judgement()
    monkeypatch.setattr(tablet.statuses.clocks, "judgement", lambda: replace(found, ours=-4 * YEAR_S * 1000))
    assert tablet.statuses.clocks.problems()[0][0] == "this device's clock is 4.0 years behind the others'"


async def test_a_clock_that_was_put_right_is_heard_of(
    three: list[Device], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By those who ask, and by itself, since it sees itself jump."""
    monkeypatch.setattr(clocks, "TICK_S", 0.01)
    desk, _, tablet = three
    watching = asyncio.create_task(tablet.statuses.clocks.watch())
    try:
        await asyncio.sleep(0)
        tablet.clock.now_ms = desk.clock.now_ms
        await until(lambda: tablet.statuses.clocks.judgement().ours is None)
        assert (await tablet.statuses.status()).device.reason == ""
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    for link in desk.switchboard.links.values():
        link.ping()
    await until(lambda: peer(desk, tablet).reason == "")


@pytest.mark.parametrize(
    ("off_ms", "words"),
    [
        (300_000, "300 s ahead"),
        (-7_199_000, "7,199 s behind"),
        (26 * 3600 * 1000, "26 h ahead"),
        (-40 * 86400 * 1000, "40 days behind"),
        (round(12.34 * YEAR_S * 1000), "12.3 years ahead"),
    ],
)
def test_differences_in_words(off_ms: int, words: str) -> None:
    assert in_words(off_ms) == words
